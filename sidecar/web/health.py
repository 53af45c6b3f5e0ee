"""Is it alive, and should it get requests?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import SidecarError

log = logging.getLogger(__name__)

#: Name to a check that returns nothing, or raises what is wrong.
Checks = Mapping[str, Callable[[], None]]


def health(checks: Checks) -> Blueprint:
    """The routes ``live`` and ``ready``.

    Parameters
    ----------
    checks : Mapping[str, Callable]
    """
    routes = Blueprint("health", __name__)

    @routes.get("/live")
    def live() -> Response:
        return jsonify(status="live")

    @routes.get("/ready")
    def ready() -> tuple[Response, int]:
        results = {name: _run(name, check) for name, check in checks.items()}
        wrong = [name for name, result in results.items() if result != "ok"]
        status = "ready" if not wrong else "not ready"
        return jsonify(status=status, checks=results), 503 if wrong else 200

    return routes


def _run(name: str, check: Callable[[], None]) -> str:
    try:
        check()
    except SidecarError as error:
        return str(error)
    except Exception:
        log.exception("check %s failed", name)
        return "failed unexpectedly: see the log"
    return "ok"
