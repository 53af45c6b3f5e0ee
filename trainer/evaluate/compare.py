"""One evaluation: the tower, every baseline, intervals, slices."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Calibration
from sidecar.contract.weights import F32
from sidecar.tower.load import Tower
from trainer.data.cases import Cases, pad
from trainer.data.dataset import Dataset
from trainer.data.split import Split
from trainer.evaluate.baselines import VECTOR_BASELINES, baselines
from trainer.evaluate.metrics import Ranking, Scorer, interval, ndcg, rank
from trainer.evaluate.slices import slices
from trainer.evaluate.tower import tower_scorer, users_of

TOWER = "tower"


@dataclass(frozen=True)
class Comparison:
    """Rankings of the same cases by everything that was compared.

    Parameters
    ----------
    data : str
        Name of the data set.
    cases : int
    products : int
    rankings : Mapping[str, Ranking]
        ``tower`` and the baselines.
    slices : Mapping[str, Mapping[str, float]]
        Slice to number of cases, the tower's NDCG@10, and that of the best vector baseline.
    """

    data: str
    cases: int
    products: int
    rankings: Mapping[str, Ranking]
    slices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def best_vector_baseline(self) -> str:
        """The vector baseline with the highest NDCG@10."""
        return max(VECTOR_BASELINES, key=lambda name: ndcg(self.rankings[name].ranks).mean())

    def gain(self, over: str) -> dict[str, float]:
        """The tower's NDCG@10 less another's, with the interval of the paired difference."""
        ours, theirs = (ndcg(self.rankings[name].ranks) for name in (TOWER, over))
        low, high = interval(ours - theirs)
        mean = float(theirs.mean())
        return {
            "difference": float((ours - theirs).mean()),
            "low": low,
            "high": high,
            "ratio": float(ours.mean()) / mean if mean else 0.0,
        }

    def passes(self) -> bool:
        """Whether the tower beats the best vector baseline with an interval above zero."""
        return self.gain(self.best_vector_baseline)["low"] > 0

    def described(self) -> dict[str, Any]:
        """For ``--json``, the metadata and the report."""
        rows = {}
        for name, ranking in self.rankings.items():
            low, high = interval(ndcg(ranking.ranks))
            rows[name] = ranking.figures() | {"ndcg@10_low": low, "ndcg@10_high": high}
        return {
            "data": self.data,
            "cases": self.cases,
            "products": self.products,
            "ranking": "full catalogue, products of the history left out",
            "results": rows,
            "best_vector_baseline": self.best_vector_baseline,
            "gain_over_best_vector_baseline": self.gain(self.best_vector_baseline),
            "gain_over_item_knn": self.gain("item-kNN"),
            "passes_gate": self.passes(),
            "slices": {k: dict(v) for k, v in self.slices.items()},
        }


def compare(
    dataset: Dataset,
    split: Split,
    vectors: F32,
    tower: Scorer,
    limits: HistoryLimits,
    *,
    extra: Iterable[tuple[str, Scorer]] = (),
    on_done: Callable[[str], object] = lambda name: None,
) -> Comparison:
    """Rank the test part by the tower and by every baseline.

    Parameters
    ----------
    dataset : Dataset
    split : Split
    vectors : float32, shape (N, D)
        Text vectors, for the baselines.
    tower : Callable
        The tower's scores, with its own product vectors.
    limits : HistoryLimits
    extra : Iterable[tuple[str, Callable]]
        Names and scorers of further ones.
    on_done : Callable, optional
        Called with each name.
    """
    rankings = {}
    length = limits.max_interactions

    def one(name: str, scorer: Scorer) -> None:
        rankings[name] = rank(dataset, split.test, scorer, length)
        on_done(name)

    one(TOWER, tower)
    for name, scorer in baselines(dataset, vectors, split, length):
        one(name, scorer)
    for name, scorer in extra:
        one(name, scorer)
    made = Comparison(dataset.name, len(split.test), len(dataset.catalogue), rankings)
    best = rankings[made.best_vector_baseline].ranks
    parts = {
        name: {
            "cases": float(mask.sum()),
            TOWER: float(ndcg(rankings[TOWER].ranks[mask]).mean()),
            "best vector baseline": float(ndcg(best[mask]).mean()),
            "item-kNN": float(ndcg(rankings["item-kNN"].ranks[mask]).mean()),
        }
        for name, mask in slices(dataset, split, split.test).items()
    }
    return Comparison(made.data, made.cases, made.products, rankings, parts)


def evaluate_tower(
    tower: Tower,
    dataset: Dataset,
    split: Split,
    vectors: F32,
    q: F32,
    on_done: Callable[[str], object] = lambda name: None,
    extra: Iterable[tuple[str, Scorer]] = (),
) -> Comparison:
    """Compare a weights file, computed as it is served.

    Parameters
    ----------
    tower : Tower
    dataset : Dataset
    split : Split
    vectors, q : float32, shape (N, D)
        Text vectors, and the same through the product tower.
    on_done : Callable, optional
    extra : Iterable[tuple[str, Callable]]
    """
    limits = tower.weights.metadata.limits
    scorer = tower_scorer(tower, q)
    return compare(dataset, split, vectors, scorer, limits, extra=extra, on_done=on_done)


def calibrate(
    tower: Tower, dataset: Dataset, cases: Cases, q: F32, most: int = 2000
) -> tuple[Calibration, F32, F32]:
    """Between which cosines a personal score should rise: from an ordinary product's to a match's.

    ``lo`` is the median cosine of any shopper with any product. ``hi`` is what one shopper in ten
    exceeds with the second best product: scores stop rising there, and products beyond it would
    tie, so for nine in ten the order among the best stays.

    Returns
    -------
    calibration : Calibration
    ordinary, best : float32
        The two samples of cosines, for the report.
    """
    cases = cases.sample(most, np.random.default_rng(0))
    histories = pad(dataset, cases, tower.weights.metadata.limits.max_interactions)
    users = users_of(tower, q, histories)
    rng = np.random.default_rng(0)
    some = q[rng.choice(len(q), min(len(q), 1000), replace=False)]
    ordinary = (users @ some.T).ravel()
    second = max(0, len(q) - 2)
    best = np.concatenate(
        [np.partition(part @ q.T, second, axis=1)[:, second] for part in np.array_split(users, 8)]
    )
    lo = float(np.median(ordinary))
    hi = max(float(np.quantile(best, 0.9)), lo + 0.01)
    return Calibration(round(lo, 4), round(min(hi, 1.0), 4)), ordinary, best
