"""The merge is a pure function of the set of interactions: any order, duplication, batching."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.contract.errors import ConfigError
from sidecar.contract.history import HOUR, HistoryLimits, Interaction, is_expired, merge

SMALL = HistoryLimits(max_interactions=4, window_hours=1.0)

# Few ids and close times, so that duplicates, ties and window edges are common.
interactions = st.builds(
    Interaction,
    occurred_at=st.integers(0, 12).map(lambda n: n * HOUR // 4),
    event_id=st.sampled_from("abcdefgh"),
    product_id=st.sampled_from(["p", "q"]),
    event=st.sampled_from(["product_viewed", "product_purchased"]),
    received_at=st.integers(0, 2),
)


def click(at: float, event_id: str) -> Interaction:
    return Interaction(int(at * HOUR), event_id, f"p{event_id}", "product_clicked", 0)


@settings(max_examples=500)
@given(st.lists(interactions, max_size=24), st.randoms(use_true_random=False), st.data())
def test_any_order_duplication_and_batching_ends_the_same(
    messages: list[Interaction], random: object, data: st.DataObject
) -> None:
    expected = merge(messages, limits=SMALL)
    repeats = data.draw(st.lists(st.sampled_from(messages), max_size=8)) if messages else []
    schedule = messages + repeats
    random.shuffle(schedule)  # type: ignore[attr-defined]
    history: tuple[Interaction, ...] = ()
    while schedule:
        size = data.draw(st.integers(1, 5))
        history = merge(history, schedule[:size], limits=SMALL)
        schedule = schedule[size:]
    assert history == expected


@given(st.lists(interactions, max_size=12), st.lists(interactions, max_size=12))
def test_two_consumers_may_merge_each_others_results(
    one: list[Interaction], two: list[Interaction]
) -> None:
    a, b = merge(one, limits=SMALL), merge(two, limits=SMALL)
    assert merge(a, b, limits=SMALL) == merge(one + two, limits=SMALL)
    assert merge(b, a, limits=SMALL) == merge(a, b, a, limits=SMALL)


@given(st.lists(interactions, max_size=24))
def test_a_history_keeps_its_rules(messages: list[Interaction]) -> None:
    history = merge(messages, limits=SMALL)
    assert len(history) <= 4
    assert len({i.event_id for i in history}) == len(history)
    assert list(history) == sorted(history, key=lambda i: (i.occurred_at, i.event_id))
    if messages:
        newest = max(i.occurred_at for i in messages)
        assert history[-1].occurred_at == newest
        assert all(newest - i.occurred_at < HOUR for i in history)


def test_known_answer() -> None:
    events = [click(0.0, "a"), click(0.5, "b"), click(1.0, "c"), click(1.4, "d")]
    # "a" is more than an hour older than "d"; "b" is not.
    assert [i.event_id for i in merge(events, limits=SMALL)] == ["b", "c", "d"]
    for order in permutations(events):
        assert merge(order, limits=SMALL) == merge(events, limits=SMALL)


def test_exactly_the_window_is_too_old() -> None:
    assert [i.event_id for i in merge([click(0, "a"), click(1, "b")], limits=SMALL)] == ["b"]


def test_the_later_copy_of_an_event_wins() -> None:
    early, late = click(0.1, "a"), click(0.9, "a")
    assert merge([late, early], limits=SMALL) == merge([early], [late], limits=SMALL) == (late,)


def test_ties_are_cut_by_event_id() -> None:
    tied = [click(1, name) for name in "fbdace"]
    assert [i.event_id for i in merge(tied, limits=SMALL)] == ["c", "d", "e", "f"]


def test_expiry_is_by_the_clock() -> None:
    history = merge([click(0, "a")], limits=SMALL)
    assert not is_expired(history, HOUR, SMALL)
    assert is_expired(history, HOUR + 1, SMALL)
    assert is_expired((), 0, SMALL)


@pytest.mark.parametrize(
    "limits", [{"max_interactions": 0}, {"window_hours": 0.0}, {"window_hours": float("nan")}]
)
def test_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(limits))):
        HistoryLimits(**limits)  # type: ignore[arg-type]
