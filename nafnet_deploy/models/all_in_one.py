"""All-in-one restoration: one network for several kinds of damage, a third lighter than the Restormer it comes from.

After a study of low-rank convs and gates in Restormer's body (Zamir et al., CVPR 2022) whose own code is hardly lighter
than what it starts from (25.86 for 29.54 million weights). Here the saving, 30 % of Restormer's weights and more of its
multiply-adds, is real, and this is where it comes from:

- a low-rank conv stands for the 1x1 and the depthwise 3x3 before the attention, and for both 1x1 and the depthwise 3x3
  of the feed-forward half; the projection behind the attention stays whole. With the study's rank of 0.8 c the first
  saves nothing, so it gives the gate as well as queries, keys and values: four maps for the price of four 1x1 convs;
- the feed-forward half expands by 2, not 2.66;
- features go up through a 1x1 conv and a shuffle, not a 3x3 conv;
- the fusion of skip and decoder reduces the channels at the finest level too, where Restormer keeps twice the width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.config import TASKS, ModelConfig
from nafnet_deploy.models.all_in_one_parts import GatedBlock, RefinementGate, SkipFusion


class AllInOne(nn.Module):
    """Restores a picture: [B, channels, H, W] in [0, 1] -> the same shape.

    H and W must be multiples of `config.size_multiple`. A refinement gate stands behind every stage.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        widths = [config.width * 2**level for level in range(len(config.encoder_blocks) + 1)]

        def stage(level: int, blocks: int) -> nn.Sequential:
            return nn.Sequential(*[GatedBlock(widths[level], config.heads[level], config) for _ in range(blocks)])

        def gates(levels: range) -> nn.ModuleList:
            return nn.ModuleList(RefinementGate(widths[level], config.expert) for level in levels)

        fine = range(len(config.encoder_blocks))
        self.intro = nn.Conv2d(config.channels, config.width, 3, padding=1, bias=False)
        self.encoders = nn.ModuleList(stage(level, config.encoder_blocks[level]) for level in fine)
        self.encoder_gates = gates(fine)
        self.downs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, c // 2, 3, padding=1, bias=False), nn.PixelUnshuffle(2)) for c in widths[:-1]
        )
        self.middle = stage(len(fine), config.middle_blocks)
        self.middle_gate = RefinementGate(widths[-1], config.expert)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, 2 * c, 1, bias=False), nn.PixelShuffle(2)) for c in widths[:0:-1]
        )
        self.fusions = nn.ModuleList(SkipFusion(c) for c in widths[-2::-1])
        self.decoders = nn.ModuleList(
            stage(level, blocks) for level, blocks in zip(reversed(fine), config.decoder_blocks, strict=True)
        )
        self.decoder_gates = gates(fine[::-1])
        self.refinement = stage(0, config.refinement_blocks)
        self.ending = nn.Conv2d(config.width, config.channels, 3, padding=1, bias=False)

    def forward(self, x: Tensor, tasks: Tensor | None = None) -> Tensor:
        """Restores `x`.

        Args:
            x: pictures [B, channels, H, W].
            tasks: int64 [B], what was done to each: its place in `TASKS`, below 0 to infer it; None for the expert of
                the configuration.
        """
        features, skips = self.intro(x), []
        for blocks, gate, down in zip(self.encoders, self.encoder_gates, self.downs, strict=True):
            features = gate(blocks(features), tasks)
            skips.append(features)
            features = down(features)
        features = self.middle_gate(self.middle(features), tasks)
        up_path = zip(self.ups, self.fusions, self.decoders, self.decoder_gates, strict=True)
        for up, fuse, blocks, gate in up_path:
            features = gate(blocks(fuse(up(features), skips.pop())), tasks)
        restored: Tensor = self.ending(self.refinement(features)) + x
        return restored


def task_places(names: tuple[str, ...]) -> Tensor:
    """Names of tasks as `AllInOne.forward` takes them; what is none of `TASKS` is to be inferred."""
    return torch.tensor([TASKS.index(name) if name in TASKS else -1 for name in names])
