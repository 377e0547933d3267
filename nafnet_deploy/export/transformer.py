"""A transformer block in deployment form."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from nafnet_deploy.export.norms import ChannelNorm, Gated, absorb_norm
from nafnet_deploy.models.gates import Gate
from nafnet_deploy.models.layers import LayerNorm2d
from nafnet_deploy.models.restormer import TransformerBlock, attend_channels


class FoldedTransformer(nn.Module):
    """A TransformerBlock with its norms inside its convs: [B, c, H, W] -> [B, c, H, W].

    Lengths and products of queries and keys and the softmax are float32 whatever the type of the convs; the rest
    computes in that type.
    """

    def __init__(self, block: TransformerBlock) -> None:
        super().__init__()
        norms = [norm.get_submodule("body") for norm in (block.norm1, block.norm2)]
        first, second = (norm for norm in norms if isinstance(norm, LayerNorm2d))
        self.norm1, self.norm2 = ChannelNorm(first), ChannelNorm(second)
        self.qkv = nn.Sequential(absorb_norm(first, block.attn.qkv), block.attn.qkv_dwconv)
        self.temperature = block.attn.temperature
        self.project = block.attn.project_out
        # The feed-forward half activates its first half and a Gate its second one: they change places.
        exchanged = (exchange_halves(conv) for conv in (block.ffn.project_in, block.ffn.dwconv))
        self.feed = Gated(Gate("geglu"), second, *exchanged)
        self.close = block.ffn.project_out

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(self.norm1(x).to(self.qkv[0].weight.dtype))
        x = x + self.project(attend_channels(qkv, self.temperature))
        closed: Tensor = self.close(self.feed(self.norm2(x)))
        return x + closed


def exchange_halves(conv: nn.Conv2d) -> nn.Conv2d:
    """The conv without bias, dense or depthwise, that gives the second half of its channels first.

    A depthwise one reads them exchanged, too.
    """
    exchanged = copy.deepcopy(conv)
    exchanged.weight = nn.Parameter(torch.cat(conv.weight.detach().chunk(2)[::-1]))
    return exchanged
