"""NAFNet-RR: NAFNet with recurrent reasoning in latent space."""

from __future__ import annotations

from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.errors import ConfigError
from nafnet_deploy.models.blocks import Parts
from nafnet_deploy.models.nafnet import NAFNet
from nafnet_deploy.models.reasoning import ReasoningUnit


class NAFNetRR(NAFNet):
    """A NAFNet whose features are refined by reasoning units at up to three places.

    `encoder` sits after the coarsest encoder level, `middle` after the middle blocks, `decoder` after the
    coarsest decoder level. Every unit has one set of weights and runs N times; N is free at each call. The
    picture "of iteration n" is the one the network gives when every unit stops after n iterations.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config)
        levels = len(config.encoder_blocks)
        coarsest = config.width * 2 ** (levels - 1)
        channels = {"encoder": coarsest, "middle": 2 * coarsest, "decoder": coarsest}
        self.reasoning = nn.ModuleDict(
            {
                p: ReasoningUnit(channels[p], config.reasoning_blocks, config.dropout, Parts.of(config))
                for p in config.positions
            }
        )

    def forward(self, x: Tensor, iters: int | None = None) -> Tensor:
        """The restored picture [B, channels, s H, s W] after `iters` iterations (default: the configuration's)."""
        n = check_iterations(self.config.iterations if iters is None else iters)
        features, skips = self.encode(x, n)
        restored: Tensor = self.decode(self.refine("middle", features, n)[-1], skips, n) + self.enlarge(x)
        return restored

    def forward_all(self, x: Tensor, iters: int | None = None) -> list[Tensor]:
        """The pictures of iterations 1..`iters`; what does not depend on the iteration is computed once."""
        n = check_iterations(self.config.iterations if iters is None else iters)
        if "encoder" in self.reasoning:  # nothing behind the encoder can be shared
            return [self.forward(x, i) for i in range(1, n + 1)]
        features, skips = self.encode(x, n)
        refined = self.refine("middle", features, n)
        return [self.decode(refined[i - 1], skips, i) + self.enlarge(x) for i in range(1, n + 1)]

    def refine(self, position: str, features: Tensor, iters: int) -> list[Tensor]:
        """The features at a place after each iteration; unchanged where no unit sits."""
        if position not in self.reasoning:
            return [features] * iters
        results: list[Tensor] = self.reasoning[position](features, iters)
        return results

    def encode(self, x: Tensor, iters: int) -> tuple[Tensor, list[Tensor]]:
        """Features after the middle blocks, and the skips from fine to coarse."""
        features, skips = self.intro(self.spectrum(x)), []
        for level, (blocks, down) in enumerate(zip(self.encoders, self.downs, strict=True)):
            features = blocks(features)
            if level == len(self.encoders) - 1:
                features = self.refine("encoder", features, iters)[-1]
            skips.append(self.filters[level](features))
            features = down(features)
        return self.middle_blks(features), skips

    def decode(self, features: Tensor, skips: list[Tensor], iters: int) -> Tensor:
        """The residual picture from the refined middle features."""
        for level, (up, blocks) in enumerate(zip(self.ups, self.decoders, strict=True)):
            features = blocks(up(features) + skips[-1 - level])
            if level == 0:
                features = self.refine("decoder", features, iters)[-1]
        residual: Tensor = self.shuffle(self.ending(features))
        return residual


def check_iterations(iters: int) -> int:
    """`iters` itself when it is 1 or more, else a `ConfigError`."""
    if iters < 1:
        raise ConfigError(f"{iters} iterations are impossible.", "Use --iters 1 or more.")
    return iters
