"""Epoch 0: the best of a few models that are not trained, chosen on the validation part.

Training can only lose what the start does not have: on data that is soon learned by heart, the
start is most of the result. How much company (what histories hold together) should count beside
text, and how fast a history should fade, differs from shop to shop; both are looked up rather than
assumed. The plain start, without offsets, is one of the candidates.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sidecar.tower.prior import RANK_DECAY
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.model.factors import offsets
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower, inverse_softplus

#: Lengths of the offsets, beside text vectors of length 1. Longer ones rank better untrained, and
#: worse when they were trained.
SCALES = (0.7, 1.5)
#: Logarithms of what a step back counts in the pooling: 0.8, 0.6, 0.37, 0.14.
DECAYS = (RANK_DECAY, 0.5, 1.0, 2.0)


class Start(NamedTuple):
    """A model before training.

    Parameters
    ----------
    offsets : float, shape (N, D), optional
        ``None``: all zero.
    rank_decay : float
    """

    offsets: Tensor | None = None
    rank_decay: float = RANK_DECAY


def best_start(shop: Shop, settings: Settings, value: Callable[[Start], float]) -> Start:
    """The candidate with the highest value.

    Parameters
    ----------
    shop : Shop
    settings : Settings
    value : Callable
        NDCG@10 on the validation part.
    """
    best = Start()
    # Without offsets, training starts exactly at the weighted recency mean, which is a baseline.
    if settings.product_tower != "linear+id":
        return best
    most = value(best)
    scales = SCALES if settings.offset_scale is None else (settings.offset_scale,)
    if not any(scales):
        return best
    length, vectors = settings.limits.max_interactions, shop.vectors
    unit = torch.from_numpy(offsets(shop.data, shop.split.train, length, vectors, settings.seed))
    for scale in scales:
        for decay in DECAYS:
            start = Start(unit * scale, decay)
            found = value(start)
            if found > most:
                best, most = start, found
    return best


def begin_with(start: Start, tower: UserTower, products: ProductTowerModel) -> None:
    """Put a start into the models, in place."""
    with torch.no_grad():
        tower.raw_lambda_rank.copy_(inverse_softplus(torch.tensor(start.rank_decay)))
    products.set_offsets(start.offsets)
