"""The report of an experiment as a picture: a self-contained SVG. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from sidecar.updates.experiment import Interval, Line

#: Pixels: where the scales of the shares and of the differences begin and end, and of one row.
SHARES, DIFFERENCES, ROW, TOP = (150, 430), (480, 740), 64, 64
PERSONALISED, HOLDOUT, TEXT, LINE = "#0b5fa5", "#9a5b00", "#16202c", "#c3cad2"


def plot(lines: Sequence[Line], note: str = "") -> str:
    """Shares of both groups, and their differences, each with its interval of 95 %.

    Parameters
    ----------
    lines : Sequence[Line]
        At least one.
    note : str
        A line below the picture, ASCII without markup.
    """
    shares = [one.share for one in lines]
    most = _round_up(max(max(one.personalised.high, one.holdout.high) for one in shares))
    reach = _round_up(max(abs(value) for one in shares for value in one.difference))
    bottom = TOP + ROW * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {bottom + 64}" width="760" '
        'font-family="system-ui, sans-serif" font-size="14" role="img" aria-label="Shares of '
        'shoppers of both groups and their differences, with intervals of 95 percent">',
        f'<rect width="760" height="{bottom + 64}" fill="#fff"/>',
        _legend(),
        _axis(SHARES, [(f"{100 * part * most:g} %", part) for part in (0, 0.5, 1)], bottom),
        _axis(
            DIFFERENCES,
            [(f"{-100 * reach:+g}", 0), ("0", 0.5), (f"{100 * reach:+g}", 1)],
            bottom,
        ),
    ]
    for row, one in enumerate(lines):
        y = TOP + ROW * row + 22
        better = one.share.verdict
        parts += [
            f'<text x="10" y="{y + 5}" fill="{TEXT}">{one.outcome}</text>',
            _bar(_scaled(one.share.personalised, 0, most), SHARES, y - 9, PERSONALISED, "circle"),
            _bar(_scaled(one.share.holdout, 0, most), SHARES, y + 9, HOLDOUT, "rect"),
            _bar(_scaled(one.share.difference, -reach, reach), DIFFERENCES, y, TEXT, "circle"),
            f'<text x="{DIFFERENCES[1]}" y="{y + 24}" text-anchor="end" font-size="12" '
            f'fill="{TEXT}">{100 * one.share.difference.value:+.1f} points: {better}</text>',
        ]
    parts.append(f'<text x="10" y="{bottom + 52}" font-size="12" fill="{TEXT}">{note}</text></svg>')
    return "\n".join(parts) + "\n"


def _round_up(value: float) -> float:
    """The end of a scale: 1, 2, 5 or 10 times a power of ten, at least 1 %."""
    power = 10.0 ** math.floor(math.log10(max(value, 0.01)) + 1e-9)
    return next(step * power for step in (1, 2, 5, 10) if value <= step * power * (1 + 1e-9))


def _legend() -> str:
    return (
        f'<circle cx="16" cy="20" r="5" fill="{PERSONALISED}"/>'
        f'<text x="28" y="25" fill="{TEXT}">personalised</text>'
        f'<rect x="11" y="33" width="10" height="10" fill="{HOLDOUT}"/>'
        f'<text x="28" y="43" fill="{TEXT}">hold-out</text>'
        f'<text x="{SHARES[0]}" y="25" font-weight="600" fill="{TEXT}">share of shoppers who</text>'
        f'<text x="{DIFFERENCES[0]}" y="25" font-weight="600" fill="{TEXT}">difference, in points</text>'
        f'<text x="{DIFFERENCES[0]}" y="43" font-size="12" fill="{TEXT}">right of 0: for personalisation</text>'
    )


def _axis(scale: tuple[int, int], ticks: Sequence[tuple[str, float]], bottom: int) -> str:
    drawn = []
    for text, part in ticks:
        x = scale[0] + part * (scale[1] - scale[0])
        drawn.append(
            f'<path d="M{x:.1f} {TOP - 8}V{bottom}" stroke="{LINE}" fill="none"/>'
            f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" font-size="12" '
            f'fill="{TEXT}">{text}</text>'
        )
    return "".join(drawn)


def _scaled(one: Interval, low: float, high: float) -> Interval:
    return Interval(*((value - low) / (high - low) for value in one))


def _bar(one: Interval, scale: tuple[int, int], y: int, colour: str, mark: str) -> str:
    value, low, high = (scale[0] + part * (scale[1] - scale[0]) for part in one)
    point = f'<circle cx="{value:.1f}" cy="{y}" r="5" fill="{colour}"/>'
    if mark == "rect":
        point = f'<rect x="{value - 5:.1f}" y="{y - 5}" width="10" height="10" fill="{colour}"/>'
    return f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="{colour}" stroke-width="2"/>{point}'
