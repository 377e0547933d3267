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
from nafnet_deploy.export.fold import ChannelNorm, FoldedBlock, FoldedUnit, GatedChain, GatedPair
from nafnet_deploy.models.registry import picture

HALF_MAX = 65504.0
"""The largest finite float16 number."""
HEADROOM = 8.0
"""Values above `HALF_MAX / HEADROOM` count as dangerous: pictures that nobody scanned may drive them higher."""
TRUNK = "residual trunk"
STATE = "carried state"


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


def branches(folded: nn.Module) -> dict[str, nn.Module]:
    """The parts of a folded network that are half or float32 as a whole, by module name.

    They are the blocks, the reasoning units (without the blocks inside them) and every conv that stands alone.
    """
    parts: dict[str, nn.Module] = {}
    parts.update({name: m for name, m in folded.named_modules() if isinstance(m, FoldedBlock | FoldedUnit)})
    inside = {id(m) for part in parts.values() for m in part.modules()}
    parts.update({name: m for name, m in folded.named_modules() if isinstance(m, nn.Conv2d) and id(m) not in inside})
    return parts


def own_modules(part: nn.Module) -> Iterator[nn.Module]:
    """The modules of a branch, without those of branches inside it."""
    for child in part.children():
        if not isinstance(child, FoldedBlock):
            yield from own_modules(child)
    yield part


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
    for name, part in branches(network).items():
        recorder.watch(name, part)
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

    def watch(self, name: str, part: nn.Module) -> None:
        """Hooks a branch."""
        for module in own_modules(part):
            if isinstance(module, nn.Conv2d):
                for weight in module.parameters():
                    self._hold("weight", float(weight.abs().max()), name)
        if isinstance(part, nn.Conv2d):
            self._watch_lone_conv(name, part)
            return
        # Only a block's norms read the trunk as it is; a unit's reads features and knowledge side by side.
        trunk = (TRUNK,) if isinstance(part, FoldedBlock) else ()
        for module in own_modules(part):
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(self._output("conv output", name))
            elif isinstance(module, GatedChain | GatedPair):
                module.register_forward_hook(self._output("gate product", name))
            elif isinstance(module, ChannelNorm):
                module.register_forward_pre_hook(self._input("norm input", *trunk))
                module.register_forward_pre_hook(self._deviation)
        if isinstance(part, FoldedBlock):
            part.attention.register_forward_pre_hook(self._input("channel mean", name))
            part.project.register_forward_pre_hook(self._input("attended product", name))
            for module in (part, part.project, part.close):  # the branches' results are rounded as the trunk is
                module.register_forward_hook(self._output(TRUNK, TRUNK))
        elif isinstance(part, FoldedUnit):
            part.attention.register_forward_pre_hook(self._input("channel mean", name))
            part.blocks.register_forward_pre_hook(self._input("attended product", name, TRUNK))
            self._watch_steps(part)

    def _watch_lone_conv(self, name: str, conv: nn.Conv2d) -> None:
        """A conv between levels: in half it holds what it reads and what it makes."""
        if name != "intro":  # that one reads the picture
            conv.register_forward_pre_hook(self._input(TRUNK, name, TRUNK))
        conv.register_forward_hook(
            self._output("conv output", name) if name == "ending" else self._output(TRUNK, name, TRUNK)
        )

    def _watch_steps(self, unit: FoldedUnit) -> None:
        step = unit.step  # a method, not a module: no hook reaches it

        @functools.wraps(step)
        def watched(x: Tensor, h: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
            features, knowledge = step(x, h, k)
            self.see(TRUNK, features, TRUNK)
            self.see(STATE, knowledge, STATE)
            return features, knowledge

        unit.step = watched  # type: ignore[method-assign]

    def _input(self, kind: str, *parts: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, inputs: self.see(kind, inputs[0], *parts)

    def _output(self, kind: str, *parts: str) -> Callable[[nn.Module, Any, Any], None]:
        return lambda module, inputs, output: self.see(kind, output, *parts)

    def _deviation(self, module: nn.Module, inputs: Any) -> None:
        x = inputs[0]
        self.see("squared deviation", (x - x.mean(dim=1, keepdim=True)).square())
