"""Cases: a history, and the product that came next. Found and padded without any copy of events.

The rules are those of :mod:`sidecar.contract.history`: at most L interactions, all less than the
window older than the newest. A next product that comes after the window is no case (the vector
would have expired), nor is one that the history already holds (it would not be shown as new).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.history import HOUR, HistoryLimits
from trainer.data.dataset import I32, I64, Dataset


@dataclass(frozen=True)
class Cases:
    """Positions in the events of a dataset.

    Parameters
    ----------
    start : int64, shape (C,)
        First event of the history; it ends before ``target``.
    target : int64, shape (C,)
        The event whose product is to be found.
    """

    start: I64
    target: I64

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: NDArray[np.integer]) -> Cases:
        """Some of the cases."""
        return Cases(self.start[rows], self.target[rows])

    def sample(self, most: int, rng: np.random.Generator) -> Cases:
        """At most ``most`` of them, at random, in their order."""
        if len(self) <= most:
            return self
        return self.take(np.sort(rng.choice(len(self), most, replace=False)))


@dataclass(frozen=True)
class Histories:
    """B padded histories, oldest to newest, as the tower takes them.

    Parameters
    ----------
    products : int32, shape (B, L)
        Positions in the catalogue; 0 where padded.
    events : int32, shape (B, L)
    ages : float32, shape (B, L)
        Hours before the newest interaction.
    lengths : int32, shape (B,)
    """

    products: I32
    events: I32
    ages: NDArray[np.float32]
    lengths: I32

    @property
    def valid(self) -> NDArray[np.bool_]:
        """Shape (B, L): what is not padding."""
        return np.arange(self.products.shape[1]) < self.lengths[:, None]


def find_cases(dataset: Dataset, limits: HistoryLimits) -> Cases:
    """Every case of the data, in the order of the events."""
    customer, at, product = dataset.customer, dataset.at, dataset.product
    place = np.arange(len(at), dtype=np.int64)
    if not len(at):
        return Cases(place, place)
    first = np.searchsorted(customer, customer).astype(np.int64)  # customers are in order
    # The newest interaction of the history of event k is k - 1.
    span = int(at.max() - at.min()) + limits.window + 1
    key = customer.astype(np.int64) * span + (at - at.min())
    newest = np.maximum(place - 1, 0)
    in_window = np.searchsorted(key, key[newest] - limits.window, side="right")
    start = np.maximum(np.maximum(in_window, first), place - limits.max_interactions)
    usable = (place > first) & (at - at[newest] < limits.window)
    target, start = place[usable], start[usable]
    seen = np.zeros(len(target), bool)
    for back in range(1, limits.max_interactions + 1):
        inside = target - back >= start
        seen |= inside & (product[np.maximum(target - back, 0)] == product[target])
    return Cases(start[~seen], target[~seen])


def pad(dataset: Dataset, cases: Cases, max_interactions: int) -> Histories:
    """The histories of some cases as arrays; shape (B, L)."""
    lengths = (cases.target - cases.start).astype(np.int32)
    columns = np.arange(max_interactions)
    valid = columns < lengths[:, None]
    place = np.where(valid, cases.start[:, None] + columns, cases.target[:, None] - 1)
    newest = dataset.at[cases.target - 1][:, None]
    ages = np.where(valid, (newest - dataset.at[place]) / HOUR, 0.0)
    return Histories(
        products=np.where(valid, dataset.product[place], 0).astype(np.int32),
        events=np.where(valid, dataset.event[place], 0).astype(np.int32),
        ages=ages.astype(np.float32),
        lengths=lengths,
    )
