"""Batches of a shop as tensors, with the two kinds of noise that training adds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainer.data.cases import Cases, pad
from trainer.data.dataset import Dataset


@dataclass(frozen=True)
class TrainingBatch:
    """B examples.

    Parameters
    ----------
    products, events : int64, shape (B, L)
        Catalogue positions and event types, oldest to newest.
    ages : float32, shape (B, L)
    valid : bool, shape (B, L)
        What the tower sees.
    seen : bool, shape (B, L)
        What the history holds, with what dropout hides from the tower.
    targets : int64, shape (B,)
    relabelled : bool, shape (B,)
        Whose event types were drawn at random.
    """

    products: Tensor
    events: Tensor
    ages: Tensor
    valid: Tensor
    seen: Tensor
    targets: NDArray[np.int64]
    relabelled: Tensor


def epoch(
    dataset: Dataset,
    cases: Cases,
    *,
    most: int,
    batch_size: int,
    max_interactions: int,
    history_dropout: float,
    relabel: float,
    rng: np.random.Generator,
    share: tuple[int, int] = (0, 1),
) -> Iterator[TrainingBatch]:
    """One pass over a random part of the examples.

    Parameters
    ----------
    dataset : Dataset
    cases : Cases
    most : int
        Examples of this epoch.
    batch_size, max_interactions : int
    history_dropout, relabel : float
        See :class:`~trainer.learn.settings.Settings`.
    rng : numpy.random.Generator
    share : tuple[int, int]
        Process number and number of processes: each takes its own part of every batch.
    """
    order = rng.permutation(len(cases))[:most]
    types = len(dataset.vocabulary.weights)
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size][share[0] :: share[1]]
        if not len(rows):
            return
        part = cases.take(rows)
        histories = pad(dataset, part, max_interactions)
        seen = histories.valid
        hidden = rng.random(seen.shape) < history_dropout
        hidden[np.arange(len(rows)), histories.lengths - 1] = False
        events = histories.events.astype(np.int64)
        other = rng.integers(0, types, events.shape)
        relabelled = rng.random(len(rows)) < relabel
        events = np.where(relabelled[:, None], other, events)
        yield TrainingBatch(
            products=torch.from_numpy(histories.products.astype(np.int64)),
            events=torch.from_numpy(events),
            ages=torch.from_numpy(histories.ages),
            valid=torch.from_numpy(seen & ~hidden),
            seen=torch.from_numpy(seen),
            targets=dataset.product[part.target].astype(np.int64),
            relabelled=torch.from_numpy(relabelled),
        )
