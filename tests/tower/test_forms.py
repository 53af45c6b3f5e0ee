"""The served form is the plain form, for every history and every weights file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.contract.schema import Metadata
from sidecar.contract.weights import Weights
from sidecar.tower.plain import user_tower
from sidecar.tower.prior import golden_histories, prior_weights
from sidecar.tower.served import fold, served_tower
from tower import cases

LENGTHS = st.lists(st.integers(0, 20), min_size=1, max_size=6)


def plain(weights: Weights, batch: cases.Batch) -> np.ndarray:
    return user_tower(weights.tower, weights.metadata.architecture, *batch)


def random_of(metadata: Metadata, seed: int) -> Weights:
    tower = cases.random_tower(np.random.default_rng(seed), metadata)
    return Weights(metadata, tower, golden_histories(metadata))


@settings(max_examples=150, deadline=None)
@given(
    metadata=cases.metadatas(),
    lengths=LENGTHS,
    extra=st.integers(0, 3),
    seed=st.integers(0, 2**32 - 1),
)
def test_served_is_plain(metadata: Metadata, lengths: list[int], extra: int, seed: int) -> None:
    weights = random_of(metadata, seed)
    dirty = cases.random_batch(
        np.random.default_rng(seed), lengths, max(*lengths, 1) + extra, metadata, garbage=True
    )
    expected = plain(weights, dirty)
    users, shares = served_tower(fold(weights), *cases.clean(dirty))
    np.testing.assert_allclose(users, expected, atol=1e-5, rtol=0)
    assert users.dtype == shares.dtype == expected.dtype == np.float32
    assert users.shape == expected.shape
    assert shares.shape == dirty.events.shape


@pytest.mark.parametrize("length", range(21))
def test_served_is_plain_at_the_shipped_sizes(length: int) -> None:
    weights = cases.random_weights(length, cases.SHIPPED)
    rng = np.random.default_rng(length)
    for size in (1, 2, 9):
        batch = cases.random_batch(rng, [length] * size, 20, weights.metadata)
        users, _ = served_tower(fold(weights), *batch)
        np.testing.assert_allclose(users, plain(weights, batch), atol=1e-5, rtol=0)


def test_longer_histories_than_usual() -> None:
    weights = cases.random_weights(2)
    for lengths in ([200], [200, 31], [1000]):
        batch = cases.random_batch(np.random.default_rng(2), lengths, 1000, weights.metadata)
        users, _ = served_tower(fold(weights), *batch)
        np.testing.assert_allclose(users, plain(weights, batch), atol=1e-5, rtol=0)


@pytest.mark.parametrize("lengths", [[20], [7, 20, 1, 20], [20, 20]])
def test_everything_is_long_ago(lengths: list[int]) -> None:
    """The newest interactions may be of products without a vector: then exp(-lambda age) alone
    would vanish for all that are left."""
    weights = cases.random_weights(8, cases.SHIPPED)
    weights = replace(weights, tower={**weights.tower, "lambda_age": np.float32(4)})
    batch = cases.random_batch(np.random.default_rng(8), lengths, 20, weights.metadata)
    batch.ages[:] = 30 + batch.ages[:] / 10
    users, shares = served_tower(fold(weights), *batch)
    np.testing.assert_allclose(users, plain(weights, batch), atol=1e-5, rtol=0)
    assert (np.count_nonzero(shares, axis=1) == lengths).all()


@pytest.mark.parametrize("lengths", [[20], [7, 20, 1, 20], [20, 20]])
def test_scores_beyond_what_exp_can_hold(lengths: list[int]) -> None:
    weights = cases.random_weights(9, cases.SHIPPED)
    weights = replace(weights, tower={**weights.tower, "W_q": weights.tower["W_q"] * 3000})
    batch = cases.random_batch(np.random.default_rng(9), lengths, 20, weights.metadata)
    users, _ = served_tower(fold(weights), *batch)
    # Scores of several hundred have rounding errors of 1e-5 themselves.
    np.testing.assert_allclose(users, plain(weights, batch), atol=1e-4, rtol=0)


def test_every_event_type_is_looked_up() -> None:
    weights = cases.random_weights(3)
    types = len(weights.metadata.vocabulary.weights)
    one = cases.random_batch(np.random.default_rng(3), [4], 4, weights.metadata)
    seen = []
    for event in range(types):
        batch = one._replace(events=np.full((1, 4), event))
        users, _ = served_tower(fold(weights), *batch)
        np.testing.assert_allclose(users, plain(weights, batch), atol=1e-5, rtol=0)
        seen.append(users[0])
    for event in range(1, types):
        assert np.abs(seen[event] - seen[0]).max() > 1e-3, f"type {event} looks like type 0"


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, seed=st.integers(0, 2**32 - 1))
def test_a_row_does_not_depend_on_its_batch(lengths: list[int], seed: int) -> None:
    weights = cases.random_weights(seed % 7, cases.SHIPPED)
    folded = fold(weights)
    batch = cases.random_batch(np.random.default_rng(seed), lengths, 20, weights.metadata)
    users, shares = served_tower(folded, *batch)
    for row, length in enumerate(lengths):
        for width in {20, max(length, 1)}:
            alone = [part[row : row + 1] for part in batch]
            alone[:3] = [part[:, :width] for part in alone[:3]]
            user, share = served_tower(folded, *alone)
            np.testing.assert_allclose(user[0], users[row], atol=1e-6, rtol=0)
            np.testing.assert_allclose(share[0], shares[row, :width], atol=1e-6, rtol=0)


def test_a_large_batch_is_its_rows() -> None:
    weights = cases.random_weights(5, cases.SHIPPED)
    folded = fold(weights)
    rng = np.random.default_rng(5)
    lengths = rng.integers(0, 21, 300).tolist()
    batch = cases.random_batch(rng, lengths, 20, weights.metadata)
    users, shares = served_tower(folded, *batch)
    parts = [served_tower(folded, *(p[i : i + 1] for p in batch)) for i in range(len(lengths))]
    np.testing.assert_allclose(users, np.concatenate([u for u, _ in parts]), atol=1e-6, rtol=0)
    np.testing.assert_allclose(shares, np.concatenate([s for _, s in parts]), atol=1e-6, rtol=0)


def test_no_users() -> None:
    weights = cases.random_weights(1)
    batch = cases.random_batch(np.random.default_rng(1), [], 20, weights.metadata)
    users, shares = served_tower(fold(weights), *batch)
    assert users.shape == (0, 24)
    assert shares.shape == (0, 20)


@pytest.mark.parametrize("size", [1, 5])
def test_arguments_are_only_read(size: int) -> None:
    weights = cases.random_weights(2, cases.SHIPPED)
    folded = fold(weights)
    batch = cases.random_batch(np.random.default_rng(2), [20, 0, 3, 7, 1][:size], 20,
                               weights.metadata)  # fmt: skip
    before = [part.copy() for part in batch]
    constants = [np.copy(part) for part in folded]
    for part in (*batch, *weights.tower.values(), *(p for p in folded if hasattr(p, "setflags"))):
        part.setflags(write=False)
    served_tower(folded, *batch)
    plain(weights, batch)
    for part, copy in zip(batch, before, strict=True):
        np.testing.assert_array_equal(part, copy)
    for part, copy in zip(folded, constants, strict=True):
        np.testing.assert_array_equal(part, copy)


def no_vector_cases() -> list[tuple[str, float]]:
    return [("zero", 0.0), ("not a number", np.nan), ("infinite", np.inf), ("huge", 3e38)]


@pytest.mark.parametrize(("name", "value"), no_vector_cases())
@pytest.mark.parametrize("others", [0, 2])
def test_no_direction_is_a_row_of_zeros(name: str, value: float, others: int) -> None:
    """Vectors that cancel, NaN and overflow are "no vector", and leave other rows alone."""
    weights = prior_weights(Metadata(architecture=cases.SMALL))
    folded = fold(weights)
    batch = cases.random_batch(np.random.default_rng(7), [3] * (1 + others), 5, weights.metadata)
    expected = served_tower(folded, *batch)[0]
    products = batch.products.copy()
    products[0, :3] = value
    spoilt = batch._replace(products=products)
    for users in (served_tower(folded, *spoilt)[0], plain(weights, spoilt)):
        np.testing.assert_array_equal(users[0], 0)
        np.testing.assert_allclose(users[1:], expected[1:], atol=1e-6)
