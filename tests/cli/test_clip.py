"""`nafdeploy run clip.mp4`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import av

from tests.cli.conftest import Command
from tests.runtime.clips import FRAMES, write
from tests.test_boundaries import BLOCKED


def test_a_clip_is_restored_beside_itself(command: Command, tiny: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4")
    done = command("run", clip, "-m", tiny, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["frames"] == FRAMES
    assert f"{FRAMES} frames" in done.err
    with av.open(str(tmp_path / "a_restored.mp4")) as restored:
        assert len(list(restored.decode(video=0))) == FRAMES


def test_the_iterations_of_all_frames_are_counted(command: Command, tiny_split: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", sound=None)
    done = command("run", clip, "-m", tiny_split, "--until-delta", "1", "--json")
    assert json.loads(done.out)["iterations"] == {"1": FRAMES}
    assert f"N = 1, mean 1.0 over {FRAMES} runs" in done.err


def test_what_does_not_fit_a_clip_is_refused(command: Command, tiny: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", sound=None)
    for options in (["--recursive"], ["--format", "png"], ["--jpeg-quality", "5"], ["--progressive"]):
        command("run", clip, "-m", tiny, *options).refused(2, options[0])
    command("run", clip, "-m", tiny, "--video-codec", "vp9").refused(2, "vp9")
    command("run", clip, "-m", tiny, "--crf", "99").refused(2, "99")
    (tmp_path / "b.mp4").write_text("text")
    command("run", tmp_path / "b.mp4", "-m", tiny).refused(2, "b.mp4")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]


def test_a_machine_without_pyav_names_the_extra(tiny: Path, tmp_path: Path) -> None:
    clip = write(tmp_path / "a.mp4", sound=None)
    line = [sys.executable, "-c", BLOCKED, '["av"]', "run", str(clip), "-m", str(tiny)]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "")
    assert "nafnet-deploy[video]" in done.stderr
    assert len(done.stderr.splitlines()) == 1
