"""Optimizers: own learning rates, a warm cosine, and the pull towards the start."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

from trainer.learn.settings import Settings
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower

#: Single numbers (event weights, decays, head weights, temperature) may move faster.
SCALAR_FACTOR = 5.0
_SCALARS = ("log_g", "raw_lambda_age", "raw_lambda_rank", "s", "log_temperature")
#: Share of the steps in which the learning rate rises.
WARM_UP = 0.02
CLIP = 1.0


class Optimizers:
    """Adam for what every step touches, sparse Adam for the offsets of a large catalogue.

    Parameters
    ----------
    tower : UserTower
    products, objectives : Sequence
        One of each for every shop.
    settings : Settings
    steps : int
        Of the whole run.
    """

    def __init__(
        self,
        tower: UserTower,
        products: Sequence[ProductTowerModel],
        objectives: Sequence[nn.Module],
        settings: Settings,
        steps: int,
    ) -> None:
        self.settings, self.steps = settings, max(steps, 1)
        dense: list[dict[str, object]] = []
        sparse: list[dict[str, object]] = []
        self.pulled: list[tuple[nn.Parameter, torch.Tensor | None, float, float]] = []
        for module in (tower, *products, *objectives):
            for name, parameter in module.named_parameters():
                rate, decay = self._rate(name)
                if rate == 0:
                    parameter.requires_grad_(False)
                    continue
                lazy = isinstance(module, ProductTowerModel) and module.is_sparse(name)
                (sparse if lazy else dense).append(
                    {"params": [parameter], "lr": rate, "base": rate}
                )
                if decay:
                    start = parameter.detach().clone() if name == "delta.weight" else None
                    self.pulled.append((parameter, start, rate, decay))
        self.parameters = [p for g in (*dense, *sparse) for p in g["params"]]  # type: ignore[attr-defined]
        self.all: list[torch.optim.Optimizer] = [torch.optim.Adam(dense, betas=(0.9, 0.98))]
        if sparse:
            self.all.append(torch.optim.SparseAdam(sparse, betas=(0.9, 0.98)))
        self.dense_parameters = [p for g in dense for p in g["params"]]  # type: ignore[attr-defined]

    def _rate(self, name: str) -> tuple[float, float]:
        s = self.settings
        if name == "A":
            return s.product_learning_rate, s.decay
        if name == "delta.weight":
            return s.offset_learning_rate, s.offset_decay
        if name in ("W_out", "b_out"):
            return (s.learning_rate, s.decay) if s.shift else (0.0, 0.0)
        return s.learning_rate * (SCALAR_FACTOR if name in _SCALARS else 1.0), 0.0

    def zero(self) -> None:
        """Forget the gradients."""
        for one in self.all:
            one.zero_grad(set_to_none=True)

    def step(self, number: int) -> None:
        """One update with the gradients that are there; ``number`` counts from 0."""
        done = number / self.steps
        factor = min(1.0, (number + 1) / max(1.0, WARM_UP * self.steps))
        factor *= 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
        for one in self.all:
            for group in one.param_groups:
                group["lr"] = group["base"] * factor
        nn.utils.clip_grad_norm_(self.dense_parameters, CLIP)
        for one in self.all:
            one.step()
        with torch.no_grad():
            for parameter, start, rate, decay in self.pulled:
                lost = rate * factor * decay
                if start is None:
                    parameter.mul_(1 - lost)
                else:
                    parameter.lerp_(start, lost)
