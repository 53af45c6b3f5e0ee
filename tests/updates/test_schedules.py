"""Any order, duplication, batching and concurrency of the same messages ends the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import Interaction, merge
from sidecar.contract.messages import parse_message
from sidecar.elastic.users import User
from sidecar.updates.batch import missing, with_vectors
from sidecar.updates.handler import BatchHandler
from sidecar.updates.sqs import Received
from updates.fakes import HOUR, START, FakeProducts, FakeUsers, event, message, small_tower

TOWER = small_tower()
DIMENSION = TOWER.weights.metadata.architecture.dimension
VOCABULARY = EventVocabulary()
#: p6 and p7 have no vector.
PRODUCTS = FakeProducts([f"p{i}" for i in range(6)], DIMENSION)
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


def oracle(messages: list[Received]) -> dict[str, User]:
    """In one pass, without any state: everybody's interactions, and all that reach them."""
    own: dict[str, list[Interaction]] = {one: [] for one in CUSTOMERS}
    becomes: dict[str, set[str]] = {one: set() for one in CUSTOMERS}
    for one in messages:
        parsed = parse_message(
            one.body, message_id=one.message_id, sent_at=one.sent_at, vocabulary=VOCABULARY
        )
        for e in parsed.events:
            own[e.customer_id].append(e.interaction)
        for m in parsed.merges:
            becomes[m.previous_id].add(m.customer_id)
    reaches = {one: {one} for one in CUSTOMERS}
    for _ in CUSTOMERS:
        for one in CUSTOMERS:
            reaches[one] |= {far for near in list(reaches[one]) for far in becomes[near]}
    users = []
    for one in CUSTOMERS:
        parts = [own[other] for other in CUSTOMERS if one in reaches[other]]
        history = merge(*parts, limits=TOWER.weights.metadata.limits)
        if history or becomes[one]:
            users.append(User(one, history, merged_into=tuple(sorted(becomes[one]))))
    made = with_vectors(users, PRODUCTS.vectors, TOWER, VOCABULARY, 0)
    return {user.customer_id: user for user in made}


def same(found: dict[str, User], expected: dict[str, User]) -> None:
    """The same shoppers; vectors up to what a batch's size changes in float32 sums."""
    assert found.keys() == expected.keys()
    for one, user in expected.items():
        other = found[one]
        assert other.history == user.history, one
        assert other.merged_into == user.merged_into
        assert other.waiting_for == user.waiting_for == missing(user, PRODUCTS.vectors)
        assert other.weights == user.weights
        assert (other.vector is None) == (user.vector is None)
        if user.vector is not None:
            np.testing.assert_allclose(other.vector, user.vector, atol=2e-6)


def consumer(users: FakeUsers) -> BatchHandler:
    return BatchHandler(users, PRODUCTS, lambda: TOWER, VOCABULARY)


def run(schedule: Schedule) -> FakeUsers:
    """Batches in turn; where the schedule says so, the next one is stored by a second consumer
    between the first one's read and write."""
    users = FakeUsers()
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
    return users


def settled(handler: BatchHandler, batch: list[Received]) -> None:
    handled = handler.handle(batch)
    assert handled.fault is None
    assert [*handled.stored] == batch
    assert not handled.poison + handled.refused + handled.again


@settings(max_examples=2500, deadline=None)
@given(schedules())
def test_every_schedule_ends_as_the_oracle_says(schedule: Schedule) -> None:
    same(run(schedule).stored, oracle(schedule.messages))


@settings(max_examples=300, deadline=None)
@given(schedules())
def test_delivering_everything_again_writes_nothing(schedule: Schedule) -> None:
    users = run(schedule)
    before = dict(users.stored)
    settled(consumer(users), schedule.messages)
    assert users.stored == before
