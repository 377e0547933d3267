"""The engines that `bench` times: those that deploy, and the peers that a user could take instead."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nafnet_deploy.cli.console import say
from nafnet_deploy.errors import ConfigError, EngineError, MissingDependency
from nafnet_deploy.manifest import bundle_file

if TYPE_CHECKING:
    from nafnet_deploy.benchmarks.recipe import BenchRecipe
    from nafnet_deploy.checkpoints.store import Checkpoint
    from nafnet_deploy.engines.base import Engine
    from nafnet_deploy.manifest import Bundle

SPLIT = "onnxruntime-split"
LABELS = {
    "pytorch": "PyTorch eager",
    "pytorch-channels-last": "PyTorch channels-last",
    "pytorch-compile": "PyTorch compiled",
    "onnxruntime": "ONNX Runtime",
    "onnxruntime-naive": "ONNX Runtime naive",
    "onnxruntime-split": "ONNX Runtime split",
    "openvino": "OpenVINO",
    "openvino-bf16": "OpenVINO bf16",
}
"""Name -> what tables call it; other engines go by their name."""
PEERS = ("pytorch-channels-last", "pytorch-compile", "onnxruntime-naive", "openvino", "openvino-bf16")
"""What --peers adds where it is installed."""
FROM_NETWORK = ("pytorch", "pytorch-channels-last", "pytorch-compile", "onnxruntime-naive", SPLIT)
"""What needs the network itself, not its exported graph."""
DEFAULT_ITERS = 5
"""Largest N when nobody asks."""
RUNS = 2
"""Passes of a process of its own after the first, which also compiles and allocates: a later one may still grow."""


@dataclasses.dataclass
class Subject:
    """The network under test, as a graph and, where torch is installed, as a module."""

    bundle: Bundle
    """The exported graph."""
    checkpoint: Checkpoint | None
    """The weights; None without torch."""
    folder: Path
    """Scratch space."""
    shape: tuple[int, int, int, int]
    """What the engines will be given; end to end, the picture as it is padded."""
    threads: int | None = None
    """CPU threads of every engine; None leaves the choice to each."""
    trust: bool = False
    """See `open_engine`."""

    def check(self, name: str) -> None:
        """Refuses an engine that runs the network itself where only its graph is there.

        Raises:
            ConfigError: a graph was named.
            MissingDependency: torch is not installed.
        """
        if self.checkpoint is not None or name not in FROM_NETWORK:
            return
        if find_spec("torch") is None:
            raise MissingDependency("torch", "export", f"by the engine {name!r}, with a checkpoint or preset,")
        raise ConfigError(
            f"the engine {name!r} runs the network, and {self.bundle.graph.name} holds its graph alone.",
            "Name its checkpoint, or a preset.",
        )

    def open(self, name: str, iterations: int) -> Engine:
        """Opens an engine of that name, which passed `check`, at n iterations. Raises what `open_engine` does."""
        from nafnet_deploy.engines.registry import open_engine

        if name not in FROM_NETWORK:
            return open_engine(name, self.bundle, iterations, self.threads, self.trust)
        if name == SPLIT:
            return open_engine("onnxruntime", self.split_bundle, iterations, self.threads)
        if name == "onnxruntime-naive":
            from nafnet_deploy.engines.onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(str(self.naive_graph(iterations)), self.threads)
        return self._pytorch(name, iterations)

    @cached_property
    def split_bundle(self) -> Bundle:
        """The network exported as head, step and tail. Made once."""
        from nafnet_deploy.export.recipe import ExportRecipe
        from nafnet_deploy.export.run import export_bundle

        assert self.checkpoint is not None
        return export_bundle(
            self.checkpoint, ExportRecipe(mode="split", iterations=2, output=str(self.folder / "split.onnx"))
        )

    @cached_property
    def _network(self) -> Any:
        assert self.checkpoint is not None
        return self.checkpoint.network().eval()

    def _pytorch(self, name: str, iterations: int) -> Engine:
        import torch

        from nafnet_deploy.engines.torch import TorchEngine
        from nafnet_deploy.models.registry import picture

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        network = self._network

        def forward(x: torch.Tensor) -> torch.Tensor:
            return picture(network, x, iterations)

        channels = self.bundle.manifest.model.planes
        if name == "pytorch-compile":
            # Each N is a specialisation of the same code; beyond the limit PyTorch would silently run it eagerly.
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 2 * iterations)
            compiled = torch.compile(forward, dynamic=False)

            def checked(x: torch.Tensor) -> torch.Tensor:
                try:
                    return compiled(x)
                except Exception as error:  # no compiler on this machine is among its many kinds
                    reason = " ".join(str(error).split())[:200] or type(error).__name__
                    raise EngineError(
                        f"torch.compile failed: {reason}.", "Install a C++ compiler, or leave pytorch-compile out."
                    ) from error

            return TorchEngine(checked, channels, mode="compiled")
        return TorchEngine(forward, channels, channels_last=name == "pytorch-channels-last")

    def naive_graph(self, iterations: int) -> Path:
        """The network exported as it stands, at the one shape: what `torch.onnx.export` alone gives. Made once."""
        path = self.folder / f"naive-n{iterations}-{'x'.join(map(str, self.shape))}.onnx"
        if not path.is_file():
            from nafnet_deploy.export.naive import export_naively

            export_naively(self._network, iterations, self.shape, path)
        return path

    def prepare(self, names: Sequence[str], steps: Sequence[int]) -> None:
        """Makes what engines read and did not make themselves, so that it is no part of their loading time."""
        if self.checkpoint is None:
            return
        for n in steps if "onnxruntime-naive" in names else ():
            self.naive_graph(n)
        if SPLIT in names:
            _ = self.split_bundle

    def request(self, name: str, iterations: int, runs: int = RUNS) -> dict[str, Any]:
        """What a process of its own must know to open the engine and run it that often; see `bench_child`."""
        graph = self.naive_graph(iterations) if name == "onnxruntime-naive" else self.bundle.graph
        bundle = self.split_bundle if name == SPLIT else self.bundle
        checkpoint = self.folder / "network.safetensors"
        if name.startswith("pytorch") and not checkpoint.is_file():
            from nafnet_deploy.checkpoints.store import save_checkpoint

            assert self.checkpoint is not None
            save_checkpoint(self.checkpoint, checkpoint)
        return {
            "engine": "onnxruntime" if name == SPLIT else name,
            "graph": str(graph.resolve()),
            "bundle": str(bundle_file(bundle.graph, ".json").resolve()),
            "checkpoint": str(checkpoint) if name.startswith("pytorch") else "",
            "iterations": iterations,
            "threads": self.threads,
            "trust": self.trust,
            "shape": list(self.shape),
            "runs": runs,
        }


def label_of(name: str) -> str:
    """What tables call an engine."""
    return LABELS.get(name, name)


def check_names(recipe: BenchRecipe) -> None:
    """Refuses unknown engines before anything is exported for them.

    Raises:
        ConfigError: with the nearest known name.
    """
    from nafnet_deploy.engines.plan import PLAN_SUFFIX
    from nafnet_deploy.engines.registry import AUTO, ENGINES
    from nafnet_deploy.tables import nearest

    known = (*ENGINES, AUTO, *FROM_NETWORK)
    for name in (*((recipe.baseline,) if recipe.baseline else ()), *recipe.engines):
        if name not in known and not name.endswith(PLAN_SUFFIX):
            raise ConfigError(f"the engine {name!r} is unknown.", nearest(name, known))


def choose(names: list[str], peers: bool, subject: Subject, baseline: str | None) -> list[str]:
    """The engines to time, the baseline first, each once; peers that cannot open here are named and left out.

    Raises:
        MissingDependency, ConfigError: see `Subject.check`, of what was asked for by name.
    """
    network = subject.checkpoint is not None
    chosen = list(dict.fromkeys((*((baseline,) if baseline else ()), *(("pytorch",) if network else ()), *names)))
    for name in chosen:
        subject.check(name)
    for name in PEERS if peers else ():
        try:
            if name not in chosen:
                subject.check(name)
                subject.open(name, 1).close()
                chosen.append(name)
        except (MissingDependency, ConfigError, EngineError) as error:
            say(f"{label_of(name)} is left out: {error.message}")
    return chosen


def subject_of(recipe: BenchRecipe, folder: Path, trust: bool) -> tuple[Subject, Sequence[int]]:
    """The network that a recipe asks for, exported into `folder` where it must be, and the N to time.

    Raises:
        ConfigError, CheckpointError: a size that does not fit, a model that is unknown or cannot be read.
        MissingDependency: torch is needed to export it.
        EngineError: more iterations than the graph has.
    """
    from nafnet_deploy.engines.cut import check_iterations
    from nafnet_deploy.engines.plan_choice import iterations_of
    from nafnet_deploy.images.padding import round_up

    bundle, checkpoint = _bundle(recipe.model, recipe.only or recipe.iterations or DEFAULT_ITERS, folder)
    fixed = [n for n in (recipe.only, *map(iterations_of, recipe.engines)) if n is not None]
    largest = recipe.iterations or min(DEFAULT_ITERS, bundle.manifest.iterations)
    # A plan has one N, and an option that contradicts it fails when it is opened.
    steps: Sequence[int] = (fixed[0],) if fixed else range(1, largest + 1)
    check_iterations(bundle.manifest, steps[-1])
    multiple = bundle.manifest.size_multiple
    height, width = recipe.size(multiple if recipe.scope == "forward" else 1)
    shape = (recipe.batch, bundle.manifest.model.planes, round_up(height, multiple), round_up(width, multiple))
    return Subject(bundle, checkpoint, folder, shape, recipe.threads, trust), steps


def _bundle(model: str, iterations: int, folder: Path) -> tuple[Bundle, Checkpoint | None]:
    """The graph to time and, where torch is installed, the network it came from."""
    from nafnet_deploy.released import find_bundle, released_models

    if model.endswith(".onnx"):
        return find_bundle(model), None
    try:
        from nafnet_deploy.checkpoints.catalogue import load_model
        from nafnet_deploy.export.recipe import ExportRecipe
        from nafnet_deploy.export.run import export_bundle
    except ModuleNotFoundError as error:
        if model in released_models():
            return find_bundle(model), None
        raise MissingDependency(error.name or "torch", "export", f"to export {model}") from error
    checkpoint = load_model(model)
    iterations = iterations if checkpoint.config.positions else 1
    if model in released_models() and (bundle := find_bundle(model)).manifest.iterations >= iterations:
        return bundle, checkpoint
    say(f"exporting {model} with {iterations} iterations")
    return export_bundle(checkpoint, ExportRecipe(model=model, iterations=iterations, output=str(folder))), checkpoint
