"""A moving average of the parameters: what is validated, and what is kept.

Adam at a high learning rate walks around a good place rather than standing in it; the mean of where
it has been is the better model (Polyak and Juditsky 1992; Izmailov et al. 2018, arXiv:1803.05407).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower


class Average:
    """The mean of the first steps, then an exponential one.

    Parameters
    ----------
    modules : Mapping[str, nn.Module]
        ``tower`` and ``products0``, ``products1`` ...
    decay : float
        0 follows the parameters.
    """

    def __init__(self, modules: Mapping[str, nn.Module], decay: float) -> None:
        self.source = nn.ModuleDict(modules)

        def toward(mean: Sequence[Tensor], new: Sequence[Tensor], steps: Tensor | int) -> None:
            # A plain mean until there are enough steps: the start must not stand in it for long.
            torch._foreach_lerp_(list(mean), list(new), max(1 - decay, 1 / (int(steps) + 1)))

        self.model = AveragedModel(self.source, multi_avg_fn=toward)

    def step(self) -> None:
        """Take the parameters as they are now into the mean."""
        self.model.update_parameters(self.source)

    @property
    def modules(self) -> dict[str, nn.Module]:
        """The averaged models, by their names."""
        return dict(cast(nn.ModuleDict, self.model.module).items())

    @property
    def tower(self) -> UserTower:
        """The averaged user tower."""
        return cast(UserTower, self.modules["tower"])

    @property
    def products(self) -> list[ProductTowerModel]:
        """The averaged product towers, one for each shop."""
        return [m for m in self.modules.values() if isinstance(m, ProductTowerModel)]
