"""Training crops and validation pictures as datasets, each example a function of the seed and its index alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from nafnet_deploy.config import TASKS
from nafnet_deploy.data.augment import flip_views, orient
from nafnet_deploy.data.bank import PictureBank, Pixels
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.task_plan import TaskPlan
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.resize import shrink, to_multiple

ATTEMPTS = 100
"""Unreadable pictures in a row after which a dataset gives up."""
WHITE = np.float32(255)
SHRINK_MARGIN = 4
"""Small pixels around a crop that its edge depends on when it is made by shrinking: two, and some."""
UNTOLD = -1
"""In the place of a task that the network is to infer."""
Floats = NDArray[np.float32]


class Example(NamedTuple):
    """One example or a batch of them; pictures are float32 [.., 3 x views, H, W], channels-last in memory."""

    degraded: Tensor
    clean: Tensor
    """As many times higher and wider as the network enlarges."""
    skipped: Tensor
    """How many unreadable pictures were passed over on the way to it."""
    task: Tensor
    """int64: what a network with experts is told of what was done, its place in `TASKS`; below 0 for nothing."""


class CropDataset(Dataset[Example]):
    """Random crops, flipped and turned, degraded on the fly where a pair has no degraded picture.

    Any index from 0 up is an example of its own. A picture that turns out unreadable is replaced by another.

    Args:
        bank: the pictures.
        degradation: what is done to a clean picture that has no degraded one; a network that enlarges gets it shrunk.
        crop: side of the square that the network is given (pixels).
        seed: of everything that is drawn.
        length: examples in all.
        order: how the tasks follow each other, see `TaskPlan`.
        told: share of the examples whose task a network with experts is told.
    """

    def __init__(
        self,
        bank: PictureBank,
        degradation: Degradation,
        crop: int,
        seed: int,
        length: int,
        order: str = "together",
        told: float = 0.0,
    ) -> None:
        self.bank, self.degradation, self.crop, self.seed, self.length = bank, degradation, crop, seed, length
        self.plan, self.told = TaskPlan([pair.task for pair in bank.pairs], order, length), told

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng((self.seed, index))
        for skipped in range(ATTEMPTS):
            with contextlib.suppress(ImageError):
                chosen = self.plan.draw(index, rng)
                degraded, clean = self.bank.read(chosen)
                given, truth = self._cut(degraded, clean, rng)
                name = self.bank.pairs[chosen].task
                task = TASKS.index(name) if name in TASKS and rng.random() < self.told else UNTOLD
                return Example(to_tensor(given), to_tensor(truth), torch.tensor(skipped), torch.tensor(task))
        raise ConfigError(f"{ATTEMPTS} pictures in a row cannot be read.", "Check data.train.")

    def _cut(self, degraded: Pixels | None, clean: Pixels, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """(degraded, clean) crops of the same place and turn, in [0, 1]."""
        scale, side = self.bank.scale, self.crop
        # Damage reaches across borders: a wider square is degraded and its middle taken.
        reach = SHRINK_MARGIN if scale > 1 else self.degradation.margin
        margin = 0 if degraded is not None else max(0, min(reach, (min(clean.shape[:2]) // scale - side) // 2))
        if scale == 1:
            margin -= margin % self.degradation.unit  # a small picture has less room than the margin asks
        wide = side + 2 * margin
        height, width = (length // scale for length in clean.shape[:2])
        top, left = int(rng.integers(height - wide + 1)), int(rng.integers(width - wide + 1))
        turn = self._turn(rng)
        truth = turn(clean[scale * top : scale * (top + wide), scale * left : scale * (left + wide)])
        middle = (slice(margin, margin + side),) * 2
        whole = (slice(scale * margin, scale * (margin + side)),) * 2
        if degraded is not None:
            given = in_unit_range(turn(degraded[top : top + wide, left : left + wide]))
        elif scale > 1:
            given = in_unit_range(shrink(truth, scale))
        else:
            given = self.degradation(in_unit_range(truth), rng)
        return given[middle], in_unit_range(truth[whole])

    def _turn(self, rng: np.random.Generator) -> Callable[[Pixels], Pixels]:
        """A way to flip and turn, drawn once for all pictures of an example."""
        if self.bank.planes == 6:
            flips = rng.random() < 0.5, rng.random() < 0.5
            return lambda square: flip_views(square, *flips)
        turns, mirror = int(rng.integers(4)), rng.random() < 0.5
        return lambda square: orient(square, turns, mirror)


class ValidationDataset(Dataset[Example]):
    """Whole pictures, or squares from their middle; the damage of each is drawn from the seed and its place."""

    def __init__(self, bank: PictureBank, degradation: Degradation, crop: int, seed: int) -> None:
        self.bank, self.degradation, self.crop, self.seed = bank, degradation, crop, seed

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, index: int) -> Example:
        """Degraded and clean; empty pictures [3, 0, 0] with `skipped` = 1 for a pair that cannot be read."""
        scale = self.bank.scale
        try:
            damaged, clean = self.bank.read(index)
        except ImageError:
            nothing = torch.zeros(self.bank.planes, 0, 0)
            return Example(nothing, nothing, torch.tensor(1), torch.tensor(UNTOLD))
        clean = to_multiple(clean, scale)
        truth = in_unit_range(clean)
        if damaged is not None:
            degraded = in_unit_range(damaged)
        elif scale > 1:
            degraded = in_unit_range(shrink(clean, scale))
        else:
            degraded = self.degradation(truth, np.random.default_rng((self.seed, index)))
        if self.crop:
            height, width = (min(self.crop, length) for length in degraded.shape[:2])
            top, left = (degraded.shape[0] - height) // 2, (degraded.shape[1] - width) // 2
            truth = truth[scale * top : scale * (top + height), scale * left : scale * (left + width)]
            degraded = degraded[top : top + height, left : left + width]
        return Example(to_tensor(degraded), to_tensor(truth), torch.tensor(0), torch.tensor(UNTOLD))


def in_unit_range(pixels: Pixels) -> Floats:
    """uint8 pixels as float32 in [0, 1]."""
    return np.ascontiguousarray(pixels.astype(np.float32) / WHITE)


def to_tensor(picture: NDArray[np.float32]) -> Tensor:
    """[H, W, C] -> [C, H, W], a view in channels-last order."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def collate(examples: Sequence[Example]) -> Example:
    """A batch [B, 3 x views, H, W], channels-last in memory."""
    degraded, clean, skipped, task = zip(*examples, strict=True)
    stacked = [torch.stack([p.permute(1, 2, 0) for p in part]).permute(0, 3, 1, 2) for part in (degraded, clean)]
    return Example(stacked[0], stacked[1], torch.stack(skipped).sum(), torch.stack(task))


class StepSampler(Sampler[int]):
    """The indices of the next steps, from where training stands: a resumed run sees the crops it would have seen.

    With several processes each takes every world-th index, so that together they see, in every step, what one
    process would see.
    """

    def __init__(self, length: int, start: Callable[[], int], rank: int = 0, world: int = 1) -> None:
        self.length, self.start, self.rank, self.world = length, start, rank, world

    def __iter__(self) -> Iterator[int]:
        first = self.start()
        return iter(range(first + self.rank, first + self.length, self.world))

    def __len__(self) -> int:
        return len(range(self.rank, self.length, self.world))
