"""Random towers and histories for the tests: small, seeded, and nowhere at a special value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from hypothesis import strategies as st

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Architecture, Metadata
from sidecar.contract.weights import F32, ProductTower, Weights
from sidecar.tower.plain import user_tower
from sidecar.tower.prior import golden_histories, prior_tower

SMALL = Architecture(dimension=24, event_dimension=4, width=12, heads=3, head_dimension=5)
SHIPPED = Architecture()


class Batch(NamedTuple):
    """The four arrays that every form of the tower takes."""

    products: F32
    events: np.ndarray[Any, Any]
    ages: F32
    lengths: np.ndarray[Any, Any]


def random_tower(rng: np.random.Generator, metadata: Metadata) -> dict[str, F32]:
    """No tensor is left at zero, so that no term of the formula can hide."""
    tower = prior_tower(metadata)
    for name, tensor in tower.items():
        if name in ("g", "lambda_age", "lambda_rank"):
            tower[name] = rng.uniform(0.02, 3, tensor.shape).astype(np.float32)
        else:
            spread = 1 / np.sqrt(tensor.shape[-1])
            tower[name] = rng.normal(0, spread, tensor.shape).astype(np.float32)
    tower["lambda_age"] = np.array(rng.uniform(0, 0.2), np.float32)
    return tower


def random_weights(
    seed: int = 0,
    architecture: Architecture = SMALL,
    product_tower: str = "none",
    limits: HistoryLimits | None = None,
    products: int = 7,
) -> Weights:
    """A valid, trained-looking weights file in memory."""
    rng = np.random.default_rng(seed)
    metadata = Metadata(
        architecture=architecture,
        limits=limits or HistoryLimits(),
        product_tower=product_tower,
        training={"data": "random", "seed": seed},
        created_at="2026-01-01T00:00:00+00:00",
    )
    tower = random_tower(rng, metadata)
    golden = golden_histories(metadata, seed)
    users = user_tower(
        tower, architecture, golden.products, golden.events, golden.ages, golden.lengths
    )
    d = architecture.dimension
    held = None
    if product_tower != "none":
        held = ProductTower(rng.normal(0, 0.01, (d, d)).astype(np.float32))
    if product_tower == "linear+id":
        delta = rng.normal(0, 0.01, (products, d)).astype(np.float32)
        held = ProductTower(held.A, delta, [f"sku-{i}-é" for i in range(products)])
    return Weights(metadata, tower, replace(golden, users=users), held)


def random_batch(
    rng: np.random.Generator,
    lengths: list[int],
    padded_to: int,
    metadata: Metadata,
    garbage: bool = False,
) -> Batch:
    """Histories of the given lengths; ``garbage`` fills the padding with what nobody may read."""
    b, d = len(lengths), metadata.architecture.dimension
    types = len(metadata.vocabulary.weights)
    valid = np.arange(padded_to) < np.array(lengths)[:, None]
    products = rng.normal(size=(b, padded_to, d)).astype(np.float32)
    products /= np.linalg.norm(products, axis=-1, keepdims=True)
    events = rng.integers(0, types, (b, padded_to))
    ages = rng.uniform(0, 48, (b, padded_to)).astype(np.float32)
    if garbage:
        products = np.where(valid[..., None], products, np.float32(np.nan))
        events = np.where(valid, events, 10_000)
        ages = np.where(valid, ages, np.float32(np.inf))
    else:
        products = np.where(valid[..., None], products, np.float32(0))
        events = np.where(valid, events, 0)
        ages = np.where(valid, ages, np.float32(0))
    return Batch(products, events, ages, np.array(lengths, np.intp))


def clean(batch: Batch) -> Batch:
    """The same batch as :func:`sidecar.tower.histories.to_batch` pads it: with zeros."""
    valid = np.arange(batch.events.shape[1]) < batch.lengths[:, None]
    return Batch(
        np.where(valid[..., None], batch.products, np.float32(0)),
        np.where(valid, batch.events, 0),
        np.where(valid, batch.ages, np.float32(0)),
        batch.lengths,
    )


@st.composite
def architectures(draw: st.DrawFn) -> Architecture:
    """Every size from 1 up, heads that do not divide anything."""
    return Architecture(
        dimension=draw(st.sampled_from([1, 2, 8, 24, 64])),
        event_dimension=draw(st.integers(1, 6)),
        width=draw(st.sampled_from([1, 3, 12, 40])),
        heads=draw(st.integers(1, 4)),
        head_dimension=draw(st.sampled_from([1, 2, 5, 16])),
    )


@st.composite
def metadatas(draw: st.DrawFn) -> Metadata:
    """An architecture with a vocabulary of one to seven event types."""
    names = list(EventVocabulary().weights.items())[: draw(st.integers(1, 7))]
    vocabulary = EventVocabulary(dict(names), aliases={})
    return Metadata(architecture=draw(architectures()), vocabulary=vocabulary)
