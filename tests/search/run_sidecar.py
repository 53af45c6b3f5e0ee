"""The sidecar's real server in a process of its own, with shoppers and indices of our choosing.

Arguments: one JSON object with url, listen, settings, shoppers (id to seed), fits.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np

from sidecar.contract.schema import Calibration
from sidecar.search.plan import Planner
from sidecar.search.ports import Model, Resolution, Shopper
from sidecar.search.proxy import Proxy
from sidecar.search.settings import SearchSettings
from sidecar.search.tastes import Tastes
from sidecar.search.upstream import Upstream
from sidecar.web.app import create_app
from sidecar.web.server import serve

told = json.loads(sys.argv[1])


def lookup(customer_id: str, seconds: float) -> Shopper | None:
    if customer_id not in told.get("shoppers", {}):
        return None
    vector = np.random.default_rng(told["shoppers"][customer_id]).normal(size=384)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    return Shopper(unit, 8.0, "space", int((time.time() + 3600) * 1e6))


settings = SearchSettings(
    **{k: tuple(v) if isinstance(v, list) else v for k, v in told.get("settings", {}).items()}
)
planner = Planner(
    settings,
    Tastes(lookup, lambda: Model("space", Calibration()), settings),
    lambda expression, seconds: Resolution((expression,), told.get("fits", True)),
    lambda: (8, 15),
)
upstream = Upstream(told["url"], read_timeout_s=settings.read_timeout_s)
serve(
    create_app(Proxy(upstream, planner)),
    told["listen"],
    threads=told.get("threads", 8),
    when_ready=lambda: print("ready", flush=True),
)
