"""The activations of a block, gated and plain. All tensors are [batch, channels, height, width]."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from nafnet_deploy.config import GATES

FUNCTIONS: dict[str, Callable[[Tensor], Tensor] | None] = {
    "simple": None,
    "swiglu": F.silu,
    "geglu": F.gelu,
    "reglu": F.relu,
    "gelu": F.gelu,
    "relu": F.relu,
}
"""What each activation applies; None for nothing."""


class Gate(nn.Module):
    """An activation by name.

    The gates split the channels in two and multiply the first half by f of the second: [B, 2c, H, W] -> [B, c, H, W],
    with f the identity for `simple` (SimpleGate; Chen et al., ECCV 2022, equation 4) and SiLU, exact GELU or ReLU for
    `swiglu`, `geglu` and `reglu` (Shazeer, "GLU Variants Improve Transformer", 2020). `gelu` and `relu` keep the
    channels.
    """

    def __init__(self, kind: str = "simple") -> None:
        super().__init__()
        self.kind = kind
        self.halves = kind in GATES
        """Whether it cuts the channels in two."""
        self.factor = 2 if self.halves else 1
        """Channels in over channels out."""

    def forward(self, x: Tensor) -> Tensor:
        return self.combine(*x.chunk(2, dim=1)) if self.halves else self.activate(x)

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """The product of a gate whose halves are apart already, each [B, c, H, W]."""
        return first * self.activate(second)

    def activate(self, x: Tensor) -> Tensor:
        """f of `x`, same shape."""
        function = FUNCTIONS[self.kind]
        return x if function is None else function(x)
