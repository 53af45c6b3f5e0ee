"""The log of queries: what a row says, and that no search ever waits for it or fails by it."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.search import delivery
from sidecar.search.delivery import Delivery
from sidecar.search.holdout import is_held_out
from sidecar.search.jsontext import Unparsable, parse_object
from sidecar.search.planned import Asked
from sidecar.search.ports import Answered
from sidecar.search.proxy import Proxy
from sidecar.search.settings import SearchSettings
from sidecar.search.ubi import UbiSettings, query_rows, user_query

from .front import FAILED, MATCH, Front, is_rewritten, refuse_rewritten
from .stub import Cut, answer

UBI = UbiSettings(log=True)
FOUND = {
    "took": 1,
    "_shards": {"total": 1, "failed": 0},
    "hits": {"total": {"value": 41, "relation": "eq"}, "hits": [{"_id": "a"}, {"_id": "b"}]},
}


class Kept:
    """A log in memory, that can be made to fail."""

    def __init__(self) -> None:
        self.answered: list[Answered] = []
        self.broken = False

    def put(self, answered: Answered) -> None:
        if self.broken:
            raise RuntimeError("full")
        self.answered.append(answered)

    def rows(self, settings: SearchSettings, ubi: UbiSettings = UBI) -> list[dict[str, Any]]:
        return [row for one in self.answered for _, row in query_rows(one, ubi, settings)]


class Logged(Front):
    """The proxy with a log."""

    def __init__(self, made: Front) -> None:
        self.__dict__ = made.__dict__
        self.log = Kept()
        self.proxy = Proxy(self.upstream, self.world.planner, self.metrics, self.log)
        self.stub.respond = lambda request: answer(FOUND)

    def row(self, ubi: UbiSettings = UBI) -> dict[str, Any]:
        (row,) = self.log.rows(self.world.settings, ubi)
        return row


@pytest.fixture
def logged(front: Callable[..., Front]) -> Callable[..., Logged]:
    return lambda **settings: Logged(front(**settings))


def test_a_row_says_what_was_asked_and_what_came(logged: Callable[..., Logged]) -> None:
    one = logged(holdout_percent=1e-9, holdout_salt="autumn")
    got = one.search(MATCH[:-1] + ',"from":20,"size":2}', x_request_id="r1")
    row = one.row()
    assert row.pop("timestamp").endswith("Z")
    assert len(row.pop("query_response_id")) == 36
    assert row == {
        "query_id": got.headers["x-sidecar-query-id"],
        "client_id": "c1",
        "user_query": "shoe",
        "object_id_field": "_id",
        "query_response_hit_ids": ["a", "b"],
        "query_attributes": {
            "action": "rewritten",
            "reason": "scored",
            "impact": 50.0,
            "index": "products",
            "request_id": "r1",
            "from": 20,
            "size": 2,
            "total": 41,
            "group": "personalised",
            "experiment": "autumn",
        },
    }


def test_both_groups_are_logged_alike(logged: Callable[..., Logged]) -> None:
    one = logged(holdout_percent=50, holdout_salt="x")
    for number in range(20):
        one.search(x_customer_id=f"c{number}", x_sidecar_impact="30")
    rows = one.log.rows(one.world.settings)
    assert len(rows) == 20
    for number, row in enumerate(rows):
        held_out = is_held_out(f"c{number}", one.world.settings)
        assert row["query_attributes"]["group"] == ("holdout" if held_out else "personalised")
        assert row["query_attributes"]["impact"] == 30
    assert len({row["query_id"] for row in rows}) == 20


def test_pages_share_a_name_only_if_the_app_says_so(logged: Callable[..., Logged]) -> None:
    one = logged()
    for start in (0, 10):
        one.search(f'{MATCH[:-1]},"from":{start}}}')
        one.search(f'{MATCH[:-1]},"from":{start}}}', x_sidecar_query_id="q1")
    names = [row["query_id"] for row in one.log.rows(one.world.settings)]
    assert names[1] == names[3] == "q1"
    assert names[0] != names[2]
    responses = {row["query_response_id"] for row in one.log.rows(one.world.settings)}
    assert len(responses) == 4


def test_the_searches_of_one_request_are_rows_of_their_own(logged: Callable[..., Logged]) -> None:
    one = logged()
    other = {**FOUND, "hits": {"hits": [{"_id": "z"}]}}
    one.stub.respond = lambda request: answer({"responses": [FOUND, other, FOUND, other]})
    own = '{"query":{"match":{"name":"tea"}},"ext":{"sidecar":{"query_id":"own"}}}'
    sort = '{"sort":["price"]}'
    body = f"{{}}\n{MATCH}\n{{}}\n{own}\n{{}}\n{sort}\n{{}}\n{MATCH}\n"
    base = one.search(body, "/products/_msearch").headers["x-sidecar-query-id"]
    rows = one.log.rows(one.world.settings)
    assert [(r["query_id"], r["user_query"], r["query_response_hit_ids"]) for r in rows] == [
        (f"{base}.0", "shoe", ["a", "b"]),
        ("own", "tea", ["z"]),
        (f"{base}.3", "shoe", ["z"]),  # its place in the request, not among the rows
    ]


def test_what_went_out_plain_after_all_is_logged_so(logged: Callable[..., Logged]) -> None:
    one = logged()
    one.stub.respond = refuse_rewritten(lambda: answer({"error": {}}, "400 Bad Request"))
    one.search()
    attributes = one.row()["query_attributes"]
    assert (attributes["action"], attributes["reason"]) == ("bypassed", "rewrite_failed")
    # So are all of one request, which is repeated as a whole.
    one = logged()
    one.stub.respond = lambda request: answer(
        {"responses": [FAILED if is_rewritten(request) else FOUND] + [FOUND] * 2}
    )
    off = MATCH[:-1] + ',"ext":{"sidecar":{"impact":0}}}'
    one.search(f"{{}}\n{MATCH}\n{{}}\n{MATCH}\n{{}}\n{off}\n", "/products/_msearch")
    reasons = [r["query_attributes"]["reason"] for r in one.log.rows(one.world.settings)]
    assert reasons == ["rewrite_failed", "rewrite_failed", "impact_zero"]


def test_nobody_is_logged_who_is_not_named_or_opted_out(logged: Callable[..., Logged]) -> None:
    one = logged()
    one.search(x_customer_id="")
    one.search(MATCH[:-1] + ',"ext":{"sidecar":{"enabled":false}}}')
    one.search(uri="/logs/_search")
    one.stub.respond = lambda request: answer({"error": {}}, "429 Too Many Requests")
    one.search()  # no answer, no row
    assert not one.log.answered


def test_a_packed_answer_is_read_and_passed_on_as_it_is(logged: Callable[..., Logged]) -> None:
    one = logged()
    packed = gzip.compress(json.dumps(FOUND).encode())
    one.stub.respond = lambda request: answer(packed, headers=(("content-encoding", "gzip"),))
    assert one.search().body == packed
    assert one.row()["query_response_hit_ids"] == ["a", "b"]


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"hits":[]}', b'{"hits":{"hits":[1]}}', b"x" * 300]
)
def test_an_answer_of_another_form_is_a_row_without_hits(
    logged: Callable[..., Logged], body: bytes
) -> None:
    one = logged()
    one.stub.respond = lambda request: answer(body)
    assert one.search().body == body
    assert "query_response_hit_ids" not in one.row()


def test_an_answer_that_comes_in_pieces_is_copied_while_it_goes(
    logged: Callable[..., Logged], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = logged()
    long = {**FOUND, "x": "y" * 300_000}
    one.stub.respond = lambda request: answer(long)
    got = one.search()
    assert got.json() == long
    assert one.row()["query_response_hit_ids"] == ["a", "b"]
    # Longer than what is kept: a row, without hits.
    one.log.answered.clear()
    monkeypatch.setattr(delivery, "LOGGED_BYTES", 100_000)
    assert one.search().json() == long
    assert "query_response_hit_ids" not in one.row()


def test_an_answer_that_breaks_off_is_a_row_without_hits(logged: Callable[..., Logged]) -> None:
    one = logged()

    def cut(request: object) -> bytes:
        raise Cut(answer({**FOUND, "x": "y" * 300_000})[:200_000])

    one.stub.respond = cut
    environ = {
        "REQUEST_METHOD": "POST",
        "RAW_URI": "/products/_search",
        "wsgi.input": io.BytesIO(MATCH.encode()),
        "CONTENT_LENGTH": str(len(MATCH)),
        "CONTENT_TYPE": "application/json",
        "HTTP_X_CUSTOMER_ID": "c1",
    }
    body = one.proxy(environ, lambda status, headers: None)
    with pytest.raises(UnreachableError, match="broke off"):
        list(body)
    body.close()  # type: ignore[attr-defined]
    assert "query_response_hit_ids" not in one.row()


def test_a_log_that_fails_is_no_failure_of_the_search(logged: Callable[..., Logged]) -> None:
    one = logged()
    one.log.broken = True
    got = one.search()
    assert (got.status, got.json(), got.decision) == (200, FOUND, ("rewritten", "scored"))


def test_without_a_log_nothing_is_copied(
    front: Callable[..., Front], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_Copy", None)
    assert front().search().decision == ("rewritten", "scored")
    assert Delivery(front().metrics)._query_log is None


def test_what_a_row_calls_the_shopper(logged: Callable[..., Logged]) -> None:
    one = logged()
    one.search()
    hashed = replace(UBI, client_id="hash", client_secret="0123456789abcdef")
    name = one.row(hashed)["client_id"]
    assert name == hashed.client_of("c1")
    assert name != replace(hashed, client_secret="fedcba9876543210").client_of("c1")
    assert "c1" not in json.dumps(one.row(hashed)["client_id"])
    assert "client_id" not in one.row(replace(UBI, client_id="none"))


@pytest.mark.parametrize(
    "bad",
    [
        {"client_id": "hash"},
        {"client_id": "hash", "client_secret": "short"},
        {"client_id": "secret"},
        {"queries_index": "Upper"},
        {"queries_index": ""},
        {"events_index": "ubi_queries"},
        {"events_index": "a*"},
        {"keep_days": 0},
        {"keep_days": float("nan")},
    ],
)
def test_settings_that_cannot_be_meant(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        UbiSettings(**bad)


def asked(body: str, said: str | None = None) -> Asked:
    return Asked("q", "c1", "products", said, parse_object(body.encode()), {}, "", None)


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"match": {"name": "red shoe"}}, "red shoe"),
        ({"match": {"name": {"query": "red shoe", "operator": "and"}}}, "red shoe"),
        ({"multi_match": {"query": "tea", "fields": ["name"]}}, "tea"),
        ({"query_string": {"query": "tea AND green"}}, "tea AND green"),
        ({"bool": {"filter": [{"match": {"shop": "north"}}], "must": [{"match_phrase": {"name": "lamp"}}]}}, "lamp"),
        ({"bool": {"must_not": {"match": {"name": "x"}}, "should": {"match": {"name": "lamp"}}}}, "lamp"),
        ({"function_score": {"query": {"simple_query_string": {"query": "book"}}}}, "book"),
        ({"dis_max": {"queries": [{"term": {"c": "x"}}, {"match": {"name": "book"}}]}}, "book"),
        ({"boosting": {"positive": {"match": {"name": "book"}}, "negative": {"match": {"name": "y"}}}}, "book"),
        ({"bool": {"filter": {"term": {"category": "shoes"}}}}, ""),
        ({"match_all": {}}, ""),
        ({"match": {"price": 5}}, ""),
    ],
)  # fmt: skip
def test_what_was_typed_is_found_in_the_query(query: dict[str, Any], text: str) -> None:
    assert user_query(asked(json.dumps({"query": query}))) == text
    assert user_query(asked(json.dumps({"query": query}), "said")) == "said"
    assert user_query(asked(json.dumps({"query": query}), "")) == ""


names = st.sampled_from(
    ["query", "bool", "must", "match", "multi_match", "name", "positive", "queries", ""]
)
trees = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
)


@given(trees)
def test_no_query_is_too_odd_to_be_logged(query: Any) -> None:
    try:
        one = asked(json.dumps({"query": query}))
    except Unparsable:
        return
    assert isinstance(user_query(one), str)
