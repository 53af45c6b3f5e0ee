"""What the proxy sends for searches of all kinds, and what it tells of them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.metrics import SearchMetrics
from sidecar.search.proxy import Proxy
from sidecar.search.upstream import Upstream

from .fakes import World, shopper
from .front import FAILED, MATCH, Front, is_rewritten
from .stub import HITS, Request, Stub, answer
from .wsgi import call


def test_the_block_is_cut_out_whatever_is_decided(front: Callable[..., Front]) -> None:
    one = front(fits=False)
    block = ',"ext":{"sidecar":{"customer_id":"%s"%s}}}'
    for body in (
        MATCH[:-1] + block % ("c1", ""),
        MATCH[:-1] + block % ("nobody", ""),
        MATCH[:-1] + block % ("c1", ',"enabled":false'),
        MATCH[:-1] + block % ("c1", ',"impact":0'),
        MATCH[:-1] + block % ("c1", ',"impact":101'),
        MATCH[:-1] + block % ("c1", ',"unknown":1'),
        MATCH[:-1] + ',"ext":{"sidecar":null}}',
        MATCH[:-1] + ',"ext":{"sidecar":[1]}}',
    ):
        for uri in ("/products/_search", "/logs/_search", "/_search", "/products/_search?q=x"):
            one.stub.requests.clear()
            one.search(body, uri)
            assert one.stub.requests[0].body == MATCH.encode(), (body, uri)


@pytest.mark.parametrize(
    ("uri", "accept", "reason"),
    [
        ("/products/_search", "application/yaml", "format"),
        ("/products/_search?size=1&size=2", "application/json", "unknown_parameter"),
        ("/pro%2Fducts/_search", "application/json", "unknown_parameter"),
    ],
)
def test_the_block_is_cut_out_of_requests_that_are_left_as_a_whole(
    front: Callable[..., Front], uri: str, accept: str, reason: str
) -> None:
    one = front()
    body = MATCH[:-1] + ',"ext":{"sidecar":{"customer_id":"c1","explain":true}}}'
    got = one.search(body, uri, accept=accept, x_api_key="secret")
    assert got.decision == ("untouched", reason)
    assert one.stub.requests[0].body == MATCH.encode()
    assert one.stub.requests[0].header("X-Api-Key") is None
    lines = f'{{"index":"products"}}\n{body}\n{{}}\n{MATCH}\n'
    got = one.search(lines, uri.replace("_search", "_msearch"), accept=accept)
    assert got.decision == ("untouched", reason)
    assert one.stub.requests[1].body == f'{{"index":"products"}}\n{MATCH}\n{{}}\n{MATCH}\n'.encode()
    # What cannot be read goes on as it came.
    one.search(body + "}", uri, accept=accept)
    assert one.stub.requests[2].body == (body + "}").encode()


@pytest.mark.parametrize("body", [" ", "\n", "\t "])
def test_a_body_of_space_is_elasticsearchs_to_refuse(
    front: Callable[..., Front], body: str
) -> None:
    one = front()
    assert one.search(body).decision == ("untouched", "unparsable")
    assert one.stub.requests[0].body == body.encode()


def test_a_gzip_body_is_read_and_sent_on_plain(front: Callable[..., Front]) -> None:
    one = front()
    body = gzip.compress(MATCH.encode())
    got = call(
        one.proxy, "POST", "/products/_search", body, x_customer_id="c1", content_encoding="gzip"
    )
    assert got.decision == ("rewritten", "scored")
    sent = one.stub.requests[0]
    assert sent.header("Content-Encoding") is None
    assert sent.json()["query"] == {"match": {"name": "shoe"}}
    # Left alone, it goes on packed as it came.
    call(one.proxy, "POST", "/logs/_search", body, x_customer_id="c1", content_encoding="gzip")
    assert one.stub.requests[1].body == body
    assert one.stub.requests[1].header("Content-Encoding") == "gzip"


def test_a_gzip_bomb_is_not_unpacked(front: Callable[..., Front]) -> None:
    one = front(max_body_bytes=10_000)
    body = gzip.compress(b" " * 1_000_000)
    got = call(one.proxy, "POST", "/products/_search", body, content_encoding="gzip")
    assert got.decision == ("untouched", "not_json")
    assert one.stub.requests[0].body == body


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("application/json", "application/json"),
        (
            "application/vnd.elasticsearch+json; compatible-with=8",
            "application/vnd.elasticsearch+json; compatible-with=8",
        ),
    ],
)
def test_a_body_where_there_was_none_gets_a_type(
    front: Callable[..., Front], accept: str | None, expected: str
) -> None:
    one = front()
    headers = {"x_customer_id": "c1"} | ({"accept": accept} if accept else {})
    got = call(one.proxy, "GET", "/products/_search?size=3", **headers)
    assert got.decision == ("rewritten", "browse")
    assert one.stub.requests[0].header("Content-Type") == expected
    assert one.stub.requests[0].line == "GET /products/_search?size=3 HTTP/1.1"


def test_impact_zero_sends_the_original_bytes(front: Callable[..., Front]) -> None:
    odd = ' { "query" : {"match":{"name":"\\u0073hoe"}} }\n'
    for settings, headers in (
        ({"impact": 0}, {}),
        ({"index_impact": {"prod*": 0}}, {}),
        ({}, {"x_sidecar_impact": "0"}),
    ):
        one = front(**settings)
        one.stub.requests.clear()
        got = one.search(odd, **headers)
        assert got.decision == ("bypassed", "impact_zero")
        assert one.stub.requests[0].body == odd.encode()


def test_an_asynchronous_search_is_rewritten_when_it_is_submitted(
    front: Callable[..., Front],
) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"id": "x", "is_running": True, "response": HITS})
    uri = "/products/_async_search?wait_for_completion_timeout=1s&keep_on_completion=true"
    assert one.search(uri=uri).decision == ("rewritten", "scored")
    got = call(one.proxy, "GET", "/_async_search/x", x_customer_id="c1")
    assert "x-sidecar-action" not in got.headers
    half = {"id": "x", "response": FAILED}
    one.stub.respond = lambda r: answer(half if is_rewritten(r) else {"response": HITS})
    assert one.search(uri=uri).decision == ("bypassed", "rewrite_failed")


def multi(*pairs: tuple[str, str]) -> str:
    return "".join(f"{header}\n{body}\n" for header, body in pairs)


def test_each_item_of_a_multi_search_by_itself(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"responses": [HITS] * 6})
    own = '{"query":{"match":{"name":"hat"}},"ext":{"sidecar":{"customer_id":"nobody"}}}'
    body = multi(
        ("{}", MATCH),
        (' {"index": "logs"}', ' {"size": 1.0}'),
        ("", '{"size":5}'),
        ('{"index":["products"],"preference":"a"}', own),
        ('{"index":"products","request_cache":true}', MATCH),
        ('{"index":"products","search_type":{}}', '{"a":1,"a":1}'),
    )
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.decision == ("rewritten", "multi")
    lines = one.stub.requests[0].body.split(b"\n")
    assert lines[-1] == b""
    before = body.encode().split(b"\n")
    assert [lines[i] for i in range(0, 12, 2)] == [before[i] for i in range(0, 12, 2)]
    assert b"rescore" in lines[1]
    assert lines[3] == before[3]
    assert b"script_score" in lines[5]
    assert lines[7] == b'{"query":{"match":{"name":"hat"}}}'
    assert lines[9] == before[9]
    assert lines[11] == before[11]


def test_a_multi_search_with_a_failed_item_is_repeated(front: Callable[..., Front]) -> None:
    one = front()
    failed = {"error": {"type": "x"}, "status": 400}

    def respond(request: Request) -> bytes:
        return answer({"responses": [HITS, failed if is_rewritten(request) else HITS]})

    one.stub.respond = respond
    body = multi(("{}", MATCH), ('{"index":"products"}', '{"size":1}'))
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.json() == {"responses": [HITS, HITS]}
    assert got.decision == ("bypassed", "rewrite_failed")
    assert one.stub.requests[1].body == body.encode()
    assert one.search('{"size":1}').decision == ("bypassed", "breaker_open")
    assert one.search(MATCH).decision == ("rewritten", "scored")


@pytest.mark.parametrize(
    "body", ["", "{}", "{}\n", "{}\n{}", "{}\n{}\n{}\n", "x\ny\n", "\n\n", "{}\n\n", "[]\n{}\n"]
)
def test_odd_multi_searches_go_on_as_they_came(front: Callable[..., Front], body: str) -> None:
    one = front(product_indices=("shop",))
    got = one.search(body, "/products/_msearch", content_type="application/x-ndjson")
    assert got.decision[0] == "untouched"
    assert one.stub.requests[0].body == body.encode()


NODES = {
    "cluster_name": "c",
    "nodes": {
        "a": {"http": {"publish_address": "es1/10.0.0.1:9200", "bound_address": ["[::]:9200"]}},
        "b": {"http": {"publish_address": "10.0.0.2:9200"}, "version": "8.15.0"},
        "c": {"roles": ["master"]},
    },
}


@pytest.mark.parametrize(
    "uri", ["/_nodes/_all/http", "/_nodes/http", "/_nodes", "/_nodes/a/http?x"]
)
def test_sniffing_finds_the_sidecar(front: Callable[..., Front], uri: str) -> None:
    one = front()
    one.stub.respond = lambda request: answer(NODES)
    nodes = call(one.proxy, "GET", uri, accept_encoding="gzip").json()["nodes"]
    assert nodes["a"]["http"]["publish_address"] == "localhost:9201"
    assert nodes["a"]["http"]["bound_address"] == ["localhost:9201"]
    assert nodes["b"]["version"] == "8.15.0"
    assert one.stub.requests[0].header("Accept-Encoding") is None


@pytest.mark.parametrize(
    ("settings", "host", "expected"),
    [
        ({"public_address": "shop.example:443"}, "x", "shop.example:443"),
        ({}, "shop.example", "shop.example:80"),
        ({}, "[::1]:9201", "[::1]:9201"),
        ({}, 'x"}', "es1/10.0.0.1:9200"),
    ],
)
def test_which_address_sniffing_finds(
    front: Callable[..., Front], settings: dict[str, Any], host: str, expected: str
) -> None:
    one = front(**settings)
    one.stub.respond = lambda request: answer(NODES)
    got = call(one.proxy, "GET", "/_nodes/http", host=host).json()
    assert got["nodes"]["a"]["http"]["publish_address"] == expected


def test_metrics_and_access_log_name_nobody(stub: Stub, caplog: pytest.LogCaptureFixture) -> None:
    from prometheus_client import generate_latest

    world = World({"shopper-4711": shopper()})
    metrics = SearchMetrics(access_log=True)
    upstream = Upstream(stub.url)
    proxy = Proxy(upstream, world.planner, metrics)
    with caplog.at_level("DEBUG"):
        call(proxy, "POST", "/products/_search", MATCH, x_customer_id="shopper-4711")
        call(proxy, "POST", "/products/_search", MATCH, x_customer_id="shopper-4712")
        call(
            proxy,
            "POST",
            "/products/_search",
            '{"ext":{"sidecar":{"customer_id":"shopper-4711","x":1}}}',
        )
        call(proxy, "GET", "/users/_doc/shopper-4711")
    text = caplog.text + generate_latest(metrics.registry).decode()
    assert "shopper-47" not in text
    assert "action=rewritten reason=scored" in caplog.text
    assert 'sidecar_http_requests_total{api="other",status="2xx"} 1.0' in text
    upstream.close()
