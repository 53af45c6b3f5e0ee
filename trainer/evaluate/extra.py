"""Learned baselines, for whoever wants to know: minutes, not seconds, and none is in the gate.

ALS is the library's (benfred/implicit; Hu, Koren and Volinsky 2008, ICDM), an optional extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import util

import numpy as np
from scipy import sparse

from sidecar.contract.history import HistoryLimits
from sidecar.contract.weights import F32
from trainer.data.cases import Histories
from trainer.data.dataset import Dataset
from trainer.data.split import Split
from trainer.evaluate.metrics import Scorer, rank
from trainer.evaluate.sasrec import sasrec

ALS, SASREC = "ALS", "SASRec"
FACTORS, ITERATIONS, REGULARIZATION = 128, 15, 0.01
#: How much more an event counts than none; the best on the validation part is taken.
ALPHAS = (1.0, 10.0, 40.0)


def extra_baselines(
    dataset: Dataset,
    split: Split,
    limits: HistoryLimits,
    *,
    seed: int = 0,
    say: Callable[[str], object] = lambda line: None,
) -> Iterator[tuple[str, Scorer]]:
    """Name and scorer of each that can be had here.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    limits : HistoryLimits
    seed : int
    say : Callable, optional
        Takes a line about what is left out, and about each epoch.
    """
    if util.find_spec("implicit") is None:
        say(f"{ALS} is left out: implicit is not installed (pip install '.[baselines]' in a clone)")
    else:
        yield ALS, als(dataset, split, limits, seed)

    def line(number: int, value: float) -> None:
        say(f"{SASREC} epoch {number:2}: validation NDCG@10 {value:.4f}")

    yield SASREC, sasrec(dataset, split, limits, seed=seed, on_epoch=line)


def als(dataset: Dataset, split: Split, limits: HistoryLimits, seed: int = 0) -> Scorer:
    """Matrix factorisation of the train part's shoppers; a history is folded in as a new shopper.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    limits : HistoryLimits
    seed : int
    """
    train = dataset.at < split.cuts[0]
    n = len(dataset.catalogue)
    shoppers, row = np.unique(dataset.customer[train], return_inverse=True)
    ones = np.ones(int(train.sum()), np.float32)
    counts = sparse.csr_matrix((ones, (row, dataset.product[train])), shape=(len(shoppers), n))
    cases = split.validation.sample(4000, np.random.default_rng(0))
    found = []
    for alpha in ALPHAS:
        scorer = _factorised(counts, alpha, seed)
        value = rank(dataset, cases, scorer, limits.max_interactions).figures()["ndcg@10"]
        found.append((value, scorer))
    return max(found, key=lambda one: one[0])[1]


def _factorised(counts: sparse.csr_matrix, alpha: float, seed: int) -> Scorer:
    from implicit.cpu.als import AlternatingLeastSquares
    from threadpoolctl import threadpool_limits

    n = counts.shape[1]
    # It has threads of its own; two pools would wait for each other.
    with threadpool_limits(1, "blas"):
        model = AlternatingLeastSquares(
            factors=FACTORS,
            regularization=REGULARIZATION,
            alpha=alpha,
            iterations=ITERATIONS,
            random_state=seed,
        )
        model.fit(counts, show_progress=False)

    def score(histories: Histories) -> F32:
        b, length = histories.products.shape
        kept = histories.valid.ravel()
        where = (np.repeat(np.arange(b), length)[kept], histories.products.ravel()[kept])
        seen = sparse.csr_matrix((np.ones(kept.sum(), np.float32), where), shape=(b, n))
        with threadpool_limits(1, "blas"):
            users = model.recalculate_user(np.arange(b), seen)
        return np.asarray(users @ model.item_factors.T, np.float32)

    return score
