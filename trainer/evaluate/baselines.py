"""What a shop could do in an afternoon: every baseline that learns no vectors.

Vector baselines use the text vectors as they are; counting baselines use the train part, as the
tower does, but for recent popularity, which may look at everything before the test part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from sidecar.contract.history import HOUR
from sidecar.contract.weights import F32
from sidecar.tower.prior import AGE_DECAY, RANK_DECAY
from trainer.data.cases import Cases, Histories
from trainer.data.dataset import I32, Dataset
from trainer.data.split import Split
from trainer.evaluate.metrics import Scorer, rank
from trainer.model.factors import cooccurrence, cosine

#: Baselines that are a vector made without learning: what the gate compares with.
VECTOR_BASELINES = ("last product", "mean", "decayed mean", "weighted recency mean")
RECENT_DAYS = 14
#: A step further back counts so much of the step before, for the decayed mean and item-kNN.
STEP = 0.8


def steps_back(histories: Histories) -> F32:
    """Rank of each interaction, 0 for the newest; shape (B, L)."""
    length = histories.products.shape[1]
    back = histories.lengths[:, None] - 1 - np.arange(length)
    return back.astype(np.float32)


def baselines(
    dataset: Dataset, vectors: F32, split: Split, max_interactions: int
) -> Iterator[tuple[str, Scorer]]:
    """Name and scorer of every baseline, one after another.

    Parameters
    ----------
    dataset : Dataset
    vectors : float32, shape (N, D)
        Unit text vectors.
    split : Split
    max_interactions : int
    """
    n = len(dataset.catalogue)
    train_end, test_start = split.cuts
    yield "popularity", _constant(dataset.product[dataset.at < train_end], n)
    recent = test_start - RECENT_DAYS * 24 * HOUR
    window = (dataset.at >= recent) & (dataset.at < test_start)
    yield "recent popularity", _constant(dataset.product[window], n)
    weights = np.log(np.array(list(dataset.vocabulary.weights.values()), np.float32))
    pools: dict[str, Callable[[Histories], NDArray[np.floating]]] = {
        "last product": lambda h: np.where(steps_back(h) == 0, np.float32(0), -np.inf),
        "mean": lambda h: np.zeros(h.products.shape, np.float32),
        "decayed mean": lambda h: np.float32(np.log(STEP)) * steps_back(h),
        "weighted recency mean": lambda h: (
            weights[h.events] - AGE_DECAY * h.ages - RANK_DECAY * steps_back(h)
        ),
    }
    for name, log_weight in pools.items():
        yield name, pooled(vectors, log_weight)
    yield "item-kNN", neighbours(dataset, split.train, max_interactions, None, STEP)
    yield "item-kNN tuned", tuned_neighbours(dataset, split, max_interactions)


def _constant(products: I32, n: int) -> Scorer:
    counts = np.bincount(products, minlength=n).astype(np.float32)
    return lambda histories: np.repeat(counts[None], len(histories.lengths), axis=0)


def pooled(vectors: F32, log_weight: Callable[[Histories], NDArray[np.floating]]) -> Scorer:
    """Cosine with a weighted mean of the history's own vectors."""

    def score(histories: Histories) -> F32:
        weight = np.where(histories.valid, log_weight(histories), -np.inf)
        weight = np.exp(weight - weight.max(axis=1, keepdims=True)).astype(np.float32)
        users = np.einsum("bl,bld->bd", weight, vectors[histories.products])
        users /= np.maximum(np.linalg.norm(users, axis=1, keepdims=True), 1e-12)
        return np.asarray(users @ vectors.T)

    return score


def neighbours(
    dataset: Dataset, cases: Cases, max_interactions: int, counted: float | None, step: float
) -> Scorer:
    """item-kNN: co-occurrence within histories as a cosine, summed over the history.

    Parameters
    ----------
    dataset : Dataset
    cases : Cases
        What is counted.
    max_interactions : int
    counted : float, optional
        What a step further back counts when pairs are counted; all the same without it.
    step : float
        What a step further back counts when products are scored.
    """
    similar = cosine(cooccurrence(dataset, cases, max_interactions, counted or 1.0))
    n = len(dataset.catalogue)

    def score(histories: Histories) -> F32:
        b, length = histories.products.shape
        weight = np.where(histories.valid, step ** steps_back(histories), 0).astype(np.float32)
        rows = np.repeat(np.arange(b), length)
        where = (rows, histories.products.ravel())
        history = sparse.coo_matrix((weight.ravel(), where), shape=(b, n)).tocsr()
        return np.asarray((history @ similar).toarray(), np.float32)

    return score


def tuned_neighbours(dataset: Dataset, split: Split, max_interactions: int) -> Scorer:
    """The item-kNN that is best on the validation part, of eight: the hardest bar."""
    cases = split.validation.sample(4000, np.random.default_rng(0))
    most = max(500, 400_000_000 // max(1, len(dataset.catalogue)) // 8)
    cases = cases.sample(most, np.random.default_rng(0))
    found: list[tuple[float, int, Scorer]] = []
    for counted in (None, STEP):
        for step in (1.0, 0.9, 0.8, 0.6):
            scorer = neighbours(dataset, split.train, max_interactions, counted, step)
            value = rank(dataset, cases, scorer, max_interactions).figures()["ndcg@10"]
            found.append((value, -len(found), scorer))
    return max(found, key=lambda one: one[:2])[2]
