"""Reader of the published `.pth` files of NAFNet, its Baseline, NAFSSR and Restormer; names and shapes tell which."""

from __future__ import annotations

import math
import pickle
import re
import warnings
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nafnet_deploy.checkpoints.store import Checkpoint, check_fit
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import CheckpointError, ConfigError
from nafnet_deploy.manifest import sha256_of
from nafnet_deploy.models.attention import KINDS

CONTAINERS = ("params_ema", "params", "model_state_dict", "state_dict", "model", "net")
"""Keys under which training codes put the weights; averaged weights first, as their authors evaluate them."""
PREFIXES = ("module.", "netG.")
"""What wrappers put before every name."""
FAMILIES = (
    ("conv_first.weight", "layers.0.residual_group.", "SwinIR"),
    ("conv_first.weight", "body.0.rdb1.", "an RRDB network (ESRGAN)"),
    ("layer1.0.conv1.weight", "fc.weight", "a ResNet classifier"),
    ("intro.weight", "body.0.", "a NAFSSR of another layout"),
)
"""Foreign networks by two telling beginnings of names."""
NAMED = 3
"""How many names a message shows."""


def load_official(path: Path) -> Checkpoint:
    """Reads an official `.pth`; never executes anything in it.

    Weights come back as float32. `name` is the file's stem and `task` is empty: the file tells neither.

    Raises:
        CheckpointError: missing, damaged, holding anything but tensors and plain values, or not a NAFNet.
    """
    weights, container = find_weights(_unpickle(path), path)
    for name, value in weights.items():
        if not value.is_floating_point() or value.layout is not torch.strided or value.is_meta or value.is_quantized:
            kind = "sparse or quantised values" if value.is_floating_point() else str(value.dtype).split(".")[-1]
            raise CheckpointError(f"{path}: {name} holds {kind}.", "Save the weights as plain floating-point tensors.")
    config = infer_config(weights, path)
    check_fit(weights, config, str(path))
    provenance = {"source": path.name, "sha256": sha256_of(path), "container": container}
    return Checkpoint({k: v.float() for k, v in weights.items()}, config, path.stem, "", provenance)


def _unpickle(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file.", "Check the path.")
    try:
        with warnings.catch_warnings():  # its warnings repeat what the errors below say
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds more than weights ({named[1]})" if named else "is not a plain table of weights"
        raise CheckpointError(
            f"{path} {what}; it was refused and nothing in it was run.",
            "Ask its author for a file with tensors only.",
        ) from error
    # Whatever else the reader throws at a damaged file is not documented, hence the wide net.
    except Exception as error:
        if "TorchScript" in str(error):
            raise CheckpointError(
                f"{path} is a TorchScript program, not a checkpoint; it was refused.", "Give the .pth it was made from."
            ) from error
        raise CheckpointError(f"{path} is not a readable PyTorch checkpoint.", "Copy or download it again.") from error


def find_weights(loaded: Any, path: Path) -> tuple[dict[str, Tensor], str]:
    """The state dict in what a `.pth` held, without prefixes, and the name of its container (`bare` for none).

    Raises:
        CheckpointError: no table of tensors is there.
    """
    container = "bare"
    if isinstance(loaded, Mapping):
        for key in CONTAINERS:
            if isinstance(loaded.get(key), Mapping):
                loaded, container = loaded[key], key
                break
    if not (
        isinstance(loaded, Mapping)
        and loaded
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in loaded.items())
    ):
        raise CheckpointError(
            f"{path} holds no table of weights.", f"Known places: {', '.join(CONTAINERS)}, or the table itself."
        )
    weights = dict(loaded)
    for _ in PREFIXES:  # they come in either order
        for prefix in PREFIXES:
            if all(k.startswith(prefix) for k in weights):
                weights = {k.removeprefix(prefix): v for k, v in weights.items()}
    return weights, container


def infer_config(weights: Mapping[str, Tensor], path: Path) -> ModelConfig:
    """The network that a state dict belongs to: blocks counted per stage, width and channels from `intro`, and what
    the blocks are made of from the first of them.

    The gates have no weights: a checkpoint whose convs halve the channels is taken for `simple`, and one whose convs
    do not for `gelu` (the Baseline), or for `relu` where norm and attention are absent too (PlainNet).

    Raises:
        CheckpointError: the weights belong to another network, or a block is missing.
    """
    names = list(weights)
    intro = weights.get("intro.weight")
    if any(name.startswith("body.0.module.blk.") for name in names):
        return _stereo_config(weights, path)
    if any(name.startswith("encoder_level1.") for name in names):
        return _restormer_config(weights, path)
    starts = ("ending.weight", "downs.0.weight", "ups.0.0.weight")
    if intro is None or intro.dim() != 4 or any(k not in weights for k in starts):
        raise _foreign(names, path)
    levels = _count((m[1] for k in names if (m := re.match(r"downs\.(\d+)\.", k))), path, "downs")

    def blocks(stage: str) -> int:
        pattern = re.compile(re.escape(stage) + r"\.(\d+)\.")
        return _count((m[1] for k in names if (m := pattern.match(k))), path, stage)

    try:
        return ModelConfig(
            architecture="nafnet",
            width=intro.shape[0],
            channels=intro.shape[1],
            encoder_blocks=tuple(blocks(f"encoders.{level}") for level in range(levels)),
            middle_blocks=blocks("middle_blks"),
            decoder_blocks=tuple(blocks(f"decoders.{level}") for level in range(levels)),
            **_parts(weights),
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message} {error.mend}", "The file is damaged.") from error


def _stereo_config(weights: Mapping[str, Tensor], path: Path) -> ModelConfig:
    """A NAFSSR: blocks counted, width and channels from `intro`, scale from what `up` gives per channel."""
    intro, up = weights.get("intro.weight"), weights.get("up.0.weight")
    if intro is None or up is None or intro.dim() != 4 or up.dim() != 4 or 0 in intro.shape:
        raise CheckpointError(f"{path}: intro or up is missing or damaged.", "Download the checkpoint again.")
    try:
        return ModelConfig(
            architecture="nafssr",
            width=intro.shape[0],
            channels=intro.shape[1],
            scale=math.isqrt(up.shape[0] // intro.shape[1]),
            encoder_blocks=(),
            middle_blocks=_count((m[1] for k in weights if (m := re.match(r"body\.(\d+)\.", k))), path, "body"),
            decoder_blocks=(),
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message} {error.mend}", "The file is damaged.") from error


def _restormer_config(weights: Mapping[str, Tensor], path: Path) -> ModelConfig:
    """A Restormer: blocks counted, width and channels from `patch_embed`, heads from the temperatures of each level."""
    if "encoder_level1.0.norm1.body.weight" in weights and "encoder_level1.0.norm1.body.bias" not in weights:
        raise CheckpointError(
            f"{path} is a Restormer whose norms have no bias (as its Gaussian denoisers), which is not known here.",
            "Give one whose norms have a bias, as those for deblurring and deraining.",
        )
    levels = _count((str(int(m[1]) - 1) for k in weights if (m := re.match(r"encoder_level(\d+)\.", k))), path, "level")
    stages = [*(f"encoder_level{level}" for level in range(1, levels + 1)), "latent"]
    embed = weights.get("patch_embed.proj.weight")
    heads = [weights.get(f"{stage}.0.attn.temperature") for stage in stages]
    hidden = [weights.get(f"{stage}.0.ffn.project_out.weight") for stage in stages]
    if any(found is None or found.dim() != dims or 0 in found.shape
           for found, dims in ((embed, 4), *((t, 3) for t in heads), *((t, 4) for t in hidden))):  # fmt: skip
        raise CheckpointError(
            f"{path}: patch_embed or the first block of a level is damaged.", "Download the checkpoint again."
        )
    assert embed is not None

    def blocks(stage: str) -> int:
        return _count((m[1] for k in weights if (m := re.match(rf"{stage}\.(\d+)\.", k))), path, stage)

    try:
        return ModelConfig(
            architecture="restormer",
            width=embed.shape[0],
            channels=embed.shape[1],
            encoder_blocks=tuple(blocks(stage) for stage in stages[:-1]),
            middle_blocks=blocks("latent"),
            decoder_blocks=tuple(blocks(f"decoder_level{level}") for level in range(levels, 0, -1)),
            refinement_blocks=blocks("refinement"),
            heads=tuple(t.shape[0] for t in heads if t is not None),
            ffn_expand=_shortest_ratio([(t.shape[1], t.shape[0]) for t in hidden if t is not None]),
            attention="none",
        )
    except ConfigError as error:
        raise CheckpointError(f"{path}: {error.message} {error.mend}", "The file is damaged.") from error


def _shortest_ratio(pairs: list[tuple[int, int]]) -> float:
    """The number with the fewest decimals that, times each second number and rounded down, gives each first one."""
    low = max(Fraction(first, second) for first, second in pairs)
    for decimals in range(8):
        ratio: float = math.ceil(low * 10**decimals) / 10**decimals
        if all(int(second * ratio) == first for first, second in pairs):
            return ratio
    return float(low)


def _parts(weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """The fields of `ModelConfig` that the first block tells; none where there is no block or it is damaged."""
    first = next((m[1] for k in weights if (m := re.match(r"(\w+\.(?:\d+\.)?\d+\.)conv1\.weight$", k))), None)
    convs = [weights.get(f"{first}conv{i}.weight") for i in (1, 3, 4)]
    if first is None or any(conv is None or conv.dim() != 4 or 0 in conv.shape for conv in convs):
        return {}
    mix, project, feed = (tuple(conv.shape) for conv in convs if conv is not None)
    own = {name.removeprefix(first).partition(".")[0] for name in weights if name.startswith(first)}
    attention = next((kind for kind, (name, _) in KINDS.items() if name in own), "none")
    norm = "layer" if "norm1" in own else "none"
    bare = attention == norm == "none"
    return {
        "gate": "simple" if project[1] < mix[0] else "relu" if bare else "gelu",
        "attention": attention,
        "norm": norm,
        "dw_expand": mix[0] // mix[1],
        "ffn_expand": feed[0] // feed[1],
    }


def _count(numbers: Iterable[str], path: Path, stage: str) -> int:
    """How many different numbers there are; they must run from 0 without a gap."""
    found = {int(n) for n in numbers}
    gaps = sorted(set(range(len(found))) - found)
    if gaps:
        raise CheckpointError(
            f"{path}: {stage}.{gaps[0]} is missing although {stage}.{max(found)} is there.",
            "The checkpoint is incomplete: download it again.",
        )
    return len(found)


def _foreign(names: list[str], path: Path) -> CheckpointError:
    for first, second, family in FAMILIES:
        if first in names and any(name.startswith(second) for name in names):
            found = family
            break
    else:
        found = "an unknown network"
    shown = ", ".join(names[:NAMED])
    return CheckpointError(
        f"{path} is not a NAFNet but {found}: {len(names)} tensors, among them {shown}.",
        "Give a NAFNet checkpoint (its tensors begin with intro, encoders, middle_blks, decoders, ending), a NAFSSR or "
        "a Restormer.",
    )
