"""The proxy before the stub, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sidecar.metrics import SearchMetrics
from sidecar.search.proxy import Proxy
from sidecar.search.upstream import Upstream

from .fakes import World, shopper
from .stub import HITS, Request, Stub, answer
from .wsgi import Got, call

MATCH = '{"query":{"match":{"name":"shoe"}}}'
FAILED = {
    **HITS,
    "_shards": {"total": 2, "successful": 1, "skipped": 0, "failed": 1, "failures": [{}]},
}


class Front:
    """The proxy before the stub, in this process."""

    def __init__(self, stub: Stub, **settings: Any) -> None:
        self.stub = stub
        self.world = World({"c1": shopper()}, **settings)
        self.metrics = SearchMetrics()
        self.upstream = Upstream(stub.url, read_timeout_s=settings.get("read_timeout_s", 5))
        self.proxy = Proxy(self.upstream, self.world.planner, self.metrics)

    def search(self, body: str = MATCH, uri: str = "/products/_search", **headers: str) -> Got:
        headers.setdefault("x_customer_id", "c1")
        return call(self.proxy, "POST", uri, body, **headers)

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


def is_rewritten(request: Request) -> bool:
    return b"cosineSimilarity" in request.body


def refuse_rewritten(refusal: Callable[[], bytes]) -> Callable[[Request], bytes]:
    return lambda request: refusal() if is_rewritten(request) else answer(HITS)
