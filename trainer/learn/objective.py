"""The loss of a batch: which products are compared, and how."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainer.learn.batches import TrainingBatch
from trainer.learn.settings import Settings
from trainer.learn.shop import Shop
from trainer.model.losses import Sampler, label_loss, sampled_loss, softmax_loss
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower

#: Pairs of products with a common label in each step.
LABEL_PAIRS = 128


class Objective(nn.Module):
    """Loss of one shop's batches; holds the shop's temperature.

    Parameters
    ----------
    shop : Shop
    settings : Settings
    """

    column: Tensor
    known: Tensor

    def __init__(self, shop: Shop, settings: Settings) -> None:
        super().__init__()
        self.settings = settings
        self.kind = settings.chosen_loss(len(shop.data.catalogue))
        self.log_temperature = nn.Parameter(torch.tensor(float(np.log(settings.temperature))))
        sizes = settings.mixed if self.kind == "mixed" else (0, 0, 0)
        self.sampler = Sampler(shop.popularity, shop.data.catalogue.categories, *sizes)
        self.n = len(shop.data.catalogue)
        self.labels = _label_members(shop)
        # Only products that the train part knows are compared: one that is never anybody's next
        # product would only learn to stay away.
        known = shop.popularity > 0
        self.register_buffer("column", torch.from_numpy(np.cumsum(known) - 1), persistent=False)
        self.register_buffer("known", torch.from_numpy(np.flatnonzero(known)), persistent=False)

    def forward(
        self,
        tower: UserTower,
        products: ProductTowerModel,
        batch: TrainingBatch,
        rng: np.random.Generator,
    ) -> Tensor:
        """Mean loss of the batch, shape ()."""
        temperature = self.log_temperature.exp()
        device = self.log_temperature.device
        history = batch.products.to(device)
        rest = (
            batch.events.to(device),
            batch.ages.to(device),
            batch.valid.to(device),
            batch.relabelled.to(device),
        )
        seen = torch.where(batch.seen.to(device), history, -1)
        if self.kind == "full":
            q = products()
            users = tower(nn.functional.embedding(history, q), *rest)
            target = self.column[torch.from_numpy(batch.targets).to(device)]
            among = q if len(self.known) == len(q) else q[self.known]
            # Every product of a train history is known.
            place = torch.where(seen < 0, -1, self.column[seen.clamp(min=0)])
            loss = softmax_loss(
                users, among, temperature, target, place, smoothing=self.settings.smoothing
            )
        elif self.kind == "sampled":
            users = tower(products(history.flatten()).view(*history.shape, -1), *rest)
            drawn = rng.integers(0, self.n, (len(history), self.settings.negatives))
            rows = torch.from_numpy(np.concatenate([batch.targets[:, None], drawn], 1)).to(device)
            q = products(rows.flatten()).view(*rows.shape, -1)
            loss = sampled_loss(users, q[:, 0], q[:, 1:], temperature)
        else:
            loss = self._among_candidates(tower, products, batch, rest, rng)
        if products.kind != "none" and self.labels and self.settings.label_weight:
            loss = loss + self.settings.label_weight * self._label_term(products, rng)
        return loss

    def _among_candidates(
        self,
        tower: UserTower,
        products: ProductTowerModel,
        batch: TrainingBatch,
        rest: tuple[Tensor, Tensor, Tensor, Tensor],
        rng: np.random.Generator,
    ) -> Tensor:
        """In-batch and mixed negatives: only the rows that the batch needs are computed."""
        device = self.log_temperature.device
        candidates = self.sampler.draw(batch.targets, rng)
        history = batch.products.numpy()
        rows = np.unique(np.concatenate([candidates.products, history.ravel()]))
        q = products(torch.from_numpy(rows).to(device))  # (R, D)
        place = torch.from_numpy(np.searchsorted(rows, history)).to(device)
        users = tower(nn.functional.embedding(place, q), *rest)
        among = np.searchsorted(candidates.products, history)
        among = np.minimum(among, len(candidates.products) - 1)
        hit = (candidates.products[among] == history) & batch.seen.numpy()
        chosen = torch.from_numpy(np.searchsorted(rows, candidates.products)).to(device)
        return softmax_loss(
            users,
            q[chosen],
            self.log_temperature.exp(),
            torch.from_numpy(np.searchsorted(candidates.products, batch.targets)).to(device),
            torch.from_numpy(np.where(hit, among, -1)).to(device),
            torch.from_numpy(candidates.log_expected).to(device),
            self.settings.smoothing,
        )

    def _label_term(self, products: ProductTowerModel, rng: np.random.Generator) -> Tensor:
        names = list(self.labels)
        chosen = rng.integers(0, len(names), LABEL_PAIRS)
        pairs = np.array([rng.choice(self.labels[names[i]], 2, replace=False) for i in chosen])
        holds = np.stack([np.isin(pairs, self.labels[names[i]]) for i in np.unique(chosen)])
        same = np.einsum("kp,kq->pq", holds[..., 0], holds[..., 1]).astype(bool)
        rows = torch.from_numpy(pairs.T.ravel()).to(self.log_temperature.device)
        return label_loss(products(rows), torch.from_numpy(same).to(rows.device))


def _label_members(shop: Shop) -> dict[str, NDArray[np.int64]]:
    """Label to the products that have it, for labels of at least two products."""
    found: dict[str, list[int]] = {}
    for place, labels in enumerate(shop.data.catalogue.labels):
        for label in labels:
            found.setdefault(label, []).append(place)
    return {k: np.array(v, np.int64) for k, v in sorted(found.items()) if len(v) > 1}
