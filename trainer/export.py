"""From a training run to a weights file, through the gate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from sidecar.contract.errors import WeightsError
from sidecar.contract.schema import Metadata
from sidecar.contract.weights import Golden, ProductTower, Weights
from sidecar.tower.load import GOLDEN_TOLERANCE, Tower, check_tower
from sidecar.tower.prior import golden_histories
from trainer.errors import GateError
from trainer.evaluate.compare import Comparison
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower


def created_at() -> str:
    """Now, or ``SOURCE_DATE_EPOCH`` for a file that is the same each time."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    moment = datetime.fromtimestamp(int(fixed), tz=UTC) if fixed else datetime.now(tz=UTC)
    return moment.isoformat(timespec="seconds")


def to_weights(
    tower: UserTower,
    products: ProductTowerModel | None,
    product_ids: tuple[str, ...],
    metadata: Metadata,
    seed: int = 0,
) -> Weights:
    """Tensors, metadata, and golden vectors made by torch.

    Parameters
    ----------
    tower : UserTower
    products : ProductTowerModel, optional
    product_ids : tuple[str, ...]
        Of the catalogue that ``products`` was trained on.
    metadata : Metadata
    seed : int
    """
    tower = tower.to("cpu").eval()
    golden = golden_histories(metadata, seed)
    valid = np.arange(golden.products.shape[1]) < golden.lengths[:, None]
    with torch.no_grad():
        users = tower(
            torch.from_numpy(golden.products),
            torch.from_numpy(golden.events.astype(np.int64)),
            torch.from_numpy(golden.ages),
            torch.from_numpy(valid),
        ).numpy()
    made: Golden = replace(golden, users=users.astype(np.float32))
    return Weights(metadata, tower.tensors(), made, _product_tower(products, product_ids))


def _product_tower(model: ProductTowerModel | None, ids: tuple[str, ...]) -> ProductTower | None:
    if model is None or model.kind == "none":
        return None
    a = model.A.detach().cpu().numpy().astype(np.float32)
    if model.kind == "linear":
        return ProductTower(a)
    # Only products with an offset of their own are stored.
    delta = (model.delta.weight * model.known).detach().cpu().numpy().astype(np.float32)
    rows = np.flatnonzero(model.known.cpu().numpy().ravel() > 0)
    return ProductTower(a, np.ascontiguousarray(delta[rows]), tuple(ids[i] for i in rows))


def checked(weights: Weights, name: str) -> Tower:
    """The tower as it will be served.

    Raises
    ------
    GateError
        When numpy's result differs from torch's.
    """
    try:
        return check_tower(weights, name)
    except WeightsError as error:
        raise GateError(
            f"refused: numpy and torch differ by more than {GOLDEN_TOLERANCE:g} ({error})"
        ) from None


def gate(comparison: Comparison, force: bool = False) -> Mapping[str, Any]:
    """What the metadata says about the gate.

    Raises
    ------
    GateError
        When the tower does not beat the best vector baseline, unless forced.
    """
    best = comparison.best_vector_baseline
    gain = comparison.gain(best)
    verdict = {"passed": comparison.passes(), "against": best, **gain}
    if comparison.passes():
        return verdict
    if not force:
        raise GateError(
            f"refused: NDCG@10 is {gain['difference']:+.4f} against {best!r} (interval "
            f"{gain['low']:+.4f} to {gain['high']:+.4f}): expected an interval above zero; "
            "--force writes the file all the same"
        )
    return verdict | {"forced": True}
