"""The user tower as it is served: the same mathematics, with every constant product folded.

Behind the attention weights everything is linear, so pooling can move in front of the value,
output and final projections: one pooled product vector for each head instead of L positions.
And what an event type adds to a projection is one row of a small table, computed once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.weights import F32, Weights
from sidecar.tower.plain import normalize

Ints = NDArray[np.integer[Any]]


class Folded(NamedTuple):
    """Constants of the served form, for m width, H heads, A head size, T event types."""

    heads: int
    qk_products: F32  # (D, 2HA): queries (scaled) and keys from a product vector
    qk_events: F32  # (T, 2HA): what an event type adds to them
    log_g: F32  # (T,)
    lambda_age: np.float32
    lambda_rank: np.float32
    mix: F32  # (1 + H,): 1 for the mean, s for what each head pooled
    inner_products: F32  # ((1 + H) D, m): pooled product vectors to the shift's width
    inner_events: F32  # ((1 + H) T, m): pooled event types to the shift's width
    inner_bias: F32  # (m,)
    W_out: F32  # (m, D)
    b_out: F32  # (D,)
    one_hot: F32  # (T, T)


def fold(weights: Weights) -> Folded:
    """The constants of a weights file, multiplied out once (in float64, kept as float32)."""
    a = weights.metadata.architecture
    t = {name: tensor.astype(np.float64) for name, tensor in weights.tower.items()}
    product_in, event_in = t["W_in"][:, : a.dimension], t["W_in"][:, a.dimension :]
    events = t["E"] @ event_in.T + t["b_in"]  # (T, m): x of an event type alone
    qk = np.concatenate([t["W_q"] * a.attention_scale, t["W_k"]])  # (2HA, m)
    # A key's bias adds the same to all scores of a row, and a softmax does not see it.
    qk_bias = np.concatenate([t["b_q"] * a.attention_scale, np.zeros_like(t["b_k"])])
    per_head = [slice(h * a.head_dimension, (h + 1) * a.head_dimension) for h in range(a.heads)]
    value_out = [t["W_o"][:, head] @ t["W_v"][head] for head in per_head]  # H times (m, m)
    inner = [np.eye(a.width), *value_out]

    def f32(array: np.ndarray[Any, Any]) -> F32:
        return np.ascontiguousarray(array, dtype=np.float32)

    return Folded(
        heads=a.heads,
        qk_products=f32((qk @ product_in).T),
        qk_events=f32(events @ qk.T + qk_bias),
        log_g=f32(np.log(t["g"])),
        lambda_age=np.float32(t["lambda_age"]),
        lambda_rank=np.float32(t["lambda_rank"]),
        mix=f32(np.concatenate([[1.0], t["s"]])),
        inner_products=f32(np.concatenate([(m @ product_in).T for m in inner])),
        inner_events=f32(np.concatenate([events @ m.T for m in inner])),
        inner_bias=f32(t["W_o"] @ t["b_v"] + t["b_o"]),
        W_out=f32(t["W_out"].T),
        b_out=f32(t["b_out"]),
        one_hot=np.eye(len(events), dtype=np.float32),
    )


def served_tower(
    folded: Folded, products: F32, events: Ints, ages: F32, lengths: Ints
) -> tuple[F32, F32]:
    """User vectors of a batch of histories, and how much each interaction's product counts.

    Parameters
    ----------
    folded : Folded
    products : float32, shape (B, L, D)
        Unit product vectors, oldest to newest; past a history's length they must be zero.
    events : int, shape (B, L)
        Event types; past a history's length any valid one.
    ages : float32, shape (B, L)
        Hours before the newest interaction.
    lengths : int, shape (B,)

    Returns
    -------
    users : float32, shape (B, D)
        Unit vectors; a row of zeros means "no vector".
    shares : float32, shape (B, L)
        The coefficient of each product vector in the user vector, before it was normalised:
        the weighted mean's and the heads' together, without the learned shift.
    """
    b, length, d = products.shape
    h = folded.heads
    positions = np.arange(length)
    valid = positions < lengths[:, None]  # (B, L)

    rank = (lengths[:, None] - 1 - positions).astype(np.float32)
    recency = folded.lambda_age * ages + folded.lambda_rank * rank
    alpha = _softmax(folded.log_g[events] - recency, valid)  # (B, L)

    qk = products.reshape(b * length, d) @ folded.qk_products
    qk = qk.reshape(b, length, -1) + folded.qk_events[events]  # (B, L, 2HA)
    qk = qk.reshape(b, length, 2, h, -1).transpose(2, 0, 3, 1, 4)  # (2, B, H, L, A)
    attention = _softmax(qk[0] @ qk[1].swapaxes(-1, -2), valid[:, None, None])  # (B, H, L, L)
    c = (alpha[:, None, None] @ attention)[:, :, 0]  # (B, H, L)

    weights = np.concatenate([alpha[:, None], c], axis=1)  # (B, 1 + H, L)
    pooled = weights @ products  # (B, 1 + H, D)
    pooled_events = weights @ folded.one_hot[events]  # (B, 1 + H, T)
    inner = pooled.reshape(b, -1) @ folded.inner_products
    inner += pooled_events.reshape(b, -1) @ folded.inner_events
    inner += folded.inner_bias  # (B, m)
    u: F32 = inner @ folded.W_out  # (B, D)
    u += folded.mix @ pooled
    u += folded.b_out
    return normalize(u, lengths), folded.mix @ weights


def _softmax(scores: F32, valid: NDArray[np.bool_]) -> F32:
    # A large negative number instead of -inf: a history without interactions stays finite.
    weights = np.where(valid, scores, np.float32(-1e30))
    weights -= weights.max(axis=-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(axis=-1, keepdims=True)
    return weights
