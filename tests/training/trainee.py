"""A training process for tests to kill and to multiply: `trainee.py RECIPE OUT LOG [--resume] [--kill-at STEP]`.

Writes the loss of every step to LOG as a JSON line at once, so that a killed process leaves what it did.
"""

import argparse
import json
import os
import signal
from pathlib import Path

from nafnet_deploy import presets
from nafnet_deploy.config import ModelConfig
from nafnet_deploy.training.callbacks import Progress
from nafnet_deploy.training.recipe import read_recipe
from nafnet_deploy.training.run import train

TINY = ModelConfig(
    architecture="nafnet-rr",
    width=8,
    encoder_blocks=(1,),
    middle_blocks=1,
    decoder_blocks=(1,),
    positions=("middle",),
    iterations=2,
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("log", type=Path)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--kill-at", type=int, default=0)
    options = parser.parse_args()
    presets.PRESETS["tiny"] = presets.Preset(TINY, "denoising", "for tests")

    def report(progress: Progress) -> None:
        with options.log.open("a") as log:
            print(json.dumps([progress.step, progress.loss, progress.scores]), file=log)
        if progress.step == options.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    train(read_recipe(options.recipe), options.out, options.resume, report)


if __name__ == "__main__":
    main()
