"""The application: which path goes where. It only wires.

Elasticsearch's API goes straight to the proxy, as raw bytes; Flask serves ``/_sidecar/``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, jsonify, request
from werkzeug.exceptions import ClientDisconnected, HTTPException
from werkzeug.routing import PathConverter

from sidecar import tracing
from sidecar.web.health import Checks, health

WsgiApp = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
#: Everything below belongs to the sidecar, everything else to Elasticsearch.
OWN = "/_sidecar"


def create_app(
    proxy: WsgiApp, ready: Checks | None = None, blueprints: Sequence[Blueprint] = ()
) -> WsgiApp:
    """The WSGI application.

    Parameters
    ----------
    proxy : WSGI callable
        What serves Elasticsearch's own API.
    ready : Mapping[str, Callable], optional
        Named checks of ``/_sidecar/health/ready``: each returns nothing, or raises a
        SidecarError that says what is wrong.
    blueprints : Sequence[Blueprint]
        Further routes, each below ``/_sidecar``.
    """
    own = own_app(ready or {}, blueprints)

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        raw: str = environ["RAW_URI"]
        # Raw and exact: "//_sidecar" or "/%5Fsidecar" are paths of Elasticsearch.
        if raw.startswith(OWN) and raw[len(OWN) : len(OWN) + 1] in ("", "/", "?"):
            environ["wsgi.input"] = _Body(environ["wsgi.input"])
            return own.wsgi_app(environ, start_response)
        return proxy(environ, start_response)

    return application


class _Body(io.RawIOBase):
    """A body that cannot be read is the client's fault, whatever error the server has for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            piece = self._stream.read(len(buffer))
        except Exception as error:
            raise ClientDisconnected("the body is malformed, or cut off") from error
        buffer[: len(piece)] = piece
        return len(piece)


class _AnyPath(PathConverter):
    """Ids may hold line breaks, too: who can be stored can be looked up and forgotten."""

    regex = r"[^/](?:.|\n)*?"


def own_app(ready: Checks, blueprints: Sequence[Blueprint] = ()) -> Flask:
    """The Flask application behind ``/_sidecar/``."""
    app = Flask("sidecar", static_folder=None)
    app.url_map.converters["path"] = _AnyPath
    app.json.sort_keys = False  # type: ignore[attr-defined]
    app.before_request(_begin)
    app.after_request(_named)
    app.register_blueprint(health(ready), url_prefix=f"{OWN}/health")
    for blueprint in blueprints:
        app.register_blueprint(blueprint)
    app.register_error_handler(HTTPException, _json_error)
    return app


def _begin() -> None:
    tracing.begin(request.environ)


def _named(answer: Response) -> Response:
    answer.headers[tracing.REQUEST_ID_HEADER] = request.environ[tracing.REQUEST_ID]
    return answer


def _json_error(error: HTTPException) -> tuple[Response, int, Mapping[str, str]]:
    """Errors as JSON, with the headers that belong to them (Allow, Retry-After)."""
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return jsonify(error=error.name, detail=error.description), status, headers
