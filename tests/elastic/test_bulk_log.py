"""Rows written in the background: on a real server, and with one that is away."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from elasticsearch import Elasticsearch

from sidecar import resources
from sidecar.contract.errors import UnreachableError
from sidecar.elastic import bulk_log
from sidecar.elastic.bulk_log import BulkLog
from sidecar.elastic.client import connect
from sidecar.embedded.process import free_port

pytestmark = pytest.mark.servers
Make = Callable[..., BulkLog]


@pytest.fixture
def counts() -> Counter[str]:
    return Counter()


@pytest.fixture
def make(client: Elasticsearch, unique: str, counts: Counter[str]) -> Iterator[Make]:
    made: list[BulkLog] = []

    def make(through: Elasticsearch = client) -> BulkLog:
        def count(outcome: str, number: int) -> None:
            counts[outcome] += number

        body = resources.mapping("ubi_events")
        made.append(BulkLog(through, f"{unique}-ubi_events", body, count))
        return made[-1]

    yield make
    for one in made:
        one.close(0)


def row(client_id: str = "c", at: str = "2026-01-01T00:00:00.000000Z") -> dict[str, object]:
    return {
        "action_name": "click",
        "client_id": client_id,
        "timestamp": at,
        "event_attributes": {"position": {"ordinal": 1}, "extra": "x"},
    }


def stored(client: Elasticsearch, log: BulkLog) -> int:
    client.indices.refresh(index=log.index)
    return int(client.count(index=log.index)["count"])


def test_rows_are_written_once_with_the_mapping(
    client: Elasticsearch, make: Make, counts: Counter[str]
) -> None:
    log = make()
    log.put(lambda: [("1", row()), ("2", row("d"))])
    log.put(lambda: [("1", row())])
    assert log.flush(30)
    log.put(lambda: [("2", row("d")), ("3", row())])
    assert log.flush(30)
    assert counts == {"written": 3, "duplicate": 2}
    assert stored(client, log) == 3
    mapped = client.indices.get_mapping(index=log.index)[log.index]["mappings"]["properties"]
    # What the mapping does not name is kept, and maps nothing.
    assert set(mapped["event_attributes"]["properties"]) == {"object", "position"}
    assert client.get(index=log.index, id="1")["_source"] == row()


def test_forgetting_and_pruning(client: Elasticsearch, make: Make) -> None:
    log = make()
    log.forget("client_id", "c")  # there is no index yet
    assert log.prune(0) == 0
    log.put(lambda: [("1", row()), ("2", row("d")), ("3", row("d", "2026-03-01T00:00:00Z"))])
    log.forget("client_id", "c")  # what waits is written first, and found
    assert stored(client, log) == 2
    february = 1_769_904_000_000
    assert log.prune(february) == 1
    assert client.get(index=log.index, id="3")["found"]
    assert stored(client, log) == 1


def test_one_bad_row_takes_no_other_with_it(
    client: Elasticsearch, make: Make, counts: Counter[str]
) -> None:
    log = make()

    def broken() -> list[tuple[str, dict[str, object]]]:
        raise ZeroDivisionError

    log.put(broken)
    log.put(lambda: [("1", {"user_query": "\ud800"})])
    log.put(lambda: [("2", {**row(), "timestamp": "yesterday"}), ("3", row())])
    assert log.flush(30)
    assert counts == {"written": 1, "refused": 3}


def test_nobody_waits_while_elasticsearch_is_away(
    client: Elasticsearch, make: Make, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_log, "MOST_ENTRIES", 5)
    monkeypatch.setattr(bulk_log, "_PAUSE_S", 0.05)
    with connect(f"http://127.0.0.1:{free_port()}") as away:
        log = make(away)
        began = time.monotonic()
        for number in range(50):
            log.put(lambda number=number: [(str(number), row())])  # type: ignore[misc]
        assert time.monotonic() - began < 0.4
        assert counts["dropped"] >= 40
        assert not log.flush(0.1)
        # It is back: what had room is written.
        log._client = client
        assert log.flush(30)
    assert counts["written"] + counts["dropped"] == 50
    assert stored(client, log) == counts["written"] >= 5


def test_what_is_too_large_is_dropped(
    make: Make, counts: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_log, "MOST_BYTES", 100)
    log = make()
    log.put(lambda: [("1", row())], 101)
    assert counts == {"dropped": 1}
    log.put(lambda: [("2", row())], 60)
    log.put(lambda: [("3", row())], 60)
    assert log.flush(30)
    assert counts == {"dropped": 2, "written": 1}
    log.put(lambda: [("4", row())], 60)  # room again
    assert log.flush(30)
    assert counts["written"] == 2


def test_closing_writes_what_waits_and_waits_no_longer_than_it_may(
    client: Elasticsearch, make: Make, counts: Counter[str]
) -> None:
    log = make()
    for number in range(1200):
        log.put(lambda number=number: [(str(number), row())])  # type: ignore[misc]
    log.close(30)
    assert stored(client, log) == 1200
    log.put(lambda: [("late", row())])
    assert counts == {"written": 1200, "dropped": 1}
    with connect(f"http://127.0.0.1:{free_port()}") as away:
        lost = make(away)
        lost.put(lambda: [("1", row())])
        began = time.monotonic()
        lost.close(0.5)
        assert time.monotonic() - began < 5


def test_threads_that_log_at_the_same_time(client: Elasticsearch, make: Make) -> None:
    log = make()

    def work(number: int) -> None:
        for i in range(100):
            log.put(lambda name=f"{number}-{i % 60}": [(name, row())])  # type: ignore[misc]

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert log.flush(60)
    assert stored(client, log) == 8 * 60


def test_a_deletion_that_cannot_be_done_says_so(make: Make) -> None:
    with connect(f"http://127.0.0.1:{free_port()}") as away, pytest.raises(UnreachableError):
        make(away).forget("client_id", "c")
