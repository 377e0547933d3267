"""The serialised plan, asked what it is: by its header everywhere, by loading it where its GPU is."""

from __future__ import annotations

from typing import Any

from nafnet_deploy.engines import tensorrt_network as networks
from nafnet_deploy.engines.driver import LocalGpu
from nafnet_deploy.errors import ExportError


def check_plan(
    module: Any, logger: Any, data: bytes, network: Any, gpus: tuple[str, ...], device: LocalGpu | None
) -> str:
    """Compares a fresh plan with the network it was built from.

    Args:
        module: the library.
        logger: its logger.
        data: the plan.
        network: what it was built from.
        gpus: compute capabilities of the plan; empty for any.
        device: this machine's GPU.

    Returns:
        How far the reading went: `engine` where the plan could be loaded, else `network`.

    Raises:
        ExportError: the library does not recognise its own plan, cannot load it on the GPU it was built for, or
            the loaded plan has other inputs or outputs.
    """
    runtime = module.Runtime(logger)
    _check_header(module, runtime, data)
    if device is None or (gpus and device.capability not in gpus):
        return "network"
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise ExportError(
            f"the plan that was built does not load on the {device.name}.", "Look at the library's log with --debug."
        )
    built = sorted(_engine_tensors(engine))
    asked = networks.comparable((*networks.network_inputs(network), *networks.network_outputs(network)))
    if built != asked:
        raise ExportError(f"the plan has the tensors {built} where {asked} were asked for.", "Build it again.")
    return "engine"


def _check_header(module: Any, runtime: Any, data: bytes) -> None:
    if not hasattr(runtime, "get_engine_validity"):  # TensorRT-RTX alone has it
        return
    # Without a GPU every plan is INVALID; only these two diagnostics speak of the plan itself.
    reasons = module.EngineInvalidityDiagnostics
    _, found = runtime.get_engine_validity(data)
    if int(found) & (int(reasons.MALFORMED_ENGINE) | int(reasons.VERSION_MISMATCH)):
        raise ExportError("the library does not recognise the plan it built.", "Reinstall it, and build again.")


def _engine_tensors(engine: Any) -> list[networks.Comparable]:
    names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
    return [
        (name, networks.dtype_name(engine.get_tensor_dtype(name)), tuple(engine.get_tensor_shape(name)))
        for name in names
    ]
