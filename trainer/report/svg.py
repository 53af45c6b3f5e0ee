"""Plots as inline SVG: no script, no file from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 240, 60, 20, 34, 36
COLOURS = ("#1769aa", "#c2410c", "#4d7c0f", "#6b7280")
#: Where the names of horizontal bars end.
NAMES = 190

Points = Sequence[tuple[float, float]]


def lines(series: Mapping[str, Points], label: str, *, dots: bool = True) -> str:
    """Curves over one pair of axes, with a legend.

    Parameters
    ----------
    series : Mapping[str, Sequence[tuple[float, float]]]
        Name to points, from left to right.
    label : str
        Of the horizontal axis.
    dots : bool
        Whether each point is marked.
    """
    points = [p for one in series.values() for p in one if np.isfinite(p[1])]
    if not points:
        return "<p>Nothing to show.</p>"
    axes = _Axes(points)
    parts = axes.drawn(label)
    for i, (name, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        placed = [(axes.x(x), axes.y(y), f"{x:g}: {y:.4g}") for x, y in values if np.isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        if dots:
            parts += [
                f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{t}</title></circle>'
                for x, y, t in placed
            ]
        parts.append(f'<text x="{LEFT + 4 + 190 * i}" y="14" fill="{colour}">{escape(name)}</text>')
    return _svg(HEIGHT, parts, f"{label}: {', '.join(series)}")


def bars(rows: Mapping[str, tuple[float, float, float]], first: str) -> str:
    """Horizontal bars with intervals: name to (value, low, high); ``first`` is highlighted."""
    top = max([high for _, _, high in rows.values()] + [1e-9])
    parts, y, scale = [], 8, (WIDTH - NAMES - 70) / top
    for name, (value, low, high) in rows.items():
        colour = COLOURS[0] if name == first else COLOURS[3]
        end = NAMES + value * scale
        parts += [
            f'<text x="{NAMES - 10}" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{NAMES}" y="{y}" width="{value * scale:.1f}" height="16" fill="{colour}"/>',
            f'<line x1="{NAMES + low * scale:.1f}" x2="{NAMES + high * scale:.1f}" y1="{y + 8}" '
            f'y2="{y + 8}" stroke="#111" stroke-width="1.5"/>',
            f'<text x="{max(end, NAMES + high * scale) + 6:.1f}" y="{y + 12}">{value:.4f}</text>',
        ]
        y += 24
    return _svg(y + 4, parts, "NDCG@10 with 95 % intervals")


def histogram(
    samples: Mapping[str, NDArray[np.floating]], marks: Mapping[str, float], label: str
) -> str:
    """Shares of several samples over one axis, with upright marks."""
    everything = np.concatenate([np.asarray(s).ravel() for s in samples.values()])
    edges = np.linspace(float(everything.min()), float(everything.max()) + 1e-6, 61)
    series: dict[str, Points] = {}
    for name, sample in samples.items():
        counts = np.histogram(sample, edges)[0] / max(1, np.asarray(sample).size)
        # Steps: each count stands from one edge to the next.
        ends = np.repeat(edges, 2)[1:-1]
        series[name] = list(zip(ends.tolist(), np.repeat(counts, 2).tolist(), strict=True))
    axes = _Axes([p for one in series.values() for p in one])
    uprights = "".join(
        f'<line x1="{axes.x(x):.1f}" x2="{axes.x(x):.1f}" y1="{TOP - 8}" y2="{HEIGHT - BOTTOM}" '
        f'stroke="#111" stroke-dasharray="4"/><text x="{axes.x(x) + 4:.1f}" y="{TOP}" '
        f'paint-order="stroke" stroke="#fafafa" stroke-width="4">{escape(n)} {x:.3f}</text>'
        for n, x in marks.items()
    )
    return lines(series, label, dots=False).replace("</svg>", uprights + "</svg>")


class _Axes:
    """From values to places on the drawing."""

    def __init__(self, points: Points) -> None:
        xs, ys = ([float(p[i]) for p in points] for i in (0, 1))
        self.left, self.right = min(xs), max(xs)
        self.low, self.high = min(ys), max(ys)

    def x(self, value: float) -> float:
        """Place from the left."""
        span = (self.right - self.left) or 1
        return LEFT + (value - self.left) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Place from the top."""
        span = (self.high - self.low) or 1
        return HEIGHT - BOTTOM - (value - self.low) / span * (HEIGHT - BOTTOM - TOP)

    def drawn(self, label: str) -> list[str]:
        """Lines, ticks and the horizontal axis's name."""
        base = HEIGHT - BOTTOM
        parts = [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{base}" y2="{base}" stroke="#999"/>',
            f'<text x="{LEFT - 6}" y="{base}" text-anchor="end">{_short(self.low)}</text>',
            f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 6}" text-anchor="end">{escape(label)}</text>',
        ]
        if self.high > self.low:
            parts.append(
                f'<text x="{LEFT - 6}" y="{TOP + 4}" text-anchor="end">{_short(self.high)}</text>'
            )
        return parts + [
            f'<text x="{self.x(x):.1f}" y="{base + 14}" text-anchor="middle">{x + 0.0:g}</text>'
            for x in _ticks(self.left, self.right)
        ]


def _short(value: float) -> str:
    return "0" if abs(value) < 1e-6 else f"{value:.3g}"


def _ticks(low: float, high: float) -> list[float]:
    """Three to ten round numbers from low to high."""
    if high <= low:
        return [low]
    step: float = 10 ** np.floor(np.log10(high - low))
    for finer in (1, 0.5, 0.2, 0.1):
        found = np.arange(np.ceil(low / (step * finer)), np.floor(high / (step * finer)) + 1)
        if len(found) >= 3:
            return [float(f"{x:.10g}") for x in found * step * finer]
    return [low, high]


def _svg(height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" '
        f'font-size="12">{"".join(parts)}</svg>'
    )
