"""Training crops and validation pictures as datasets, each example a function of the seed and its index alone."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from nafnet_deploy.data.augment import random_crop, random_orientation
from nafnet_deploy.data.degradations import Degradation
from nafnet_deploy.data.pairs import Pair
from nafnet_deploy.errors import ConfigError, ImageError
from nafnet_deploy.images.files import read_picture, read_size

ATTEMPTS = 100
"""Unreadable pictures in a row after which a dataset gives up."""
WHITE = np.float32(255)
Pixels = NDArray[np.uint8]


class Example(NamedTuple):
    """One example or a batch of them; pictures are float32 [.., 3, H, W], channels-last in memory."""

    degraded: Tensor
    clean: Tensor
    skipped: Tensor
    """How many unreadable pictures were passed over on the way to it."""


class PictureBank:
    """Decoded pictures (uint8 [H, W, 3]) by pair, kept in memory as far as it goes."""

    def __init__(self, pairs: Sequence[Pair], cache: int) -> None:
        self.pairs = list(pairs)
        self._room = cache * 2**20
        self._kept: dict[Path, Pixels] = {}

    def __len__(self) -> int:
        return len(self.pairs)

    def read(self, index: int) -> tuple[Pixels | None, Pixels]:
        """(degraded or None, clean) of a pair. `ImageError` when it cannot be read or its sizes differ."""
        pair = self.pairs[index]
        clean = self._picture(pair.clean)
        degraded = None if pair.degraded is None else self._picture(pair.degraded)
        if degraded is not None and degraded.shape != clean.shape:
            raise ImageError(f"{pair.degraded} and {pair.clean} differ in size.", "Take the pair out.")
        return degraded, clean

    def _picture(self, path: Path) -> Pixels:
        if path in self._kept:
            return self._kept[path]
        pixels = np.round(read_picture(path).pixels * 255).astype(np.uint8)
        if pixels.nbytes <= self._room:
            self._room -= pixels.nbytes
            self._kept[path] = pixels
        return pixels


def large_enough(pairs: Sequence[Pair], smallest: int, on_skip: Callable[[str], None]) -> list[Pair]:
    """The pairs whose clean picture is at least `smallest` pixels high and wide, by their files' headers.

    The others, and files that are no pictures, are told to `on_skip`.

    Raises:
        ConfigError: none is left.
    """
    kept = []
    for pair in pairs:
        try:
            width, height = read_size(pair.clean)
        except ImageError as error:
            on_skip(f"{pair.clean.name} is skipped: {error.message}")
            continue
        if min(width, height) < smallest:
            on_skip(f"{pair.clean.name} is skipped: {width}x{height} is smaller than {smallest}x{smallest}.")
        else:
            kept.append(pair)
    if not kept:
        raise ConfigError(
            f"none of the {len(pairs)} pictures can be used.",
            f"They must be pictures of {smallest}x{smallest} or more.",
        )
    return kept


class CropDataset(Dataset[Example]):
    """Random crops, flipped and turned, degraded on the fly where a pair has no degraded picture.

    Any index from 0 up is an example of its own. A picture that turns out unreadable is replaced by another.
    """

    def __init__(self, bank: PictureBank, degradation: Degradation, crop: int, seed: int, length: int) -> None:
        self.bank, self.degradation, self.crop, self.seed, self.length = bank, degradation, crop, seed, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng((self.seed, index))
        for skipped in range(ATTEMPTS):
            with contextlib.suppress(ImageError):
                degraded, clean = self.bank.read(int(rng.integers(len(self.bank))))
                return self._example(degraded, clean, skipped, rng)
        raise ConfigError(f"{ATTEMPTS} pictures in a row cannot be read.", "Check data.train.")

    def _example(self, degraded: Pixels | None, clean: Pixels, skipped: int, rng: np.random.Generator) -> Example:
        if degraded is not None:
            both = np.concatenate([degraded, clean], axis=2)  # one cut for both: the same place, the same turn
            square = random_orientation(random_crop(both, self.crop, rng), rng).astype(np.float32) / WHITE
            return Example(to_tensor(square[..., :3]), to_tensor(square[..., 3:]), torch.tensor(skipped))
        # Damage reaches across borders: a wider square is degraded and its middle taken.
        margin = max(0, min(self.degradation.margin, (min(clean.shape[:2]) - self.crop) // 2))
        wide = random_orientation(random_crop(clean, self.crop + 2 * margin, rng), rng).astype(np.float32) / np.float32(
            255
        )
        damaged = self.degradation(np.ascontiguousarray(wide), rng)
        middle = slice(margin, margin + self.crop)
        return Example(to_tensor(damaged[middle, middle]), to_tensor(wide[middle, middle]), torch.tensor(skipped))


class ValidationDataset(Dataset[Example]):
    """Whole pictures, or squares from their middle; the damage of each is drawn from the seed and its place."""

    def __init__(self, bank: PictureBank, degradation: Degradation, crop: int, seed: int) -> None:
        self.bank, self.degradation, self.crop, self.seed = bank, degradation, crop, seed

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, index: int) -> Example:
        """Degraded and clean; empty pictures [3, 0, 0] with `skipped` = 1 for a pair that cannot be read."""
        try:
            damaged, clean = self.bank.read(index)
        except ImageError:
            nothing = torch.zeros(3, 0, 0)
            return Example(nothing, nothing, torch.tensor(1))
        truth = clean.astype(np.float32) / WHITE
        if damaged is None:
            degraded = self.degradation(truth, np.random.default_rng((self.seed, index)))
        else:
            degraded = damaged.astype(np.float32) / WHITE
        if self.crop:
            height, width = min(self.crop, truth.shape[0]), min(self.crop, truth.shape[1])
            top, left = (truth.shape[0] - height) // 2, (truth.shape[1] - width) // 2
            place = (slice(top, top + height), slice(left, left + width))
            truth, degraded = truth[place], degraded[place]
        return Example(to_tensor(degraded), to_tensor(truth), torch.tensor(0))


def to_tensor(picture: NDArray[np.float32]) -> Tensor:
    """[H, W, 3] -> [3, H, W], a view in channels-last order."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)


def collate(examples: Sequence[Example]) -> Example:
    """A batch [B, 3, H, W], channels-last in memory."""
    degraded, clean, skipped = zip(*examples, strict=True)
    stacked = [torch.stack([p.permute(1, 2, 0) for p in part]).permute(0, 3, 1, 2) for part in (degraded, clean)]
    return Example(stacked[0], stacked[1], torch.stack(skipped).sum())


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
