"""PyTorch eager as an engine: the reference that deployed engines are compared with and timed against."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nafnet_deploy.engines.base import Closing, Tensors
from nafnet_deploy.errors import EngineError
from nafnet_deploy.manifest import TensorSpec


class TorchEngine(Closing):
    """Runs a PyTorch network on the CPU, eager, in float32 and inference mode.

    Args:
        forward: the network at a chosen number of iterations, [B, C, H, W] -> [B, C, H, W] float32. The module
            behind it must be in eval mode. A callable, because engines know nothing of models.
        channels: C of the input.
        channels_last: hand the input over in NHWC memory order. Convolutions keep that order throughout, so it is
            as fast as converting the weights too (measured) and leaves a shared module untouched.
        mode: what was done to `forward` beforehand, e.g. `compiled`; ends the name.

    The number of threads is PyTorch's process-wide setting (`torch.set_num_threads`) and left alone.
    """

    def __init__(
        self, forward: Callable[[Tensor], Tensor], channels: int = 3, channels_last: bool = False, mode: str = ""
    ) -> None:
        self.name = " ".join(filter(None, ("pytorch cpu", "channels-last" if channels_last else "", mode)))
        shape = ("batch", channels, "height", "width")
        self.inputs: tuple[TensorSpec, ...] = (TensorSpec("input", "float32", shape),)
        self.outputs: tuple[TensorSpec, ...] = (TensorSpec("output", "float32", shape),)
        self._forward: Callable[[Tensor], Tensor] | None = forward
        self._layout = torch.channels_last if channels_last else torch.contiguous_format

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass on `{"input": [B, C, H, W] float32}`, returning `{"output": ...}` of that type.

        Raises:
            EngineError: a wrong name, type or shape, a size the network does not take, or a closed engine.
        """
        if self._forward is None:
            raise EngineError("the PyTorch engine is closed.", "Open it again.")
        batch = self._checked(feeds)
        with torch.inference_mode():
            try:
                picture = self._forward(torch.from_numpy(batch).contiguous(memory_format=self._layout))
            except RuntimeError as error:
                raise EngineError(
                    f"PyTorch failed on an input of shape {batch.shape}: {str(error).splitlines()[0]}.",
                    "Pad height and width to the network's size multiple, or use less memory.",
                ) from error
            return {"output": picture.contiguous().numpy()}

    def _checked(self, feeds: Tensors) -> NDArray[np.float32]:
        channels = self.inputs[0].shape[1]
        batch = feeds.get("input")
        if len(feeds) != 1 or batch is None:
            raise EngineError(f"inputs {sorted(feeds)} do not fit.", "Give one array named 'input'.")
        if batch.dtype != np.float32 or batch.ndim != 4 or batch.shape[1] != channels or batch.size == 0:
            raise EngineError(
                f"an input of type {batch.dtype} and shape {batch.shape} does not fit.",
                f"Give float32 [batch, {channels}, height, width].",
            )
        # torch.from_numpy warns about read-only memory, which np.load and broadcasting hand out.
        return np.require(batch, requirements=["C", "W"])

    def close(self) -> None:
        """Lets go of the network; calling it twice is harmless."""
        self._forward = None
