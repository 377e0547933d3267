"""What is converted as it was traced, what PyTorch decomposes first, and what is left out."""

from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnxscript.rewriter import RewriteRule
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.onnx._internal.exporter._registration import ONNXRegistry

from nafnet_deploy.export import lowering
from nafnet_deploy.export.fold import fold
from nafnet_deploy.export.lowering import _compare, _gather
from nafnet_deploy.export.unroll import to_onnx, unroll
from tests.variants import PLAIN
from tests.weights import seeded, stir


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


def test_what_is_left_out_changes_nothing_in_the_graph() -> None:
    folded = fold(stir(seeded(PLAIN)))
    compared = []

    def compare(*args: Any, **options: Any) -> Any:
        compared.append(args)
        return _compare(*args, **options)

    def graph() -> bytes:
        compared.clear()
        return unroll(folded, PLAIN, 1, (2, 3, 16, 24), {0: "batch", 2: "height", 3: "width"}, 20).SerializeToString()

    with mock.patch.object(lowering, "_compare", compare):
        short, few = graph(), len(compared)
    with mock.patch.multiple(lowering, _operators=lowering._gather, _try_rewrite=compare):
        assert graph() == short
    assert 0 < few < len(compared) / 5
    assert (RewriteRule.try_rewrite, vars(ONNXRegistry)["from_torchlib"].__func__) == (_compare, _gather.__func__)
