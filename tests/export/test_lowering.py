"""What is converted as it was traced, and what PyTorch decomposes first."""

from __future__ import annotations

from unittest import mock

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from nafnet_deploy.export.unroll import to_onnx


class Known(nn.Module):
    """Every operator that is renamed."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        mean = nn.functional.adaptive_avg_pool2d(x.to(torch.float32), 1)
        ends = torch.where((x == 0) | (x == 1), 1.0, 0.5)
        return (x.to(torch.float16).to(torch.float32) * mean + ends,)


class Unknown(nn.Module):
    """An operator that is not on the list."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return (torch.special.expit(x) + nn.functional.softplus(x),)


@pytest.mark.parametrize(("module", "decomposed"), [(Known(), False), (Unknown(), True)])
def test_the_graph_computes_what_the_module_does(module: nn.Module, decomposed: bool) -> None:
    decompose = ExportedProgram.run_decompositions
    with mock.patch.object(ExportedProgram, "run_decompositions", autospec=True, side_effect=decompose) as called:
        model = to_onnx(module, [], (1, 3, 16, 16), {2: "height", 3: "width"}, 20)
    assert called.called == decomposed
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).random((1, 3, 8, 24), np.float32).round(1)  # 0 and 1 among them
    (found,) = session.run(None, {"input": x})
    assert np.allclose(found, module(torch.from_numpy(x))[0].numpy(), atol=1e-6)
