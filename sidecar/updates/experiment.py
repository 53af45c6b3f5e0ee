"""What a hold-out experiment says: clicks, carts and purchases of both groups. Pure.

A shopper's group is a hash of the id (:func:`sidecar.search.holdout.is_held_out`), so that it can
be worked out from the events alone, afterwards, by anybody who knows percentage and salt.

Intervals: Wilson's for one share, Newcombe's (1998, method 10) for a difference of two; for how
often a shopper does something the normal one of a mean, and Welch's for a difference of two.
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
    times : dict[str, Counter[str]]
        Outcome to shopper to how often; only those who did it are in there.
    """

    shoppers: set[str] = field(default_factory=set)
    times: dict[str, Counter[str]] = field(
        default_factory=lambda: {name: Counter() for name in OUTCOMES}
    )


class Compared(NamedTuple):
    """One figure of both groups.

    Parameters
    ----------
    personalised, holdout : Interval
    difference : Interval
        Personalised less hold-out.
    """

    personalised: Interval
    holdout: Interval
    difference: Interval

    @property
    def verdict(self) -> str:
        """In words, as far as the interval goes."""
        if self.difference.low > 0:
            return "more"
        return "fewer" if self.difference.high < 0 else "no difference that shows"


class Line(NamedTuple):
    """One outcome, compared.

    Parameters
    ----------
    outcome : str
    events : tuple[int, int]
        How often it happened: personalised, hold-out.
    share : Compared
        Share of the group's shoppers who did it at least once.
    times : Compared
        How often a shopper of the group did it.
    """

    outcome: str
    events: tuple[int, int]
    share: Compared
    times: Compared


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
        group.times[outcome][one.customer_id] += 1
    return groups


def compare(personalised: Group, holdout: Group) -> list[Line]:
    """Each outcome of both groups; empty if one of them has nobody."""
    n, m = len(personalised.shoppers), len(holdout.shoppers)
    if not n or not m:
        return []
    return [
        Line(
            outcome,
            (personalised.times[outcome].total(), holdout.times[outcome].total()),
            _shares(len(personalised.times[outcome]), n, len(holdout.times[outcome]), m),
            _means(personalised.times[outcome], n, holdout.times[outcome], m),
        )
        for outcome in OUTCOMES
    ]


def _shares(successes: int, of: int, others: int, of_others: int) -> Compared:
    one, other = wilson(successes, of), wilson(others, of_others)
    return Compared(one, other, newcombe(successes, of, others, of_others))


def _means(times: Counter[str], of: int, others: Counter[str], of_others: int) -> Compared:
    one, square = mean(times.values(), of)
    other, other_square = mean(others.values(), of_others)
    value = one.value - other.value
    spread = Z * math.sqrt(square + other_square)
    return Compared(one, other, Interval(value, value - spread, value + spread))


def mean(counts: Iterable[int], of: int) -> tuple[Interval, float]:
    """How often one of so many did something, and the square of its standard error.

    Parameters
    ----------
    counts : Iterable[int]
        Of those who did it; all others did it no time.
    of : int
        How many there are.
    """
    found = list(counts)
    value = sum(found) / of
    # One shopper has no spread to be seen: that of rare events then.
    variance = value
    if of > 1:
        variance = (sum(one * one for one in found) - of * value * value) / (of - 1)
    square = max(0.0, variance) / of
    spread = Z * math.sqrt(square)
    return Interval(value, max(0.0, value - spread), value + spread), square


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
    rows = [_row("shoppers who", "personalised", "hold-out", "difference (points)")]
    rows += [
        _row(one.outcome, _percent(one.share.personalised), _percent(one.share.holdout),
             _points(one.share.difference), one.share.verdict)
        for one in lines
    ]  # fmt: skip
    rows += ["", _row("times a shopper", "personalised", "hold-out", "difference")]
    rows += [
        _row(one.outcome, _times(one.times.personalised), _times(one.times.holdout),
             _times(one.times.difference, "+"), one.times.verdict)
        for one in lines
    ]  # fmt: skip
    rows.append("")
    rows += [f"{one.outcome}: {one.events[0]} and {one.events[1]} times in all" for one in lines]
    return rows


def _row(name: str, one: str, other: str, difference: str, verdict: str = "") -> str:
    return f"{name:<18} {one:>22} {other:>22}  {difference:>24}  {verdict}".rstrip()


def _percent(one: Interval) -> str:
    return f"{one.value:.1%} ({one.low:.1%}-{one.high:.1%})"


def _points(one: Interval) -> str:
    return f"{100 * one.value:+.1f} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _times(one: Interval, sign: str = "") -> str:
    between = " to " if sign else "-"
    return f"{one.value:{sign}.3f} ({one.low:{sign}.3f}{between}{one.high:{sign}.3f})"
