"""Plots as inline SVG: no script, no file from outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT, LEFT, BOTTOM = 640, 240, 60, 30
COLOURS = ("#1769aa", "#c2410c", "#4d7c0f", "#6b7280")


def lines(series: Mapping[str, Sequence[tuple[float, float]]], label: str) -> str:
    """Curves with points, and a legend."""
    points = [p for one in series.values() for p in one if np.isfinite(p[1])]
    if not points:
        return "<p>Nothing to show.</p>"
    xs, ys = zip(*points, strict=True)
    low, high = min(ys), max(ys)
    span_x, span_y = (max(xs) - min(xs)) or 1, (high - low) or 1
    parts = [_axis(low, high, label)]
    for i, (name, values) in enumerate(series.items()):
        colour = COLOURS[i % len(COLOURS)]
        placed = [
            (
                LEFT + (x - min(xs)) / span_x * (WIDTH - LEFT - 20),
                HEIGHT - BOTTOM - (y - low) / span_y * (HEIGHT - BOTTOM - 20),
                f"{x:g}: {y:.4f}",
            )
            for x, y in values
            if np.isfinite(y)
        ]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"><title>{t}</title></circle>'
            for x, y, t in placed
        ]
        parts.append(
            f'<text x="{LEFT + 10 + 160 * i}" y="14" fill="{colour}">{escape(name)}</text>'
        )
    return _svg(HEIGHT, parts)


def bars(rows: Mapping[str, tuple[float, float, float]], first: str) -> str:
    """Horizontal bars with intervals: name to (value, low, high); ``first`` is highlighted."""
    top = max([high for _, _, high in rows.values()] + [1e-9])
    parts, y, scale = [], 8, (WIDTH - 260) / top
    for name, (value, low, high) in rows.items():
        colour = COLOURS[0] if name == first else COLOURS[3]
        end = 190 + value * scale
        parts += [
            f'<text x="180" y="{y + 12}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="190" y="{y}" width="{value * scale:.1f}" height="16" fill="{colour}"/>',
            f'<line x1="{190 + low * scale:.1f}" x2="{190 + high * scale:.1f}" y1="{y + 8}" '
            f'y2="{y + 8}" stroke="#111" stroke-width="1.5"/>',
            f'<text x="{max(end, 190 + high * scale) + 6:.1f}" y="{y + 12}">{value:.4f}</text>',
        ]
        y += 24
    return _svg(y + 4, parts)


def histogram(samples: Mapping[str, NDArray[np.floating]], marks: Mapping[str, float]) -> str:
    """Densities of several samples over one axis, with upright marks."""
    everything = np.concatenate([np.asarray(s).ravel() for s in samples.values()])
    low, high = float(everything.min()), float(everything.max()) + 1e-6
    edges = np.linspace(low, high, 61)
    middle = (edges[1:] + edges[:-1]) / 2
    series = {}
    for name, sample in samples.items():
        counts = np.histogram(sample, edges)[0] / max(1, np.asarray(sample).size)
        series[name] = list(zip(middle.tolist(), counts.tolist(), strict=True))
    drawn = lines(series, "share")
    scale = (WIDTH - LEFT - 20) / ((middle[-1] - middle[0]) or 1)
    uprights = "".join(
        f'<line x1="{LEFT + (x - middle[0]) * scale:.1f}" x2="{LEFT + (x - middle[0]) * scale:.1f}" '
        f'y1="20" y2="{HEIGHT - BOTTOM}" stroke="#111" stroke-dasharray="4"/>'
        f'<text x="{LEFT + (x - middle[0]) * scale + 3:.1f}" y="32">{escape(n)} {x:.3f}</text>'
        for n, x in marks.items()
    )
    return drawn.replace("</svg>", uprights + "</svg>")


def _axis(low: float, high: float, label: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM}" '
        f'stroke="#999"/><text x="4" y="{HEIGHT - BOTTOM}">{low:.3g}</text>'
        f'<text x="4" y="24">{high:.3g}</text><text x="{LEFT}" y="{HEIGHT - 8}">{escape(label)}</text>'
    )


def _svg(height: int, parts: Sequence[str]) -> str:
    body = "".join(parts)
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img" font-size="12">{body}</svg>'
