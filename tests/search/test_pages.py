"""Pages of one search are cut from one order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from elasticsearch import Elasticsearch
from hypothesis import given
from hypothesis import strategies as st

from sidecar import resources
from sidecar.contract.schema import Calibration
from sidecar.elastic.pages import Pages
from sidecar.search.ports import Pin
from sidecar.web.pins import StoredPins

from .fakes import MemoryPins, World, shopper, unit, vector_of

MATCH = '{"query":{"match":{"name":"shoe"}}}'
PAGE_2 = '{"query":{"match":{"name":"shoe"}},"from":10}'
Doc = tuple[float, float]


def elasticsearch_page(
    shards: list[list[Doc]], window: int, start: int, size: int
) -> list[tuple[int, int]]:
    """What Elasticsearch documents of ``rescore``, for documents of (score, factor).

    Each shard collects the best max(from + size, window) hits by score, then by place; the
    first ``window`` of them get their score times the factor; all are sorted together again.
    """
    merged = []
    for number, docs in enumerate(shards):
        order = sorted(range(len(docs)), key=lambda i: (-docs[i][0], i))
        top = order[: max(start + size, window)]
        scored = [
            (-docs[i][0] * (docs[i][1] if rank < window else 1.0), number, i)
            for rank, i in enumerate(top)
        ]
        merged += sorted(scored)[: start + size]
    return [(shard, doc) for _, shard, doc in sorted(merged)[start : start + size]]


docs = st.tuples(
    st.sampled_from([0.5, 1.0, 1.5, 2.0, 3.0]),  # few values: ties are the hard case
    st.sampled_from([1.0, 1.1, 1.4, 2.0, 3.0]),  # 1 + a u, never below 1
)


@given(
    st.lists(st.lists(docs, max_size=25), min_size=1, max_size=3),
    st.integers(1, 30),
    st.integers(1, 12),
)
def test_pages_neither_repeat_nor_skip_whatever_the_window(
    shards: list[list[Doc]], window: int, size: int
) -> None:
    total = sum(map(len, shards))
    pages = [
        elasticsearch_page(shards, window, start, size) for start in range(0, total + size, size)
    ]
    flat = [one for page in pages for one in page]
    assert len(flat) == len(set(flat)) == total
    # ... and each page is what one large page would have had in its place.
    assert flat == elasticsearch_page(shards, window, 0, total or 1)


def test_a_factor_below_one_would_break_it() -> None:
    # Why the recipe only raises scores: with a factor below 1 a rescored hit can fall below
    # hits that the first page's shards did not even collect.
    shards = [[(2.0, 0.1), (1.9, 0.1), (1.8, 1.0), (1.7, 1.0), (1.6, 1.0)]]
    pages = [elasticsearch_page(shards, 2, start, 2) for start in (0, 2, 4)]
    flat = [one for page in pages for one in page]
    assert len(set(flat)) < 5


def test_page_2_uses_the_vector_of_page_1_whichever_replica_answers() -> None:
    pins = MemoryPins()
    one = World({"c1": shopper(1)}, pins)
    other = World({"c1": shopper(2)}, pins)  # has seen the click
    first = vector_of(one.plan(MATCH))
    assert vector_of(other.plan(PAGE_2)) == first
    assert vector_of(other.plan(PAGE_2, size="5")) == first
    assert vector_of(other.plan(MATCH)) == pytest.approx(unit(2).tolist())
    # A fresh page 1 counts for what follows it.
    assert vector_of(one.plan(PAGE_2)) == pytest.approx(unit(2).tolist())


def test_from_in_the_url_is_a_page_too() -> None:
    pins = MemoryPins()
    first = vector_of(World({"c1": shopper(1)}, pins).plan(MATCH))
    assert vector_of(World({"c1": shopper(2)}, pins).plan(MATCH, **{"from": "10"})) == first


def test_other_searches_and_other_shoppers_have_pages_of_their_own() -> None:
    pins = MemoryPins()
    World({"c1": shopper(1)}, pins).plan(MATCH)
    later = World({"c1": shopper(2), "c2": shopper(3)}, pins)
    boots = '{"query":{"match":{"name":"boot"}},"from":10}'
    assert vector_of(later.plan(boots)) == pytest.approx(unit(2).tolist())
    assert vector_of(later.plan(PAGE_2, "c2")) == pytest.approx(unit(3).tolist())


def test_what_began_plain_stays_plain() -> None:
    pins = MemoryPins()
    world = World({}, pins, fallback_sort='["popularity"]')
    assert world.plan('{"size":10}').decision == ("fallback", "no_vector")
    world.shoppers["c1"] = shopper(1)
    later = world.plan('{"size":10,"from":10}')
    assert later.decision == ("fallback", "page_one")
    world.plan(MATCH)
    world.shoppers.clear()
    assert world.plan(PAGE_2).decision.action == "rewritten"


def test_a_page_1_that_had_to_be_repaired_is_remembered_as_plain() -> None:
    pins = MemoryPins()
    world = World({"c1": shopper(1)}, pins)
    world.planner.unpin(world.plan(MATCH))
    assert world.plan(PAGE_2).decision == ("untouched", "page_one")


def test_without_the_store_the_newest_vector_is_used() -> None:
    pins = MemoryPins()
    pins.broken = True
    world = World({"c1": shopper(1)}, pins)
    assert world.plan(PAGE_2).decision.action == "rewritten"
    assert world.outcomes == ["pin_failed", "found"]


def test_switched_off_nothing_is_kept() -> None:
    pins = MemoryPins()
    World({"c1": shopper(1)}, pins, page_ttl_s=0).plan(MATCH)
    assert not pins.pins


@pytest.fixture
def pages(client: Elasticsearch, unique: str) -> Iterator[Callable[..., Pages]]:
    def make(ttl_s: float = 60, clock: Callable[[], float] = time.time) -> Pages:
        return Pages(client, f"{unique}-pages", resources.mapping("pages"), ttl_s, clock)

    yield make
    # Hidden indices are not found by the wildcard that cleans up.
    client.options(ignore_status=404).indices.delete(index=f"{unique}-pages")


PIN = Pin("[0.1,0.2]", 3.5, Calibration(-0.1, 0.9), "a-model")


@pytest.mark.servers
def test_pins_are_found_by_other_replicas(pages: Callable[..., Pages]) -> None:
    here, there = StoredPins(a := pages()), StoredPins(pages())
    assert there.get("k", 10) is None
    here.put("k", "c1", PIN)
    assert here.get("k", 10) == PIN, "found before it is written"
    assert a.flush()
    assert there.get("k", 10) == PIN
    here.put("k", "c1", PIN._replace(vector_json=""))
    assert a.flush()
    assert there.get("k", 10) == PIN._replace(vector_json="")


@pytest.mark.servers
def test_pins_expire_are_pruned_and_are_forgotten(
    pages: Callable[..., Pages], client: Elasticsearch
) -> None:
    now = [1000.0]
    store = pages(60, lambda: now[0])
    for key, owner in (("a", "c1"), ("b", "c1"), ("c", "c2")):
        StoredPins(store).put(key, owner, PIN)
    assert store.flush()
    store.forget("c1")
    assert store.get("a", 10) is None
    assert store.get("c", 10) is not None
    now[0] += 61
    assert store.get("c", 10) is None
    client.indices.refresh(index=store.index)
    store.prune()
    client.indices.refresh(index=store.index)
    assert client.count(index=store.index)["count"] == 0


def test_a_store_that_cannot_write_holds_nobody_up() -> None:
    client = Elasticsearch("http://127.0.0.1:1", max_retries=0)
    store = Pages(client, "pages", resources.mapping("pages"), 60)
    StoredPins(store).put("k", "c1", PIN)
    assert store.flush(30)
    client.close()
