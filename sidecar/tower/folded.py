"""The constants of the served form: every product of two constants, multiplied out once."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from sidecar.contract.weights import F32, Weights

#: The most interactions that ``HistoryLimits`` allows.
LONGEST = 1000


class Folded(NamedTuple):
    """Constants for D vector size, m width, H heads, A head size, T event types."""

    heads: int
    attends: bool  # False: s and W_out are 0, and the attention reaches nothing
    shifts: bool  # False: W_out is 0
    W_x: F32  # (D, m): x from a product vector
    x_events: F32  # (T, m): what an event type adds to x, and b_in
    x_is_key: bool  # queries and keys are one matrix for each head: what is cheaper for m <= 2A
    W_qk: F32  # (m, Hm): x to what a head compares with x itself; else (m, 2HA): queries and keys
    b_qk: F32 | None  # (Hm,) or (2HA,); None when b_q is 0
    W_qk_bias: F32  # (m + 1, Hm) or (m + 1, 2HA): W_qk, and b_qk as its last row
    g: F32  # (T,), the largest is 1: a softmax does not see the scale
    log_g: F32  # (T,)
    lambda_age: float
    lambda_rank: float
    rank_factor: F32  # (2000,): exp(-lambda_rank * rank) of rank 999 to 0, and zeros beyond
    mix: F32  # (1 + H,): 1 for the mean, s for what each head pooled
    inner: F32  # ((1 + H) m, m): pooled x, plain and by head, to y
    W_out: F32  # (m, D)
    bias: F32  # (D,): all that is added to every user vector
    ones: F32  # (1000,)


def fold(weights: Weights) -> Folded:
    """The constants of a weights file (in float64, kept as float32).

    Values that overflow float32 stay infinite here; :func:`sidecar.tower.load.check_tower`
    refuses them.
    """
    with np.errstate(all="ignore"):
        return _fold(weights)


def _fold(weights: Weights) -> Folded:
    a = weights.metadata.architecture
    t = {name: tensor.astype(np.float64) for name, tensor in weights.tower.items()}
    product_in, event_in = t["W_in"][:, : a.dimension], t["W_in"][:, a.dimension :]
    heads = [slice(h * a.head_dimension, (h + 1) * a.head_dimension) for h in range(a.heads)]
    # Behind the attention weights all is linear, so value and output projections are one matrix
    # for each head, used on what the head pooled instead of on every position.
    value_out = [t["W_o"][:, head] @ t["W_v"][head] for head in heads]  # H times (m, m)
    # A score is x_i' W_q' W_k x_j. What b_k adds is the same for all scores of a row, and a softmax
    # does not see it.
    queries, b_q = t["W_q"] * a.attention_scale, t["b_q"] * a.attention_scale
    x_is_key = a.width <= 2 * a.head_dimension
    if x_is_key:
        qk = np.concatenate([t["W_k"][head].T @ queries[head] for head in heads])
        b_qk = np.concatenate([t["W_k"][head].T @ b_q[head] for head in heads])
    else:
        qk = np.concatenate([queries, t["W_k"]])
        b_qk = np.concatenate([b_q, np.zeros_like(b_q)])
    rank = np.arange(LONGEST)[::-1]
    attends = bool(t["s"].any() or t["W_out"].any())
    return Folded(
        heads=a.heads,
        attends=attends,
        shifts=bool(t["W_out"].any()),
        W_x=_f32(product_in.T),
        x_events=_f32(t["E"] @ event_in.T + t["b_in"]),
        x_is_key=x_is_key,
        W_qk=_f32(qk.T),
        b_qk=_f32(b_qk) if b_q.any() else None,
        W_qk_bias=_f32(np.concatenate([qk.T, b_qk[None]])),
        g=_f32(t["g"] / t["g"].max()),
        log_g=_f32(np.log(t["g"])),
        lambda_age=float(t["lambda_age"]),
        lambda_rank=float(t["lambda_rank"]),
        rank_factor=_f32(np.append(np.exp(-t["lambda_rank"] * rank), np.zeros(LONGEST))),
        mix=_f32(np.concatenate([[1.0], t["s"]])),
        inner=_f32(np.concatenate([m.T for m in (np.eye(a.width), *value_out)])),
        W_out=_f32(t["W_out"].T),
        bias=_f32(t["W_out"] @ (t["W_o"] @ t["b_v"] + t["b_o"]) + t["b_out"]),
        ones=np.ones(LONGEST, np.float32),
    )


def _f32(array: np.ndarray[Any, Any]) -> F32:
    constant: F32 = np.array(array, dtype=np.float32, order="C")
    constant.setflags(write=False)
    return constant
