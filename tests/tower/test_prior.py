"""An untrained tower is the weighted recency mean, worked out here without any tower."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sidecar import resources
from sidecar.contract.events import BUSINESS_WEIGHTS
from sidecar.tower.load import check_tower, load_tower
from sidecar.tower.plain import user_tower
from sidecar.tower.prior import (
    SHIPPED_CALIBRATION,
    SHIPPED_RANK_DECAY,
    prior_weights,
    write_prior,
)
from sidecar.tower.served import fold, served_tower
from tower import cases


def weighted_recency_mean(batch: cases.Batch, row: int) -> np.ndarray:
    weights = list(BUSINESS_WEIGHTS.values())
    total = np.zeros(batch.products.shape[-1])
    n = int(batch.lengths[row])
    for i in range(n):
        steps_back = n - 1 - i
        weight = weights[batch.events[row, i]] * 0.8**steps_back * 0.5 ** (batch.ages[row, i] / 24)
        total += weight * batch.products[row, i].astype(np.float64)
    return total / np.linalg.norm(total)


@pytest.mark.parametrize("length", [1, 2, 5, 20])
def test_prior_is_the_weighted_recency_mean(length: int) -> None:
    weights = prior_weights()
    batch = cases.random_batch(np.random.default_rng(length), [length] * 3, 20, weights.metadata)
    plain = user_tower(weights.tower, weights.metadata.architecture, *batch)
    served, shares = served_tower(fold(weights), *batch)
    for row in range(3):
        expected = weighted_recency_mean(batch, row)
        np.testing.assert_allclose(plain[row], expected, atol=1e-6)
        np.testing.assert_allclose(served[row], expected, atol=1e-6)
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
    assert (shares >= 0).all()


def test_shares_are_the_coefficients_of_the_products() -> None:
    """Without a learned shift the user vector is the shares' mix of the products, made unit."""
    weights = cases.random_weights(3)
    for name in ("W_out", "b_out"):
        weights.tower[name][...] = 0
    batch = cases.random_batch(np.random.default_rng(3), [6, 0, 20], 20, weights.metadata)
    users, shares = served_tower(fold(weights), *batch)
    mix = np.einsum("bl,bld->bd", shares, batch.products)
    for row in (0, 2):
        np.testing.assert_allclose(users[row], mix[row] / np.linalg.norm(mix[row]), atol=1e-5)
    np.testing.assert_array_equal(shares[:2, 6:], 0)


def test_prior_is_accepted_and_reproducible() -> None:
    first, second = prior_weights(seed=0), prior_weights(seed=0)
    assert first.fingerprint == second.fingerprint
    assert check_tower(first).weights is first
    assert prior_weights(seed=1).fingerprint != first.fingerprint


def test_written_prior_is_accepted_and_says_what_it_is(tmp_path: Path) -> None:
    write_prior(tmp_path / "w.safetensors")
    weights = load_tower(tmp_path / "w.safetensors").weights
    assert weights.metadata.training["data"] == "none (prior)"
    expected = prior_weights(rank_decay=SHIPPED_RANK_DECAY)
    assert weights.fingerprint == expected.fingerprint
    assert weights.metadata.calibration == SHIPPED_CALIBRATION


def test_the_shipped_file_is_accepted() -> None:
    path = Path(__file__).parents[2] / "weights" / "user_tower.safetensors"
    tower = load_tower(path)
    assert tower.weights.metadata.architecture.dimension == 384
    assert path.stat().st_size < 16 * 2**20, "a clone should stay small"


def test_the_shipped_file_is_what_the_command_makes() -> None:
    shipped = load_tower(resources.shipped_weights()).weights
    assert shipped.fingerprint == prior_weights(rank_decay=SHIPPED_RANK_DECAY).fingerprint
    assert shipped.metadata.calibration == SHIPPED_CALIBRATION
