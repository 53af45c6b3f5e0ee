"""Whatever comes in: never an exception, nothing sent that a cluster refuses, the hits the same."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.search.body_keys import BODY_KEYS, NEUTRAL_PARAMETERS
from sidecar.search.decision import REASONS
from sidecar.search.planned import Search
from sidecar.search.proxy import Proxy
from sidecar.search.upstream import Upstream

from .fakes import World, shopper, unit
from .strict import refusals
from .stub import HITS, Stub, answer
from .wsgi import call

names = st.sampled_from(
    [*BODY_KEYS, "bool", "must", "should", "filter", "match", "match_all", "term", "random_score",
     "script_score", "sidecar", "customer_id", "impact", "enabled", "query_id", "user_query", "explain", "ubi",
     "field", "top_hits", "_score",
     "x", "", "\ud800", "é"]
)  # fmt: skip
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["_score", "desc", "c1", "", "\ud800", "0", "plain", "_doc"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
queries = st.recursive(
    st.sampled_from(
        [
            {"match_all": {}},
            {"match": {"name": "shoe"}},
            {"match": {"name": {"query": "red shoe", "operator": "or"}}},
            {"term": {"colour": "red"}},
            {"terms": {"colour": ["red", "blue"]}},
            {"range": {"price": {"gte": 10, "lt": 70}}},
            {"exists": {"field": "price"}},
            {"constant_score": {"filter": {"term": {"colour": "red"}}}},
            {"multi_match": {"query": "shoe blue", "fields": ["name", "colour"]}},
        ]
    ),
    lambda inner: st.fixed_dictionaries(
        {"bool": st.dictionaries(st.sampled_from(["must", "should", "filter", "must_not"]),
                                 st.lists(inner, min_size=1, max_size=2), min_size=1, max_size=3)}
    ),
    max_leaves=4,
)  # fmt: skip
searches = st.fixed_dictionaries(
    {},
    optional={
        "query": queries,
        "post_filter": st.just({"term": {"colour": "red"}}),
        "aggs": st.just({"c": {"terms": {"field": "colour"}}, "p": {"avg": {"field": "price"}}}),
        "min_score": st.just(0.01),
        "sort": st.sampled_from(["_score", ["_score"], [{"price": "asc"}], [{"_score": "desc"}]]),
        "track_total_hits": st.booleans(),
        "_source": st.sampled_from([False, ["name"]]),
        "collapse": st.just({"field": "colour"}),
        "highlight": st.just({"fields": {"name": {}}}),
        "explain": st.booleans(),
    },
)
quick = settings(max_examples=300, deadline=None)


def dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


bodies = (
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | values.map(dumped)
    | st.dictionaries(names, values, max_size=6).map(dumped)
    | st.builds(
        lambda search, block: dumped({**search, "ext": {"sidecar": block}}),
        searches,
        values | st.just({"customer_id": "c1"}),
    )
    | searches.map(dumped)
)
parameters = st.dictionaries(
    st.sampled_from(
        [*NEUTRAL_PARAMETERS, "q", "sort", "size", "scroll", "explain", "request_cache"]
    ),
    st.sampled_from(["true", "false", "0", "10", "_score", "price:asc", "", "é"]),
    max_size=3,
)


@given(
    bodies,
    parameters,
    st.sampled_from([None, "c1", "nobody", "", "a,b", "\xff", "x" * 600]),
    st.sampled_from([10, 10**9]),
)
@quick
def test_planning_never_fails_and_sends_nothing_that_is_refused(
    body: bytes, told: dict[str, str], customer: str | None, documents: int
) -> None:
    shoppers = {"c1": shopper()}
    world = World(shoppers, fallback_sort='[{"price":"desc"}]', documents=documents)
    environ = {} if customer is None else {"HTTP_X_CUSTOMER_ID": customer}
    plan = world.planner.plan(Search("products", told, environ, body))
    assert plan.decision.reason in REASONS
    assert plan.decision.reason != "fault"
    if plan.decision.action == "rewritten":
        assert plan.body is not None
        assert refusals(plan.body, told) == []
    if plan.original is not None:
        # The block is gone, and nothing else.
        before, after = json.loads(body), json.loads(plan.original)
        before["ext"].pop("sidecar")
        if not before["ext"]:
            before.pop("ext")
        assert dumped(after) == dumped(before)


@given(st.lists(bodies, max_size=6), st.booleans())
@quick
def test_multi_searches_never_fail(lines: list[bytes], ended: bool) -> None:
    from sidecar.search.multi import plan_multi

    body = b"\n".join(lines) + b"\n" * ended
    world = World({"c1": shopper()})
    plan = plan_multi(world.planner, Search("products", {}, {"HTTP_X_CUSTOMER_ID": "c1"}, body))
    assert plan.decision.reason != "fault"
    if plan.body is not None:
        assert plan.body.count(b"\n") == body.count(b"\n")


@given(
    st.sampled_from(["GET", "POST", "PUT", "HEAD"]),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=40),
    bodies,
    st.sampled_from([None, "application/json", "application/x-ndjson", "x"]),
    st.sampled_from(["", "gzip", "deflate", "identity"]),
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_request_gets_an_answer(
    stub: Stub, method: str, tail: str, body: bytes, content_type: str | None, encoding: str
) -> None:
    stub.respond = lambda request: answer(HITS)
    upstream = Upstream(stub.url)
    proxy = Proxy(upstream, World({"c1": shopper()}).planner)
    sent = gzip.compress(body) if encoding == "gzip" else body
    for uri in ("/" + tail, "/products/_search?" + tail, "/products/_msearch"):
        got = call(
            proxy, method, uri, sent, content_type, content_encoding=encoding, x_customer_id="c1"
        )
        assert got.status == 200
        assert stub.requests[-1].line == f"{method} {uri} HTTP/1.1"
    upstream.close()


@pytest.fixture(scope="module")
def shop(elasticsearch_url: str) -> Iterator[tuple[Elasticsearch, str]]:
    """An index of 60 products, one in ten without a vector."""
    with Elasticsearch(elasticsearch_url, request_timeout=30) as client:
        index = "test-fuzz-products"
        client.options(ignore_status=404).indices.delete(index=index)
        client.indices.create(
            index=index,
            mappings={
                "properties": {
                    "name": {"type": "text"},
                    "colour": {"type": "keyword"},
                    "price": {"type": "float"},
                    "product_vector": {"type": "dense_vector", "dims": 384, "similarity": "cosine"},
                }
            },
        )
        documents = []
        for i in range(60):
            colour = ["red", "blue", "green"][i % 3]
            source = {
                "name": f"{colour} {'shoe' if i % 2 else 'hat'}",
                "colour": colour,
                "price": i,
            }
            if i % 10:
                source["product_vector"] = unit(i).tolist()
            documents.append({"_index": index, "_id": str(i), "_source": source})
        bulk(client, documents, refresh=True)
        yield client, index
        client.indices.delete(index=index)


@pytest.mark.servers
@given(searches)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_the_hits_are_the_same_and_only_their_order_changes(
    shop: tuple[Elasticsearch, str], elasticsearch_url: str, body: dict[str, Any]
) -> None:
    _, index = shop
    upstream = Upstream(elasticsearch_url)
    world = World({"c1": shopper(3)}, product_indices=(index,), fallback_sort='[{"price":"desc"}]')
    proxy = Proxy(upstream, world.planner)
    asked = {**body, "size": 100}
    if "collapse" in asked:
        # Which document stands for its group is a matter of order.
        asked.pop("collapse")
    plain = call(
        proxy,
        "POST",
        f"/{index}/_search",
        dumped(asked)[:-1] + b',"ext":{"sidecar":{"enabled":false}}}',
    )
    for customer in ("c1", "nobody"):
        ranked = call(proxy, "POST", f"/{index}/_search", dumped(asked), x_customer_id=customer)
        assert ranked.decision[0] in ("rewritten", "fallback", "untouched"), ranked.decision
        before, after = plain.json(), ranked.json()
        ids = [hit["_id"] for hit in before["hits"]["hits"]]
        assert sorted(ids) == sorted(hit["_id"] for hit in after["hits"]["hits"])
        assert before["hits"].get("total") == after["hits"].get("total")
        assert before.get("aggregations") == after.get("aggregations")
        sources = {hit["_id"]: hit.get("_source") for hit in before["hits"]["hits"]}
        assert sources == {hit["_id"]: hit.get("_source") for hit in after["hits"]["hits"]}
        if ranked.decision[0] == "untouched":
            assert ids == [hit["_id"] for hit in after["hits"]["hits"]]
    upstream.close()


@pytest.mark.parametrize(
    ("sort", "more", "told"),
    [
        ([{"price": "asc"}], {}, {}),
        ("_score", {"search_after": [1]}, {}),
        ("_score", {}, {"scroll": "1m"}),
        ("_score", {"sizes": 1}, {}),
        ("_score", {"ext": {"sidecar": {}}}, {}),
    ],
)
def test_the_validator_sees_what_it_is_for(sort: Any, more: Any, told: dict[str, str]) -> None:
    plan = World({"c1": shopper()}).plan('{"query":{"match":{"name":"shoe"}}}')
    assert plan.body is not None
    assert refusals(plan.body, {}) == []
    broken = {**json.loads(plan.body), "sort": sort, **more}
    assert refusals(dumped(broken), told)
