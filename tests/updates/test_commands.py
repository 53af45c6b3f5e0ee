"""Forget, prune, rebuild, backfill: on shoppers in memory."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.contract.errors import ConfigError, MessageError, UnreachableError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits
from sidecar.elastic.users import Outcome, User, Written
from sidecar.updates.backfill import Backfilled, backfill, csv_rows, lines
from sidecar.updates.catch_up import catch_up
from sidecar.updates.forget import forget
from sidecar.updates.handler import BatchHandler
from sidecar.updates.prune import prune
from sidecar.updates.rebuild import rebuild
from updates.fakes import HOUR, START, FakeProducts, FakeUsers, event, message, small_tower

TOWER = small_tower()
OTHER = small_tower(seed=1)
DIMENSION = TOWER.weights.metadata.architecture.dimension
SECONDS = START / 1e6


@pytest.fixture
def users() -> FakeUsers:
    return FakeUsers()


@pytest.fixture
def products() -> FakeProducts:
    return FakeProducts([f"p{i}" for i in range(6)], DIMENSION)


@pytest.fixture
def handler(users: FakeUsers, products: FakeProducts) -> BatchHandler:
    return BatchHandler(users, products, lambda: TOWER, EventVocabulary(), clock=lambda: SECONDS)


def merged(previous: str, customer: str) -> dict[str, str]:
    return {"event_name": "user_merged", "customer_id": customer, "previous_id": previous}


def test_a_forgotten_shopper_stays_forgotten(users: FakeUsers, handler: BatchHandler) -> None:
    handler.handle([message(event(), "m1")])
    assert forget(users, "c", lambda: SECONDS + 1) is True
    left = users.stored["c"]
    assert (left.history, left.vector, left.merged_into) == ((), None, ())
    # Still on its way, and delivered again.
    handler.handle([message(event(), "m1"), message(event(product="p2"), "m2", START + 900_000)])
    assert users.stored["c"].history == ()
    handler.handle([message(event(product="p3"), "m3", START + 1_001_000)])
    assert len(users.stored["c"].history) == 1
    assert forget(users, "nobody knows", lambda: SECONDS) is False
    assert "nobody knows" in users.stored


def test_forgetting_reaches_the_ids_that_a_shopper_had_before(
    users: FakeUsers, handler: BatchHandler
) -> None:
    handler.handle([message(event("phone"), "m1"), message(event("other"), "m2")])
    handler.handle([message(merged("phone", "tablet"), "m3")])
    handler.handle([message(merged("tablet", "known"), "m4")])
    told: list[str] = []
    assert forget(users, "known", lambda: SECONDS + 1, told.append)
    assert told == ["known", "phone", "tablet"]  # what others keep about each goes too
    assert all(not users.stored[one].history for one in ("phone", "tablet", "known"))
    assert users.stored["other"].history
    # A merge that was on its way does not tie them together again.
    handler.handle([message(merged("phone", "known"), "m5")])
    assert users.stored["phone"].merged_into == ()


def test_forgetting_meets_a_consumer(users: FakeUsers, handler: BatchHandler) -> None:
    handler.handle([message(event(), "m1")])
    users.before_put = lambda: handler.handle([message(event(product="p2"), "m2")]) and None
    forget(users, "c", lambda: SECONDS + 1)
    assert users.stored["c"].history == ()


def test_forgetting_says_when_it_could_not(users: FakeUsers) -> None:
    users.outcomes["c"] = [Written(Outcome.RETRY, "busy")]
    with pytest.raises(UnreachableError, match="busy"):
        forget(users, "c")


def test_a_queue_whose_clock_runs_ahead_does_not_save_anybody(
    users: FakeUsers, handler: BatchHandler
) -> None:
    handler.handle([message(event(), "m1", START + 30_000_000)])
    forget(users, "c", lambda: SECONDS)
    handler.handle([message(event(), "m1", START + 30_000_000)])
    assert users.stored["c"].history == ()


def test_prune_deletes_what_is_expired_and_nothing_else(
    users: FakeUsers, handler: BatchHandler
) -> None:
    hours = {"old": -49, "fresh": -47, "merged": -49, "both": -49}
    handler.handle(
        [message(event(name), name, START + hour * HOUR) for name, hour in hours.items()]
    )
    handler.handle([message(merged("merged", "fresh"), "m")])
    forget(users, "both", lambda: SECONDS)
    done = prune(users, HistoryLimits(), clock=lambda: SECONDS)
    assert (done.deleted, done.kept, done.finished) == (1, 0, True)
    assert users.stored.keys() == {"fresh", "merged", "both"}
    # Two weeks on nothing from before can be on its way any more.
    done = prune(users, HistoryLimits(), clock=lambda: SECONDS + 15 * 86_400)
    assert done.deleted == 3
    with pytest.raises(ConfigError, match="keep_days"):
        prune(users, HistoryLimits(), keep_days=13)


def test_prune_leaves_who_comes_back_in_between(users: FakeUsers, handler: BatchHandler) -> None:
    handler.handle([message(event("old"), "m1", START - 60 * HOUR)])
    stale = list(users.scan())
    handler.handle([message(event("old", "p2"), "m2", START)])

    def scan(*_: object, **__: object) -> Iterator[User]:
        yield from stale

    users.scan = scan  # type: ignore[method-assign]
    assert prune(users, HistoryLimits(), clock=lambda: SECONDS).kept == 1
    assert "old" in users.stored


def test_rebuild_goes_on_where_it_was_stopped(
    users: FakeUsers, products: FakeProducts, handler: BatchHandler
) -> None:
    handler.handle([message(event(f"c{i}"), f"m{i}") for i in range(450)])
    handler.handle([message(event(name="view_cart"), "nothing")])
    before = users.stored["c0"].vector
    stop = threading.Event()
    seen: list[int] = []

    def progress(done: int) -> None:
        seen.append(done)
        stop.set()

    first = rebuild(users, products, lambda: OTHER, rate=1e9, stop=stop, progress=progress)
    assert (first.written, first.finished) == (200, False)
    second = rebuild(users, products, lambda: OTHER, rate=1e9)
    assert (second.written, second.current, second.finished) == (250, 0, True)
    assert rebuild(users, products, lambda: OTHER, rate=1e9).written == 0
    assert {user.weights for user in users.stored.values()} == {OTHER.weights.fingerprint}
    after = users.stored["c0"].vector
    assert before is not None
    assert after is not None
    assert abs(before - after).max() > 1e-3
    with pytest.raises(ConfigError, match="rate"):
        rebuild(users, products, lambda: OTHER, rate=0)


def test_rebuild_follows_weights_that_are_exchanged_meanwhile(
    users: FakeUsers, products: FakeProducts, handler: BatchHandler
) -> None:
    handler.handle([message(event(f"c{i}"), f"m{i}") for i in range(450)])
    third = small_tower(seed=3)
    served = [OTHER]

    def progress(done: int) -> None:
        served[0] = third

    done = rebuild(users, products, lambda: served[0], rate=1e9, progress=progress)
    assert {user.weights for user in users.stored.values()} == {third.weights.fingerprint}
    assert done.finished
    assert done.written == 450 + 200


def test_rebuild_meets_consumers_and_busy_servers(
    users: FakeUsers, products: FakeProducts, handler: BatchHandler
) -> None:
    handler.handle([message(event(), "m1")])
    users.before_put = lambda: handler.handle([message(event(product="p2"), "m2")]) and None
    users.outcomes["c"] = []
    assert rebuild(users, products, lambda: OTHER).written == 1
    assert len(users.stored["c"].history) == 2
    assert users.stored["c"].weights == OTHER.weights.fingerprint
    users.outcomes["c"] = [Written(Outcome.RETRY, "busy")] * 2
    assert rebuild(users, products, lambda: TOWER).written == 1


def test_rebuild_uses_the_new_weights_limits(users: FakeUsers, products: FakeProducts) -> None:
    five = BatchHandler(users, products, lambda: TOWER, EventVocabulary())
    five.handle([message(event(product=f"p{i}"), f"m{i}", START + i) for i in range(5)])
    two = small_tower(seed=2, max_interactions=2)
    rebuild(users, products, lambda: two)
    assert [i.event_id for i in users.stored["c"].history] == ["m3", "m4"]


def test_catch_up_looks_at_nobody_who_is_expired(
    users: FakeUsers, products: FakeProducts, handler: BatchHandler
) -> None:
    handler.handle(
        [
            message(event("waits", "late"), "m1", START),
            message(event("expired", "late"), "m2", START - 49 * HOUR),
            message(event("in vain", "never"), "m3", START),
        ]
    )
    assert catch_up(users, products, lambda: TOWER, lambda: SECONDS) == 0
    products.vectors["late"] = products.vectors["p1"]
    assert catch_up(users, products, lambda: TOWER, lambda: SECONDS) == 1
    assert users.stored["waits"].vector is not None
    assert users.stored["expired"].vector is None


def past(count: int) -> list[dict[str, object]]:
    return [
        event(f"c{i % 7}", f"p{i % 6}", timestamp=SECONDS - 20_000 + i, event_id=i)
        for i in range(count)
    ]


def test_backfill_is_the_same_as_live(users: FakeUsers, products: FakeProducts) -> None:
    handler = BatchHandler(users, products, lambda: TOWER, EventVocabulary())
    done = backfill(past(1200), handler, clock=lambda: SECONDS)
    assert (done.lines, done.stored, done.finished) == (1200, 1200, True)
    live = FakeUsers()
    BatchHandler(live, products, lambda: TOWER, EventVocabulary()).handle(
        [message(body, f"m{i}") for i, body in enumerate(past(1200))]
    )
    assert users.stored.keys() == live.stored.keys()
    for one, user in live.stored.items():
        # When it was received differs: a backfilled event counts from when it happened.
        assert [i[:4] for i in users.stored[one].history] == [i[:4] for i in user.history]
    before = dict(users.stored)
    backfill(past(1200), handler, clock=lambda: SECONDS)
    assert users.stored == before


def test_lines_without_an_identity_count_once_however_often_they_are_read(
    users: FakeUsers, handler: BatchHandler
) -> None:
    one = event(timestamp="2025-12-31T23:00:00Z")
    for _ in range(2):
        backfill([one, json.dumps(one), one], handler, clock=lambda: SECONDS)
    assert len(users.stored["c"].history) == 1


def test_backfill_does_not_bring_back_who_was_forgotten(
    users: FakeUsers, handler: BatchHandler
) -> None:
    forget(users, "c", lambda: SECONDS)
    backfill([event(timestamp=SECONDS - 60)], handler, clock=lambda: SECONDS + 60)
    assert users.stored["c"].history == ()


def test_backfill_goes_on_where_it_was_killed(
    users: FakeUsers, handler: BatchHandler, tmp_path: Path
) -> None:
    note = tmp_path / "note.json"
    source = past(12_000)

    def killed() -> Iterator[dict[str, object]]:
        yield from source[:7_200]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(killed(), handler, note=note, name="file", clock=lambda: SECONDS)
    noted = json.loads(note.read_text())["lines"]
    assert noted == 5_000
    read: list[int] = []
    done = backfill(
        source,
        handler,
        note=note,
        name="file",
        clock=lambda: SECONDS,
        progress=lambda done: read.append(done.lines),
    )
    assert read[0] == 5_500
    assert (done.lines, done.stored) == (12_000, 12_000)
    assert not note.exists()


def test_a_note_about_something_else_is_refused(handler: BatchHandler, tmp_path: Path) -> None:
    note = tmp_path / "note.json"
    stop = threading.Event()
    stop.set()
    done = backfill(past(5), handler, note=note, name="one", stop=stop)
    assert not done.finished
    with pytest.raises(ConfigError, match="'two'"):
        backfill(past(5), handler, note=note, name="two")
    note.write_text("{")
    with pytest.raises(ConfigError, match="note"):
        backfill(past(5), handler, note=note, name="one")


def test_bad_lines_are_told_with_their_number(handler: BatchHandler, users: FakeUsers) -> None:
    rows = [
        json.dumps(event(timestamp=SECONDS)),
        "{",
        "[]",
        json.dumps(event()),
        json.dumps(event(timestamp="soon")),
        json.dumps(event(timestamp=SECONDS + 3600)),
        json.dumps(event(timestamp=SECONDS, name="licked")),
        json.dumps(event(timestamp=SECONDS - 86_400)),
    ]
    refused: list[tuple[int, str]] = []

    def on_refused(line: int, error: MessageError) -> None:
        refused.append((line, error.reason))

    since = START - HOUR
    done: Backfilled = backfill(
        rows, handler, since=since, on_refused=on_refused, clock=lambda: SECONDS
    )
    assert done.stored == 1
    assert done.too_old == 1
    assert sorted(refused) == [
        (2, "not_json"),
        (3, "wrong_type"),
        (4, "bad_timestamp"),
        (5, "bad_timestamp"),
        (6, "future_timestamp"),
        (7, "unknown_event"),
    ]


def test_backfill_waits_for_a_busy_server(handler: BatchHandler, users: FakeUsers) -> None:
    users.errors = [UnreachableError("busy")] * 3
    assert backfill(past(10), handler, clock=lambda: SECONDS).stored == 10


def test_files_of_every_kind(tmp_path: Path, handler: BatchHandler, users: FakeUsers) -> None:
    text = "".join(json.dumps(one) + "\n" for one in past(20)) + "\n"
    (tmp_path / "a.jsonl").write_text(text)
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(text)
    columns = "customer_id,product_id,event_name,timestamp,event_id,note\n"
    rows = [f"c{i % 7},p{i % 6},product_clicked,{SECONDS - 20_000 + i},{i},\n" for i in range(20)]
    (tmp_path / "c.csv").write_text(columns + "".join(rows))
    stored = []
    for source in (
        lines(tmp_path / "a.jsonl"),
        lines(tmp_path / "b.jsonl.gz"),
        csv_rows(tmp_path / "c.csv"),
    ):
        users.stored.clear()
        assert backfill(source, handler, clock=lambda: SECONDS).stored == 20
        stored.append({one: replace(u, seq_no=0).history for one, u in users.stored.items()})
    assert stored[0] == stored[1] == stored[2]


def test_files_that_cannot_be_read_are_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a file that can be read"):
        list(lines(tmp_path / "missing.jsonl"))
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ConfigError, match="customer_id"):
        list(csv_rows(tmp_path / "x.csv"))
    (tmp_path / "y.jsonl").write_bytes(b'{"a": "\xff"}\n')
    assert len(list(lines(tmp_path / "y.jsonl"))) == 1
