"""Shoppers, pins and a planner without any server."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from sidecar.contract.errors import UnreachableError
from sidecar.contract.schema import Calibration
from sidecar.search.plan import Planner
from sidecar.search.planned import Plan, Search
from sidecar.search.ports import Model, Pin, PinStore, Resolution, Shopper
from sidecar.search.settings import SearchSettings
from sidecar.search.tastes import Tastes

SPACE = "space"
MODEL = Model(SPACE, Calibration())


def unit(seed: int, dimension: int = 384) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.random.default_rng(seed).normal(size=dimension)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def shopper(
    seed: int = 1, evidence: float = 8.0, lives_s: float = 3600, space: str = SPACE
) -> Shopper:
    return Shopper(unit(seed), evidence, space, int((time.time() + lives_s) * 1e6))


class MemoryPins:
    """A PinStore that can be made to fail."""

    def __init__(self) -> None:
        self.pins: dict[str, Pin] = {}
        self.broken = False

    def put(self, key: str, customer_id: str, pin: Pin) -> None:
        self.pins[key] = pin

    def get(self, key: str, timeout_s: float) -> Pin | None:
        if self.broken:
            raise UnreachableError("down")
        return self.pins.get(key)


class World:
    """A planner, and the shoppers it knows."""

    def __init__(
        self,
        shoppers: Mapping[str, Shopper] | None = None,
        pins: PinStore | None = None,
        fits: bool = True,
        model: Model | None = MODEL,
        documents: int = 1000,
        version: tuple[int, int] | None = (8, 15),
        **settings: Any,
    ) -> None:
        self.shoppers = dict(shoppers or {})
        self.lookups: list[str] = []
        self.outcomes: list[str] = []
        settings.setdefault("shopper_cache_s", 0)
        # Wide enough for a machine that is busy with other tests.
        settings.setdefault("deadline_ms", 5000)
        self.settings = SearchSettings(**settings)
        tastes = Tastes(self.lookup, lambda: model, self.settings, pins, self.outcomes.append)
        self.planner = Planner(
            self.settings, tastes, lambda e, s: Resolution((e,), fits, documents), lambda: version
        )

    def lookup(self, customer_id: str, seconds: float) -> Shopper | None:
        self.lookups.append(customer_id)
        return self.shoppers.get(customer_id)

    def plan(self, body: str, customer: str | None = "c1", **more: Any) -> Plan:
        environ = dict(more.pop("environ", {}))
        if customer is not None:
            environ["HTTP_X_CUSTOMER_ID"] = customer
        expression = more.pop("expression", "products")
        return self.planner.plan(Search(expression, more, environ, body.encode()))


def vector_of(plan: Plan) -> list[float]:
    """The user vector in a rewritten body."""
    assert plan.body is not None
    sent = json.loads(plan.body)
    if "rescore" in sent:
        script = sent["rescore"]["query"]["rescore_query"]["script_score"]["script"]
    else:
        script = sent["query"]["script_score"]["script"]
    vector: list[float] = script["params"]["v"]
    return vector
