"""A comparison as one picture: a column per number of iterations, rows for pictures, changes and gates."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from nafnet_deploy.images.colormap import colours
from nafnet_deploy.runtime.compare import Column, Comparison

PANEL = 320
"""Longest side of a panel (pixels); a larger region is shrunk to it, a smaller one enlarged by a whole number."""
_NARROWEST, _LOWEST = 270, 150
_MARGIN, _GAP, _LINE = 28, 14, 24
_INK, _PALE, _PAPER = "#16181d", "#626873", "#ffffff"
_BAR = 18

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclasses.dataclass(frozen=True)
class Scale:
    """How values become colours; the same for every panel of a row."""

    low: float
    """Value of the darkest colour."""
    high: float
    """Value of the brightest."""
    logarithmic: bool

    def place(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Values as 0 to 1."""
        low, high = self.low, self.high
        if self.logarithmic:
            values = np.log(np.maximum(values, low))
            low, high = math.log(low), math.log(high)
        unit: NDArray[np.float32] = (values - low) / (high - low)
        return unit

    def ticks(self) -> list[float]:
        """Values to print at the bar."""
        if not self.logarithmic:
            return [self.low, (self.low + self.high) / 2, self.high]
        decades = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
        return [10.0**d for d in decades]


def change_scale(changes: Sequence[NDArray[np.float32]]) -> Scale:
    """One logarithmic scale for all change maps: later iterations change a hundredth of what the first does.

    From the least 5th to the greatest 99.9th percentile, at least one decade and at most five, its ends 1, 2 or 5
    times a power of ten.
    """
    high = _round_number(max(0.1, *(float(np.percentile(c, 99.9)) for c in changes)), up=True)
    low = _round_number(max(high / 1e5, min(float(np.percentile(c, 5)) for c in changes)), up=False)
    return Scale(min(low, high / 10), high, True)


def gate_scale(gates: Sequence[NDArray[np.float32]]) -> Scale:
    """One linear scale for all gate maps of a place, from the 1st to the 99th percentile in steps of 0.01."""
    low = math.floor(min(float(np.percentile(g, 1)) for g in gates) * 100 + 1e-6) / 100
    high = math.ceil(max(float(np.percentile(g, 99)) for g in gates) * 100 - 1e-6) / 100
    return Scale(low, max(high, low + 0.02), False)


def draw_sheet(comparison: Comparison, title: str, notes: str) -> Image.Image:
    """The comparison as an RGB picture.

    Args:
        comparison: what was measured.
        title: first line, e.g. the model and the file.
        notes: in smaller type below it, e.g. what was done to the picture.
    """
    return _Sheet(comparison).draw(title, notes)


class _Sheet:
    def __init__(self, comparison: Comparison) -> None:
        self.comparison, self.columns = comparison, comparison.columns
        self.places = tuple(self.columns[0].gates)
        region = comparison.region
        self.panel = _panel_size(region.width, region.height)
        self.pitch = max(self.panel[0], _NARROWEST) + _GAP
        self.row = max(self.panel[1], _LOWEST)  # beside every row of maps stands its legend
        self.width = 2 * _MARGIN + self.pitch * (1 + len(self.columns)) - _GAP
        self.big, self.plain, self.small = (ImageFont.load_default(size) for size in (27, 20, 17))

    def draw(self, title: str, notes: str) -> Image.Image:
        rows = 1 + len(self.places)
        room = self.width - 2 * _MARGIN
        told = "PSNR, gain over the column to the left and time are those" if self._scored() else "The time is that"
        below = self._wrap(f"{told} of the whole picture. Engine: {self.comparison.engine}.", room)
        above = self._wrap(notes, room)
        head = _MARGIN + 38 + (len(above) + 1) * _LINE + 12
        figures = (3 if self._scored() else 1) * _LINE + 36
        height = head + self.panel[1] + rows * (_GAP + self.row + _LINE + 4) + figures + len(below) * _LINE + _MARGIN
        self.image = Image.new("RGB", (self.width, height), _PAPER)
        self.pen = ImageDraw.Draw(self.image)
        self._text(_MARGIN, _MARGIN - 6, title, self.big, _INK, room)
        for i, line in enumerate(above):
            self._text(_MARGIN, _MARGIN + 32 + i * _LINE, line, self.small, _PALE, room)
        for i, heading in enumerate(["Input", *(f"N = {c.iterations}" for c in self.columns)]):
            self._text(self._left(i), head - _LINE - 4, heading, self.plain, _INK)
        for i, picture in enumerate([self.comparison.input, *(c.picture for c in self.columns)]):
            samples = np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
            self._panel(i, head, samples)
        top = head + self.panel[1] + _GAP
        changes = [c.change for c in self.columns]
        words = ("Change", "|picture - the one to its left|,", "mean of R, G, B, in steps of 255")
        self._maps(top, changes, change_scale(changes), words, "{:.3g}")
        for place in self.places:
            top += self.row + _LINE + 4 + _GAP
            gates = [c.gates[place] for c in self.columns]
            words = (f"Gate, {place}", "mean over the channels of the", "update gate of iteration N")
            self._maps(top, gates, gate_scale(gates), words, "{:.3f}")
        top += self.row + _LINE + 22
        self._figures(top)
        for i, line in enumerate(below):
            self._text(_MARGIN, top + figures - 24 + i * _LINE, line, self.small, _PALE, room)
        return self.image

    def _left(self, column: int) -> int:
        return _MARGIN + column * self.pitch

    def _panel(self, column: int, top: int, samples: NDArray[np.uint8]) -> None:
        picture = Image.fromarray(samples)
        smaller = self.panel[0] < picture.width
        picture = picture.resize(self.panel, Image.Resampling.BOX if smaller else Image.Resampling.NEAREST)
        self.image.paste(picture, (self._left(column), top))

    def _maps(self, top: int, maps: list[NDArray[np.float32]], scale: Scale, words: tuple[str, ...], form: str) -> None:
        """A row of maps with their means below, and its scale in the column of the input."""
        self._text(_MARGIN, top, words[0], self.plain, _INK)
        for i, line in enumerate(words[1:]):
            self._text(_MARGIN, top + 30 + i * 22, line, self.small, _PALE)
        width, y = self.pitch - _GAP - 24, top + 84
        bar = colours(np.repeat(np.linspace(0, 1, width)[None], _BAR, axis=0))
        self.image.paste(Image.fromarray(bar), (_MARGIN, y))
        for value in scale.ticks():
            x = _MARGIN + round(float(scale.place(np.array(value, np.float32))) * (width - 1))
            self.pen.line((x, y + _BAR, x, y + _BAR + 5), fill=_INK)
            text = f"{value:g}" if scale.logarithmic else f"{value:.3g}"
            half = self.small.getlength(text) / 2
            self._text(max(x - half, _MARGIN), y + _BAR + 7, text, self.small, _INK)
        for i, values in enumerate(maps, 1):
            self._panel(i, top, colours(scale.place(values)))
            mean = form.format(float(values.mean(dtype=np.float64)))
            self._text(self._left(i), top + self.panel[1] + 4, f"mean {mean}", self.small, _PALE)

    def _figures(self, top: int) -> None:
        """PSNR, gain and time below every column."""
        self.pen.line((_MARGIN, top - 10, self.width - _MARGIN, top - 10), fill="#c9cdd4")
        previous = self.comparison.psnr
        if previous is not None:
            self._text(_MARGIN, top, _decibels(previous), self.plain, _INK)
        for i, column in enumerate(self.columns, 1):
            y = top
            if column.psnr is not None:
                self._text(self._left(i), y, _decibels(column.psnr), self.plain, _INK)
                self._text(self._left(i), y + _LINE + 2, _gain(previous, column), self.small, _PALE)
                y += 2 * _LINE
                previous = column.psnr
            self._text(self._left(i), y, _time(column.seconds), self.plain if y == top else self.small, _PALE)

    def _scored(self) -> bool:
        return self.comparison.psnr is not None

    def _wrap(self, text: str, room: float) -> list[str]:
        """Small type in lines that fit."""
        lines: list[str] = []
        for word in text.split():
            if lines and self.small.getlength(f"{lines[-1]} {word}") <= room:
                lines[-1] += f" {word}"
            else:
                lines.append(word)
        return lines

    def _text(self, x: float, y: float, text: str, font: Font, colour: str, room: float | None = None) -> None:
        """Text that never leaves its room (by default a column's width)."""
        room = self.pitch - _GAP if room is None else room
        text = text.encode("ascii", "replace").decode()  # the built-in font draws a box for what it does not have
        if font.getlength(text) > room:
            while text and font.getlength(text + "...") > room:
                text = text[:-1]
            text += "..."
        self.pen.text((x, y), text, fill=colour, font=font)


def _panel_size(width: int, height: int) -> tuple[int, int]:
    longest = max(width, height)
    if longest > PANEL:
        return max(round(width * PANEL / longest), 1), max(round(height * PANEL / longest), 1)
    factor = PANEL // longest
    return width * factor, height * factor


def _round_number(value: float, up: bool) -> float:
    """The nearest of ..., 0.5, 1, 2, 5, 10, ... on one side of a positive value."""
    decade = 10.0 ** math.floor(math.log10(value))
    steps = [factor * decade for factor in (0.5, 1, 2, 5, 10)]
    slack = 1e-9 * value
    return min(s for s in steps if s >= value - slack) if up else max(s for s in steps if s <= value + slack)


def _decibels(value: float) -> str:
    return "equal" if value == math.inf else f"{value:.3f} dB"


def _gain(previous: float | None, column: Column) -> str:
    gain = math.nan if previous is None or column.psnr is None else column.psnr - previous
    return f"{gain:+.3f} dB" if math.isfinite(gain) else ""


def _time(seconds: float) -> str:
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"
