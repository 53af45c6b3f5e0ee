"""The loop around the handler, on a queue in memory: pressure, faults, stopping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from sidecar.contract.errors import ConfigError, RefusedError, SidecarError, UnreachableError
from sidecar.contract.events import EventVocabulary
from sidecar.elastic.users import Outcome, Written
from sidecar.updates.backoff import Backoff, pause
from sidecar.updates.consumer import Consumer, Timing
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.settings import UpdateSettings
from updates.fakes import FakeProducts, FakeQueue, FakeUsers, event, message, small_tower

TOWER = small_tower()
PRODUCTS = FakeProducts([f"p{i}" for i in range(6)], TOWER.weights.metadata.architecture.dimension)
FAST = UpdateSettings(backoff_base_ms=1, backoff_cap_ms=20, linger_ms=0, catch_up_s=0)


def consumer(
    queue: FakeQueue,
    users: FakeUsers,
    settings: UpdateSettings = FAST,
    metrics: UpdateMetrics | None = None,
    on_stored: Callable[[Timing], None] | None = None,
) -> Consumer:
    return Consumer(
        queue,  # type: ignore[arg-type]
        users,
        PRODUCTS,
        lambda: TOWER,
        EventVocabulary(),
        settings,
        metrics=metrics,
        on_stored=on_stored,
    )


@contextmanager
def running(one: Consumer) -> Iterator[threading.Event]:
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            one.run(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield stop
    finally:
        stop.set()
        thread.join(15)
        assert not thread.is_alive()
    if failed:
        raise failed[0]


def until(condition: Callable[[], bool]) -> None:
    """Generous: a limit for a broken build, not a measure of speed."""
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it did not come about in 30 s"
        time.sleep(0.005)


def test_everything_is_stored_and_then_deleted() -> None:
    queue, users = FakeQueue(message(event(f"c{i % 9}"), f"m{i}") for i in range(300)), FakeUsers()
    timings: list[Timing] = []
    with running(consumer(queue, users, on_stored=timings.append)):
        until(lambda: len(queue.deleted) == 300)
    assert not queue.hidden
    assert not queue.visible
    assert len(timings) == 300
    assert all(t.stored_at >= t.received_at for t in timings)


def test_nothing_is_deleted_that_is_not_stored() -> None:
    queue, users = FakeQueue([message(event("c"), "m1"), message(event("d"), "m2")]), FakeUsers()
    users.outcomes["c"] = [Written(Outcome.REFUSED, "no")]
    with running(consumer(queue, users)):
        until(lambda: len(queue.deleted) == 1)
    assert [one.message_id for one in queue.deleted] == ["m2"]
    # Left to the redrive policy: neither deleted nor shown again at once.
    assert set(queue.hidden) == {"r-m1"}


def test_poison_without_dead_letters_is_left_to_the_redrive_policy() -> None:
    metrics = UpdateMetrics()
    queue, users = FakeQueue([message("{", "bad"), message(event(), "good")]), FakeUsers()
    with running(consumer(queue, users, metrics=metrics)):
        until(lambda: len(queue.deleted) == 1)
    assert set(queue.hidden) == {"r-bad"}
    assert metrics.poison.labels("not_json")._value.get() == 1
    assert metrics.finished.labels("left")._value.get() == 1


def test_poison_goes_to_the_dead_letters_with_its_reason() -> None:
    queue = FakeQueue([message("{", "bad"), message(event(name="licked"), "odd")])
    settings = UpdateSettings(dead_letter_url="http://fake/0/dead", catch_up_s=0)
    with running(consumer(queue, FakeUsers(), settings)):
        until(lambda: len(queue.deleted) == 2)
    assert queue.dead is not None
    reasons = [one.attributes["sidecar-reason"] for one in queue.dead.visible]
    assert sorted(reasons) == ["not_json", "unknown_event"]
    assert {one.body for one in queue.dead.visible} == {"{", message(event(name="licked")).body}
    assert all(one.attributes["sidecar-message-id"] in {"bad", "odd"} for one in queue.dead.visible)


def test_dead_letters_that_fail_leave_the_poison_where_it_is() -> None:
    queue = FakeQueue([message("{", "bad")])
    settings = UpdateSettings(dead_letter_url="http://fake/0/dead", catch_up_s=0)
    one = consumer(queue, FakeUsers(), settings)
    assert queue.dead is not None
    queue.dead.errors["send"] = [RefusedError("no rights")]
    with running(one):
        until(lambda: one.status().in_flight == 0 and bool(queue.hidden))
    assert set(queue.hidden) == {"r-bad"}
    assert not queue.deleted


def test_receiving_stops_while_writing_is_behind() -> None:
    queue, users = FakeQueue(message(event(), f"m{i}") for i in range(500)), FakeUsers()
    gate = threading.Event()
    users.before_put = lambda: gate.wait(30) and None  # type: ignore[func-returns-value]
    settings = UpdateSettings(max_in_flight=20, receivers=2, batch_size=5, catch_up_s=0)
    one = consumer(queue, users, settings)
    with running(one):
        until(lambda: one.status().in_flight >= 20)
        time.sleep(0.2)
        # A receive brings ten: each receiver may have had room for its last one.
        assert one.status().in_flight <= 20 + 2 * 10
        gate.set()
        until(lambda: len(queue.deleted) == 500)


def test_visibility_is_extended_while_a_batch_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    queue, users = FakeQueue([message(event(), "m1")]), FakeUsers()
    gate = threading.Event()
    users.before_put = lambda: gate.wait(30) and None  # type: ignore[func-returns-value]
    one = consumer(queue, users)
    monkeypatch.setattr(one._in_flight, "_extend_after_s", 0.1)
    with running(one):
        until(lambda: len(queue.hides) >= 2)
        gate.set()
        until(lambda: len(queue.deleted) == 1)
    assert queue.hides[0] == (["m1"], FAST.visibility_s)


@pytest.mark.parametrize(
    "error",
    [UnreachableError("429"), UnreachableError("connection refused"), RefusedError("403")],
)
def test_elasticsearch_that_fails_is_waited_for(error: SidecarError) -> None:
    queue, users = FakeQueue(message(event(f"c{i}"), f"m{i}") for i in range(20)), FakeUsers()
    users.errors = [error] * 5
    one = consumer(queue, users)
    seen = []
    original = users.get_many

    def get_many(*args: object, **kwargs: object) -> object:
        seen.append(one.status())
        return original(*args, **kwargs)  # type: ignore[arg-type]

    users.get_many = get_many  # type: ignore[method-assign, assignment]
    with running(one):
        until(lambda: len(queue.deleted) == 20)
        assert one.status().ready
    assert any(not status.ready and str(error) in status.why for status in seen)
    assert len(users.stored) == 20


@pytest.mark.parametrize("what", ["receive", "delete"])
def test_a_queue_that_fails_is_waited_for(what: str) -> None:
    queue, users = FakeQueue([message(event(), "m1")]), FakeUsers()
    queue.errors[what] = [UnreachableError("throttled"), RefusedError("ExpiredToken: renew")]
    one = consumer(queue, users)
    with running(one):
        until(lambda: len(queue.deleted) == 1)
        until(lambda: one.status().ready)


def test_stopping_hands_back_what_was_not_stored() -> None:
    queue, users = FakeQueue(message(event(), f"m{i}") for i in range(30)), FakeUsers()
    users.errors = [UnreachableError("down")] * 100_000
    one = consumer(queue, users)
    with running(one):
        until(lambda: one.status().in_flight == 30)
    assert len(queue.visible) == 30
    assert not queue.deleted


def test_stopping_finishes_the_batch_in_hand() -> None:
    queue, users = FakeQueue([message(event(), "m1")]), FakeUsers()
    inside, gate = threading.Event(), threading.Event()

    def slow() -> None:
        inside.set()
        gate.wait(30)

    users.before_put = slow
    with running(consumer(queue, users)) as stop:
        assert inside.wait(30)
        stop.set()
        gate.set()
    assert [one.message_id for one in queue.deleted] == ["m1"]
    assert len(users.stored) == 1


def test_a_queue_that_is_missing_is_said_at_once() -> None:
    queue = FakeQueue()
    queue.errors["check"] = [RefusedError("there is no such queue")]
    with pytest.raises(RefusedError, match="no such queue"):
        consumer(queue, FakeUsers()).run(threading.Event())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_a_thread_ends_the_consumer() -> None:
    queue = FakeQueue()
    queue.errors["receive"] = [ZeroDivisionError()]  # type: ignore[list-item]
    with pytest.raises(ZeroDivisionError):
        consumer(queue, FakeUsers()).run(threading.Event())


def test_products_that_get_their_vectors_late_count_without_another_event() -> None:
    queue, users = FakeQueue([message(event("c", "late"), "m1")]), FakeUsers()
    products = FakeProducts(["p1"], TOWER.weights.metadata.architecture.dimension)
    one = Consumer(
        queue,  # type: ignore[arg-type]
        users,
        products,
        lambda: TOWER,
        EventVocabulary(),
        UpdateSettings(catch_up_s=0.02),
        clock=lambda: users.stored["c"].history[-1].occurred_at / 1e6 if users.stored else 0.0,
    )
    with running(one):
        until(lambda: len(queue.deleted) == 1)
        assert users.stored["c"].vector is None
        products.vectors["late"] = products.vectors["p1"]
        until(lambda: users.stored["c"].vector is not None)


def test_pauses_grow_are_bounded_and_differ() -> None:
    backoff = Backoff(0.1, 2.0)
    pauses = [backoff.next() for _ in range(50)]
    assert all(0.01 <= p <= 2.0 for p in pauses)
    assert pauses[0] <= 0.1
    assert max(pauses) > 0.5
    assert len(set(pauses)) == 50
    backoff.reset()
    assert backoff.next() <= 0.1


def test_a_pause_ends_when_an_event_is_set() -> None:
    event = threading.Event()
    assert pause(0.0, event) is False
    event.set()
    assert pause(60.0, event) is True


def test_dead_letters_that_would_come_back_are_refused() -> None:
    with pytest.raises(ConfigError, match="SIDECAR_SQS_DEAD_LETTER_URL"):
        consumer(FakeQueue(), FakeUsers(), UpdateSettings(dead_letter_url=FakeQueue.url))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("receivers", 0),
        ("receivers", True),
        ("wait_s", 9),
        ("wait_s", 8),
        ("batch_size", 1001),
        ("linger_ms", -1),
        ("linger_ms", float("nan")),
        ("visibility_s", 9),
        ("backoff_cap_ms", 50),
        ("stop_s", 61),
        ("max_in_flight_mb", 0),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        UpdateSettings(**{name: value})  # type: ignore[arg-type]
