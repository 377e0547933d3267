"""The shapes a plan takes: reads a plan's optimisation profiles and chooses among them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nafnet_deploy.engines.base import SizeLimits
from nafnet_deploy.errors import EngineError

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class ShapeRange:
    """What one profile takes at one input, both ends included."""

    smallest: Shape
    """[batch, channels, height, width]."""
    largest: Shape
    """[batch, channels, height, width]."""

    def holds(self, shape: Shape) -> bool:
        """Whether a shape lies inside."""
        return len(shape) == len(self.smallest) and all(
            low <= side <= high for low, side, high in zip(self.smallest, shape, self.largest, strict=True)
        )

    def __str__(self) -> str:
        low, high = ("x".join(map(str, shape)) for shape in (self.smallest, self.largest))
        return low if low == high else f"{low} to {high}"


Profile = Mapping[str, ShapeRange]
"""One profile: input -> what it takes."""


def read_profiles(engine: Any, inputs: Sequence[str]) -> tuple[Profile, ...]:
    """The profiles of a deserialised TensorRT engine, in its order."""
    return tuple(
        {name: _range(engine, name, index) for name in inputs} for index in range(engine.num_optimization_profiles)
    )


def _range(engine: Any, name: str, index: int) -> ShapeRange:
    fixed = tuple(engine.get_tensor_shape(name))
    if -1 not in fixed:  # profiles say nothing about an input without free dimensions
        return ShapeRange(fixed, fixed)
    smallest, _, largest = engine.get_tensor_profile_shape(name, index)
    return ShapeRange(tuple(smallest), tuple(largest))


def choose_profile(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> int:
    """The number of the profile that holds every shape; of several, the one with the smallest largest shape.

    Raises:
        EngineError: no profile holds them; names the ranges and a tile that fits.
    """
    fitting = [i for i, taken in enumerate(profiles) if all(taken[name].holds(s) for name, s in shapes.items())]
    if fitting:
        return min(fitting, key=lambda i: sum(math.prod(r.largest) for r in profiles[i].values()))
    given = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
    ranges = " or ".join(", ".join(f"{name} {r}" for name, r in taken.items()) for taken in profiles)
    raise EngineError(f"{given} lies outside the shapes of the plan, which takes {ranges}.", _advice(profiles, shapes))


def limits_of(profiles: Sequence[Profile]) -> SizeLimits | None:
    """Heights and widths of the profile with the largest pictures; None where nothing is a picture."""
    ranges = [r for taken in profiles for r in taken.values() if len(r.largest) == 4]
    if not ranges:
        return None
    widest = max(ranges, key=lambda r: math.prod(r.largest[2:]))
    return SizeLimits((widest.smallest[2], widest.smallest[3]), (widest.largest[2], widest.largest[3]))


def _advice(profiles: Sequence[Profile], shapes: Mapping[str, Shape]) -> str:
    wider = "build a plan for this shape with: nafdeploy build --min-shape ... --max-shape ..."
    ranges = [r for taken in profiles for r in taken.values() if len(r.largest) == 4]
    sides = [s for shape in shapes.values() if len(shape) == 4 for s in shape[2:]]
    squares = [min(r.largest[2:]) for r in ranges if max(r.smallest[2:]) <= min(r.largest[2:])]
    if squares and sides and max(sides) > max(squares):
        return f"Use --tile {max(squares)}, or {wider}"
    return wider[0].upper() + wider[1:]
