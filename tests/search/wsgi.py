"""Calls a WSGI callable without a server."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def decision(self) -> tuple[str, str]:
        return self.headers["x-sidecar-action"], self.headers["x-sidecar-reason"]

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    app: Callable[..., Any],
    method: str,
    uri: str,
    body: bytes | str = b"",
    content_type: str | None = "application/json",
    **headers: str,
) -> Got:
    if isinstance(body, str):
        body = body.encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "RAW_URI": uri,
        "PATH_INFO": uri.partition("?")[0],
        "QUERY_STRING": uri.partition("?")[2],
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(body),
        "HTTP_HOST": "localhost:9201",
        **{"HTTP_" + name.upper(): value for name, value in headers.items()},
    }
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
        if content_type:
            environ["CONTENT_TYPE"] = content_type
    seen: list[Any] = []
    result = app(environ, lambda status, found, exc_info=None: seen.append((status, found)))
    data = b"".join(result)
    if hasattr(result, "close"):
        result.close()
    ((status, found),) = seen
    return Got(int(status[:3]), {name.lower(): value for name, value in found}, data)
