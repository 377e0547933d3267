"""The plans of a split bundle: one per part, found where they were built before, else built."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nafnet_deploy.engines.build import cache_folder, check_sidecar, check_writable, target_path
from nafnet_deploy.engines.build_recipe import BuildRecipe
from nafnet_deploy.engines.plan import ShapeProfile
from nafnet_deploy.engines.tensorrt_builder import build_from, check_machine, plan_key, resolve
from nafnet_deploy.engines.tensorrt_parts_plan import PartsFile, open_parts, parts_sidecar, write_parts
from nafnet_deploy.engines.tensorrt_progress import OnProgress
from nafnet_deploy.errors import EngineError, NafdeployError
from nafnet_deploy.manifest import Bundle, PartSpec, part_suffix


@dataclasses.dataclass(frozen=True)
class BuiltParts:
    """The outcome of a build."""

    file: PartsFile
    """Plans and sidecar on disk."""
    reused: bool
    """Whether they were there already."""


def build_parts(
    bundle: Bundle,
    recipe: BuildRecipe,
    module: Any,
    on_progress: OnProgress = lambda phase, share: None,
) -> BuiltParts:
    """Builds a plan for each part of a split bundle and writes them with one sidecar, or returns those that are there.

    Args:
        bundle: a split bundle.
        recipe: shapes are those of the picture; those between the parts follow from them.
        module: what `load_library` returned.
        on_progress: as for `build_plan`; the share is that of all three.

    Raises:
        UsageError: the folder cannot be written.
        And whatever `resolve`, `build_from` and `write_parts` raise.
    """
    spec, device = resolve(bundle, recipe)
    check_machine(recipe, device)
    sidecar = parts_sidecar(target_path(spec, recipe))
    key = plan_key(spec, module, device)
    if (found := _find(sidecar, key)) is not None:
        return BuiltParts(found, reused=True)
    check_writable(sidecar.parent)
    check_sidecar(sidecar)
    plans = {}
    parts = bundle.manifest.parts
    for number, name in enumerate(parts):

        def report(phase: str, share: float, name: str = name, done: int = number) -> None:
            on_progress(f"{name}: {phase}", (done + share) / len(parts))

        part = part_bundle(bundle, name)
        own = dataclasses.replace(
            spec,
            iterations=part.manifest.iterations,
            profiles=part_profiles(parts[name], spec.profiles[0], bundle.manifest.inputs[0].shape),
            graph_sha256=part.manifest.graph_sha256,
        )
        plans[name] = build_from(part, own, device, recipe, module, report)
    return BuiltParts(write_parts(plans, bundle.manifest, key, sidecar), reused=False)


def cached_parts(bundle: Bundle, recipe: BuildRecipe, module: Any) -> BuiltParts:
    """As `build_parts`, in a folder of the user's cache that no other build shares; `recipe.output` is ignored."""
    spec, device = resolve(bundle, recipe)
    folder = cache_folder() / plan_key(spec, module, device)[:16]
    return build_parts(bundle, dataclasses.replace(recipe, output=str(folder)), module)


def part_bundle(bundle: Bundle, name: str) -> Bundle:
    """One part of a split bundle as a bundle of its own, which says what its graph takes and gives."""
    manifest, part = bundle.manifest, bundle.manifest.parts[name]
    return Bundle(
        bundle.part(name),
        dataclasses.replace(
            manifest,
            iterations=1,
            default_iterations=1,
            inputs=part.inputs,
            outputs=part.outputs,
            sha256={".onnx": manifest.sha256[part_suffix(name)]},
            parts={},
            stopping=None,
        ),
    )


def part_profiles(part: PartSpec, picture: ShapeProfile, shape: tuple[int | str, ...]) -> tuple[ShapeProfile, ...]:
    """The sizes of a part's inputs that follow from those of the picture.

    Args:
        part: what it takes; free dimensions are written as fractions of the picture's, e.g. `height/4`.
        picture: smallest, best and largest picture.
        shape: the picture's dimensions; words are free.
    """

    def sized(sides: tuple[int | str, ...], given: tuple[int, ...]) -> tuple[int, ...]:
        words = {word: side for word, side in zip(shape, given, strict=True) if isinstance(word, str)}
        return tuple(side if isinstance(side, int) else _evaluate(side, words) for side in sides)

    return tuple(
        ShapeProfile(spec.name, *(sized(spec.shape, given) for given in (picture.min, picture.opt, picture.max)))
        for spec in part.inputs
    )


def _evaluate(text: str, words: Mapping[str, int]) -> int:
    """`height*3/4` for a known height."""
    found = re.fullmatch(r"(\w+?)(?:\*(\d+))?(?:/(\d+))?", text)
    if found is None or found[1] not in words:
        raise EngineError(
            f"the size {text!r} of a part does not follow from the picture's.", "Export the bundle again."
        )
    return words[found[1]] * int(found[2] or 1) // int(found[3] or 1)


def _find(sidecar: Path, key: str) -> PartsFile | None:
    if not sidecar.is_file():
        return None
    try:
        found = open_parts(sidecar)
    except NafdeployError:  # damaged, of one graph, or of another version of this program: build anew
        return None
    return found if found.manifest.key == key else None
