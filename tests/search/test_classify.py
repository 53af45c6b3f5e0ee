"""The decision table, row by row."""

from __future__ import annotations

import pytest

from sidecar.search.classify import classify, media_reason
from sidecar.search.decision import REASONS
from sidecar.search.indices import is_configured
from sidecar.search.jsontext import parse_object
from sidecar.search.settings import SearchSettings
from sidecar.search.target import parse_target

from .rows import ROWS, Row


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_row(row: Row) -> None:
    body = parse_object(row.body.encode()) if row.body else None
    verdict = classify(row.parameters, body, SearchSettings(), row.version)
    assert (verdict.kind, verdict.reason) == (row.kind, row.reason)
    assert verdict.reason in REASONS


def test_explain_is_rewritten_where_the_operator_allows_it() -> None:
    body = parse_object(b'{"query":{"match":{"n":"s"}},"explain":true}')
    assert classify({}, body, SearchSettings(allow_explain=True)).kind == "rescore"


def test_asking_for_the_score_order_keeps_the_fallback_sort_away() -> None:
    body = parse_object(b'{"sort":["_score"]}')
    assert classify({}, body, SearchSettings()).sorted
    assert not classify({}, parse_object(b"{}"), SearchSettings()).sorted


@pytest.mark.parametrize(
    ("content_type", "accept", "expected"),
    [
        ("application/json", None, None),
        ("application/json; charset=UTF-8", "*/*", None),
        ("application/vnd.elasticsearch+json; compatible-with=8", "application/json", None),
        ("application/yaml", None, "not_json"),
        ("application/cbor", None, "not_json"),
        ("application/smile", None, "not_json"),
        (None, None, "not_json"),
        ("application/json", "application/yaml", "format"),
        ("application/json", "application/json, application/cbor", "format"),
        ("application/json", "application/vnd.elasticsearch+smile;compatible-with=8", "format"),
        ("application/json", "application/json, text/plain", None),
        (
            "application/json",
            "application/vnd.elasticsearch+json; compatible-with=8,text/plain",
            None,
        ),
        ("application/json", "text/plain", "format"),
    ],
)
def test_media_types(content_type: str | None, accept: str | None, expected: str | None) -> None:
    assert media_reason(content_type, accept, has_body=True) == expected


@pytest.mark.parametrize(
    ("method", "raw", "api", "expression"),
    [
        ("POST", "/products/_search", "search", "products"),
        ("GET", "/products/_search?size=1", "search", "products"),
        ("GET", "/_search", "search", ""),
        ("GET", "/a,b-*/_search", "search", "a,b-*"),
        ("GET", "/a%2Cb/_search", "search", "a,b"),
        ("POST", "/products/_msearch", "msearch", "products"),
        ("POST", "/products/_async_search", "async_search", "products"),
        ("GET", "/products/_async_search", "other", ""),
        ("GET", "/_async_search/abc", "other", ""),
        ("POST", "/_search/scroll", "scroll", ""),
        ("POST", "/products/_search/template", "template", ""),
        ("POST", "/_msearch/template", "template", ""),
        ("GET", "/_nodes/_all/http", "nodes", ""),
        ("GET", "/_nodes/http", "nodes", ""),
        ("GET", "/_nodes/stats/jvm", "other", ""),
        ("PUT", "/products/_search", "other", ""),
        ("POST", "/products/_count", "other", ""),
        ("POST", "/products/_doc/_search", "other", ""),
        ("POST", "//products/_search", "other", ""),
        ("POST", "/products//_search", "other", ""),
        ("POST", "/products/_search/", "other", ""),
        ("POST", "/products/%5Fsearch", "other", ""),
        ("POST", "/products/_delete_by_query", "other", ""),
        ("POST", "/products/_eql/search", "other", ""),
    ],
)
def test_targets(method: str, raw: str, api: str, expression: str) -> None:
    target = parse_target(method, raw)
    assert (target.api, target.expression, target.odd) == (api, expression, False)


@pytest.mark.parametrize(
    "raw",
    [
        "/a%2Fb/_search",
        "/../_search",
        "/%2e%2e/_search",
        "/%ff/_search",
        "/a%00/_search",
        "/<a-{now/d}>/_search",
        "/a/_search?size=0&size=10",
        "/a/_search?size=0;size=10",
        "/a/_search?x=%ff",
        "/a/_search#x",
    ],
)
def test_what_could_be_read_in_two_ways_is_odd_or_not_seen(raw: str) -> None:
    target = parse_target("POST", raw)
    assert target.odd or target.api == "other"


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("products", True),
        ("shop-1", True),
        ("shop-1,products", True),
        ("shop-2*", True),
        ("shop-*", True),
        ("shop-*,-shop-old", True),
        ("product", False),
        ("products2", False),
        ("products,users", False),
        ("pro*", False),
        ("*", False),
        ("**", False),
        ("_all", False),
        ("", False),
        ("products,", False),
        ("-shop-1", False),
        ("cluster:products", False),
        ("*:products", False),
    ],
)
def test_only_configured_indices(expression: str, expected: bool) -> None:
    assert is_configured(expression, ("products", "shop-*")) is expected
