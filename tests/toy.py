"""A recurrent network in a few lines of NumPy, and an engine that runs any such function."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Tensors
from nafnet_deploy.manifest import TensorSpec

Network = Callable[[NDArray[Any], int], NDArray[Any]]
WEIGHTS = np.array([[0.6, 0.3, 0.1], [0.2, 0.5, 0.2], [0.1, 0.1, 0.7]])


def network(x: NDArray[Any], n: int, weights: NDArray[Any] = WEIGHTS) -> NDArray[Any]:
    """n iterations of `h = x + 0.3 tanh(mix(h))` on [B, 3, H, W]."""
    h = x
    for _ in range(n):
        h = x + 0.3 * np.tanh(np.einsum("oc,bchw->bohw", weights, h))
    return np.asarray(h, np.float32)


def pictures(x: NDArray[Any], n: int) -> list[NDArray[Any]]:
    """The reference: the pictures of iterations 1..n."""
    return [network(x, i) for i in range(1, n + 1)]


class ToyEngine:
    """Satisfies the `Engine` protocol around a function and counts its runs."""

    def __init__(self, function: Network, iterations: int) -> None:
        shape = ("batch", 3, "height", "width")
        self.name = "toy cpu"
        self.inputs = (TensorSpec("image", "float32", shape),)
        self.outputs = (TensorSpec("picture", "float32", shape),)
        self.function, self.iterations, self.runs, self.closed = function, iterations, 0, False

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        assert not self.closed
        self.runs += 1
        return {"picture": self.function(feeds["image"], self.iterations)}

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
