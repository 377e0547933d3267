"""A model on a Triton server as an engine of ours, so that padding, tiles and blending stay what they are."""

from __future__ import annotations

from typing import Any, Protocol

from numpy.typing import NDArray

from nafnet_deploy.engines.base import Closing, Tensors, check_feeds
from nafnet_deploy.errors import EngineError, MissingDependency
from nafnet_deploy.manifest import TensorSpec

_TYPES = {"float32": "FP32", "float16": "FP16"}
_BACK = {f"TYPE_{triton}": numpy for numpy, triton in _TYPES.items()}


class Client(Protocol):
    """What is asked of `tritonclient.grpc.InferenceServerClient`."""

    def get_model_config(self, model_name: str, model_version: str = "", as_json: bool = False) -> Any:
        """The configuration of a model."""

    def infer(self, model_name: str, inputs: list[Any], model_version: str = "", outputs: Any = None) -> Any:
        """One run; the result has `as_numpy(name)`."""

    def close(self) -> None:
        """Ends the connection."""


class TritonEngine(Closing):
    """Runs a model on a Triton server. Satisfies the `Engine` protocol.

        with TritonEngine(InferenceServerClient("localhost:8001"), "denoise-light") as engine:
            restorer = Restorer(engine, read_manifest(Path("repo/denoise-light/1/model.json")), tile=256)

    Args:
        client: an open client, closed with this engine.
        model: name in the repository.
        version: of the model; empty for the newest.

    Raises:
        MissingDependency: tritonclient is not installed.
        EngineError: the server does not answer, or has no such model.
    """

    def __init__(self, client: Client, model: str, version: str = "") -> None:
        self._client, self._model, self._version = client, model, version
        self.name = f"triton {model}"
        """Server and model."""
        try:
            from tritonclient.utils import InferenceServerException
        except ImportError as error:
            raise MissingDependency("tritonclient", "triton", "to ask a Triton server") from error
        self._failure = InferenceServerException
        try:
            config = client.get_model_config(model, version, as_json=True)["config"]
        except self._failure as error:
            raise EngineError(f"Triton has no {model} to run: {_reason(error)}.", "Check the server's log.") from error
        batched = int(config.get("max_batch_size", 0)) > 0
        self.inputs = tuple(_spec(tensor, batched) for tensor in config["input"])
        """What `run` must be given."""
        self.outputs = tuple(_spec(tensor, batched) for tensor in config["output"])
        """What `run` returns."""

    def run(self, feeds: Tensors) -> dict[str, NDArray[Any]]:
        """One forward pass on the server; see `Engine.run`.

        Raises:
            EngineError: an input that does not fit, or the server failed.
        """
        from tritonclient.grpc import InferInput

        check_feeds(self.inputs, feeds)
        inputs = []
        for spec in self.inputs:
            array = feeds[spec.name]
            inputs.append(InferInput(spec.name, list(array.shape), _TYPES[spec.dtype]))
            inputs[-1].set_data_from_numpy(array)
        try:
            answer = self._client.infer(self._model, inputs, self._version)
        except self._failure as error:
            raise EngineError(f"Triton failed on {self._model}: {_reason(error)}.", "Use smaller tiles.") from error
        return {spec.name: answer.as_numpy(spec.name) for spec in self.outputs}

    def close(self) -> None:
        """Ends the connection; calling it twice is harmless."""
        self._client.close()


def _spec(tensor: dict[str, Any], batched: bool) -> TensorSpec:
    """A tensor as the configuration states it: JSON numbers are words, -1 is free, a batch is not among them."""
    dims = [int(side) for side in tensor["dims"]]
    words = ("batch", "channels", "height", "width")[-len(dims) :]
    shape = tuple(word if side < 0 else side for word, side in zip(words, dims, strict=True))
    return TensorSpec(tensor["name"], _BACK[tensor["data_type"]], ("batch", *shape) if batched else shape)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(". ")
