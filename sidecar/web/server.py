"""The server: gunicorn with threads.

Chosen by measurement (``docs/rewriting.md``): it hands over the raw request line, streams bodies
both ways, refuses ambiguous framing, and forwards more than is asked for. waitress is faster on
tiny answers, but writes every request body down before the application sees its first byte.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gunicorn.app.base import BaseApplication

from sidecar.web.app import WsgiApp


def serve(
    app: WsgiApp,
    listen: str,
    *,
    workers: int = 1,
    threads: int = 16,
    when_ready: Callable[[], None] | None = None,
    graceful_timeout_s: int = 30,
) -> None:
    """Serve until SIGTERM or SIGINT; open requests are finished first.

    Parameters
    ----------
    app : WSGI callable
    listen : str
        ``host:port``.
    workers : int
        Processes.
    threads : int
        Requests that one process works on at one time; others wait.
    when_ready : Callable, optional
        Called once the port is open.
    graceful_timeout_s : int
        Seconds for open requests at the end.
    """
    _Server(app, options(listen, workers, threads, when_ready, graceful_timeout_s)).run()


def options(
    listen: str,
    workers: int,
    threads: int,
    when_ready: Callable[[], None] | None,
    graceful_timeout_s: int,
) -> dict[str, Any]:
    """gunicorn's settings, where they are not its defaults."""
    return {
        "bind": [listen],
        "workers": workers,
        "threads": threads,
        "worker_class": "sidecar.web.worker.Worker",
        "worker_connections": max(1000, threads * 4),
        # Longer than clients and load balancers keep an idle connection: they close first.
        "keepalive": 75,
        "graceful_timeout": graceful_timeout_s,
        # Threads have no time limit of their own; this only watches over the worker's loop.
        "timeout": 120,
        "limit_request_line": 8190,
        "limit_request_fields": 200,
        # Nobody may set environ keys by header, not from loopback either.
        "forwarded_allow_ips": "",
        "forwarder_headers": "",
        "header_map": "drop",
        "proc_name": "sidecar",
        "preload_app": True,
        "loglevel": "warning",
        "accesslog": None,
        "control_socket_disable": True,
        "when_ready": (lambda server: when_ready()) if when_ready else (lambda server: None),
    }


class _Server(BaseApplication):  # type: ignore[misc]
    def __init__(self, app: WsgiApp, settings: dict[str, Any]) -> None:
        self._app = app
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        for name, value in self._settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> WsgiApp:
        return self._app
