"""A shop's history as arrays: what training and evaluation work on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.events import EventVocabulary

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """The products of a shop.

    Parameters
    ----------
    ids : Sequence[str]
        N distinct product ids.
    texts : Sequence[str]
        What is embedded, one for each product.
    categories : int32, shape (N,)
        A number for each category text; products without one share a number.
    labels : Sequence[tuple[str, ...]]
        The shop's own tags of each product.
    price_tiers : Mapping[str, tuple[float, float, float]]
        The limits that the texts were made with.
    """

    ids: Sequence[str]
    texts: Sequence[str]
    categories: I32
    labels: Sequence[tuple[str, ...]] = ()
    price_tiers: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class Dataset:
    """Catalogue and events, the events ordered by (customer, time, tie).

    Parameters
    ----------
    name : str
    catalogue : Catalogue
    vocabulary : EventVocabulary
    customer, product, event : int32, shape (E,)
        Numbers of the customer, the product (position in the catalogue) and the event type.
    at : int64, shape (E,)
        Microseconds since 1970 UTC.
    dropped : Mapping[str, int]
        Rows that do not count, by the keys of :data:`trainer.data.clean.PROBLEMS`.
    warnings : Sequence[str]
        What a person should know before training on this.
    shuffled : bool
        Whether events of one customer and one moment stand in a random order.
    """

    name: str
    catalogue: Catalogue
    vocabulary: EventVocabulary
    customer: I32
    product: I32
    event: I32
    at: I64
    dropped: Mapping[str, int] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    shuffled: bool = False

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change when an event or a product's text does."""
        digest = hashlib.sha256("\0".join(self.catalogue.ids).encode())
        digest.update("\0".join(self.catalogue.texts).encode())
        for array in (self.customer, self.product, self.event, self.at):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()[:16]


def sort_events(
    columns: Mapping[str, NDArray[Any]], tie: NDArray[Any] | None = None
) -> tuple[dict[str, NDArray[Any]], int]:
    """Order by (customer, time, tie) and drop rows that say the same as an earlier one.

    Parameters
    ----------
    columns : Mapping[str, array of shape (E,)]
        customer, product, event, at.
    tie : array of shape (E,), optional
        What orders events of one customer and one moment; without it, their order here.

    Returns
    -------
    columns : dict[str, array]
    duplicates : int
        How many rows were dropped.
    """
    place = np.arange(len(columns["at"])) if tie is None else tie
    keys = (columns["event"], columns["product"], columns["at"], columns["customer"])
    order = np.lexsort((place, *keys))
    same = np.ones(len(order), bool)
    for key in keys:
        ordered = key[order]
        same[1:] &= ordered[1:] == ordered[:-1]
    same[:1] = False
    keep = order[~same]
    final = keep[np.lexsort((place[keep], columns["at"][keep], columns["customer"][keep]))]
    return {name: column[final] for name, column in columns.items()}, int(same.sum())
