"""An app's ordinary calls through the official Python client; prints what came back, as JSON.

Arguments: address of the server, prefix of the indices. Runs with any client from 8 on.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import elasticsearch
from elasticsearch import ApiError, Elasticsearch, helpers

url, prefix = sys.argv[1:3]
VOLATILE = {"took", "_seq_no", "_primary_term", "_scroll_id", "pit_id", "id", "uuid", "timestamp"}
results: dict[str, Any] = {}
actions_taken: list[str] = []


def steady(value: Any) -> Any:
    """Without what differs from run to run."""
    if isinstance(value, dict):
        return {steady(k): steady(v) for k, v in value.items() if k not in VOLATILE}
    if isinstance(value, list):
        return [steady(one) for one in value]
    return re.sub(re.escape(prefix), "PREFIX", value) if isinstance(value, str) else value


def call(name: str, function: Any) -> Any:
    try:
        found = function()
    except ApiError as error:
        results[name] = ["error", error.meta.status, steady(error.body)]
        return None
    results[name] = steady(getattr(found, "body", found))
    return found


def ordinary(es: Elasticsearch, tag: str, products: str, alias: str) -> None:
    """What an app does in a day."""
    call(tag + "ping", es.ping)
    call(tag + "info", es.info)
    call(tag + "exists", lambda: bool(es.indices.exists(index=products)))
    mapping = {
        "properties": {
            "name": {"type": "text"},
            "price": {"type": "float"},
            "c": {"type": "keyword"},
        }
    }
    call(tag + "create", lambda: es.indices.create(index=products, mappings=mapping))
    call(tag + "create again", lambda: es.indices.create(index=products))
    call(tag + "alias", lambda: es.indices.put_alias(index=products, name=alias))
    call(tag + "mapping", lambda: es.indices.get_mapping(index=products))
    call(
        tag + "index",
        lambda: es.index(
            index=products, id="1", document={"name": "red shoe é", "price": 1.5, "c": "a"}
        ),
    )
    call(tag + "create doc", lambda: es.create(index=products, id="1", document={}))
    actions = [
        {"_index": products, "_id": f"a/{i}", "name": f"shoe {i}", "price": i, "c": "ab"[i % 2]}
        for i in range(250)
    ]
    call(tag + "bulk", lambda: list(helpers.bulk(es, actions, chunk_size=100, refresh=True)))
    call(tag + "get", lambda: es.get(index=products, id="a/3"))
    call(tag + "get missing", lambda: es.get(index=products, id="none"))
    call(tag + "head", lambda: bool(es.exists(index=products, id="a/3")))
    call(tag + "mget", lambda: es.mget(index=products, ids=["1", "a/2", "none"]))
    call(tag + "update", lambda: es.update(index=products, id="1", doc={"price": 2}, refresh=True))
    call(tag + "delete", lambda: es.delete(index=products, id="a/249", refresh=True))
    query = {"match": {"name": "shoe"}}
    call(tag + "search", lambda: es.search(index=alias, query=query, size=5, sort=["price"]))
    call(
        tag + "search all",
        lambda: es.search(index=products, query={"match_all": {}}, size=300, sort=["price"]),
    )
    call(
        tag + "search aggs",
        lambda: es.search(index=f"{products}*", size=0, aggs={"c": {"terms": {"field": "c"}}}),
    )
    call(tag + "search q", lambda: es.search(index=products, q="name:red"))
    call(tag + "search bad", lambda: es.search(index=products, query={"nothing": {}}))
    call(tag + "search missing", lambda: es.search(index="nowhere", query=query))
    call(tag + "count", lambda: es.count(index=products, query=query))
    searches = [
        {"index": products},
        {"query": query, "size": 1},
        {},
        {"query": {"term": {"c": "a"}}, "size": 2},
    ]
    call(tag + "msearch", lambda: es.msearch(searches=searches, index=products))
    call(tag + "scan", lambda: sorted(h["_id"] for h in helpers.scan(es, index=products, size=50)))
    pit = call(tag + "pit", lambda: es.open_point_in_time(index=products, keep_alive="1m"))
    if pit:
        point = {"id": pit["id"], "keep_alive": "1m"}
        page = es.search(pit=point, size=3, sort=[{"price": "asc"}])
        after = page["hits"]["hits"][-1]["sort"]
        call(
            tag + "search_after",
            lambda: es.search(pit=point, size=3, sort=[{"price": "asc"}], search_after=after),
        )
        call(tag + "close pit", lambda: es.close_point_in_time(id=pit["id"]))
    call(tag + "cat", lambda: es.cat.count(index=products, format="json", h="count"))
    call(
        tag + "update_by_query",
        lambda: es.update_by_query(index=products, query={"ids": {"values": ["1"]}}, refresh=True),
    )
    call(
        tag + "delete_by_query",
        lambda: es.delete_by_query(
            index=products, query={"range": {"price": {"gte": 200}}}, refresh=True
        ),
    )
    shopper = es.options(headers={"X-Customer-Id": "c1"})
    ranked = shopper.search(index=products, query=query, size=3)
    several = shopper.msearch(searches=searches, index=products)
    actions_taken.extend(one.meta.headers.get("x-sidecar-action", "") for one in (ranked, several))
    call(
        tag + "opaque id",
        lambda: es.options(opaque_id="o1", headers={"X-Other": "1"}).search(
            index=products, size=1, sort=["price"]
        ),
    )
    try:
        from elasticsearch.dsl import Search
    except ImportError:
        results[tag + "dsl"] = "not in this client"
    else:
        found = (
            Search(using=es, index=products)
            .query("match", name="shoe")
            .filter("term", c="a")
            .sort("price")[:3]
        )
        call(tag + "dsl", lambda: found.execute().to_dict())
    call(tag + "delete index", lambda: es.indices.delete(index=products))


for compress in (False, True):
    name = prefix + "-gz" * compress
    with Elasticsearch(url, http_compress=compress, request_timeout=30) as es:
        ordinary(es, "gzip " * compress, f"{name}-products", f"{name}-shop")
sniffing = Elasticsearch(url, sniff_on_start=True)
call("sniffed ping", sniffing.ping)
nodes = [node.base_url for node in sniffing.transport.node_pool.all()]
told = {"nodes": nodes, "client": elasticsearch.__versionstr__, "actions": actions_taken}
print(json.dumps({"results": results, **told}))
