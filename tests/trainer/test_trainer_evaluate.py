"""Ranking with known answers, and the baselines where they must win or lose."""

from __future__ import annotations

import numpy as np
import pytest

from trainer.errors import GateError
from trainer.evaluate.baselines import baselines, neighbours
from trainer.evaluate.compare import Comparison
from trainer.evaluate.metrics import Ranking, figures, interval, ndcg, rank
from trainer.evaluate.slices import slices
from trainer.export import gate
from trainer.learn.shop import Shop


def test_ndcg_of_known_ranks() -> None:
    assert ndcg(np.array([0.0, 1, 9, 10, np.inf])).tolist() == pytest.approx(
        [1, 1 / np.log2(3), 1 / np.log2(11), 0, 0]
    )


def test_figures_of_known_ranks() -> None:
    found = figures(np.array([0.0, 15.0, 30.0, np.inf]))
    assert found["recall@10"] == 0.25
    assert found["recall@20"] == 0.5
    assert found["mrr"] == pytest.approx((1 + 1 / 16 + 1 / 31) / 4)


def test_ties_count_half_so_that_a_constant_is_no_better_than_chance(shop: Shop) -> None:
    n = len(shop.data.catalogue)
    found = rank(shop.data, shop.split.test, lambda h: np.zeros((len(h.lengths), n)), 20)
    seen = shop.split.test.target - shop.split.test.start
    assert np.allclose(found.ranks, (n - seen - 1) / 2)


def test_what_the_history_holds_is_not_ranked(shop: Shop) -> None:
    def own(histories):  # type: ignore[no-untyped-def]
        scores = np.zeros((len(histories.lengths), len(shop.data.catalogue)), np.float32)
        rows, columns = np.nonzero(histories.valid)
        scores[rows, histories.products[rows, columns]] = 1
        return scores

    found = rank(shop.data, shop.split.test, own, 20)
    assert found.ranks.min() > 5  # its own products are gone, all others are equal


def test_an_interval_holds_the_mean() -> None:
    values = np.random.default_rng(0).normal(1, 1, 500)
    low, high = interval(values)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / np.sqrt(500), rel=0.2)


def test_company_beats_content_on_the_checkerboard(shop: Shop) -> None:
    found = {
        name: rank(shop.data, shop.split.test, scorer, 20).figures()["ndcg@10"]
        for name, scorer in baselines(shop.data, shop.vectors, shop.split, 20)
    }
    assert set(found) == {
        "popularity", "recent popularity", "last product", "mean", "decayed mean",
        "weighted recency mean", "item-kNN", "item-kNN tuned",
    }  # fmt: skip
    assert found["item-kNN"] > 1.5 * max(found["mean"], found["popularity"])
    assert found["item-kNN tuned"] > 0.9 * found["item-kNN"]


def test_item_knn_of_a_batch_is_that_of_one(shop: Shop) -> None:
    scorer = neighbours(shop.data, shop.split.train, 20, None, 0.8)
    cases = shop.split.test.take(np.arange(5))
    together = rank(shop.data, cases, scorer, 20).ranks
    alone = [rank(shop.data, cases.take(np.array([i])), scorer, 20).ranks[0] for i in range(5)]
    assert together.tolist() == alone


def test_slices_cover_the_cases(shop: Shop) -> None:
    cases = shop.split.test
    found = slices(shop.data, shop.split, cases)
    lengths = np.sum([m for n, m in found.items() if n.startswith("history of")], axis=0)
    assert (lengths == 1).all()
    assert found["next event product_clicked"].all()


def comparison(ours: float, theirs: float) -> Comparison:
    rng = np.random.default_rng(0)

    def ranking(share: float) -> Ranking:
        return Ranking(np.where(rng.random(400) < share, 0.0, 50.0), 1.0)

    names = ("last product", "mean", "decayed mean", "weighted recency mean", "item-kNN")
    rankings = {name: ranking(theirs) for name in names}
    return Comparison("shop", 400, 100, rankings | {"tower": ranking(ours)})


def test_the_gate_lets_the_better_pass_and_says_why_not() -> None:
    assert gate(comparison(0.6, 0.3))["passed"] is True
    with pytest.raises(GateError, match="expected an interval above zero"):
        gate(comparison(0.3, 0.3))
    forced = gate(comparison(0.3, 0.6), force=True)
    assert forced["forced"] is True
    assert forced["passed"] is False
