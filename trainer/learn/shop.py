"""A shop that is ready to be trained on: its data, its vectors, its split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.history import HistoryLimits
from sidecar.contract.weights import F32
from trainer.data.cases import Cases, find_cases
from trainer.data.dataset import Dataset
from trainer.data.split import Split


@dataclass(frozen=True)
class Shop:
    """One data set.

    Parameters
    ----------
    data : Dataset
    vectors : float32, shape (N, D)
        Unit text vectors of the catalogue.
    split : Split
    """

    data: Dataset
    vectors: F32
    split: Split

    @property
    def popularity(self) -> NDArray[np.float64]:
        """How often each product was bought, clicked ... in the train part; shape (N,)."""
        product = self.data.product[self.data.at < self.split.cuts[0]]
        return np.bincount(product, minlength=len(self.data.catalogue)).astype(np.float64)

    def examples(self, limits: HistoryLimits, rng: np.random.Generator) -> tuple[Dataset, Cases]:
        """What one epoch learns from: the train part.

        Where the order inside a moment means nothing it is drawn anew, so that a tower sees many
        orders of one basket instead of learning one by heart.
        """
        data = self.data
        if not data.shuffled:
            return data, self.split.train
        train = np.flatnonzero(data.at < self.split.cuts[0])
        place = rng.random(len(train))
        order = train[np.lexsort((place, data.at[train], data.customer[train]))]
        drawn = replace(
            data, customer=data.customer[order], product=data.product[order],
            event=data.event[order], at=data.at[order],
        )  # fmt: skip
        return drawn, find_cases(drawn, limits)
