"""The pure parts: diversity, shares in words, trends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.contract.history import Interaction
from sidecar.elastic.activity import Active
from sidecar.updates.explain import Influence, ago, explain, in_words, percent, reasons
from sidecar.web.diversity import mmr
from sidecar.web.explore import interleave, seed
from sidecar.web.trending import trending
from tests.web_api.stack import tower, vector


def drawn(seed: int, n: int, d: int = 8) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    taste = rng.normal(size=d)
    relevance = rows @ (taste / np.linalg.norm(taste))
    return relevance.astype(np.float32), rows.astype(np.float32)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30), st.floats(0, 1), st.integers(0, 40))
def test_mmr_chooses_each_row_once_and_longer_lists_only_add(
    seed: int, n: int, diversity: float, count: int
) -> None:
    relevance, rows = drawn(seed, n)
    before = relevance.copy(), rows.copy()
    chosen = mmr(relevance, rows, diversity, count)
    assert len(chosen) == len(set(chosen)) == min(n, count)
    assert mmr(relevance, rows, diversity, count + 5)[: len(chosen)] == chosen
    assert (
        chosen[:1] == ([int(relevance.argmax())] if count else [])[: len(chosen)] or diversity == 1
    )
    assert np.array_equal(relevance, before[0])
    assert np.array_equal(rows, before[1])


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 30))
def test_mmr_without_diversity_is_the_order_of_relevance(seed: int, n: int) -> None:
    relevance, rows = drawn(seed, n)
    assert mmr(relevance, rows, 0.0, n) == np.argsort(-relevance, kind="stable").tolist()


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 20), st.floats(0, 1))
def test_each_choice_of_mmr_is_the_best_by_its_definition(
    seed: int, n: int, diversity: float
) -> None:
    relevance, rows = drawn(seed, n)
    chosen = mmr(relevance, rows, diversity, n)
    for step in range(1, n):
        done = chosen[:step]

        def worth(row: int, done: list[int] = done) -> float:
            alike = max(float(rows[row] @ rows[one]) for one in done)
            return (1 - diversity) * float(relevance[row]) - diversity * alike

        best = max(worth(row) for row in range(n) if row not in done)
        assert worth(chosen[step]) == pytest.approx(best, abs=1e-5)


def test_mmr_takes_products_without_a_vector() -> None:
    rows = np.zeros((3, 4), np.float32)
    assert mmr(np.zeros(3, np.float32), rows, 0.5, 3) == [0, 1, 2]
    assert mmr(np.zeros(0, np.float32), rows[:0], 0.5, 3) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "just now"),
        (59.9, "just now"),
        (60, "1 minute ago"),
        (750, "12 minutes ago"),
        (3600, "1 hour ago"),
        (86_399, "23 hours ago"),
        (200_000, "2 days ago"),
    ],
)
def test_ages_in_words(seconds: float, words: str) -> None:
    assert ago(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.41, "41 %"),
        (0.004, "under 1 %"),
        (0.0, "0 %"),
        (-0.2, "20 %, away from it"),
        (1, "100 %"),
    ],
)
def test_shares_in_words(share: float, words: str) -> None:
    assert percent(share) == words


def test_an_interaction_in_words() -> None:
    done = Interaction(1_000_000_000, "e", "p", "product_added_to_cart", 0)
    assert in_words(Influence(done, 0.41), 1720) == "added to the cart 12 minutes ago: 41 %"
    own = Interaction(1_000_000_000, "e", "p", "product_tried_on", 0)
    assert in_words(Influence(own, 1.0), 1000) == "tried on just now: 100 %"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 4)), min_size=1, max_size=30))
def test_absolute_shares_add_up_to_one(done: list[tuple[int, int]]) -> None:
    names = tower().weights.metadata.vocabulary.names
    history = tuple(
        sorted(
            Interaction(10**15 + at * 10**9, f"e{i}", f"p{product}", names[i % len(names)], 0)
            for i, (at, product) in enumerate(done)
        )
    )
    vectors = {f"p{product}": vector(product % 4, product) for product in range(4)}  # p4 has none
    found = explain(history, vectors, tower())
    counted = [one.share for one in found.influences if one.share is not None]
    assert all(
        (one.share is None) == (one.interaction.product_id == "p4") for one in found.influences
    )
    assert sum(map(abs, counted)) == pytest.approx(1.0 if counted else 0.0, abs=1e-5)
    assert (found.vector is None) == (not counted)
    times = [one.interaction.occurred_at for one in found.influences]
    assert times == sorted(times, reverse=True)


def test_nobody_makes_a_trend_alone() -> None:
    now = 1e9
    at = int(now * 1e6)
    loud = Active("loud", 0, tuple(("mine", "product_purchased", at) for _ in range(20)))
    crowd = [Active(f"c{i}", 0, (("ours", "product_purchased", at),)) for i in range(2)]
    old = Active("old", 0, (("gone", "product_purchased", at - 4 * 86_400 * 10**6),))
    found = trending([loud, *crowd, old], {"product_purchased": 8.0}, now)
    assert found == [("ours", 16.0), ("mine", 8.0)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.integers(0, 3))
def test_reasons_are_the_terms_of_the_cosine(kinds: list[int], asked: int) -> None:
    """Untrained, there is no shift: what the history adds up to is the cosine itself."""
    history = tuple(
        Interaction(10**15 + i * 10**9, f"e{i}", f"p{kind}", "product_clicked", 0)
        for i, kind in enumerate(kinds)
    )
    vectors = {f"p{kind}": vector(kind, 0) for kind in range(4)}
    found = explain(history, vectors, tower())
    product = vector(asked, 1)
    given_ = reasons(found, vectors, product, most=20)
    assert [one.part for one in given_] == sorted((one.part for one in given_), reverse=True)
    assert sum(one.part for one in given_) <= 1 + 1e-6
    if asked in kinds:
        assert given_[0].interaction.product_id == f"p{asked}"
    mix = sum(
        (one.share or 0) * float(vectors[one.interaction.product_id] @ product)
        for one in found.influences
    )
    assert found.vector is not None
    length = np.linalg.norm(
        sum((one.share or 0) * vectors[one.interaction.product_id] for one in found.influences)
    )
    assert float(found.vector @ product) == pytest.approx(mix / length, abs=1e-5)


def test_being_no_nearer_than_anything_else_is_no_reason() -> None:
    """A large share of something unlike does not explain, a small share of something alike does."""
    history = (
        Interaction(10**15, "e0", "tea", "product_clicked", 0),
        Interaction(10**15 + 1, "e1", "shoe", "product_purchased", 0),
    )

    def unit(*values: float) -> np.ndarray:
        one = np.zeros(384, np.float32)
        one[: len(values)] = values
        return one / np.linalg.norm(one)

    vectors = {"tea": unit(1, 0, 1), "shoe": unit(0, 1, 1)}  # everything has something in common
    found = explain(history, vectors, tower())
    asked = unit(1, 0, 1.1)
    plain = reasons(found, vectors, asked)
    assert [one.interaction.product_id for one in plain] == ["shoe", "tea"]
    above = reasons(found, vectors, asked, floor=0.55)
    assert above[0].interaction.product_id == "tea"


@settings(max_examples=200, deadline=None)
@given(
    st.integers(0, 40), st.integers(0, 40), st.floats(0, 1), st.integers(0, 30), st.integers(1, 30)
)
def test_exploring_slots_are_a_share_and_pages_fit(
    own: int, other: int, share: float, start: int, size: int
) -> None:
    taste, others = [f"t{i}" for i in range(own)], [f"o{i}" for i in range(other)]
    whole = interleave(taste, others, share, 0, start + size)
    assert interleave(taste, others, share, start, size) == whole[start:]
    assert len(whole) == len(set(whole)) == min(start + size, own + other) or share < 1
    assert len(whole) == len(set(whole))
    if own >= start + size <= other:
        assert sum(one.startswith("o") for one in whole) == int((start + size) * share)


def test_exploration_changes_with_the_day_and_the_shopper() -> None:
    assert seed("a", 1) == seed("a", 1)
    assert len({seed("a", 1), seed("a", 2), seed("b", 1)}) == 3
    assert 0 <= seed("a", 1) < 2**31
