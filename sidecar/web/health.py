"""Is it alive, and should it get requests?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import SidecarError

log = logging.getLogger(__name__)

#: Name to a check that raises what is wrong, and else may return a remark: all is well, but ...
Checks = Mapping[str, Callable[[], str | None]]


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
        wrong = [name for name, (is_ok, _) in results.items() if not is_ok]
        status = "ready" if not wrong else "not ready"
        return jsonify(
            status=status, checks={k: text for k, (_, text) in results.items()}
        ), 503 if wrong else 200

    return routes


def _run(name: str, check: Callable[[], str | None]) -> tuple[bool, str]:
    try:
        remark = check()
    except SidecarError as error:
        return False, str(error)
    except Exception:
        log.exception("check %s failed", name)
        return False, "failed unexpectedly: see the log"
    return True, f"ok, but {remark}" if remark else "ok"
