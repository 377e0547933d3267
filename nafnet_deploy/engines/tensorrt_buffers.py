"""The memory of a TensorRT engine: on the device, and page-locked on the host for what leaves or enters it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.cuda.base import Cuda


@dataclasses.dataclass
class _Pair:
    pointer: int
    pinned: NDArray[np.uint8]


class Buffers:
    """A device buffer and a page-locked host buffer per tensor; both grow when they must and never shrink.

    Args:
        cuda: where the memory comes from.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._pairs: dict[str, _Pair] = {}
        self._views: dict[str, NDArray[Any]] = {}

    def fit(self, name: str, shape: tuple[int, ...], dtype: str) -> int:
        """Makes room for a tensor.

        Returns:
            Its device address, which stays until `fit` is called with a larger shape.

        Raises:
            EngineError: not enough memory; the tensor then has no buffer at all.
        """
        size = math.prod(shape) * np.dtype(dtype).itemsize
        pair = self._pairs.get(name)
        if pair is None or pair.pinned.nbytes < size:
            self._drop(name)  # first, so that old and new are never held together
            pointer = self._cuda.allocate(size)
            try:
                pair = _Pair(pointer, self._cuda.pinned(size))
            except BaseException:
                self._cuda.free(pointer)
                raise
            self._pairs[name] = pair
        self._views[name] = pair.pinned[:size].view(dtype).reshape(shape)
        return pair.pointer

    def upload(self, name: str, array: NDArray[Any], stream: int) -> None:
        """Queues an array of the shape that was fitted to the device."""
        np.copyto(self._views[name], array)
        self._cuda.upload(self._pairs[name].pointer, self._views[name], stream)

    def download(self, name: str, stream: int) -> None:
        """Queues a tensor back to the host."""
        self._cuda.download(self._views[name], self._pairs[name].pointer, stream)

    def taken(self, name: str) -> NDArray[Any]:
        """A fresh array of what was downloaded, once the stream is synchronised."""
        return self._views[name].copy()

    def close(self) -> None:
        """Gives everything back; calling it twice is harmless."""
        for name in tuple(self._pairs):
            self._drop(name)

    def _drop(self, name: str) -> None:
        self._views.pop(name, None)
        pair = self._pairs.pop(name, None)
        if pair is not None:
            self._cuda.free(pair.pointer)
            self._cuda.unpin(pair.pinned)


class DeviceMemory:
    """Named device buffers that the host never sees; they grow when they must and never shrink.

    Args:
        cuda: where the memory comes from.
    """

    def __init__(self, cuda: Cuda) -> None:
        self._cuda = cuda
        self._blocks: dict[str, tuple[int, int]] = {}

    def fit(self, name: str, size: int) -> int:
        """Makes room for `size` bytes; their address, which stays until more are asked for.

        Raises:
            EngineError: not enough memory; the name then has no buffer at all.
        """
        pointer, have = self._blocks.get(name, (0, 0))
        if have < size:
            if self._blocks.pop(name, None) is not None:  # first, so that old and new are never held together
                self._cuda.free(pointer)
            pointer = self._cuda.allocate(size)
            self._blocks[name] = pointer, size
        return pointer

    def close(self) -> None:
        """Gives everything back; calling it twice is harmless."""
        while self._blocks:
            self._cuda.free(self._blocks.popitem()[1][0])
