"""Parts of the test cases that a mean would hide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trainer.data.cases import Cases
from trainer.data.dataset import Dataset
from trainer.data.split import Split

#: Shortest and longest history of each slice.
LENGTHS = ((1, 1), (2, 4), (5, 9), (10, 10**6))


def slices(dataset: Dataset, split: Split, cases: Cases) -> dict[str, NDArray[np.bool_]]:
    """Name to mask of cases; shape (C,) each. Empty slices are left out.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    cases : Cases
    """
    length = cases.target - cases.start
    newest, target = dataset.product[cases.target - 1], dataset.product[cases.target]
    category = dataset.catalogue.categories
    known = np.zeros(len(dataset.catalogue), bool)
    known[dataset.product[dataset.at < split.cuts[0]]] = True
    tied = dataset.at[cases.target] == dataset.at[cases.target - 1]
    found = {
        f"history of {a}" if a == b else f"history of {a} to {b}" if b < 10**6 else
        f"history of {a} or more": (length >= a) & (length <= b)
        for a, b in LENGTHS
    }  # fmt: skip
    if len(np.unique(category)) > 1:
        found["same category as the last"] = category[newest] == category[target]
        found["another category than the last"] = category[newest] != category[target]
    found["product seen in training"] = known[target]
    found["product new since training"] = ~known[target]
    found["at the same moment as the last"] = tied
    found["later than the last"] = ~tied
    for i, name in enumerate(dataset.vocabulary.names):
        found[f"next event {name}"] = dataset.event[cases.target] == i
    return {name: mask for name, mask in found.items() if mask.any()}
