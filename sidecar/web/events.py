"""``POST /_sidecar/events``: events of apps that cannot reach SQS themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import ConfigError
from sidecar.updates.publish import Sent
from sidecar.web.bodies import read_json
from sidecar.web.problems import answer_errors

#: Puts events on the queue; one result for each, in their order.
SendEvents = Callable[[Sequence[Mapping[str, Any]]], list[Sent]]
MAX_BYTES = 1 << 20


def events_blueprint(send: SendEvents) -> Blueprint:
    """The route.

    Parameters
    ----------
    send : Callable
    """
    routes = Blueprint("events", __name__, url_prefix="/_sidecar/events")
    answer_errors(routes)

    @routes.post("")
    def events() -> tuple[Response, int]:
        """202 if every event is on the queue, 207 if some are not, 400 if none is."""
        results = [_result(one) for one in send(_events(read_json(MAX_BYTES)))]
        accepted = sum(one["status"] == "accepted" for one in results)
        status = 202 if accepted == len(results) else 207 if accepted else 400
        return jsonify(accepted=accepted, events=results), status

    return routes


def _events(body: Any) -> list[Mapping[str, Any]]:
    """One event, a list of them, or ``{"events": [...]}``.

    Raises
    ------
    ConfigError
    """
    if isinstance(body, dict) and isinstance(body.get("events"), list):
        body = body["events"]
    found = [body] if isinstance(body, dict) else body
    if not isinstance(found, list) or not found:
        expected = 'a JSON event, a list of them, or {"events": [...]}, as application/json'
        raise ConfigError("body", type(body).__name__, expected)
    if not all(isinstance(one, dict) for one in found):
        raise ConfigError("body", "a list", "a list of JSON objects")
    return found


def _result(sent: Sent) -> dict[str, Any]:
    if sent.message_id is not None:
        return {"status": "accepted", "message_id": sent.message_id}
    return {"status": "refused", "reason": sent.reason, "detail": sent.detail}
