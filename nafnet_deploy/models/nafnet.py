"""NAFNet: a U-Net of NAFBlocks (Chen et al., ECCV 2022), with the published parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.blocks import NAFBlock, Parts


def stage(channels: int, blocks: int, config: ModelConfig) -> nn.Sequential:
    """`blocks` NAFBlocks in a row."""
    return nn.Sequential(*[NAFBlock(channels, config.dropout, Parts.of(config)) for _ in range(blocks)])


class NAFNet(nn.Module):
    """Restores a picture: [B, channels, H, W] in [0, 1] -> the same shape.

    H and W must be multiples of `config.size_multiple`; the caller pads, because a graph that pads for
    itself hides the cost and ties the deployed engine to one border rule.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c = config.width
        self.intro = nn.Conv2d(config.channels, c, 3, padding=1)
        self.ending = nn.Conv2d(c, config.channels, 3, padding=1)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        for blocks in config.encoder_blocks:
            self.encoders.append(stage(c, blocks, config))
            self.downs.append(nn.Conv2d(c, 2 * c, 2, stride=2))
            c *= 2
        self.middle_blks = stage(c, config.middle_blocks, config)
        for blocks in config.decoder_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)))
            c //= 2
            self.decoders.append(stage(c, blocks, config))

    def forward(self, x: Tensor) -> Tensor:
        features, skips = self.intro(x), []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            features = blocks(features)
            skips.append(features)
            features = down(features)
        features = self.middle_blks(features)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            features = blocks(up(features) + skips.pop())
        result: Tensor = self.ending(features) + x
        return result
