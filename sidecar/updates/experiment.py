"""What a hold-out experiment says: carts and purchases of the two groups, with intervals. Pure.

A shopper's group is a hash of the id (:func:`sidecar.search.holdout.is_held_out`), so that it can
be worked out from the events alone, afterwards, by anybody who knows percentage and salt.

Intervals: Wilson's for one share, Newcombe's (1998, method 10) for a difference of two.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from sidecar.contract.messages import CustomerEvent
from sidecar.search.holdout import is_held_out
from sidecar.search.settings import SearchSettings

#: Of a normal distribution, for intervals of 95 %.
Z = 1.959964
#: Groups whose sizes are less likely than this were not drawn as they should have been.
MISMATCH = 0.001
OUTCOMES: Mapping[str, tuple[str, ...]] = {
    "clicked": ("product_clicked",),
    "added to the cart": ("product_added_to_cart",),
    "bought": ("product_purchased",),
}


class Interval(NamedTuple):
    """An estimate and its interval of 95 %."""

    value: float
    low: float
    high: float


@dataclass
class Group:
    """What the shoppers of a group did.

    Parameters
    ----------
    shoppers : set[str]
        All of whom there is any event.
    did : dict[str, set[str]]
        Outcome to the shoppers who did that at least once.
    events : Counter[str]
        Outcome to how often.
    """

    shoppers: set[str] = field(default_factory=set)
    did: dict[str, set[str]] = field(default_factory=lambda: {name: set() for name in OUTCOMES})
    events: Counter[str] = field(default_factory=Counter)


class Line(NamedTuple):
    """One outcome, compared.

    Parameters
    ----------
    outcome : str
    personalised, holdout : Interval
        Share of the group's shoppers who did it.
    difference : Interval
        Of the two shares: personalised less hold-out.
    per_shopper : tuple[float, float]
        How often a shopper did it, in each group.
    """

    outcome: str
    personalised: Interval
    holdout: Interval
    difference: Interval
    per_shopper: tuple[float, float]

    @property
    def verdict(self) -> str:
        """In words, as far as the interval goes."""
        if self.difference.low > 0:
            return "more"
        return "fewer" if self.difference.high < 0 else "no difference that shows"


def tally(events: Iterable[CustomerEvent], settings: SearchSettings) -> tuple[Group, Group]:
    """Count events by group: personalised, hold-out.

    Parameters
    ----------
    events : Iterable[CustomerEvent]
        In any order; an event counts once, however often it comes.
    settings : SearchSettings
        With the hold-out's percentage and salt.
    """
    groups = Group(), Group()
    seen: set[int] = set()
    outcome_of = {name: outcome for outcome, names in OUTCOMES.items() for name in names}
    for one in events:
        group = groups[is_held_out(one.customer_id, settings)]
        group.shoppers.add(one.customer_id)
        outcome = outcome_of.get(one.interaction.event)
        key = hash((one.customer_id, one.interaction.event_id))
        if outcome is None or key in seen:
            continue
        seen.add(key)
        group.did[outcome].add(one.customer_id)
        group.events[outcome] += 1
    return groups


def compare(personalised: Group, holdout: Group) -> list[Line]:
    """Each outcome of both groups; empty if one of them has nobody."""
    n, m = len(personalised.shoppers), len(holdout.shoppers)
    if not n or not m:
        return []
    return [
        Line(
            outcome,
            wilson(len(personalised.did[outcome]), n),
            wilson(len(holdout.did[outcome]), m),
            newcombe(len(personalised.did[outcome]), n, len(holdout.did[outcome]), m),
            (personalised.events[outcome] / n, holdout.events[outcome] / m),
        )
        for outcome in OUTCOMES
    ]


def wilson(successes: int, of: int) -> Interval:
    """A share with Wilson's interval."""
    share, square = successes / of, Z * Z
    middle = share + square / (2 * of)
    spread = Z * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    scale = 1 + square / of
    return Interval(share, max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale))


def newcombe(successes: int, of: int, others: int, of_others: int) -> Interval:
    """The difference of two shares with Newcombe's interval."""
    a, b = wilson(successes, of), wilson(others, of_others)
    value = a.value - b.value
    low = math.hypot(a.value - a.low, b.high - b.value)
    high = math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, value - low, value + high)


def mismatch(personalised: int, holdout: int, percent: float) -> float:
    """How likely group sizes are that differ at least as much from what was set (two-sided)."""
    total, share = personalised + holdout, percent / 100
    spread = math.sqrt(total * share * (1 - share))
    if spread == 0:
        return 1.0
    return math.erfc(abs(holdout - total * share) / spread / math.sqrt(2))


def table(lines: Sequence[Line]) -> list[str]:
    """The comparison as text."""
    rows = [
        f"{'shoppers who':<18} {'personalised':>22} {'hold-out':>22}  {'difference (points)':>22}"
    ]
    rows += [
        f"{one.outcome:<18} {_percent(one.personalised):>22} {_percent(one.holdout):>22}"
        f"  {_points(one.difference):>22}  {one.verdict}"
        for one in lines
    ]
    rows.append("")
    rows += [
        f"{one.outcome}, times a shopper: {one.per_shopper[0]:.3f} and {one.per_shopper[1]:.3f}"
        for one in lines
    ]
    return rows


def _percent(one: Interval) -> str:
    return f"{one.value:.1%} ({one.low:.1%}-{one.high:.1%})"


def _points(one: Interval) -> str:
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def plot(lines: Sequence[Line]) -> str:
    """The differences with their intervals, as SVG."""
    reach = max([0.001, *(abs(v) for one in lines for v in one.difference)]) * 1.1

    def x(value: float) -> float:
        return 380 + 230 * value / reach

    height = 60 + 40 * len(lines)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" '
        'font-family="sans-serif" font-size="14" role="img" '
        'aria-label="Difference of the shares of shoppers, with intervals of 95 percent">',
        f'<rect width="640" height="{height}" fill="#fff"/>',
        f'<path d="M380 10V{height - 30}" stroke="#999" stroke-dasharray="4"/>',
    ]
    for row, one in enumerate(lines):
        y, gap = 30 + 40 * row, one.difference
        parts.append(f'<text x="10" y="{y + 5}">{one.outcome}</text>')
        parts.append(
            f'<path d="M{x(gap.low):.1f} {y}H{x(gap.high):.1f}" stroke="#0b5fa5" stroke-width="3"/>'
            f'<circle cx="{x(gap.value):.1f}" cy="{y}" r="6" fill="#0b5fa5"/>'
        )
    parts.append(
        f'<text x="380" y="{height - 8}" text-anchor="middle">'
        f"points in favour of personalisation (edges: ±{100 * reach:.1f})</text></svg>"
    )
    return "".join(parts) + "\n"
