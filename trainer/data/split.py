"""The time split: train on the past, choose on what came next, report on what came last."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sidecar.contract.history import DEFAULT_LIMITS, HOUR, HistoryLimits
from trainer.data.cases import Cases, find_cases
from trainer.data.dataset import Dataset
from trainer.errors import DataError

#: Shares of the events that end the train part and the validation part.
SPLIT = (0.8, 0.9)
#: Fewer cases than this in a part: the split is made by cases, not by events.
FEW = 200
#: Fewer of the events than this share within the window: it is too short for this shop.
RARE = 0.25


@dataclass(frozen=True)
class Split:
    """Cases of the three parts, and the two moments between them.

    Parameters
    ----------
    train, validation, test : Cases
    cuts : tuple[int, int]
        Microseconds since 1970 UTC: a case belongs to the part in which its target happened.
    warnings : tuple[str, ...]
    """

    train: Cases
    validation: Cases
    test: Cases
    cuts: tuple[int, int]
    warnings: tuple[str, ...] = ()


def split_by_time(
    dataset: Dataset,
    limits: HistoryLimits = DEFAULT_LIMITS,
    max_cases: int = 20_000,
    seed: int = 0,
) -> Split:
    """80 % of the events by time to train on, 10 % to choose by, 10 % to report.

    Parameters
    ----------
    dataset : Dataset
    limits : HistoryLimits
    max_cases : int
        A validation or test part with more cases is sampled down to this, by ``seed``.
    seed : int

    Raises
    ------
    DataError
        When a part would be empty.
    """
    cases = find_cases(dataset, limits)
    if len(cases) < 10:
        raise DataError(
            dataset.name,
            f"{len(cases)} examples: expected shoppers with two products within "
            f"{limits.window_hours:g} hours ({_longer(dataset, limits)})",
        )
    moments = dataset.at[cases.target]
    notes = []
    if _share_in_window(dataset, limits) < RARE:
        notes.append(
            f"only {_share_in_window(dataset, limits):.0%} of the events come within "
            f"{limits.window_hours:g} hours of the shopper's one before ({_longer(dataset, limits)})"
        )
    cuts = _cuts(dataset.at)
    sizes = _sizes(moments, cuts)
    if min(sizes) < min(FEW, len(cases) // 20):
        notes.append(
            f"the last tenths of the time hold few examples ({sizes[1]} and {sizes[2]}): the split "
            "is made by examples, not by events"
        )
        cuts = _cuts(moments)
        sizes = _sizes(moments, cuts)
    if not all(sizes):
        parts = ", ".join(f"{n} {p}" for n, p in zip(sizes, ("train", "validation", "test"), strict=True))
        raise DataError(
            dataset.name,
            f"the time split leaves a part empty ({parts} examples): expected events of "
            "different times",
        )
    if min(sizes[1:]) < FEW:
        notes.append(f"only {min(sizes[1:])} examples to choose or report by: expect wide intervals")
    part = np.searchsorted(np.array(cuts), moments, side="right")
    rng = np.random.default_rng(seed)
    chosen = [cases.take(np.flatnonzero(part == i)) for i in range(3)]
    return Split(
        chosen[0], chosen[1].sample(max_cases, rng), chosen[2].sample(max_cases, rng), cuts, tuple(notes)
    )


def _gaps(dataset: Dataset) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Microseconds between an event and the same shopper's one before, where products differ."""
    same = dataset.customer[1:] == dataset.customer[:-1]
    other = dataset.product[1:] != dataset.product[:-1]
    found: np.ndarray[tuple[int], np.dtype[np.int64]] = np.diff(dataset.at)[same & other]
    return found


def _share_in_window(dataset: Dataset, limits: HistoryLimits) -> float:
    gaps = _gaps(dataset)
    return float((gaps < limits.window).mean()) if len(gaps) else 0.0


def _longer(dataset: Dataset, limits: HistoryLimits) -> str:
    """Which window would help, if any would."""
    gaps = _gaps(dataset)
    if not len(gaps):
        return "no shopper here has events for two different products"
    if (gaps < limits.window).mean() >= RARE:
        return f"only {len(gaps):,} events follow another product of the same shopper"
    days = max(1, math.ceil(np.quantile(gaps, 0.9) / (24 * HOUR)))
    hours = min(24 * days, 10 * 365 * 24)
    return (
        f"half of them are {np.median(gaps) / (24 * HOUR):.1f} days apart or more: train with "
        f"--window-hours {hours:g}"
    )


def _cuts(moments: np.ndarray[tuple[int], np.dtype[np.int64]]) -> tuple[int, int]:
    first, second = np.quantile(moments, SPLIT, method="higher")
    return int(first), int(second)


def _sizes(
    moments: np.ndarray[tuple[int], np.dtype[np.int64]], cuts: tuple[int, int]
) -> tuple[int, int, int]:
    part = np.searchsorted(np.array(cuts), moments, side="right")
    a, b, c = np.bincount(part, minlength=3)
    return int(a), int(b), int(c)
