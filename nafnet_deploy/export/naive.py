"""The export that ours is measured against."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from torch import Tensor, nn

from nafnet_deploy.errors import ExportError
from nafnet_deploy.export.unroll import INPUT, OUTPUT, quiet, uncollected
from nafnet_deploy.models.registry import picture


class _Plain(nn.Module):
    def __init__(self, network: nn.Module, iterations: int) -> None:
        super().__init__()
        self.network, self.iterations = network, iterations

    def forward(self, x: Tensor) -> Tensor:
        return picture(self.network, x, self.iterations)


def export_naively(network: nn.Module, iterations: int, shape: tuple[int, int, int, int], path: Path) -> None:
    """Writes the network as it stands, at one shape: what `torch.onnx.export` alone gives.

    Args:
        network: any network that `picture` takes.
        iterations: reasoning iterations.
        shape: [B, C, H, W].
        path: the `.onnx` file to write.

    Raises:
        ExportError: the exporter returned nothing.
    """
    with quiet(), uncollected(), torch.no_grad():
        program = torch.onnx.export(
            _Plain(network, iterations).eval(),
            (torch.rand(shape, generator=torch.Generator().manual_seed(0)),),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
        )
    if program is None:
        raise ExportError("the plain export returned nothing.", "Leave onnxruntime-naive out.")
    onnx.save(program.model_proto, path)
