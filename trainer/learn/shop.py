"""A shop that is ready to be trained on: its data, its vectors, its split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.weights import F32
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
