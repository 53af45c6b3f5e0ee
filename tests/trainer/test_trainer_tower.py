"""The torch tower against the plain one of the sidecar, and its start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from sidecar.contract.schema import Architecture, Metadata
from sidecar.tower.load import check_tower
from sidecar.tower.plain import user_tower
from sidecar.tower.prior import golden_histories, prior_tower
from trainer.export import to_weights
from trainer.model.products import ProductTowerModel
from trainer.model.tower import UserTower

METADATA = Metadata(architecture=Architecture(width=24, heads=3, head_dimension=8))


def disturbed(seed: int = 0) -> UserTower:
    """A tower whose every parameter matters."""
    tower = UserTower(METADATA, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return tower


def run(tower: UserTower) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    g = golden_histories(METADATA, 1)
    valid = np.arange(g.products.shape[1]) < g.lengths[:, None]
    with torch.no_grad():
        ours = tower(
            torch.from_numpy(g.products),
            torch.from_numpy(g.events.astype(np.int64)),
            torch.from_numpy(g.ages),
            torch.from_numpy(valid),
        ).numpy()
    theirs = user_tower(
        tower.tensors(), METADATA.architecture, g.products, g.events, g.ages, g.lengths
    )
    return ours, theirs


def test_torch_and_numpy_are_the_same_function() -> None:
    ours, theirs = run(disturbed())
    assert np.abs(ours - theirs).max() < 1e-5


def test_the_start_is_exactly_the_weighted_recency_mean() -> None:
    ours, _ = run(UserTower(METADATA))
    g = golden_histories(METADATA, 1)
    prior = user_tower(
        prior_tower(METADATA), METADATA.architecture, g.products, g.events, g.ages, g.lengths
    )
    assert np.abs(ours - prior).max() < 1e-5


def test_dropped_interactions_are_as_if_they_had_not_been() -> None:
    tower = disturbed()
    g = golden_histories(METADATA, 2)
    row = int(np.argmax(g.lengths))
    p, e, a = (torch.from_numpy(x[row : row + 1]) for x in (g.products, g.events, g.ages))
    valid = torch.ones(p.shape[:2], dtype=torch.bool)
    keep = torch.arange(p.shape[1]) % 2 == 1
    with torch.no_grad():
        hidden = tower(p, e.long(), a, valid & keep)
        short = tower(p[:, keep], e.long()[:, keep], a[:, keep], valid[:, keep])
    assert torch.allclose(hidden, short, atol=1e-6)


def test_what_is_exported_is_what_the_sidecar_serves() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(5, 384), dim=1)
    model = ProductTowerModel(vectors, "linear+id", torch.tensor([True, True, False, True, True]))
    with torch.no_grad():
        model.A.normal_(std=0.01)
        model.delta.weight.normal_()
    metadata = replace(METADATA, product_tower="linear+id")
    weights = to_weights(disturbed(), model, ("a", "b", "c", "d", "e"), metadata)
    assert check_tower(weights).weights.product_tower is not None
    assert weights.product_tower is not None
    # The third is unknown to the train part: it has no offset, stored or applied.
    assert list(weights.product_tower.product_ids) == ["a", "b", "d", "e"]
    p = vectors[2] + model.A @ vectors[2]
    assert torch.allclose(model()[2], p / p.norm(), atol=1e-6)


def test_some_rows_are_the_rows_of_all() -> None:
    vectors = torch.nn.functional.normalize(torch.randn(6, 384), dim=1)
    model = ProductTowerModel(vectors, "linear+id", torch.ones(6, dtype=torch.bool))
    rows = torch.tensor([4, 1])
    assert torch.allclose(model(rows), model()[rows], atol=1e-6)
