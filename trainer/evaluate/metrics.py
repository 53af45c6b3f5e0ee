"""From scores to ranks, and from ranks to figures. Never sampled: all N products are ranked.

NDCG, recall and MRR of one relevant product for each case, as Krichene and Rendle 2020 (KDD) ask:
on the full catalogue.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sidecar.contract.weights import F32
from trainer.data.cases import Cases, Histories, pad
from trainer.data.dataset import Dataset

Ranks = NDArray[np.float64]
#: Scores of all products for some histories: (histories) to (B, N).
Scorer = Callable[[Histories], F32]

#: Cells of a score matrix that are held at once.
CHUNK_CELLS = 4_000_000
TOP = 10


@dataclass(frozen=True)
class Ranking:
    """Where the next product stood, for each case.

    Parameters
    ----------
    ranks : float, shape (C,)
        0 is the best; ties count half; infinite where the product could not be shown.
    coverage : float
        Share of the catalogue that stood among the first ten of any case.
    """

    ranks: Ranks
    coverage: float

    def figures(self) -> dict[str, float]:
        """Means over the cases."""
        return figures(self.ranks) | {"coverage": self.coverage}


def ndcg(ranks: Ranks, k: int = TOP) -> Ranks:
    """NDCG@k of each case; shape (C,)."""
    return np.where(ranks < k, 1 / np.log2(np.where(ranks < k, ranks, 0) + 2), 0.0)


def figures(ranks: Ranks) -> dict[str, float]:
    """Recall@10 and @20, NDCG@10 and MRR."""
    if not len(ranks):
        return {"ndcg@10": 0.0, "recall@10": 0.0, "recall@20": 0.0, "mrr": 0.0}
    return {
        "ndcg@10": float(ndcg(ranks).mean()),
        "recall@10": float((ranks < 10).mean()),
        "recall@20": float((ranks < 20).mean()),
        "mrr": float((1 / (ranks + 1)).mean()),
    }


def rank(
    dataset: Dataset,
    cases: Cases,
    scorer: Scorer,
    max_interactions: int,
    advance: Callable[[int], object] = lambda n: None,
) -> Ranking:
    """Rank every product for every case; what the history holds is left out.

    Parameters
    ----------
    dataset : Dataset
    cases : Cases
    scorer : Callable
    max_interactions : int
    advance : Callable, optional
        Called with the number of cases that were done.
    """
    n = len(dataset.catalogue)
    size = max(1, CHUNK_CELLS // n)
    shown = np.zeros(n, bool)
    ranks = []
    for start in range(0, len(cases), size):
        part = cases.take(np.arange(start, min(start + size, len(cases))))
        histories = pad(dataset, part, max_interactions)
        scores = np.asarray(scorer(histories), np.float32)
        rows, columns = np.nonzero(histories.valid)
        scores[rows, histories.products[rows, columns]] = -np.inf
        ranks.append(_ranks(scores, dataset.product[part.target]))
        if n > TOP:
            top = np.argpartition(scores, n - TOP, axis=1)[:, n - TOP :]
            shown[top[np.isfinite(np.take_along_axis(scores, top, 1))]] = True
        else:
            shown[:] = True
        advance(len(part))
    return Ranking(np.concatenate(ranks) if ranks else np.empty(0), float(shown.mean()))


def _ranks(scores: F32, target: NDArray[np.int32]) -> Ranks:
    wanted = scores[np.arange(len(scores)), target][:, None]
    above = (scores > wanted).sum(axis=1)
    equal = (scores == wanted).sum(axis=1) - 1
    found: Ranks = np.where(np.isfinite(wanted[:, 0]), above + equal / 2, np.inf)
    return found


def interval(
    values: NDArray[np.float64], rounds: int = 1000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap interval of the mean (Efron 1979), over cases.

    Parameters
    ----------
    values : float, shape (C,)
        A figure of each case, or the difference of two rankings' figures.
    rounds : int
    seed : int
    level : float
    """
    if not len(values):
        return (0.0, 0.0)
    rng = np.random.default_rng(seed)
    means = np.array(
        [values[rng.integers(0, len(values), len(values))].mean() for _ in range(rounds)]
    )
    tail = (1 - level) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return float(low), float(high)
