"""How large a network's values become: what decides where half precision is safe."""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from nafnet_deploy.errors import ExportError
from nafnet_deploy.export.all_in_one import FoldedGatedBlock
from nafnet_deploy.export.attention import Attend
from nafnet_deploy.export.blocks import FoldedBlock, FoldedUnit
from nafnet_deploy.export.frequency import MatrixSkip
from nafnet_deploy.export.norms import ChannelNorm, Gated, PairNorm
from nafnet_deploy.export.stereo import FoldedAttention, Scores
from nafnet_deploy.export.transformer import FoldedTransformer
from nafnet_deploy.models.registry import picture

HALF_MAX = 65504.0
"""The largest finite float16 number."""
HEADROOM = 8.0
"""Values above `HALF_MAX / HEADROOM` count as dangerous: pictures that nobody scanned may drive them higher."""
TRUNK = "residual trunk"
STATE = "carried state"
PICTURE = "picture"
BEGINNINGS = ("intro", "patch_embed.proj")
"""Names of the convs that read the picture."""
ENDINGS = ("ending", "up.0", "output")
"""Names of the convs whose result is the picture."""
BLOCKS = (FoldedBlock, FoldedTransformer, FoldedGatedBlock)
"""Two residual halves, `project` and `close` the last conv of each."""


@dataclasses.dataclass(frozen=True)
class Peak:
    """The largest value that a part of the network would hold in half precision."""

    kind: str
    """Class of the tensor that held it."""
    value: float
    """Its magnitude."""


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What a scan found."""

    classes: dict[str, tuple[float, ...]]
    """Per class of tensors, the largest magnitude when the network stops after iteration 1..N."""
    peaks: dict[str, Peak]
    """Per part (`TRUNK`, `STATE`, or a branch by module name) its largest value over all iterations."""

    def dangers(self) -> dict[str, str]:
        """The parts whose values come within `HEADROOM` of half's largest number, and why in words."""
        return {
            part: f"its {peak.kind} reaches {peak.value:.3g}, "
            + ("beyond" if peak.value > HALF_MAX else f"less than {HEADROOM:g} times below")
            + f" half's largest number {HALF_MAX:g}"
            for part, peak in self.peaks.items()
            if peak.value > HALF_MAX / HEADROOM
        }


@dataclasses.dataclass(frozen=True)
class Branch:
    """A part of a folded network that is half or float32 as a whole."""

    module: nn.Module
    """The module."""
    reads: str = ""
    """`TRUNK` where it reads the trunk as it is; empty where it reads the picture or the values of a block."""
    feeds: str = ""
    """What a conv's result is rounded to: `TRUNK`, `STATE` or `PICTURE`; empty for blocks and units."""


def branches(folded: nn.Module) -> dict[str, Branch]:
    """The branches of a folded network by module name.

    They are the blocks and the reasoning units, and as branches of their own every conv that feeds trunk, state or
    picture: those between the levels, and the last of each residual. Where the trunk is large their results are, and
    the rest of a block, which reads normalised features, can stay half. Filters in the frequency domain are no branch:
    they are float32 always.
    """
    found: dict[str, Branch] = {}
    wide: list[str] = []
    for name, module in folded.named_modules():
        if isinstance(module, MatrixSkip):
            wide.append(name)
        elif isinstance(module, BLOCKS):
            found[name] = Branch(module)
            found |= {f"{name}.{leaf}": Branch(getattr(module, leaf), "", TRUNK) for leaf in ("project", "close")}
        elif isinstance(module, FoldedAttention):
            found[name] = Branch(module)
        elif isinstance(module, FoldedUnit):
            found[name] = Branch(module)
            found |= {f"{name}.{leaf}": Branch(getattr(module, leaf), TRUNK, STATE) for leaf in ("reasoning", "gate")}
        elif isinstance(module, nn.Conv2d) and not any(name.startswith(f"{branch}.") for branch in (*found, *wide)):
            found.setdefault(
                name, Branch(module, "" if name in BEGINNINGS else TRUNK, PICTURE if name in ENDINGS else TRUNK)
            )
    return found


def members(folded: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Every module of every branch with the name of its branch; the innermost where branches are nested."""
    found = branches(folded)
    for path, module in folded.named_modules():
        name = path
        while name and name not in found:
            name = name.rpartition(".")[0]
        if name:
            yield name, module


@torch.inference_mode()
def scan(folded: nn.Module, batches: Sequence[NDArray[np.float32]], iterations: int) -> Ranges:
    """Runs a network in float32 PyTorch and records the largest magnitudes, at every iteration.

    Args:
        folded: what `fold` returned; left as it is.
        batches: inputs [B, C, H, W] in [0, 1], at least one, sizes that the network takes.
        iterations: N; the network is run once for each n in 1..N.

    Raises:
        ExportError: the network itself gives values that are not finite.
    """
    network = copy.deepcopy(folded)
    recorder = _Recorder()
    for name, module in members(network):
        recorder.watch(name, module)
    for name, branch in branches(network).items():
        recorder.watch_ends(name, branch)
    for n in range(1, iterations + 1):
        recorder.iteration = n
        for batch in batches:
            picture(network, torch.from_numpy(batch), n)
    classes = {
        kind: tuple(values.get(n, 0.0) for n in range(1, iterations + 1)) for kind, values in recorder.classes.items()
    }
    return Ranges(classes, recorder.peaks)


class _Recorder:
    """Keeps the largest magnitude per class and per part while a watched network runs."""

    def __init__(self) -> None:
        self.iteration = 1
        self.classes: dict[str, dict[int, float]] = {}
        self.peaks: dict[str, Peak] = {}

    def see(self, kind: str, tensor: Tensor, *parts: str) -> None:
        """Records a tensor of a class; `parts` are those that would hold it in half."""
        value = float(tensor.abs().max())
        if not math.isfinite(value):
            raise ExportError(
                f"the network itself, in float32, gives values that are not finite ({kind}, iteration "
                f"{self.iteration}).",
                "Check the checkpoint and the pictures of --calibrate.",
            )
        seen = self.classes.setdefault(kind, {})
        seen[self.iteration] = max(value, seen.get(self.iteration, 0.0))
        for part in parts:
            self._hold(kind, value, part)

    def _hold(self, kind: str, value: float, part: str) -> None:
        if part not in self.peaks or value > self.peaks[part].value:
            self.peaks[part] = Peak(kind, value)

    def watch(self, name: str, module: nn.Module) -> None:
        """Hooks a module of the branch `name`."""
        before, after = module.register_forward_pre_hook, module.register_forward_hook
        if isinstance(module, nn.Conv2d):
            for weight in module.parameters():
                self._hold("weight", float(weight.abs().max()), name)
            after(self._output("conv output", name))
        elif isinstance(module, Gated):
            after(self._output("gate product", name))
        elif isinstance(module, Attend) and module.scale is not None:
            module.scale.register_forward_pre_hook(self._input("channel mean", name))
        elif isinstance(module, ChannelNorm):
            before(self._input("norm input"))
            before(self._deviation)
        elif isinstance(module, PairNorm):
            before(self._input("norm input"))
            after(lambda module, inputs, outputs: self.see("squared deviation", outputs[0].square()))
        elif isinstance(module, BLOCKS):
            # without a norm the block's own convs read the trunk as it is
            readers = (TRUNK,) if isinstance(module.norm1, ChannelNorm) else (TRUNK, name)
            before(self._input(TRUNK, *readers))
            after(self._output(TRUNK, TRUNK))
            module.norm2.register_forward_pre_hook(self._input(TRUNK, *readers))
            module.project.register_forward_pre_hook(self._input("attended product", name, f"{name}.project"))
            module.close.register_forward_pre_hook(self._input("gate product", f"{name}.close"))
        elif isinstance(module, Scores):
            after(self._output("attention score", name))
        elif isinstance(module, FoldedAttention):
            before(self._input(TRUNK, TRUNK, name))  # the values are read from the trunk as it is
            after(self._output(TRUNK, TRUNK))
        elif isinstance(module, FoldedUnit):
            for conv in (*module.turn, *module.hold):
                conv.register_forward_pre_hook(self._input("reasoning input", name))
            module.attend.register_forward_pre_hook(self._input("gate product", name))
            module.blocks.register_forward_pre_hook(self._input("attended product", name, TRUNK))
            self._watch_steps(module)

    def watch_ends(self, name: str, branch: Branch) -> None:
        """Hooks the conv of a branch that is one: it holds what it reads, and its result joins what it feeds."""
        if branch.reads:
            branch.module.register_forward_pre_hook(self._input(branch.reads, name, branch.reads))
        if branch.feeds and branch.feeds != PICTURE:
            branch.module.register_forward_hook(self._output(branch.feeds, branch.feeds))

    def _watch_steps(self, unit: FoldedUnit) -> None:
        step = unit.step  # a method, not a module: no hook reaches it

        @functools.wraps(step)
        def watched(x: Tensor, h: Tensor, k: Tensor | None, context: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
            features, knowledge = step(x, h, k, context)
            self.see(TRUNK, features, TRUNK)
            self.see(STATE, knowledge, STATE)
            return features, knowledge

        unit.step = watched  # type: ignore[method-assign]

    def _input(self, kind: str, *parts: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: self.see(kind, inputs[0], *parts)

    def _output(self, kind: str, *parts: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: self.see(kind, output, *parts)

    def _deviation(self, module: ChannelNorm, inputs: Any) -> None:
        x = inputs[0]
        # a centred input's first channel, the only one of a network of width 1, does not count
        deviation = x * (module.mean != 0) if module.centred else x - x.mean(dim=1, keepdim=True)
        self.see("squared deviation", deviation.square())
