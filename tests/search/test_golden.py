"""The decision table end to end: the exact bytes that reach Elasticsearch, row by row."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest

from sidecar.search.proxy import Proxy
from sidecar.search.script import encode_vector
from sidecar.search.upstream import Upstream

from .fakes import SPACE, World, shopper, unit
from .rows import ROWS, Row
from .stub import Stub
from .test_rewrite import SOURCE
from .wsgi import call

PARAMS = f'{{"v":{encode_vector(unit(1))},"a":0.8,"neutral":1.4,"lo":0,"hi":1,"space":"{SPACE}","plain":true}}'
SCRIPT = f'{{"source":"{SOURCE}","params":{PARAMS}}}'
RESCORE = (
    '"rescore":{"window_size":500,"query":{"rescore_query":{"script_score":'
    '{"query":{"match_all":{}},"script":' + SCRIPT + '}},"score_mode":"multiply"}}'
)


def expected(row: Row) -> str:
    """Made from the request's text alone, in another way than the code does."""
    if row.kind == "none":
        return row.body
    if row.kind == "rescore":
        return row.body[:-1] + "," + RESCORE + "}"
    query = '{"match_all":{}}'
    parsed = json.loads(row.body or "{}")
    rest = row.body
    if "query" in parsed:
        query = json.dumps(parsed["query"], separators=(",", ":"))
        rest = row.body.replace(f'"query":{query}', "@", 1)
    wrapped = f'"query":{{"script_score":{{"query":{query},"script":{SCRIPT}}}}}'
    if "@" in rest:
        return rest.replace("@", wrapped, 1)
    return f"{{{wrapped}}}" if rest in ("", "{}") else f"{rest[:-1]},{wrapped}}}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_what_is_sent(row: Row, stub: Stub) -> None:
    world = World({"c1": shopper()}, version=row.version)
    upstream = Upstream(stub.url)
    uri = "/products/_search" + ("?" + urlencode(row.parameters) if row.parameters else "")
    got = call(Proxy(upstream, world.planner), "POST", uri, row.body, x_customer_id="c1")
    upstream.close()
    (seen,) = stub.requests
    assert seen.line == f"POST {uri} HTTP/1.1"
    assert seen.body.decode() == expected(row)
    action = "untouched" if row.kind == "none" else "rewritten"
    assert got.decision == (action, row.reason)
