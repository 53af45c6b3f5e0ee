"""The tower before any training: exactly the weighted recency mean.

It is what training starts from, and what is served until there are trained weights.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from sidecar.contract.schema import Calibration, Metadata
from sidecar.contract.weights import F32, Golden, Weights, write_weights
from sidecar.tower.plain import user_tower

#: The newest interaction counts 1, the one before 0.8, then 0.64 ...
RANK_DECAY = math.log(1 / 0.8)
#: The shipped tower forgets faster: half for each step back. On three shops it comes within a few
#: per cent of the best simple content baseline of each, where 0.8 is 40 % below on one of them
#: (weights/MODEL_CARD.md).
SHIPPED_RANK_DECAY = math.log(2)
#: Its calibration: the mean of two public shops (weights/MODEL_CARD.md).
SHIPPED_CALIBRATION = Calibration(0.41, 0.94)
#: An interaction counts half after a day.
AGE_DECAY = math.log(2) / 24


def prior_tower(metadata: Metadata, seed: int = 0) -> dict[str, F32]:
    """Tensors of an untrained tower.

    ``s``, ``W_out`` and ``b_out`` are 0, so that nothing but the pooling reaches the result;
    ``g`` holds the business weights. The rest is drawn at random (Glorot and Bengio 2010), ready
    for training.

    Parameters
    ----------
    metadata : Metadata
    seed : int
    """
    rng = np.random.default_rng(seed)
    business = list(metadata.vocabulary.weights.values())
    tower: dict[str, F32] = {}
    for name, shape in metadata.architecture.shapes(len(business)).items():
        tower[name] = np.zeros(shape, np.float32)
        if name in ("W_in", "W_q", "W_k", "W_v", "W_o"):
            bound = math.sqrt(6 / sum(shape))
            tower[name] = rng.uniform(-bound, bound, shape).astype(np.float32)
    tower["E"] = rng.normal(0, 0.1, tower["E"].shape).astype(np.float32)
    tower["g"] = np.array(business, np.float32)
    tower["lambda_age"] = np.array(AGE_DECAY, np.float32)
    tower["lambda_rank"] = np.array(RANK_DECAY, np.float32)
    return tower


def golden_histories(metadata: Metadata, seed: int = 0) -> Golden:
    """Random histories of every kind that matters, with ``users`` still zero.

    One interaction, a full history, each event type, ages from none to the window's end.
    """
    rng = np.random.default_rng(seed)
    length, d = metadata.limits.max_interactions, metadata.architecture.dimension
    types = len(metadata.vocabulary.weights)
    lengths = np.array(sorted({1, 2, (length + 1) // 2, length} & set(range(1, length + 1))))
    shape = (len(lengths), length)
    valid = np.arange(length) < lengths[:, None]
    products = rng.normal(size=(*shape, d)).astype(np.float32)
    products /= np.linalg.norm(products, axis=-1, keepdims=True)
    ages = np.sort(rng.uniform(0, metadata.limits.window_hours, shape), axis=1)[:, ::-1]
    ages = np.where(np.arange(length) == lengths[:, None] - 1, 0, ages)
    return Golden(
        products=np.where(valid[..., None], products, np.float32(0)),
        events=np.where(valid, (np.arange(length) + lengths[:, None]) % types, 0).astype(np.int32),
        ages=np.where(valid, ages, 0).astype(np.float32),
        lengths=lengths.astype(np.int32),
        users=np.zeros((len(lengths), d), np.float32),
    )


def prior_weights(
    metadata: Metadata | None = None, seed: int = 0, rank_decay: float = RANK_DECAY
) -> Weights:
    """Weights of an untrained tower, complete with golden vectors."""
    metadata = metadata or Metadata()
    if not metadata.created_at:
        now = datetime.now(tz=UTC).isoformat(timespec="seconds")
        metadata = replace(metadata, created_at=now)
    tower = prior_tower(metadata, seed) | {"lambda_rank": np.array(rank_decay, np.float32)}
    golden = golden_histories(metadata, seed)
    users = user_tower(
        tower, metadata.architecture, golden.products, golden.events, golden.ages, golden.lengths
    )
    return Weights(metadata, tower, replace(golden, users=users))


def write_prior(path: str | Path, metadata: Metadata | None = None, seed: int = 0) -> Weights:
    """Write the weights of an untrained tower: what a release ships until there are trained ones.

    Parameters
    ----------
    path : str or Path
    metadata : Metadata, optional
    seed : int

    Raises
    ------
    OSError
    """
    metadata = replace(
        metadata or Metadata(calibration=SHIPPED_CALIBRATION),
        training={"data": "none (prior)", "seed": seed},
    )
    weights = prior_weights(metadata, seed, SHIPPED_RANK_DECAY)
    write_weights(path, weights)
    return weights
