"""A weights file as it is served: numpy, the folded form, the product tower applied."""

from __future__ import annotations

import numpy as np

from sidecar.contract.weights import F32
from sidecar.tower.load import Tower
from sidecar.tower.served import served_tower
from trainer.data.cases import Histories
from trainer.evaluate.metrics import Scorer


def users_of(tower: Tower, q: F32, histories: Histories) -> F32:
    """User vectors of B histories; shape (B, D).

    Parameters
    ----------
    tower : Tower
    q : float32, shape (N, D)
        Product vectors in the space of these weights.
    histories : Histories
    """
    products = np.where(histories.valid[..., None], q[histories.products], np.float32(0))
    users, _ = served_tower(
        tower.folded, products, histories.events, histories.ages, histories.lengths
    )
    return users


def tower_scorer(tower: Tower, q: F32) -> Scorer:
    """Cosine of every product with the user vector."""

    def score(histories: Histories) -> F32:
        return np.asarray(users_of(tower, q, histories) @ q.T, np.float32)

    return score
