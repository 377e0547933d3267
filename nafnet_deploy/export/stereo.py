"""The attention between two views in deployment form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nafnet_deploy.export.norms import ChannelNorm, absorb_norm, scale_output
from nafnet_deploy.models.nafssr import StereoAttention, both, read_rows


class Scores(nn.Module):
    """Products of the queries along each row: two [B, c, H, W] -> [B, H, W, W]."""

    def forward(self, query_l: Tensor, query_r: Tensor) -> Tensor:
        return query_l.permute(0, 2, 3, 1) @ query_r.permute(0, 2, 1, 3)


class FoldedAttention(nn.Module):
    """A StereoAttention with its norms, the scale of the scores, beta and gamma inside its convs.

    Views [2 B, c, H, W], the left ones first, -> the same. Both norms have the same statistics, taken at once. Rows are
    not banded: who runs the graph tiles the picture by rows.
    """

    def __init__(self, fusion: StereoAttention) -> None:
        super().__init__()
        channels = fusion.l_proj1.in_channels
        scale = fusion.beta.new_full((1, channels, 1, 1), channels**-0.5)
        self.norm = ChannelNorm(fusion.norm_l)
        self.query_l = scale_output(absorb_norm(fusion.norm_l, fusion.l_proj1), scale)
        self.query_r = absorb_norm(fusion.norm_r, fusion.r_proj1)
        # The weights of a row sum to 1 and do not see the channels, so the scale of what is read is that of the values.
        self.value_l = scale_output(fusion.l_proj2, fusion.gamma)
        self.value_r = scale_output(fusion.r_proj2, fusion.beta)
        self.scores = Scores()

    def forward(self, views: Tensor) -> Tensor:
        dtype = self.query_l.weight.dtype
        left, right = both(self.norm(views).to(dtype))
        scores = self.scores(self.query_l(left), self.query_r(right))
        left, right = both(views.to(dtype))
        read = read_rows(scores, self.value_r(right)), read_rows(scores.transpose(2, 3), self.value_l(left))
        return views + torch.cat(read).permute(0, 3, 1, 2).to(views.dtype)
