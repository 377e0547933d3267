"""NAFNet: a U-Net of NAFBlocks (Chen et al., ECCV 2022), with the published parameter names."""

from __future__ import annotations

from torch import Tensor, nn

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.models.blocks import NAFBlock, Parts
from nafnet_deploy.models.do_conv import spatial_conv
from nafnet_deploy.models.frequency import FrequencySkip, MagnitudeInput
from nafnet_deploy.models.layers import Enlarge


def stage(channels: int, blocks: int, config: ModelConfig) -> nn.Sequential:
    """`blocks` NAFBlocks in a row."""
    return nn.Sequential(*[NAFBlock(channels, config.dropout, Parts.of(config)) for _ in range(blocks)])


class NAFNet(nn.Module):
    """Restores a picture: [B, channels, H, W] in [0, 1] -> [B, channels, s H, s W], s = `config.scale`.

    H and W must be multiples of `config.size_multiple`; the caller pads, because a graph that pads for
    itself hides the cost and ties the deployed engine to one border rule.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        c, over = config.width, config.do_conv
        self.spectrum = MagnitudeInput() if config.frequency_input else nn.Identity()
        self.intro = spatial_conv(over, config.channels * (2 if config.frequency_input else 1), c, 3, padding=1)
        self.ending = spatial_conv(over, c, config.channels * config.scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(config.scale) if config.scale > 1 else nn.Identity()  # 1 would stay a node
        self.enlarge = Enlarge(config.channels, config.scale)
        self.encoders, self.downs = nn.ModuleList(), nn.ModuleList()
        self.decoders, self.ups = nn.ModuleList(), nn.ModuleList()
        self.filters = nn.ModuleList()
        """What each skip passes through, from fine to coarse."""
        for blocks in config.encoder_blocks:
            self.encoders.append(stage(c, blocks, config))
            self.filters.append(FrequencySkip(c) if config.frequency_skips else nn.Identity())
            self.downs.append(spatial_conv(over, c, 2 * c, 2, stride=2))
            c *= 2
        self.middle_blks = stage(c, config.middle_blocks, config)
        for blocks in config.decoder_blocks:
            self.ups.append(nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)))
            c //= 2
            self.decoders.append(stage(c, blocks, config))

    def forward(self, x: Tensor) -> Tensor:
        features, skips = self.intro(self.spectrum(x)), []
        for blocks, keep, down in zip(self.encoders, self.filters, self.downs, strict=True):
            features = blocks(features)
            skips.append(keep(features))
            features = down(features)
        features = self.middle_blks(features)
        for up, blocks in zip(self.ups, self.decoders, strict=True):
            features = blocks(up(features) + skips.pop())
        result: Tensor = self.shuffle(self.ending(features)) + self.enlarge(x)
        return result
