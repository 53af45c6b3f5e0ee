"""Where the proxy's time goes: ``python bench/proxy_steps.py``.

Microseconds of each step of a rewritten search, the smallest of many runs, in this process; and
one exchange with the stub upstream by the proxy's own client, ``http.client`` and ``urllib3``.
"""

from __future__ import annotations

import http.client
import io
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import urllib3

sys.path.insert(0, str(Path(__file__).parent))
from proxy import BODY, free_port, process, run_stub

from sidecar.contract.schema import Calibration
from sidecar.metrics import SearchMetrics
from sidecar.search.bodies import Incoming
from sidecar.search.classify import classify
from sidecar.search.headers import forwarded
from sidecar.search.instructions import read_block, read_instructions
from sidecar.search.jsontext import parse_object
from sidecar.search.limits import Deadline
from sidecar.search.pages import pin_key
from sidecar.search.plan import Planner
from sidecar.search.planned import Search
from sidecar.search.ports import Model, Resolution, Shopper
from sidecar.search.proxy import Proxy
from sidecar.search.rewrite import Taste, personalise
from sidecar.search.script import encode_vector
from sidecar.search.settings import SearchSettings
from sidecar.search.target import parse_target
from sidecar.search.tastes import Tastes
from sidecar.search.upstream import Upstream
from sidecar.search.wire import parse_head

HEAD = (
    b"HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\n"
    b"content-type: application/json\r\ncontent-length: 5321"
)


def best(function: Callable[[], Any], runs: int = 3000) -> float:
    """Microseconds."""
    smallest = 1.0
    for _ in range(runs):
        began = time.perf_counter()
        function()
        smallest = min(smallest, time.perf_counter() - began)
    return smallest * 1e6


def environ() -> dict[str, Any]:
    return {
        "REQUEST_METHOD": "POST",
        "RAW_URI": "/products/_search",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(BODY)),
        "HTTP_HOST": "x",
        "HTTP_ACCEPT": "application/json",
        "HTTP_X_CUSTOMER_ID": "c1",
        "HTTP_AUTHORIZATION": "ApiKey x",
        "wsgi.input": io.BytesIO(BODY),
    }


def main() -> None:
    port = free_port()
    vector = np.random.default_rng(0).normal(size=384).astype(np.float32)
    settings = SearchSettings(shopper_cache_s=60, page_ttl_s=0)
    shopper = Shopper(vector, 5.0, "space", int((time.time() + 3600) * 1e6))
    tastes = Tastes(lambda c, s: shopper, lambda: Model("space", Calibration()), settings)
    planner = Planner(settings, tastes, lambda e, s: Resolution((e,), True))
    body, env = parse_object(BODY), environ()
    taste = Taste(encode_vector(vector), 0.7, Calibration(), "space")
    with process(run_stub, port):
        upstream = Upstream(f"http://127.0.0.1:{port}")
        metrics = SearchMetrics()
        proxy = Proxy(upstream, planner, metrics)
        headers = [*forwarded(env, upstream.host_header), ("Content-Length", str(len(BODY)))]

        def whole() -> None:
            b"".join(proxy(environ(), lambda status, found: None))

        def own() -> None:
            upstream.request("POST", "/products/_search", headers, BODY).read()

        plain = http.client.HTTPConnection("127.0.0.1", port)
        pool = urllib3.HTTPConnectionPool("127.0.0.1", port)
        as_dict = dict(headers)

        def by_http_client() -> None:
            plain.request("POST", "/products/_search", BODY, as_dict)
            plain.getresponse().read()

        def by_urllib3() -> None:
            pool.urlopen(
                "POST", "/products/_search", BODY, as_dict, retries=False, preload_content=False
            ).read()

        steps: dict[str, Callable[[], Any]] = {
            "request line (remembered)": lambda: parse_target("POST", "/products/_search"),
            "reading the request's body": lambda: Incoming(environ()).read(1 << 20),
            "parsing the body": lambda: parse_object(BODY),
            "instructions": lambda: (read_block(body), read_instructions(None, env, settings, 0)),
            "classifying": lambda: classify({}, body, settings),
            "shopper, from the cache": lambda: tastes.newest("c1", Deadline(1)),
            "naming the search for its pages": lambda: pin_key("c1", "products", body),
            "rewriting": lambda: personalise(body, "rescore", taste, settings).encode(),
            "(the plan: all of these)": lambda: planner.plan(Search("products", {}, env, BODY)),
            "request headers": lambda: forwarded(env, "es:9200"),
            "answer's head": lambda: parse_head(HEAD, "POST"),
            "metrics": lambda: metrics.answered("search", 200, None, 0.1, 0.1),
            "(one exchange with the stub)": own,
            "(the proxy's whole work)": whole,
            "for comparison: encoding a vector": lambda: encode_vector(vector),
            "for comparison: exchange by http.client": by_http_client,
            "for comparison: exchange by urllib3": by_urllib3,
            "for comparison: json.loads and dumps": lambda: json.dumps(json.loads(BODY)),
        }
        taken = {name: best(step) for name, step in steps.items()}
        total = taken["(the proxy's whole work)"]
        for name, micros in taken.items():
            print(f"{name:42} {micros:8.1f} µs {100 * micros / total:6.1f} %")
        upstream.close()


if __name__ == "__main__":
    main()
