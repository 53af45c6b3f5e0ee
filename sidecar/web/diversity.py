"""Maximal marginal relevance: near the shopper's taste, and not all alike. Pure.

Carbonell and Goldstein, "The use of MMR, diversity-based reranking for reordering documents and
producing summaries", SIGIR 1998.
"""

from __future__ import annotations

import numpy as np

from sidecar.contract.weights import F32


def mmr(relevance: F32, vectors: F32, diversity: float, count: int) -> list[int]:
    """Choose greedily: the next one is relevant, and unlike those that are chosen.

    Parameters
    ----------
    relevance : float32, shape (N,)
        Higher is better; on the scale of a cosine.
    vectors : float32, shape (N, D)
        Unit vectors; a row of zeros is unlike everything.
    diversity : float
        0 (relevance alone) to 1 (unlikeness alone).
    count : int
        How many are wanted.

    Returns
    -------
    list[int]
        Rows in the order in which they were chosen; ties go to the earlier row. Any list is the
        start of a longer one, so pages fit together.
    """
    left = np.ones(len(relevance), bool)
    likeness = np.full(len(relevance), -np.inf, np.float32)
    gain = np.float32(1 - diversity) * relevance
    chosen: list[int] = []
    for _ in range(min(count, len(relevance))):
        penalty = np.where(np.isfinite(likeness), likeness, np.float32(0))
        score = np.where(left, gain - np.float32(diversity) * penalty, np.float32(-np.inf))
        best = int(score.argmax())
        chosen.append(best)
        left[best] = False
        np.maximum(likeness, vectors @ vectors[best], out=likeness)
    return chosen
