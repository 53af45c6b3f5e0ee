"""docs/openapi.yaml against the routes: none undocumented, none invented, answers as described."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from prometheus_client import CollectorRegistry

from sidecar.tower.store import WeightsStore
from sidecar.web.app import own_app
from sidecar.web.metrics import metrics_blueprint
from sidecar.web.own import own_blueprints
from tests.web_api.http import ask
from tests.web_api.stack import Shop, event

pytestmark = pytest.mark.servers
DOCUMENT = yaml.safe_load(
    (Path(__file__).parents[2] / "docs/openapi.yaml").read_text(encoding="utf-8")
)
METHODS = {"get", "post", "put", "delete"}


def test_the_document_is_openapi() -> None:
    validate(DOCUMENT)


def test_documented_and_existing_routes_are_the_same(
    shop: Shop, tmp_path_factory: pytest.TempPathFactory
) -> None:
    app = own_app(
        {},
        [
            *own_blueprints(replace(shop.parts, weights=_store(tmp_path_factory))),
            metrics_blueprint(CollectorRegistry()),
        ],
    )
    existing = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)), method.lower())
        for rule in app.url_map.iter_rules()
        for method in rule.methods or ()
        if method.lower() in METHODS
    }
    documented = {
        (path, method)
        for path, methods in DOCUMENT["paths"].items()
        for method in methods
        if method in METHODS
    }
    assert existing == documented


def _store(factory: pytest.TempPathFactory) -> WeightsStore:
    from sidecar.contract.weights import write_weights
    from tests.web_api.stack import tower

    folder = factory.mktemp("weights")
    write_weights(folder / "one.safetensors", tower().weights)
    return WeightsStore(folder, watch=False)


def check(name: str, value: Any) -> None:
    """A value against one of the document's schemas."""
    root = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    Draft202012Validator(root).validate(value)


def test_answers_are_as_described(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> None:
    shop.send(event("documented", "tea-1", "purchase"), event("documented", "unheard", "share"))
    shop.wait_for("documented", 2)
    base = f"{shop.url}/_sidecar"
    check("Live", ask("GET", f"{base}/health/live").json)
    check("Ready", ask("GET", f"{base}/health/ready").json)
    check("Shopper", ask("GET", f"{base}/users/documented").json)
    body = {"customer_id": "documented", "product_ids": ["tea-2", "lamps-1", "unheard"]}
    check("Why", ask("POST", f"{base}/explain", body).json)
    for path in (
        "recommendations/documented?exclude=seen&diversity=0.2",
        "similar/tea-1?exclude=seen&customer_id=documented&explore=0.1",
        "trending?exclude=bought&customer_id=documented",
    ):
        check("Hits", ask("GET", f"{base}/{path}").json)
    events = [event("documented", "tea-1", "purchase"), event("documented", "tea-1", "dance")]
    check("Accepted", ask("POST", f"{base}/events", events).json)
    check("Forgotten", ask("DELETE", f"{base}/users/documented").json)
    check("Problem", ask("GET", f"{base}/users/documented").json)
    check("Problem", ask("GET", f"{base}/nothing").json)
    check("Weights", _store(tmp_path_factory).status())


def test_the_examples_work(shop: Shop) -> None:
    post = DOCUMENT["paths"]["/_sidecar/events"]["post"]
    example = post["requestBody"]["content"]["application/json"]["example"]
    check("Event", example)
    assert ask("POST", f"{shop.url}/_sidecar/events", example).status == 202
