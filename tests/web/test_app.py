"""Which path goes where, health, metrics."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flask import Blueprint, request
from prometheus_client import CollectorRegistry
from werkzeug.test import Client

from sidecar.contract.errors import UnreachableError
from sidecar.metrics import SearchMetrics
from sidecar.search.decision import Decision
from sidecar.web.app import create_app
from sidecar.web.metrics import metrics_blueprint


def upstream(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("X-From", "elasticsearch")])
    return [environ["RAW_URI"].encode()]


def get(app: Any, raw: str, method: str = "GET") -> Any:
    return Client(app).open(
        raw.partition("?")[0], method=method, environ_overrides={"RAW_URI": raw}
    )


@pytest.mark.parametrize(
    "raw", ["/", "/products/_search", "//_sidecar/health/live", "/_sidecars", "/_sidecar%2Fhealth", "/x/../_sidecar/health/live"]
)  # fmt: skip
def test_everything_else_is_elasticsearchs(raw: str) -> None:
    answer = get(create_app(upstream), raw)
    assert answer.headers["X-From"] == "elasticsearch"
    assert answer.get_data(as_text=True) == raw


class Malformed(io.BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise ZeroDivisionError("the server's own error")


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_that_cannot_be_read_is_a_bad_request(kind: str) -> None:
    routes = Blueprint("things", __name__)

    @routes.post("/_sidecar/thing")
    def thing() -> str:
        return f"{request.form.get('x')} {request.get_data()!r}"

    answer = Client(create_app(upstream, blueprints=[routes])).post(
        "/_sidecar/thing",
        content_type=kind,
        input_stream=Malformed(),
        headers={"Transfer-Encoding": "chunked"},
        environ_overrides={"RAW_URI": "/_sidecar/thing", "wsgi.input_terminated": True},
    )
    assert answer.status_code == 400


def test_alive() -> None:
    answer = get(create_app(upstream), "/_sidecar/health/live")
    assert (answer.status_code, answer.json) == (200, {"status": "live"})


def test_ready_says_why_not() -> None:
    def down() -> None:
        raise UnreachableError("Elasticsearch is not reachable")

    def bug() -> None:
        raise ZeroDivisionError("secret")

    def fine() -> None:
        pass

    answer = get(create_app(upstream, {"weights": fine}), "/_sidecar/health/ready")
    assert (answer.status_code, answer.json) == (
        200,
        {"status": "ready", "checks": {"weights": "ok"}},
    )
    app = create_app(upstream, {"weights": fine, "elasticsearch": down, "other": bug})
    answer = get(app, "/_sidecar/health/ready?x")
    assert answer.status_code == 503
    assert answer.json["status"] == "not ready"
    assert answer.json["checks"]["weights"] == "ok"
    assert answer.json["checks"]["elasticsearch"] == "Elasticsearch is not reachable"
    assert "secret" not in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("raw", "method", "status"),
    [
        ("/_sidecar", "GET", 404),
        ("/_sidecar/nothing", "GET", 404),
        ("/_sidecar/health/live", "POST", 405),
    ],
)
def test_errors_are_json(raw: str, method: str, status: int) -> None:
    answer = get(create_app(upstream), raw, method)
    assert answer.status_code == status
    assert answer.mimetype == "application/json"
    assert ("Allow" in answer.headers) is (status == 405)


def test_metrics() -> None:
    registry = CollectorRegistry()
    metrics = SearchMetrics(registry)
    metrics.watch_breakers(lambda: 2)
    metrics.answered("search", 200, Decision("rewritten", "scored"), 0.01, 0.0004)
    answer = get(create_app(upstream, {}, [metrics_blueprint(registry)]), "/_sidecar/metrics")
    text = answer.get_data(as_text=True)
    assert answer.mimetype == "text/plain"
    assert 'sidecar_searches_total{action="rewritten",reason="scored"} 1.0' in text
    assert 'sidecar_added_seconds_bucket{le="0.0005"} 1.0' in text
    assert "sidecar_open_breakers 2.0" in text
