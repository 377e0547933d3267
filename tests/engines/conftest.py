"""A small network with three reasoning iterations at two places, built by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from nafnet_deploy.config import ModelConfig
from nafnet_deploy.manifest import Bundle, ModelManifest, TensorSpec, bundle_file, sha256_of

MakeModel = Callable[..., onnx.ModelProto]
MakeBundle = Callable[..., Bundle]
PLACES = ("middle", "decoder")


def values(place: str, iterations: int) -> tuple[str, ...]:
    return tuple(f"{place}.{i}" for i in range(1, iterations + 1))


@pytest.fixture
def make_model() -> MakeModel:
    """`make_model(iterations, shape=..., ends_at_value=False)`: conv, two recurrent places, conv."""

    def make(
        iterations: int, shape: tuple[int | str, ...] = ("batch", 3, "height", "width"), ends_at_value: bool = False
    ) -> onnx.ModelProto:
        rng = np.random.default_rng(0)

        def weight(name: str, *size: int) -> onnx.TensorProto:
            return numpy_helper.from_array((rng.standard_normal(size) * 0.2).astype(np.float32), name)

        weights = [weight("intro", 4, 3, 3, 3), weight("ending", 3, 3 if ends_at_value else 4, 3, 3)]
        nodes = [helper.make_node("Conv", ["image", "intro"], ["features"], pads=[1] * 4)]
        features = "features"
        for place in PLACES:
            weights += [weight(f"{place}.reason", 4, 4, 1, 1), weight(f"{place}.late", 4, 1, 1)]
            start = features
            for i, name in enumerate(values(place, iterations), 1):
                nodes.append(helper.make_node("Conv", [features, f"{place}.reason"], [f"{name}.conv"]))
                nodes.append(helper.make_node("Tanh", [f"{name}.conv"], [f"{name}.new"]))
                if i == 3:  # a weight that only the last iteration reads
                    nodes.append(helper.make_node("Mul", [f"{name}.new", f"{place}.late"], [f"{name}.scaled"]))
                new = f"{name}.scaled" if i == 3 else f"{name}.new"
                nodes.append(helper.make_node("Add", [start, new], [name]))
                features = name
        output, channels = features, 4
        if not ends_at_value:
            nodes.append(helper.make_node("Conv", [features, "ending"], ["picture"], pads=[1] * 4))
            output, channels = "picture", 3
        used = {name for node in nodes for name in node.input}
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, (shape[0], channels, *shape[2:]))],
            [w for w in weights if w.name in used],
            value_info=[
                helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (shape[0], 4, *shape[2:]))
                for place in PLACES
                for name in values(place, iterations)
                if name != output
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        onnx.checker.check_model(model, full_check=True)
        return model

    return make


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """`make_bundle(model, iterations)`: the model on disk with its manifest."""

    def make(model: onnx.ModelProto, iterations: int = 3, recurrent: bool = True) -> Bundle:
        path = tmp_path / "tiny.onnx"
        path.write_bytes(model.SerializeToString())
        config = ModelConfig("nafnet-rr", positions=PLACES, iterations=iterations) if recurrent else ModelConfig()
        spec = TensorSpec("image", "float32", ("batch", 3, "height", "width"))
        manifest = ModelManifest(
            name="tiny",
            task="",
            model=config,
            iterations=iterations,
            default_iterations=iterations,
            iteration_values={place: values(place, iterations) for place in PLACES} if recurrent else {},
            inputs=(spec,),
            outputs=(spec,),
            size_multiple=1,
            scale=1,
            padding="reflect",
            tile_overlap=8,
            activation_bytes_per_pixel=64.0,
            color="RGB",
            value_range=(0.0, 1.0),
            precision="fp32",
            opset=18,
            versions={},
            provenance={},
            sha256={".onnx": sha256_of(path)},
            parity={},
        )
        bundle_file(path, ".json").write_text(manifest.to_json())
        return Bundle(path, manifest)

    return make
