"""Error against iteration as an inline SVG on a logarithmic axis. No library, no script, colours from the page."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from nafnet_deploy.parity.chain import Link

WIDTH, HEIGHT = 640, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 150, 16, 44
_APART = 15
SERIES = (("worst_error", "worst error"), ("error", "mean error"), ("change", "change of picture"))
"""Fields of `Step`, and what the plot calls them."""


def error_plot(link: Link) -> str:
    """The errors, the change of the picture and the limit of a link that was compared, over its iterations."""
    numbers = [step.iteration for step in link.steps]
    lines = {
        label: [(n, getattr(step, field)) for n, step in zip(numbers, link.steps, strict=True)]
        for field, label in SERIES
    }
    limit = link.limits.max_abs_error if link.limits else 1.0
    known = [value for points in lines.values() for _, value in points if value] + [limit]
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    high = max(high, low + 1)

    def x(n: int) -> float:
        span = max(numbers[-1] - numbers[0], 1)
        share = (n - numbers[0]) / span if len(numbers) > 1 else 0.5
        return _LEFT + 12 + share * (WIDTH - _LEFT - _RIGHT - 24)

    def y(value: float) -> float:
        power = math.log10(value) if value > 0 else low  # an error of exactly 0 lies on the floor
        return _TOP + (high - max(power, low)) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    parts = [_axes(numbers, low, high, x, y)]
    labels = [(y(limit), "limit", "limit")]
    parts.append(f'<line class="limit" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>')
    for index, (label, points) in enumerate(lines.items()):
        drawn = [(x(n), y(value)) for n, value in points if value is not None]
        if not drawn:
            continue
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in drawn)
        parts.append(f'<polyline class="s{index}" points="{path}"/>')
        parts += [f'<circle class="s{index}" cx="{a:.1f}" cy="{b:.1f}" r="3.5"/>' for a, b in drawn]
        labels.append((drawn[-1][1], f"s{index}", label))
    parts.append(_labels(labels))
    words = escape(f"Error against iteration of the link {link.name}, logarithmic")
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def _axes(numbers: Sequence[int], low: int, high: int, x: Callable[[int], float], y: Callable[[float], float]) -> str:
    parts = []
    every = max(1, -(-(high - low) // 6))
    for power in range(low, high + 1, every):
        at = y(10.0**power)
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">1e{power}</text>')
    below = HEIGHT - _BOTTOM + 20
    parts += [f'<text x="{x(n):.1f}" y="{below}" text-anchor="middle">{n}</text>' for n in numbers]
    middle = (_LEFT + WIDTH - _RIGHT) / 2
    return "".join(parts) + f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">iteration</text>'


def _labels(labels: list[tuple[float, str, str]]) -> str:
    """Names at the right ends, moved apart where lines end close together."""
    parts: list[str] = []
    last = -math.inf
    room = HEIGHT - _BOTTOM - _APART * len(labels)
    for at, kind, text in sorted(labels):
        place = max(min(at, room + _APART * (len(parts) + 1)), last + _APART)
        parts.append(f'<text class="{kind}" x="{WIDTH - _RIGHT + 8}" y="{place + 4:.1f}">{escape(text)}</text>')
        last = place
    return "".join(parts)
