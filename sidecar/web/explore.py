"""A share of slots for products outside of a shopper's taste, or it would only ever narrow. Pure."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def explored_before(rank: int, share: float) -> int:
    """How many of the first ``rank`` slots are for exploring: evenly spread, never the first."""
    return math.floor(rank * share)


def interleave(
    taste: Sequence[T], others: Sequence[T], share: float, start: int, size: int
) -> list[T]:
    """The slots from ``start`` on, each from the list that it belongs to.

    Parameters
    ----------
    taste, others : Sequence
        In their order, without a common element; where one ends the other goes on.
    share : float
        0 to 1: how many of the slots show ``others``.
    start, size : int

    Returns
    -------
    list
        A slot's content depends on its rank alone, so pages fit together.
    """
    found: list[T] = []
    own = other = 0
    for rank in range(start + size):
        wants_other = explored_before(rank + 1, share) > explored_before(rank, share)
        if (wants_other or own >= len(taste)) and other < len(others):
            found.append(others[other])
            other += 1
        elif own < len(taste):
            found.append(taste[own])
            own += 1
    return found[start:]


def seed(name: str, day: int) -> int:
    """What the day's exploration of a shopper or a product is drawn by: the same on every page
    and replica."""
    digest = hashlib.sha256(f"explore\0{day}\0{name}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1
