"""``/_sidecar/weights``: what is served, look for new weights now, and go back."""

from __future__ import annotations

from typing import Any, Protocol

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import WeightsError
from sidecar.web.problems import Answer, answer_errors, problem


class WeightsControl(Protocol):
    """What is needed of :class:`sidecar.tower.store.WeightsStore`."""

    def status(self) -> dict[str, Any]: ...

    def poll(self) -> None: ...

    def rollback(self) -> object: ...


def weights_blueprint(store: WeightsControl) -> Blueprint:
    """The routes.

    Parameters
    ----------
    store : WeightsControl
    """
    routes = Blueprint("weights", __name__, url_prefix="/_sidecar/weights")
    answer_errors(routes)

    @routes.errorhandler(WeightsError)
    def refused(error: WeightsError) -> Answer:
        return problem(409, "weights", str(error))

    @routes.get("")
    def status() -> Response:
        return jsonify(store.status())

    @routes.post("/reload")
    def reload() -> Response:
        """Look at once instead of at the next look; other processes follow at theirs."""
        store.poll()
        return jsonify(store.status())

    @routes.post("/rollback")
    def rollback() -> Response:
        store.rollback()
        return jsonify(store.status())

    return routes
