"""Walks the chain from the network to the engine, link by link, and tests the last engine without a reference."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nafnet_deploy.engines.base import Engine
from nafnet_deploy.engines.driver import local_gpu
from nafnet_deploy.engines.plan_choice import iterations_of
from nafnet_deploy.engines.registry import ENGINES, open_engine
from nafnet_deploy.environment import read_environment
from nafnet_deploy.errors import ConfigError, MissingDependency
from nafnet_deploy.manifest import Bundle
from nafnet_deploy.parity import chain
from nafnet_deploy.parity.chain import ChainReport, Link, checked, not_checked
from nafnet_deploy.parity.choice import Input, picture_inputs, seeded_inputs, smallest_input, taken_by
from nafnet_deploy.parity.compare import Difference, Progress, compare_engine
from nafnet_deploy.parity.golden import Case
from nafnet_deploy.parity.run import ARITHMETIC, ORACLE, ORACLE_SIZES, Pictures, open_oracle
from nafnet_deploy.parity.self_tests import SelfTest, batch_tests
from nafnet_deploy.parity.sources import GoldenSource, GraphSource, NetworkSource, Source, check_contract, full_bundle
from nafnet_deploy.parity.tiles import STATIC, static_test, tile_tests
from nafnet_deploy.parity.tolerance import TILED, Limits, limits_for

GRAPH = "onnxruntime"
"""The engine that runs an FP32 graph; the oracle runs an FP16 one."""
TILE, ORACLE_TILE = 96, 32
"""Side of the fixed shape that a graph is given (pixels); the oracle is slow."""
ORACLE_LARGEST = 64
"""Side of the part of a user's picture that the oracle is given (pixels)."""

GOLDEN_NOTE = "The golden file answers its own inputs only; with -m, the pictures of --images are compared here too."


class OnPair(Protocol):
    """Shown every comparison, e.g. to draw it."""

    def __call__(self, link: str, n: int, case: Case, picture: NDArray[np.float32], found: Difference) -> None: ...


@dataclasses.dataclass(frozen=True)
class Demand:
    """What a user states in place of the limits of the table; None keeps the table's. Holds for every link."""

    atol: float | None = None
    """Absolute error."""
    rtol: float | None = None
    """Relative error."""
    psnr_min: float | None = None
    """PSNR (dB)."""
    stat: str | None = None
    """`max`, `mean` or `p99`."""

    def limits(self, precision: str) -> Limits:
        """The limits of a precision. `ConfigError` when there are none or a value is impossible."""
        return limits_for(precision, self.atol, self.rtol, self.psnr_min, self.stat)


def run_chain(
    bundle: Bundle,
    reference: Pictures | None = None,
    full: Bundle | None = None,
    engine: str | None = None,
    images: Path | None = None,
    demand: Demand | None = None,
    threads: int | None = None,
    trust: bool = False,
    on_link: Callable[[str], None] = lambda name: None,
    on_progress: Progress | None = None,
    on_pair: OnPair | None = None,
) -> ChainReport:
    """Checks every link for which the tools are here.

    Args:
        bundle: the deployed graph.
        reference: the network in PyTorch; None takes the golden file, which knows its own inputs only.
        full: the fp32 bundle of an fp16 one; None looks for it beside the bundle.
        engine: name in the registry, `auto`, a plan's path or `oracle`, for the last link; None leaves it out.
        images: folder of pictures to compare besides the seeded inputs.
        demand: limits of the user.
        threads: threads of the engines; None is their own choice.
        trust: see `open_engine`.
        on_link: told the name of each link as it begins.
        on_progress: told (comparisons done, comparisons in all) of the link.
        on_pair: shown every comparison.

    Raises:
        ConfigError: impossible limits, a precision without limits, or a bundle that does not fit.
        CheckpointError: the golden file is missing, damaged or not the one the manifest vouches for.
        ImageError, UsageError: pictures that cannot be read.
        EngineError: manifest and graph disagree, or an engine does not open or take an input.
        MachineError: the engine that was named is not here.
    """
    walk = _Walk(bundle, demand or Demand(), threads, trust, on_progress, on_pair)
    half = bundle.manifest.precision == "fp16"
    walk.demand.limits(bundle.manifest.precision)
    manifest, n = bundle.manifest, bundle.manifest.iterations
    named = walk.try_engine(engine) if engine else ""
    pictures = picture_inputs(images, manifest) if images else []
    small = picture_inputs(images, manifest, ORACLE_LARGEST) if images and half else []
    if full is not None and not half:
        raise ConfigError(f"{bundle.graph.name} is fp32 itself.", "Leave --fp32 out, or name the fp16 bundle first.")
    base, reason = full_bundle(bundle, full) if half else (bundle, "")
    source: Source = NetworkSource(reference, n) if reference else GoldenSource(base or bundle)
    first, links = source.name, []

    on_link(chain.EXPORT)
    if base is not None:
        open_base = walk.opener(GRAPH, base)
        try:
            check_contract(base, opened := open_base(n))
            opened.close()
            inputs = [] if source.fixed else [*seeded_inputs(base.manifest), *pictures]
            note = GOLDEN_NOTE if source.fixed and images else ""
            links.append(walk.compare(chain.EXPORT, source, inputs, open_base, range(1, n + 1), "fp32", note))
            source = GraphSource("ONNX FP32 on onnxruntime cpu", open_base, n)
        except MissingDependency as error:
            reason = error.message.rstrip(".")
    if reason:
        links.append(not_checked(chain.EXPORT, reason))

    on_link(chain.HALF)
    if half:
        open_half = walk.opener(ORACLE, bundle)
        check_contract(bundle, opened := open_half(n))
        opened.close()
        inputs = [*seeded_inputs(manifest, ORACLE_SIZES), *small]
        note = "" if base else f"Compared with {source.name}, so it covers the link before as well."
        links.append(walk.compare(chain.HALF, source, inputs, open_half, range(1, n + 1), "fp16", note))
        source = GraphSource("ONNX FP16 on the oracle", open_half, n)
    else:
        links.append(not_checked(chain.HALF, "this is an fp32 bundle; check the fp16 one by its own name"))

    on_link(chain.ENGINE)
    runner = ORACLE if half else GRAPH
    before = links[1].engine or links[0].engine
    if not engine:
        gpu = "" if local_gpu() else ", and there is no GPU here to run a plan"
        links.append(not_checked(chain.ENGINE, f"no engine or plan was named with --engine{gpu}"))
    elif named == before:
        links.append(not_checked(chain.ENGINE, f"{engine} is {named}, which ran the graph already"))
    else:
        runner = engine
        only = iterations_of(engine)
        with (open_last := walk.opener(engine, bundle))(only or n) as opened:
            seeded = seeded_inputs(manifest, ORACLE_SIZES if half else None)
            inputs = [*taken_by(opened, seeded), *(small if half else pictures)] or [smallest_input(opened, manifest)]
        steps = range(only, only + 1) if only else range(1, n + 1)
        links.append(walk.compare(chain.ENGINE, source, inputs, open_last, steps, manifest.precision))

    on_link("self-tests")
    last = next((link.engine for link in reversed(links) if link.engine), named)
    return ChainReport(
        model=manifest.name,
        graph_sha256=manifest.graph_sha256,
        reference=first,
        engine=last,
        precision=manifest.precision,
        links=tuple(links),
        self_tests=walk.self_tests(runner, small if half else pictures),
        environment=read_environment(threads or 0),
    )


@dataclasses.dataclass(frozen=True)
class _Walk:
    """What every link needs."""

    bundle: Bundle
    demand: Demand
    threads: int | None
    trust: bool
    on_progress: Progress | None
    on_pair: OnPair | None

    def opener(self, name: str, bundle: Bundle) -> Callable[[int], Engine]:
        if name == ORACLE:
            return lambda n: open_oracle(bundle, n)
        trust = self.trust and name.endswith(".engine")
        return lambda n: open_engine(name, bundle, n, self.threads, trust)

    def try_engine(self, name: str) -> str:
        """Opens the engine that was named before any work is done; its own name."""
        if self.trust and not name.endswith(".engine"):
            open_engine(name, self.bundle, None, self.threads, self.trust)  # says that only a plan is trusted
        n = iterations_of(name) or self.bundle.manifest.iterations
        with self.opener(name, self.bundle)(n) as engine:
            check_contract(self.bundle, engine)
            return engine.name

    def compare(
        self,
        link: str,
        source: Source,
        inputs: Sequence[Input],
        open_at: Callable[[int], Engine],
        steps: Sequence[int],
        precision: str,
        note: str = "",
    ) -> Link:
        show = self.on_pair
        limits = self.demand.limits(precision)
        cases = source.cases(inputs)
        if isinstance(source, GraphSource) and not all(np.isfinite(p).all() for case in cases for p in case.pictures):
            # the fault is the earlier link's: this one must not share the blame
            return not_checked(link, f"{source.name} gives values that are not finite, and nothing agrees with those")
        name, rows = compare_engine(
            cases,
            open_at,
            steps,
            limits,
            self.on_progress,
            None if show is None else lambda n, case, picture, found: show(link, n, case, picture, found),
        )
        half = self.bundle.manifest.precision == "fp16" and link != chain.EXPORT
        notes = [note, ARITHMETIC.get(name, "") if half else ""]
        return checked(link, source.name, name, limits, rows, " ".join(filter(None, notes)))

    def self_tests(self, runner: str, pictures: Sequence[Input]) -> tuple[SelfTest, ...]:
        manifest = self.bundle.manifest
        limits = limits_for(manifest.precision)
        slow = runner == ORACLE
        n = iterations_of(runner) or manifest.iterations
        tile = ORACLE_TILE if slow else TILE
        scenes = [np.ascontiguousarray(i.batch[0].transpose(1, 2, 0)) for i in pictures]
        with self.opener(runner, self.bundle)(n) as engine, tempfile.TemporaryDirectory() as folder:
            entry = ENGINES.get(runner)
            if entry is None or entry.plans:
                reason = f"{runner} is not prepared for a shape" if slow else "a plan has the shapes it was built for"
                static = SelfTest(STATIC, "not checked", reason)
            else:
                static = static_test(
                    self.bundle, engine, lambda b: self.opener(runner, b)(n), limits, tile, Path(folder)
                )
            tiled = tile_tests(engine, manifest, TILED, manifest.tile_least, scenes)
            return (*batch_tests(engine, manifest, limits, pictures), static, *tiled)
