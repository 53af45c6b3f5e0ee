"""Any order, duplication, batching and concurrency of the same messages ends the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.elastic.users import User, Users, Written
from sidecar.updates.envelopes import Received
from sidecar.updates.handler import BatchHandler
from updates.fakes import HOUR, START, FakeUsers, event, message
from updates.oracle import PRODUCTS, TOWER, VOCABULARY, oracle, same

CUSTOMERS = ["a", "b", "c", "d"]

customers = st.sampled_from(CUSTOMERS)
events = st.builds(
    event,
    customers,
    st.sampled_from([f"p{i}" for i in range(8)]),
    st.sampled_from([*VOCABULARY.names, "purchase", "view_cart"]),
    # Few hours, so that there are ties, and more of them than the window.
    timestamp=st.integers(0, 60).map(lambda hour: (START - 61 * HOUR + hour * HOUR) / 1e6),
    # Few ids: an app that uses one twice, with another time or product, must not break it.
    event_id=st.one_of(st.none(), st.integers(0, 12)),
)
merges = st.builds(
    lambda one, other: {"event_name": "user_merged", "customer_id": one, "previous_id": other},
    customers,
    customers,
)
bodies = st.one_of(events, events, events, st.lists(events, min_size=1, max_size=3), merges)


@dataclass
class Schedule:
    """Deliveries of some messages: an order with repetitions, cut into batches."""

    messages: list[Received]
    batches: list[list[Received]]
    concurrent: list[bool]


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    messages = [
        message(body, f"m{i}", START + i * 1000)
        for i, body in enumerate(draw(st.lists(bodies, min_size=1, max_size=14)))
    ]
    repeats = draw(st.lists(st.sampled_from(messages), max_size=6))
    left = draw(st.permutations([*messages, *repeats]))
    batches = []
    while left:
        size = draw(st.integers(1, len(left)))
        batches.append(list(left[:size]))
        left = left[size:]
    flags = st.lists(st.booleans(), min_size=len(batches), max_size=len(batches))
    return Schedule(messages, batches, draw(flags))


def consumer(users: Any) -> BatchHandler:
    return BatchHandler(users, PRODUCTS, lambda: TOWER, VOCABULARY)


def run(schedule: Schedule, users: Any) -> None:
    """Batches in turn; where the schedule says so, the next one is stored by a second consumer
    between the first one's read and write."""
    first, second = consumer(users), consumer(users)
    batches = list(schedule.batches)
    for concurrent in schedule.concurrent:
        if not batches:
            break
        batch = batches.pop(0)
        if concurrent and batches:
            other = batches.pop(0)
            users.before_put = lambda other=other: settled(second, other)  # type: ignore[misc]
        settled(first, batch)
        # A batch that changed nothing writes nothing: the hook is still to be run.
        hook, users.before_put = users.before_put, lambda: None
        hook()


def settled(handler: BatchHandler, batch: list[Received]) -> None:
    handled = handler.handle(batch)
    assert handled.fault is None
    assert [*handled.stored] == batch
    assert not handled.poison + handled.refused + handled.again


@settings(max_examples=2500, deadline=None)
@given(schedules())
def test_every_schedule_ends_as_the_oracle_says(schedule: Schedule) -> None:
    users = FakeUsers()
    run(schedule, users)
    same(users.stored, oracle(schedule.messages))


@settings(max_examples=300, deadline=None)
@given(schedules())
def test_delivering_everything_again_writes_nothing(schedule: Schedule) -> None:
    users = FakeUsers()
    run(schedule, users)
    before = dict(users.stored)
    settled(consumer(users), schedule.messages)
    assert users.stored == before


class Hooked:
    """The real index of shoppers, with somebody else between a read and its write."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self.before_put: Callable[[], None] = lambda: None

    def get_many(self, ids: Sequence[str], *, vectors: bool = True) -> dict[str, User]:
        return self._users.get_many(ids, vectors=vectors)

    def put_many(self, users: Sequence[User]) -> dict[str, Written]:
        hook, self.before_put = self.before_put, lambda: None
        hook()
        return self._users.put_many(users)


@pytest.mark.servers
def test_the_same_with_elasticsearch(users: Users) -> None:
    # Not with the fixture in the examples' arguments: one index serves them all.
    @settings(max_examples=60, deadline=None, database=None)
    @given(schedules())
    def check(schedule: Schedule) -> None:
        for one in CUSTOMERS:
            users.delete(one)
        run(schedule, Hooked(users))
        same(users.get_many(CUSTOMERS), oracle(schedule.messages))

    check()
