"""The user tower as it is served: the formula of :mod:`sidecar.tower.plain`, rearranged for speed.

- Behind the attention weights everything is linear, so pooling moves in front of the value, output
  and final projections: one pooled vector for each head instead of L positions. Exact.
- What an event type adds to x is one row of a small table; where it is cheaper, queries and keys
  are one matrix for each head.
- Terms that are exactly zero in the weights are skipped: an untrained tower costs one mean.
- A single history takes a path of few numpy calls; their overhead is most of its time.
- Large batches are taken in parts of similar length that fit the processor's cache. So memory is
  bounded, and short histories do not pay for long ones.

Figures: ``docs/tower.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.schema import NORM_EPS
from sidecar.contract.weights import F32
from sidecar.tower.folded import LONGEST, Folded, fold

__all__ = ["Folded", "fold", "served_tower"]

Ints = NDArray[np.integer[Any]]

#: Histories of one length that are computed together: beyond, arrays fall out of the L2 cache.
PART = 64
#: The same for histories of different lengths, sorted: few, so that they are nearly equal.
RAGGED_PART = 24
# exp() of scores within these bounds, and sums of a thousand of them, are far from float32's ends.
_SAFE_SCORE = 60.0
# Squares of anything between the root of these and its inverse are normal float32 numbers.
_SAFE_SQUARE = 1e30
_MASKED = np.float32(-1e30)


@np.errstate(all="ignore")
def served_tower(
    folded: Folded, products: F32, events: Ints, ages: F32, lengths: Ints
) -> tuple[F32, F32]:
    """User vectors of a batch of histories, and how much each interaction's product counts.

    Parameters
    ----------
    folded : Folded
    products : float32, shape (B, L, D)
        Unit product vectors, oldest to newest; past a history's length they must be finite.
    events : int, shape (B, L)
        Event types; past a history's length any valid one.
    ages : float32, shape (B, L)
        Hours before the newest interaction; finite past a history's length.
    lengths : int, shape (B,)

    Returns
    -------
    users : float32, shape (B, D)
        Unit vectors; a row of zeros means "no vector".
    shares : float32, shape (B, L)
        The coefficient of each product vector in the user vector, before it was normalised:
        the weighted mean's and the heads' together, without the learned shift. Zero past a
        history's length.
    """
    b, padded, d = products.shape
    if b == 1 and (n := int(lengths[0])) > 0:
        single = _one(folded, products[0, :n], events[0, :n], ages[0, :n])
        if single is not None:
            user, share = single
            if n < padded:
                share = np.concatenate([share, np.zeros(padded - n, np.float32)])
            return user[None], share[None]

    users, shares = np.zeros((b, d), np.float32), np.zeros((b, padded), np.float32)
    for rows, length in _parts(np.asarray(lengths)):
        used = slice(0, length)
        users[rows], shares[rows, used] = _many(
            folded, products[rows, used], events[rows, used], ages[rows, used], lengths[rows]
        )
    return users, shares


def _parts(lengths: Ints) -> Iterator[tuple[slice | NDArray[np.intp], int]]:
    """Rows that are computed together, and their longest length; rows without a history in none."""
    b = len(lengths)
    if not b:
        return
    longest = int(lengths.max())
    if longest == int(lengths.min()):
        for start in range(0, b if longest else 0, PART):
            yield slice(start, start + PART), longest
        return
    order = np.argsort(lengths, kind="stable")
    for start in range(int(np.searchsorted(lengths, 1, sorter=order)), b, RAGGED_PART):
        rows = order[start : start + RAGGED_PART]
        yield rows, int(lengths[rows[-1]])


def _one(f: Folded, products: F32, events: Ints, ages: F32) -> tuple[F32, F32] | None:
    """One history without padding; ``None`` if it takes the careful way to a result.

    ``a.dot(b)`` where ``a @ b`` would do: it takes half a microsecond less, fifteen times.
    """
    n = len(products)
    alpha: F32 = f.g.take(events) * f.rank_factor[LONGEST - n : LONGEST]
    decay = ages * -f.lambda_age
    alpha *= np.exp(decay, out=decay)
    total = float(alpha.dot(f.ones[:n]))
    if not 1e-20 < total < 1e20:
        return None
    alpha *= 1 / total
    if not f.attends:
        mean: F32 = alpha.dot(products)
        mean += f.bias
        return _unit(mean, alpha)

    x = products.dot(f.W_x)  # (L, m)
    x += f.x_events.take(events, axis=0)
    q = x.dot(f.W_qk)
    if f.b_qk is not None:
        q += f.b_qk
    if f.x_is_key:
        e = q.reshape(n * f.heads, -1).dot(x.T)  # (LH, L)
    else:
        q, k = q.reshape(n, 2, f.heads, -1).transpose(1, 2, 0, 3)  # (H, L, A) each
        e = (q @ k.swapaxes(1, 2)).reshape(-1, n)  # (HL, L)
    np.exp(e, out=e)
    row_sums = e.dot(f.ones[:n])
    inverse = 1 / row_sums
    # Without the usual subtraction of the maximum: sound as long as nothing comes near an end of
    # float32, which two dot products tell faster than two searches for an extreme.
    if not (row_sums.dot(row_sums) < _SAFE_SQUARE and inverse.dot(inverse) < _SAFE_SQUARE):
        return None

    pooling = np.empty((1 + f.heads, n), np.float32)
    pooling[0] = alpha
    if f.x_is_key:
        attention = e.reshape(n, f.heads, n).swapaxes(0, 1)  # (H, L, L)
        inverse = inverse.reshape(n, f.heads).T  # (H, L)
    else:
        attention = e.reshape(f.heads, n, n)
        inverse = inverse.reshape(f.heads, n)
    # Pooling and the softmax's denominators at once.
    scaled = inverse * alpha
    np.matmul(scaled[:, None], attention, out=pooling[1:, None])
    share: F32 = f.mix.dot(pooling)  # (L,)
    user: F32 = share.dot(products)  # (D,)
    if f.shifts:
        user += pooling.dot(x).reshape(-1).dot(f.inner).dot(f.W_out)
    user += f.bias
    return _unit(user, share)


def _unit(user: F32, share: F32) -> tuple[F32, F32] | None:
    square = float(user.dot(user))
    if not NORM_EPS < square < _SAFE_SQUARE:
        return None
    user *= np.float32(square**-0.5)
    return user, share


def _many(f: Folded, products: F32, events: Ints, ages: F32, lengths: Ints) -> tuple[F32, F32]:
    """Histories of 1 to L interactions, padded to L; shapes as for :func:`served_tower`."""
    b, length, d = products.shape
    alpha = _alpha(f, events, ages, lengths)  # (B, L)
    if not f.attends:
        means: F32 = (alpha[:, None] @ products)[:, 0]
        means += f.bias
        return _unit_rows(means), alpha

    # A column of ones behind x brings b_qk in with the product: q is too large to go over again.
    x_one = np.empty((b * length, f.W_x.shape[1] + 1), np.float32)
    x_one[:, -1] = 1
    x = x_one[:, :-1]  # (BL, m)
    np.matmul(products.reshape(b * length, d), f.W_x, out=x)
    x += f.x_events.take(events.reshape(-1), axis=0)
    q = x_one @ f.W_qk_bias
    x = x_one.reshape(b, length, -1)[..., :-1]
    if f.x_is_key:
        q, k = q.reshape(b, length, f.heads, -1).swapaxes(1, 2), x[:, None]  # (B, H, L, m)
    else:
        q, k = q.reshape(b, length, 2, f.heads, -1).transpose(2, 0, 3, 1, 4)  # (B, H, L, A) each
    # A small product for each head of each history, on views: BLAS has kernels of their own for
    # these, which one product for all heads of a history would be too large for.
    e = _exp(q @ k.swapaxes(-1, -2), lengths)  # (B, H, L, L)
    # As a product with a vector of ones: numpy's sum over a short last axis is ten times slower.
    row_sums = (e.reshape(-1, length) @ f.ones[:length]).reshape(b, f.heads, length)
    scaled = alpha[:, None] / row_sums

    pooling = np.empty((b, 1 + f.heads, length), np.float32)
    pooling[:, 0] = alpha
    np.matmul(scaled[:, :, None], e, out=pooling[:, 1:, None])
    shares: F32 = f.mix @ pooling  # (B, L)
    users: F32 = (shares[:, None] @ products)[:, 0]  # (B, D)
    if f.shifts:
        pooled = (pooling @ x).reshape(b, -1)
        users += pooled @ f.inner @ f.W_out
    users += f.bias
    return _unit_rows(users), shares


def _alpha(f: Folded, events: Ints, ages: F32, lengths: Ints) -> F32:
    """How much each interaction counts, (B, L); rows sum to 1, zero past a history's length."""
    rank = lengths[:, None] - 1 - np.arange(events.shape[1])  # newest: 0; past the length: below
    # Past the end of rank_factor stand zeros.
    alpha: F32 = f.rank_factor.take(LONGEST - 1 - rank)
    alpha *= f.g.take(events)
    alpha *= np.exp(ages * -f.lambda_age)
    total = alpha @ f.ones[: events.shape[1]]
    if not (total.min() > 1e-20 and total.max() < 1e20):
        # Everything is so long ago, or counts so little, that products of exponentials vanish.
        alpha = f.log_g.take(events) - f.lambda_age * ages
        alpha -= f.lambda_rank * rank.astype(np.float32)
        alpha = np.where(rank >= 0, alpha, _MASKED)
        alpha -= alpha.max(axis=1, keepdims=True)
        np.exp(alpha, out=alpha)
        total = alpha.sum(axis=1)
    alpha /= total[:, None]
    return alpha


def _exp(scores: F32, lengths: Ints) -> F32:
    """exp of scores (B, H, L, L), less each row's maximum where needed; 0 at masked keys. In place."""
    length = scores.shape[-1]
    mask = None
    if int(lengths.min()) < length:
        mask = (np.arange(length) < lengths[:, None])[:, None, None]
    if not (scores.max() < _SAFE_SCORE and scores.min() > -_SAFE_SCORE):
        if mask is not None:
            np.copyto(scores, _MASKED, where=~mask)
        scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    if mask is not None:
        scores *= mask
    return scores


def _unit_rows(users: F32) -> F32:
    """Each row made unit, in place; zeros where a row has no direction or is not finite."""
    norms = np.sqrt(np.einsum("bd,bd->b", users, users))
    usable = (norms > NORM_EPS) & (norms < np.inf)
    users *= (1 / norms)[:, None]
    if not usable.all():
        users[~usable] = 0
    return users
