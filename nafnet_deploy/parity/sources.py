"""Where the right answers of a link come from, and the bundle that a half graph is compared with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from nafnet_deploy.engines.base import Engine, restore_batch
from nafnet_deploy.errors import ConfigError, EngineError
from nafnet_deploy.manifest import Bundle, bundle_file, open_bundle
from nafnet_deploy.parity.choice import Input
from nafnet_deploy.parity.compare import EngineFactory
from nafnet_deploy.parity.golden import GOLDEN, Case
from nafnet_deploy.parity.run import Pictures, golden_cases


class Source(Protocol):
    """Gives cases: inputs with the right pictures of every iteration."""

    name: str
    """What the report calls it."""
    fixed: bool
    """Whether it knows the answers to its own inputs only."""

    def cases(self, inputs: Sequence[Input]) -> list[Case]:
        """A case per input; where `fixed`, the source's own in their place."""
        ...


class NetworkSource:
    """The network itself, in PyTorch."""

    def __init__(self, network: Pictures, iterations: int) -> None:
        self.name, self.fixed = "pytorch", False
        self._network, self._iterations = network, iterations

    def cases(self, inputs: Sequence[Input]) -> list[Case]:
        """See `Source`."""
        return [Case(i.batch, tuple(self._network(i.batch, self._iterations)), i.name) for i in inputs]


class GoldenSource:
    """A bundle's golden file: what the network answered when the bundle was made."""

    def __init__(self, bundle: Bundle) -> None:
        self.name, self.fixed = GOLDEN, True
        self._cases = [dataclasses.replace(case, name=GOLDEN) for case in golden_cases(bundle)]

    def cases(self, inputs: Sequence[Input]) -> list[Case]:
        """See `Source`."""
        return self._cases


class GraphSource:
    """An engine that an earlier link has checked."""

    def __init__(self, name: str, open_at: EngineFactory, iterations: int) -> None:
        self.name, self.fixed = name, False
        self._open_at, self._iterations = open_at, iterations

    def cases(self, inputs: Sequence[Input]) -> list[Case]:
        """See `Source`."""
        answers = []
        for n in range(1, self._iterations + 1):  # one engine at a time: each holds its own copy of the weights
            with self._open_at(n) as engine:
                answers.append([restore_batch(engine, i.batch) for i in inputs])
        return [Case(i.batch, tuple(pictures), i.name) for i, *pictures in zip(inputs, *answers, strict=True)]


def full_bundle(bundle: Bundle, given: Bundle | None) -> tuple[Bundle | None, str]:
    """The fp32 bundle that an fp16 one is compared with.

    Args:
        bundle: of an fp16 graph named `X-fp16.onnx`.
        given: what the user named; None looks for `X-fp32.onnx` beside the bundle.

    Returns:
        The bundle and an empty text, or None and why there is none.

    Raises:
        ConfigError: the bundle that was given is no fp32 graph of the same network, with the same window of local means
            and as many iterations.
    """
    manifest = bundle.manifest
    if given is None:
        path = Path(str(bundle.graph).removesuffix("-fp16.onnx") + "-fp32.onnx")
        if not bundle_file(path, ".json").is_file():
            return None, "there is no fp32 bundle beside this fp16 one: name it with --fp32"
        found = open_bundle(path)
    else:
        found = given
    fault = ""
    if found.manifest.precision != "fp32":
        fault = f"it is {found.manifest.precision}"
    elif (found.manifest.model, found.manifest.provenance) != (manifest.model, manifest.provenance):
        fault = "it holds another network"
    elif found.manifest.tlc != manifest.tlc:
        fault = f"its local means have a window of {found.manifest.tlc} pixels, not {manifest.tlc} (0: global means)"
    elif found.manifest.iterations < manifest.iterations:
        fault = f"it has {found.manifest.iterations} of {manifest.iterations} iterations"
    if not fault:
        return found, ""
    if given is not None:
        raise ConfigError(
            f"{found.graph.name} is not the fp32 graph of {bundle.graph.name}: {fault}.",
            "Export both from one checkpoint.",
        )
    return None, f"{found.graph.name} beside it does not serve: {fault}"


def check_contract(bundle: Bundle, engine: Engine) -> None:
    """Refuses a graph whose inputs and outputs are not those of its manifest.

    Raises:
        EngineError: a name, a type, the number of dimensions or a fixed size differs.
    """
    manifest = bundle.manifest
    pairs = (("input", manifest.inputs, engine.inputs), ("output", manifest.outputs, engine.outputs))
    for kind, promised, actual in pairs:
        for index in range(max(len(promised), len(actual))):
            want, have = ((specs[index] if index < len(specs) else None) for specs in (promised, actual))
            fits = want is not None and have is not None and want.name == have.name and want.dtype == have.dtype
            if fits and want is not None and have is not None:
                fits = len(want.shape) == len(have.shape) and all(
                    type(a) is not type(b) or isinstance(a, str) or a == b
                    for a, b in zip(want.shape, have.shape, strict=True)
                )
            if not fits:
                told, found = (
                    "no other" if spec is None else f"{spec.name} {spec.dtype} {list(spec.shape)}"
                    for spec in (want, have)
                )
                raise EngineError(
                    f"manifest and graph of {bundle.graph.name} disagree: the {kind} is {told} in the manifest and "
                    f"{found} in the graph.",
                    "Keep the files of one export together, or export again.",
                )
