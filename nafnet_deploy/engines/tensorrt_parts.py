"""Head, step and tail of a split bundle as three plans of TensorRT or TensorRT-RTX on the first GPU.

The state lies in two device buffers that swap their roles with every step, so nothing is copied between steps; a step
is one CUDA graph per direction, recorded once and replayed; one number per picture leaves the device after it.
No GPU has run this so far: the tests prove the calls, addresses and copies against doubles.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.cuda.base import Cuda
from nafnet_deploy.engines.tensorrt_buffers import Buffers, DeviceMemory
from nafnet_deploy.engines.tensorrt_context import LoadedPlan
from nafnet_deploy.engines.tensorrt_profiles import Shape, limits_of
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import DELTA, FEATURES, HEAD, STATE, STATE_NEXT, STEP, TAIL, ModelManifest, TensorSpec

STATES = ("state.even", "state.odd")
"""The two buffers of the state: step n reads one and writes the other."""
_ZERO, _CHOSEN = "state.zero", ".chosen"
Places = tuple[tuple[str, int], ...]
"""Where every tensor of a part lies, as its graph remembers it."""


class TensorRTParts:
    """The three parts on a GPU. Satisfies the `Stepper` protocol; belongs to the thread that opened it.

    A part's first run at a shape is queued plainly, later ones replay a CUDA graph per set of addresses. Whatever fails
    on the device closes it; a shape that does not fit leaves it usable.

    Args:
        library: the module `tensorrt` or `tensorrt_rtx`.
        cuda: the GPU; closed with this object, also when it cannot be opened.
        plans: a checked plan per part.
        name: the truth about it, e.g. `tensorrt-rtx 1.7 sm86 fp16`.
        manifest: the contract of the split bundle.

    Raises:
        EngineError: the library refuses a plan, a plan does not have the part's tensors, or CUDA fails.
    """

    def __init__(
        self, library: Any, cuda: Cuda, plans: Mapping[str, bytes], name: str, manifest: ModelManifest
    ) -> None:
        self.name = name
        """Library, its version, the GPU and the precision that was built."""
        self._cuda, self._input = cuda, manifest.inputs[0].name
        self._buffers, self._memory = Buffers(cuda), DeviceMemory(cuda)
        self._graphs: dict[str, dict[Places, int]] = {}
        self._warm: set[str] = set()
        self._parts: dict[str, LoadedPlan] = {}
        self._shapes: dict[str, Shape] = {}
        self._at: dict[str, int] = {}
        self._now = 0
        self._undo = contextlib.ExitStack()
        with self._closing():
            self._undo.callback(cuda.close)
            for part, spec in manifest.parts.items():
                axes = {tensor.name: tensor.shape for tensor in (*spec.inputs, *spec.outputs)}
                self._parts[part] = loaded = LoadedPlan(library, plans[part], name, axes)
                self._undo.callback(loaded.close)
                if _names(loaded.inputs, loaded.outputs) != _names(spec.inputs, spec.outputs):
                    raise EngineError(f"the plan of the {part} has other tensors.", "Build it again: nafdeploy build")
            self._specs = {s.name: s for p in self._parts.values() for s in (*p.inputs, *p.outputs)}
            self._seen = (self._input, DELTA, self._parts[TAIL].outputs[0].name)  # all that the host does
            self.size_limits = limits_of(self._parts[HEAD].profiles)
            """Heights and widths that the plans take."""
            self._stream = cuda.create_stream()
            self._undo.callback(lambda: cuda.destroy_stream(self._stream))
            self._undo.callback(self._buffers.close)
            self._undo.callback(self._memory.close)
            self._undo.callback(self._drop_graphs, HEAD, STEP, TAIL)

    def begin(self, batch: NDArray[Any]) -> None:
        """Runs the head and sets the state to zero; see `Stepper`."""
        self._demand(bool(self._parts), f"{self.name} is closed.")
        profile = self._parts[HEAD].choose({self._input: batch.shape})
        with self._closing():
            if self._shapes.get(self._input) != batch.shape:
                self._fit(profile, batch.shape)
            self._buffers.upload(self._input, batch, self._stream)
            self._run(HEAD, self._at)
            self._cuda.copy(self._at[STATES[0]], self._at[_ZERO], self._size(STATE), self._stream)
            self._cuda.synchronize(self._stream)  # whoever keeps a budget times this
            self._now = 0

    def step(self) -> NDArray[np.float32]:
        """One iteration; see `Stepper`."""
        self._demand(bool(self._shapes), "no picture has been begun.")
        before, after = (self._at[STATES[(self._now + i) % 2]] for i in (0, 1))
        with self._closing():
            self._run(STEP, {**self._at, STATE: before, STATE_NEXT: after})
            self._now += 1
            return np.asarray(self._fetch(DELTA), np.float32)

    def picture(self, rows: Sequence[int], previous: bool = False) -> NDArray[Any]:
        """The restored pictures of some rows; see `Stepper`."""
        self._demand(bool(self._shapes), "no picture has been begun.")
        at = {**self._at, STATE: self._at[STATES[(self._now + (previous and self._now > 0)) % 2]]}
        tail, batch = self._parts[TAIL], self._shapes[self._input][0]
        with self._closing():
            if list(rows) == list(range(batch)):
                self._run(TAIL, at)
                return self._fetch(tail.outputs[0].name)
            for spec in tail.inputs:  # a few rows of a batch, side by side: on the device too, where graphs do not pay
                chosen = self._memory.fit(spec.name + _CHOSEN, len(rows) * self._row(spec.name))
                self._gather(at[spec.name], chosen, rows, self._row(spec.name))
                at[spec.name] = chosen
            self._resize(TAIL, {spec.name: (len(rows), *self._shapes[spec.name][1:]) for spec in tail.inputs})
            self._run(TAIL, at)  # plainly: it is the first run at this size
            pictures = self._fetch(tail.outputs[0].name)[: len(rows)]
            self._resize(TAIL, {spec.name: self._shapes[spec.name] for spec in tail.inputs})
            return pictures

    def keep(self, rows: Sequence[int]) -> None:
        """Drops all other rows; see `Stepper`."""
        inputs = {spec.name for part in (STEP, TAIL) for spec in self._parts[part].inputs} - {STATE}
        with self._closing():
            for name in (*sorted(inputs), *STATES):
                row = self._row(STATE if name in STATES else name)
                self._gather(self._at[name], self._at[name], rows, row)
            batch = len(rows)
            self._shapes = {name: (batch, *shape[1:]) for name, shape in self._shapes.items()}
            for part, plan in self._parts.items():
                self._resize(part, {spec.name: self._shapes[spec.name] for spec in plan.inputs})
            for name in self._seen:
                self._buffers.fit(name, self._shapes[name], self._specs[name].dtype)

    def close(self) -> None:
        """Frees plans, memory and the GPU; calling it twice is harmless."""
        self._parts, self._shapes = {}, {}
        self._undo.close()

    def _fit(self, profile: int, shape: Shape) -> None:
        """Sizes every part and every buffer for pictures of another shape."""
        self._shapes, self._at = {}, {}
        self._drop_graphs(HEAD)
        shapes = self._parts[HEAD].resize(profile, {self._input: shape}, self._cuda, self._stream)
        shapes[STATE] = shapes[FEATURES]
        for part in (STEP, TAIL):
            shapes |= self._resize(part, {spec.name: shapes[spec.name] for spec in self._parts[part].inputs})
        for name, spec in self._specs.items():
            if name in self._seen:
                self._at[name] = self._buffers.fit(name, shapes[name], spec.dtype)
            elif name not in (STATE, STATE_NEXT):
                self._at[name] = self._memory.fit(name, _bytes(shapes[name], spec.dtype))
        for name in STATES:
            self._at[name] = self._memory.fit(name, _bytes(shapes[STATE], self._specs[STATE].dtype))
        zeros = np.zeros(shapes[STATE], self._specs[STATE].dtype)
        self._at[_ZERO] = self._buffers.fit(_ZERO, zeros.shape, zeros.dtype.name)
        self._buffers.upload(_ZERO, zeros, self._stream)
        self._shapes = shapes

    def _resize(self, part: str, shapes: dict[str, Shape]) -> dict[str, Shape]:
        self._drop_graphs(part)  # they hold the old sizes
        plan = self._parts[part]
        return plan.resize(plan.choose(shapes), shapes, self._cuda, self._stream)

    def _run(self, part: str, at: Mapping[str, int]) -> None:
        """Queues one part with its tensors at these addresses."""
        plan = self._parts[part]
        places = tuple((spec.name, at[spec.name]) for spec in (*plan.inputs, *plan.outputs))
        graphs = self._graphs.setdefault(part, {})
        if places not in graphs:
            for name, pointer in places:
                plan.place(name, pointer)
            if part in self._warm and plan.recordable and (graph := plan.record(self._cuda, self._stream)) is not None:
                graphs[places] = graph
        if places in graphs:
            self._cuda.launch(graphs[places], self._stream)
        else:
            plan.need(plan.queue(self._stream), "run of the", part)
        self._warm.add(part)

    def _fetch(self, name: str) -> NDArray[Any]:
        self._buffers.download(name, self._stream)
        self._cuda.synchronize(self._stream)
        return self._buffers.taken(name)

    def _gather(self, source: int, target: int, rows: Sequence[int], size: int) -> None:
        """Copies rows of `size` bytes to the front of `target`, in ascending order, so that none is lost in place."""
        for place, row in enumerate(rows):
            if target + place * size != source + row * size:
                self._cuda.copy(target + place * size, source + row * size, size, self._stream)

    def _row(self, name: str) -> int:
        """Bytes of one picture's share of a tensor."""
        return self._size(name) // self._shapes[name][0]

    def _size(self, name: str) -> int:
        return _bytes(self._shapes[name], self._specs[name].dtype)

    def _drop_graphs(self, *parts: str) -> None:
        for part in parts:
            self._warm.discard(part)
            graphs = self._graphs.pop(part, {})
            while graphs:
                self._cuda.destroy_graph(graphs.popitem()[1])

    def _demand(self, good: bool, fault: str) -> None:
        if not good:
            raise EngineError(fault, "Call begin first, on an engine that is open.")

    @contextlib.contextmanager
    def _closing(self) -> Iterator[None]:
        try:
            yield
        except BaseException:  # nobody knows what is still queued
            self.close()
            raise


def _bytes(shape: Shape, dtype: str) -> int:
    return math.prod(shape) * np.dtype(dtype).itemsize


def _names(inputs: tuple[TensorSpec, ...], outputs: tuple[TensorSpec, ...]) -> list[set[tuple[str, str]]]:
    return [{(spec.name, spec.dtype) for spec in specs} for specs in (inputs, outputs)]
