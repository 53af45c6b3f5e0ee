"""What joins log lines to requests: an id for each request, and the trace context of its caller.

The context (``traceparent``, https://www.w3.org/TR/trace-context/) is kept and passed on as it
came; no span is made of it, and no SDK is needed. ``X-Opaque-Id`` is passed on too, and never made
up: Elasticsearch wants few of them, one for each client, not one for each request.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

REQUEST_ID_HEADER = "X-Sidecar-Request-Id"
#: Name of the header, of a message's attribute, and of an event's key.
TRACEPARENT = "traceparent"
#: Key of the request's id in its environ.
REQUEST_ID = "sidecar.request_id"
#: What a caller's own ``X-Request-Id`` may look like; anything else is replaced.
_ID = re.compile(r"[A-Za-z0-9._:@/+=-]{1,128}")
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
_IN_TEXT = re.compile(rf'"{TRACEPARENT}"\s*:\s*"({_TRACEPARENT.pattern})"')


class Ids(NamedTuple):
    """What a caller sent, as it came; empty for what it did not."""

    request_id: str = ""
    opaque_id: str = ""
    traceparent: str = ""


_NONE = Ids()
_current: ContextVar[Ids] = ContextVar("sidecar_ids", default=_NONE)


def begin(environ: dict[str, Any]) -> str:
    """Give a request its id: the caller's ``X-Request-Id``, else a new one.

    From here on the log lines of this thread carry it. The id is also put into the environ.
    """
    told = environ.get("HTTP_X_REQUEST_ID")
    request_id: str = told if told and _ID.fullmatch(told) else os.urandom(8).hex()
    environ[REQUEST_ID] = request_id
    opaque_id = environ.get("HTTP_X_OPAQUE_ID", "")
    _current.set(Ids(request_id, opaque_id, environ.get("HTTP_TRACEPARENT", "")))
    return request_id


def traceparent() -> str:
    """The trace context of the request that is being answered; empty if there is no valid one."""
    value = _current.get().traceparent
    return value if _TRACEPARENT.match(value) else ""


@contextmanager
def handling(attributes: Mapping[str, str], body: str) -> Iterator[None]:
    """Log lines about a message carry its trace: its attribute's, else its body's.

    Parameters
    ----------
    attributes : Mapping[str, str]
    body : str
        Looked through as text: what cannot be parsed has a trace, too.
    """
    value = attributes.get(TRACEPARENT, "")
    if not value and (found := _IN_TEXT.search(body)):
        value = found[1]
    token = _current.set(Ids(traceparent=value))
    try:
        yield
    finally:
        _current.reset(token)


def log_fields() -> dict[str, str]:
    """What a log line says of the request at hand: ``request_id``, ``opaque_id``, ``trace_id``."""
    ids = _current.get()
    if ids is _NONE:
        return {}
    found = {"request_id": ids.request_id, "opaque_id": _shown(ids.opaque_id)}
    if trace := _TRACEPARENT.match(ids.traceparent):
        found["trace_id"] = trace[1]
    return {name: value for name, value in found.items() if value}


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:128])
