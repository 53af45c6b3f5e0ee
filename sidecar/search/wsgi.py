"""Small pieces of WSGI and HTTP that the proxy is made of."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from http.client import responses
from typing import Any

from sidecar.search.answer import Answer
from sidecar.tracing import REQUEST_ID, REQUEST_ID_HEADER

Environ = dict[str, Any]
#: Keys of our own in the environ of a request: when it began, seconds spent upstream, its API.
STARTED, UPSTREAM, API = "sidecar.started", "sidecar.upstream_s", "sidecar.api"
StartResponse = Callable[..., Any]


def request_uri(environ: Mapping[str, Any]) -> str:
    """Path and query string as the client sent them."""
    raw: str = environ["RAW_URI"]
    if raw.startswith("/"):
        return raw
    # The absolute form, meant for proxies: the part behind the authority.
    _, scheme, rest = raw.partition("://")
    if not scheme:
        return "/" + raw.lstrip("*")
    slash = rest.find("/")
    return rest[slash:] if slash >= 0 else "/"


def status_line(answer: Answer) -> str:
    """The status as WSGI wants it."""
    # WSGI wants a reason after the status; HTTP does not.
    reason = answer.head.reason or responses.get(answer.head.status, "Unknown")
    return f"{answer.head.status} {reason}"


def content_type(accept: str | None) -> str:
    """For a body where there was none: Elasticsearch wants the version of ``Accept`` in it."""
    first = (accept or "").partition(",")[0].strip()
    return first if first.startswith("application/vnd.elasticsearch+json") else "application/json"


def own_error(
    environ: Environ, start_response: StartResponse, status: int, kind: str, reason: str
) -> Iterable[bytes]:
    """An error of the sidecar's own, in Elasticsearch's form: clients insist on the header."""
    error = {"type": f"sidecar_{kind}_exception", "reason": reason}
    body = json.dumps({"error": {"root_cause": [error], **error}, "status": status}).encode()
    headers = [
        ("Content-Type", "application/json"),
        ("Content-Length", str(len(body))),
        ("X-Elastic-Product", "Elasticsearch"),
        (REQUEST_ID_HEADER, environ[REQUEST_ID]),
    ]
    start_response(f"{status} {responses[status]}", headers)
    return [body]
