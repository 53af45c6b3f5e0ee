"""Histories to the arrays that a tower takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HOUR, Interaction
from sidecar.contract.weights import F32


class Batch(NamedTuple):
    """Arrays of B histories, padded to L interactions."""

    products: F32  # (B, L, D)
    events: NDArray[np.intp]  # (B, L)
    ages: F32  # (B, L), hours before the newest interaction
    lengths: NDArray[np.intp]  # (B,)
    used: list[list[Interaction]]  # the interactions behind each row


def to_batch(
    histories: Sequence[Sequence[Interaction]],
    vectors: Mapping[str, F32],
    vocabulary: EventVocabulary,
    dimension: int,
    max_interactions: int,
) -> Batch:
    """Look up and pad.

    Parameters
    ----------
    histories : Sequence[Sequence[Interaction]]
        B histories, oldest to newest.
    vectors : Mapping[str, float32 array of shape (D,)]
        Unit product vectors. Interactions with other products are skipped: they count as soon as
        their product has a vector. So are events that these weights do not know.
    vocabulary : EventVocabulary
    dimension, max_interactions : int
        D and L.
    """
    types = {name: position for position, name in enumerate(vocabulary.weights)}
    used = [[i for i in h if i.product_id in vectors and i.event in types] for h in histories]
    shape = (len(histories), max_interactions)
    products = np.zeros((*shape, dimension), np.float32)
    events = np.zeros(shape, np.intp)
    ages = np.zeros(shape, np.float32)
    for row, (kept, history) in enumerate(zip(used, histories, strict=True)):
        if not kept:
            continue
        n = len(kept)
        # One call for a history: one for each interaction takes as long as the tower itself.
        flat = products[row, :n].reshape(-1)  # a view
        np.concatenate([vectors[i.product_id] for i in kept], out=flat)
        events[row, :n] = [types[i.event] for i in kept]
        # The softmax does not see a constant, so the newest with a vector or without is one.
        newest = history[-1].occurred_at
        ages[row, :n] = [(newest - i.occurred_at) / HOUR for i in kept]
    lengths = np.array([len(kept) for kept in used], np.intp)
    return Batch(products, events, ages, lengths, used)
