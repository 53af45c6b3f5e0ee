"""docs/openapi.yaml as a source of requests: whatever fits the document, or nearly, is answered so.

Requests are drawn from a fixed seed: the same ones in every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from prometheus_client import CollectorRegistry, Counter
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

from sidecar.contract.weights import write_weights
from sidecar.tower.store import WeightsStore
from sidecar.web.app import own_app
from sidecar.web.metrics import metrics_blueprint
from sidecar.web.own import own_blueprints
from tests.web_api.http import ask
from tests.web_api.stack import Shop, event, served, tower
from tests.web_api.test_weights_routes import other_weights

pytestmark = pytest.mark.servers

EXAMPLES = 20
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
    checks.response_headers_conformance,
]
SHOPPER = "known/shopper"
FORGOTTEN = "to be forgotten"
PRODUCT = "tea-1"

DOCUMENT = schemathesis.openapi.from_path(Path(__file__).parents[2] / "docs/openapi.yaml")
# Only what is drawn from the seed: neither each boundary of each parameter, nor earlier answers.
DOCUMENT.config.phases.coverage.enabled = False
DOCUMENT.config.phases.fuzzing.extra_data_sources.responses = False
DOCUMENT.config.phases.fuzzing.error_feedback.is_enabled = False


@DOCUMENT.hook
def map_path_parameters(context: Any, path_parameters: Any) -> Any:
    """Every second id is one that there is; others end at "unknown"."""
    return _with_known(context, path_parameters)


@DOCUMENT.hook
def map_query(context: Any, query: Any) -> Any:
    return _with_known(context, query)


@DOCUMENT.hook
def map_body(context: Any, body: Any) -> Any:
    return _with_known(context, body)


def _with_known(context: Any, values: Any) -> Any:
    operation = context.operation
    forgets = operation.method == "delete" or operation.path.endswith("/forget")
    shopper = FORGOTTEN if forgets else SHOPPER
    known = {
        "customer_id": shopper,
        "id": shopper,
        "product_id": PRODUCT,
        "product": PRODUCT,
        "event_name": "product_viewed",
    }

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return [put(one) for one in value]
        if not isinstance(value, dict):
            return value
        return {
            name: known[name] if name in known and len(repr(one)) % 2 else put(one)
            for name, one in value.items()
        }

    return put(values)


@pytest.fixture(scope="module")
def url(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """All documented routes: the shop's, and those about weights and metrics."""
    folder = tmp_path_factory.mktemp("weights")
    write_weights(folder / "one.safetensors", tower().weights)
    store = WeightsStore(folder, watch=False, settle_s=0)
    write_weights(folder / "two.safetensors", other_weights(1))
    store.poll()
    for shopper in (SHOPPER, FORGOTTEN):
        shop.send(event(shopper, "tea-2", "purchase"), event(shopper, "lamps-1", "product_viewed"))
        shop.wait_for(shopper, 2)
    registry = CollectorRegistry()
    Counter("asked", "So that there is something to see.", registry=registry).inc()
    blueprints = own_blueprints(replace(shop.parts, weights=store))
    app = own_app(shop.parts.ready, [*blueprints, metrics_blueprint(registry)])
    with served(app.wsgi_app) as base:
        yield base
    store.close()


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as one:
        yield one


@DOCUMENT.parametrize()
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(
    case: schemathesis.Case, url: str, session: requests.Session
) -> None:
    answer = case.call(base_url=url, session=session, allow_redirects=False, timeout=30)
    case.validate_response(answer, checks=CHECKS)


HALF = "\ud800"  # of a pair of surrogates: JSON can write it, UTF-8 cannot


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("trending", {"exclude": [{}]}),
        ("trending", {"exclude": [[]]}),
        ("trending", {"filter": {"term": {"price": 10**30}}}),
        ("trending", {"filter": {"term": {"category": HALF}}}),
        ("trending", {"filter": {"geo_distance": {"place": {}}}}),
        (f"recommendations/{SHOPPER}", {"filter": {"term": {"price": 10**30}}}),
        (f"similar/{PRODUCT}", {"filter": {"term": {"price": 10**30}}}),
        (f"similar/{PRODUCT}", {"customer_id": HALF}),
        ("explain", {"customer_id": HALF, "product_ids": [PRODUCT]}),
        ("explain", {"customer_id": SHOPPER, "product_ids": [HALF]}),
        ("algolia/1/events", {"events": [{"eventType": {}, "userToken": "u", "objectIDs": ["a"]}]}),
    ],
)
def test_what_was_once_a_fault_is_refused(url: str, path: str, body: Any) -> None:
    answer = ask("POST", f"{url}/_sidecar/{path}", body)
    assert answer.status == 400, answer.text
    assert answer.json["error"] == "bad_request"
    assert "query_vector" not in answer.text  # the shopper's: never sent


def test_an_id_may_hold_line_breaks(url: str, shop: Shop) -> None:
    shop.send(event("two\nlines\n", "tea-2", "purchase"))
    shop.wait_for("two\nlines\n", 1)
    path = f"{url}/_sidecar/users/two%0Alines%0A"
    assert ask("GET", path).json["customer_id"] == "two\nlines\n"
    assert ask("DELETE", path).json["was_known"] is True


def test_too_long_is_said_on_the_pages(url: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    pages = f"{url}/_sidecar/ui"
    assert ask("POST", f"{pages}/forget", b"id=" + b"x" * 600, headers).status == 400
    assert ask("GET", f"{pages}/shopper?id=x&stored={'9' * 5000}").status == 200


@pytest.mark.parametrize("path", ["shopper?id=", "similar?product="])
def test_an_id_that_is_too_long_is_said_on_the_pages(url: str, path: str) -> None:
    answer = ask("GET", f"{url}/_sidecar/ui/{path}{'x' * 600}")
    assert answer.status == 400, answer.text
    assert "at most 512 bytes" in answer.text
    # Two bytes each, as they are counted.
    assert ask("GET", f"{url}/_sidecar/ui/{path}{'%C3%A9' * 300}").status == 400


def test_a_shopper_that_is_too_long_is_refused_by_every_route(url: str) -> None:
    name = "x" * 600
    assert ask("GET", f"{url}/_sidecar/users/{name}").status in (400, 404)
    assert ask("DELETE", f"{url}/_sidecar/users/{name}").status == 400
    body = {"customer_id": name, "product_ids": [PRODUCT]}
    assert ask("POST", f"{url}/_sidecar/explain", body).status in (400, 404)
