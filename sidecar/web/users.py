"""``/_sidecar/users/{id}``: what is known of a shopper and why, and forgetting it."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response, jsonify

from sidecar.web.problems import Answer, answer_errors, problem
from sidecar.web.shoppers import Shoppers, as_json


def users_blueprint(shoppers: Shoppers, forget: Callable[[str], bool]) -> Blueprint:
    """The routes.

    Parameters
    ----------
    shoppers : Shoppers
    forget : Callable[[str], bool]
        Forgets a shopper; whether anything was known.
    """
    routes = Blueprint("users", __name__, url_prefix="/_sidecar/users")
    answer_errors(routes)

    # Ids may hold slashes.
    @routes.get("/<path:customer_id>", merge_slashes=False)
    def look(customer_id: str) -> Response | Answer:
        portrait = shoppers.portrait(customer_id)
        if portrait is None:
            return problem(
                404, "unknown_shopper", "no interaction of this shopper is stored: see docs/api.md"
            )
        answer = jsonify(as_json(portrait))
        answer.headers["Cache-Control"] = "no-store"
        return answer

    @routes.delete("/<path:customer_id>", merge_slashes=False)
    def delete(customer_id: str) -> Response:
        return jsonify(forgotten=True, was_known=forget(customer_id))

    return routes
