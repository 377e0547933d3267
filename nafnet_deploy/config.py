"""The hyper-parameters of every network."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

from nafnet_deploy.errors import ConfigError
from nafnet_deploy.tables import plain, read_table

ARCHITECTURES = ("nafnet", "nafnet-rr", "nafssr", "restormer", "all-in-one")
POSITIONS = ("encoder", "middle", "decoder")
GATES = ("simple", "swiglu", "geglu", "reglu")
"""Activations that split the channels in two and multiply the halves."""
ACTIVATIONS = ("gelu", "relu")
"""Activations that keep the channels."""
ATTENTIONS = ("sca", "ca", "eca", "none")
NORMS = ("layer", "none")
TASKS = ("denoising", "deraining", "dehazing", "deblurring", "low-light")
"""What an `all-in-one` has experts for."""
INFER = "infer"
"""In the place of a task: the network finds out from the picture."""
LEAST_RANK = 4
"""Smallest rank of a low-rank conv."""


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The hyper-parameters that rebuild a network. Travels in every checkpoint and manifest."""

    architecture: str = "nafnet"
    """`nafnet` (Chen et al., ECCV 2022), `nafnet-rr` (the same body with reasoning units), `nafssr` (stereo
    super-resolution, Chu et al., CVPRW 2022: all its blocks are middle blocks at one level), `restormer` (Zamir et
    al., CVPR 2022: its blocks are transformer blocks) or `all-in-one` (that body with low-rank convs and experts)."""
    width: int = 32
    """Channels at full resolution; each level doubles them."""
    encoder_blocks: tuple[int, ...] = (1, 1, 1, 28)
    """NAFBlocks per encoder level, finest first. Its length is the number of levels."""
    middle_blocks: int = 1
    """NAFBlocks at the coarsest resolution."""
    decoder_blocks: tuple[int, ...] = (1, 1, 1, 1)
    """NAFBlocks per decoder level, coarsest first."""
    channels: int = 3
    """Colour channels of the picture, in and out."""
    scale: int = 1
    """Side of the restored picture over that of the input; 1 restores at the same size."""
    dropout: float = 0.0
    """Dropout probability in both halves of a block while training; 0 is off."""
    positions: tuple[str, ...] = ()
    """Where reasoning units sit (`encoder`, `middle`, `decoder`); empty for a plain NAFNet."""
    reasoning_blocks: int = 1
    """Shared NAFBlocks inside one reasoning unit, besides its own fusion layer; 0 is the leanest."""
    iterations: int = 1
    """Reasoning iterations N that the network was made for; any other N >= 1 works too."""
    gate: str = "simple"
    """The activation of both halves of a block. `simple` (x1 * x2), `swiglu` (x1 * silu(x2)), `geglu` (x1 * gelu(x2))
    and `reglu` (x1 * relu(x2)) halve the channels; `gelu` and `relu` do not gate and keep them."""
    attention: str = "sca"
    """Channel attention of a block: `sca` (NAFNet's), `ca` (two layers, sigmoid), `eca` (1-D conv over the
    channels, sigmoid) or `none`."""
    norm: str = "layer"
    """`layer` or `none`: whether blocks normalise what they read. Reasoning units always do."""
    dw_expand: int = 2
    """Channels of a block's depthwise conv over those of the block."""
    ffn_expand: int | float = 2
    """Channels of a block's feed-forward half over those of the block; of a transformer a fraction, rounded down."""
    frequency_input: bool = False
    """Whether the network also reads the logarithm of the magnitudes of the picture's Fourier transform."""
    frequency_skips: bool = False
    """Whether every skip of the encoder passes a filter in the frequency domain (NAFFT-Net)."""
    do_conv: bool = False
    """Whether convs over more than one pixel are over-parameterised while training (DO-Conv)."""
    heads: tuple[int, ...] = ()
    """Attention heads of a transformer per encoder level, finest first, then of its middle; empty for the others."""
    refinement_blocks: int = 0
    """Blocks of a transformer behind its finest decoder level."""
    lora_attention: float = 0.0
    """Rank of an `all-in-one`'s convs before its attention over their fewest channels, see `rank`; 0 for the others."""
    lora_ffn: float = 0.0
    """The same in the feed-forward half."""
    expert: str = ""
    """Whose experts an `all-in-one` uses: those of one of `TASKS`, or `infer`; empty for the others."""

    def __post_init__(self) -> None:
        def need(ok: bool, field: str, rule: str) -> None:
            if not ok:
                raise ConfigError(f"{field} = {getattr(self, field)!r} is impossible:", f"{rule}.")

        need(self.architecture in ARCHITECTURES, "architecture", f"choose from {', '.join(ARCHITECTURES)}")
        need(self.width >= 1, "width", "it must be 1 or more")
        need(self.channels >= 1, "channels", "it must be 1 or more")
        need(1 <= self.scale <= 8, "scale", "it must lie in 1 to 8")
        need(self.middle_blocks >= 0, "middle_blocks", "it must be 0 or more")
        if self.architecture == "nafssr":
            need(not self.encoder_blocks, "encoder_blocks", "a nafssr has one level; use middle_blocks")
            for field in ("frequency_input", "frequency_skips", "do_conv"):
                need(not getattr(self, field), field, "a nafssr has none")
        else:
            need(len(self.encoder_blocks) >= 1, "encoder_blocks", "give at least one level")
        if self.transformer:
            self._check_transformer(need)
        else:
            need(not self.heads, "heads", f"a {self.architecture} has none; use architecture restormer")
            need(self.refinement_blocks == 0, "refinement_blocks", f"a {self.architecture} has none")
            need(float(self.ffn_expand).is_integer(), "ffn_expand", "only a restormer takes fractions")
        if self.architecture == "all-in-one":
            self._check_experts(need)
        else:
            for field in ("lora_attention", "lora_ffn", "expert"):
                need(not getattr(self, field), field, f"a {self.architecture} has none; use architecture all-in-one")
        need(all(n >= 0 for n in self.encoder_blocks), "encoder_blocks", "counts must be 0 or more")
        need(all(n >= 0 for n in self.decoder_blocks), "decoder_blocks", "counts must be 0 or more")
        need(
            len(self.decoder_blocks) == len(self.encoder_blocks),
            "decoder_blocks",
            f"it needs as many levels as encoder_blocks ({len(self.encoder_blocks)})",
        )
        need(0.0 <= self.dropout < 1.0, "dropout", "it must lie in [0, 1)")
        need(self.iterations >= 1, "iterations", "it must be 1 or more")
        need(self.reasoning_blocks >= 0, "reasoning_blocks", "it must be 0 or more")
        need(self.gate in GATES + ACTIVATIONS, "gate", f"choose from {', '.join(GATES + ACTIVATIONS)}")
        need(self.attention in ATTENTIONS, "attention", f"choose from {', '.join(ATTENTIONS)}")
        need(self.norm in NORMS, "norm", f"choose from {', '.join(NORMS)}")
        need(self.dw_expand >= 1, "dw_expand", "it must be 1 or more")
        need(self.ffn_expand >= 1, "ffn_expand", "it must be 1 or more")
        for field in ("dw_expand", "ffn_expand"):
            even = self.width * getattr(self, field) % 2 == 0
            rule = f"gate {self.gate} cuts width times {field} ({getattr(self, field)}) in two, so that must be even"
            need(even or self.gate in ACTIVATIONS or self.transformer, "width", rule)
        if self.attention == "ca":
            attended = self.width * self.dw_expand // (2 if self.gate in GATES else 1)
            need(min(attended, self.width if self.positions else attended) >= 2, "width",
                 "attention ca halves the channels, so it needs 2 or more of them")  # fmt: skip
        need(
            set(self.positions) <= set(POSITIONS) and len(set(self.positions)) == len(self.positions),
            "positions",
            f"choose each at most once from {', '.join(POSITIONS)}",
        )
        if self.architecture != "nafnet-rr":
            need(not self.positions, "positions", f"a {self.architecture} has none; use architecture nafnet-rr")
            need(self.iterations == 1, "iterations", f"a {self.architecture} has nothing to iterate")
        else:
            need(bool(self.positions), "positions", "a nafnet-rr needs at least one")

    def _check_transformer(self, need: Callable[[bool, str, str], None]) -> None:
        name, levels = f"a {self.architecture}", len(self.encoder_blocks)
        need(self.refinement_blocks >= 0, "refinement_blocks", "it must be 0 or more")
        need(math.isfinite(self.ffn_expand), "ffn_expand", "it must be a number")
        need(self.width % 2 == 0, "width", f"{name}'s must be even: half of it goes down a level")
        need(len(self.heads) == levels + 1, "heads", f"give {levels + 1}: one per encoder level, and the middle's")
        fit = all(heads >= 1 and self.width * 2**level % heads == 0 for level, heads in enumerate(self.heads))
        need(fit, "heads", "each must divide the channels of its level (width, doubled from level to level)")
        need(self.attention == "none", "attention", f"{name} has no channel attention; write none")
        for field in ("scale", "dropout", "gate", "norm", "dw_expand", "frequency_input", "frequency_skips", "do_conv"):
            default = type(self).__dataclass_fields__[field].default
            need(getattr(self, field) == default, field, f"{name} has no choice there; leave it at {default!r}")

    def _check_experts(self, need: Callable[[bool, str, str], None]) -> None:
        for field in ("lora_attention", "lora_ffn"):
            ratio = getattr(self, field)
            need(0 < ratio <= 1, field, "it must lie in (0, 1]: a rank above the channels would be none")
            need(rank(self.width, ratio) <= self.width, field,
                 f"its rank, {LEAST_RANK} or more, would be above the {self.width} channels of width")  # fmt: skip
        choices = (INFER, *TASKS)
        need(self.expert in choices, "expert", f"choose from {', '.join(choices)}")

    @property
    def transformer(self) -> bool:
        """Whether its blocks are transformer blocks."""
        return self.architecture in ("restormer", "all-in-one")

    @property
    def size_multiple(self) -> int:
        """Height and width of the network's input must be multiples of this, 2^levels (pixels)."""
        return int(2 ** len(self.encoder_blocks))

    @property
    def views(self) -> int:
        """Pictures that belong together and are restored together: 2 for a stereo pair."""
        return 2 if self.architecture == "nafssr" else 1

    @property
    def planes(self) -> int:
        """Channels of the network's input and output: those of all views, the left view's first."""
        return self.views * self.channels

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        table: dict[str, Any] = plain(self)
        return table

    @classmethod
    def from_dict(cls, table: Mapping[str, Any], where: str = "model") -> ModelConfig:
        """Rebuilds the configuration; an unknown key is a `ConfigError`."""
        return read_table(cls, table, where)


def rank(channels: int, ratio: float) -> int:
    """Rank of a low-rank conv of an `all-in-one` whose input or output, whichever is less, has so many channels."""
    return max(LEAST_RANK, int(channels * ratio))
