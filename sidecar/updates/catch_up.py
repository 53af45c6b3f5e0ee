"""Events that came before their product's vector: they count as soon as it is there.

A shopper's document names the products it waits for (``waiting_for``). Any next event of the
shopper makes the vector again anyway; this finds those who have none.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from typing import Any

from sidecar.tower.load import Tower
from sidecar.updates.handler import VectorSource
from sidecar.updates.recompute import Recompute, UserScan

PAGE = 500


def waiting(now_ms: int, window_us: int) -> dict[str, Any]:
    """Query for shoppers that wait for a product, and whose history is not expired."""
    return {
        "bool": {
            "filter": [
                {"exists": {"field": "waiting_for"}},
                {"range": {"newest_at": {"gte": now_ms - window_us // 1000}}},
            ]
        }
    }


def catch_up(
    users: UserScan,
    products: VectorSource,
    tower_of: Callable[[], Tower],
    clock: Callable[[], float] = time.time,
) -> int:
    """Make the vectors again of shoppers whose products have got theirs; how many.

    Raises
    ------
    UnreachableError, RefusedError
    """
    tower = tower_of()
    query = waiting(int(clock() * 1000), tower.weights.metadata.limits.window)
    recompute = Recompute(users, products, tower_of, clock)
    found = users.scan(query, fields=("waiting_for",))
    written = 0
    while page := list(islice(found, PAGE)):
        wanted = {product for user in page for product in user.waiting_for}
        there = products.get(wanted, tower.weights.product_space)
        ready = [user.customer_id for user in page if not there.keys().isdisjoint(user.waiting_for)]
        written += recompute.run(ready).written
    return written
