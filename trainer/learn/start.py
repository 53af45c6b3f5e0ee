"""Epoch 0: the best of a few models that are not trained, chosen on the validation part.

Training can only lose what the start does not have: on data that is soon learned by heart, the
start is most of the result. How much company (what histories hold together) should count beside
text, and how fast a history should fade, differs from shop to shop; both are looked up rather than
assumed. The plain start, without offsets, is one of the candidates; without offsets at all it is a
weighted recency mean, whichever decay is chosen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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

    def described(self) -> dict[str, float]:
        """For metadata and the report: length of the offsets, and what a step back counts."""
        scale = 0.0 if self.offsets is None else float(self.offsets.norm(dim=1).max())
        return {"offset_scale": round(scale, 3), "step_back": round(math.exp(-self.rank_decay), 3)}


def best_start(shops: Sequence[Shop], settings: Settings, value: Callable[[Start], float]) -> Start:
    """The candidate with the highest value.

    Parameters
    ----------
    shops : Sequence[Shop]
        Several have no offsets, and share the decay.
    settings : Settings
    value : Callable
        NDCG@10 on the validation part.
    """
    candidates = [Start()]
    scales = SCALES if settings.offset_scale is None else (settings.offset_scale,)
    if settings.product_tower != "linear+id" or not any(scales):
        candidates += [Start(None, decay) for decay in DECAYS[1:]]
    else:
        (shop,) = shops
        length = settings.limits.max_interactions
        unit = torch.from_numpy(
            offsets(shop.data, shop.split.train, length, shop.vectors, settings.seed)
        )
        candidates += [Start(unit * scale, decay) for scale in scales for decay in DECAYS]
    best, most = candidates[0], value(candidates[0])
    for start in candidates[1:]:
        found = value(start)
        if found > most:
            best, most = start, found
    return best


def begin_with(start: Start, tower: UserTower, products: Sequence[ProductTowerModel]) -> None:
    """Put a start into the models, in place."""
    with torch.no_grad():
        tower.raw_lambda_rank.copy_(inverse_softplus(torch.tensor(start.rank_decay)))
    for model in products:
        model.set_offsets(start.offsets)
