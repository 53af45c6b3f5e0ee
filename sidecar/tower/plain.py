"""The user tower as the formula reads: the form to understand, and to hold the others against.

B users, L interactions, D vector size, H heads, A size of a head, m width, T event types.

    x_i = W_in [p_i ; E[t_i]] + b_in
    y_i = x_i + MultiHead(x, x, x)_i
    alpha_i = softmax_i(log g[t_i] - lambda_age * age_i - lambda_rank * rank_i)
    c_h = sum_i alpha_i A_h[i, :]
    u = normalize(sum alpha_i p_i + sum_h s_h sum_j c_hj p_j + W_out sum alpha_i y_i + b_out)

The attention is that of Vaswani et al. 2017 (arXiv:1706.03762), without layer norm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.schema import NORM_EPS, Architecture

F32 = NDArray[np.float32]
Ints = NDArray[np.integer[Any]]


@np.errstate(all="ignore")  # what overflows becomes "no vector", not a warning
def user_tower(
    tower: Mapping[str, F32],
    architecture: Architecture,
    products: F32,
    events: Ints,
    ages: F32,
    lengths: Ints,
) -> F32:
    """User vectors of a batch of histories.

    Parameters
    ----------
    tower : Mapping[str, float32 array]
        Named and shaped as ``Architecture.shapes`` says.
    architecture : Architecture
    products : float32, shape (B, L, D)
        Unit product vectors, oldest to newest; what is past a history's length is ignored.
    events : int, shape (B, L)
        Event types.
    ages : float32, shape (B, L)
        Hours before the newest interaction of the history.
    lengths : int, shape (B,)
        Interactions of each history, 0 to L.

    Returns
    -------
    float32, shape (B, D)
        Unit vectors; a row of zeros means "no vector".
    """
    return _forward(**tower, n_head=architecture.heads, scale=architecture.attention_scale,
                    products=products, events=events, ages=ages, lengths=lengths)  # fmt: skip


def _forward(
    *, E: F32, W_in: F32, b_in: F32, W_q: F32, b_q: F32, W_k: F32, b_k: F32, W_v: F32, b_v: F32,
    W_o: F32, b_o: F32, g: F32, lambda_age: F32, lambda_rank: F32, s: F32, W_out: F32, b_out: F32,
    n_head: int, scale: float, products: F32, events: Ints, ages: F32, lengths: Ints,
) -> F32:  # fmt: skip
    valid = np.arange(products.shape[1]) < lengths[:, None]  # (B, L)
    products = np.where(valid[..., None], products, np.float32(0))  # (B, L, D)
    events = np.where(valid, events, 0)
    ages = np.where(valid, ages, np.float32(0))

    x = linear(np.concatenate([products, E[events]], axis=-1), W_in, b_in)  # (B, L, m)
    q, k, v = (
        split_heads(linear(x, w, b), n_head) for w, b in ((W_q, b_q), (W_k, b_k), (W_v, b_v))
    )  # (B, H, L, A)
    attention = softmax(q @ np.swapaxes(k, -1, -2) * np.float32(scale), valid[:, None, None])
    y = x + linear(join_heads(attention @ v), W_o, b_o)  # (B, L, m)

    alpha = pooling(g, lambda_age, lambda_rank, events, ages, lengths, valid)  # (B, L)
    c = np.einsum("bi,bhij->bhj", alpha, attention)  # (B, H, L)
    mean = np.einsum("bi,bid->bd", alpha, products)  # (B, D)
    own = np.einsum("h,bhj,bjd->bd", s, c, products)  # (B, D)
    shift = linear(np.einsum("bi,bim->bm", alpha, y), W_out, b_out)  # (B, D)
    return normalize(mean + own + shift, lengths)


def pooling(
    g: F32, lambda_age: F32, lambda_rank: F32, events: Ints, ages: F32, lengths: Ints,
    valid: NDArray[np.bool_],
) -> F32:  # fmt: skip
    """How much each interaction counts; shape (B, L), rows sum to 1."""
    rank = (lengths[:, None] - 1 - np.arange(events.shape[1])).astype(np.float32)  # newest: 0
    return softmax(np.log(g)[events] - lambda_age * ages - lambda_rank * rank, valid)


def linear(x: F32, weight: F32, bias: F32) -> F32:
    """(..., in) to (..., out), for a weight of shape (out, in)."""
    return x @ weight.T + bias


def softmax(scores: F32, valid: NDArray[np.bool_]) -> F32:
    """Over the last axis and the valid positions; a row without any is all zeros."""
    scores = np.where(valid, scores, np.float32(-np.inf))
    top = scores.max(axis=-1, keepdims=True)
    weights: F32 = np.exp(scores - np.where(np.isfinite(top), top, np.float32(0)))
    total: F32 = weights.sum(axis=-1, keepdims=True)
    weights /= np.where(total > 0, total, np.float32(1))
    return weights


def split_heads(x: F32, n_head: int) -> F32:
    """(B, L, H * A) to (B, H, L, A)."""
    b, length, _ = x.shape
    return np.swapaxes(x.reshape(b, length, n_head, -1), 1, 2)


def join_heads(x: F32) -> F32:
    """(B, H, L, A) to (B, L, H * A)."""
    b, _, length, _ = x.shape
    return np.swapaxes(x, 1, 2).reshape(b, length, -1)


def normalize(u: F32, lengths: Ints) -> F32:
    """Unit rows; zeros where there is no history, no direction, or a result that is not finite."""
    norm = np.sqrt(np.einsum("bd,bd->b", u, u))
    usable = (lengths > 0) & np.isfinite(norm) & (norm > NORM_EPS)
    scaled = u / np.where(usable, norm, np.float32(1))[:, None]
    return np.where(usable[:, None], scaled, np.float32(0)).astype(np.float32, copy=False)
