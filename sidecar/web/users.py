"""``/_sidecar/users/{id}`` and ``/_sidecar/explain``: what is known of a shopper, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Response, jsonify

from sidecar.contract.errors import ConfigError
from sidecar.contract.messages import MAX_ID_BYTES
from sidecar.web.bodies import read_json
from sidecar.web.problems import Answer, answer_errors, problem
from sidecar.web.shoppers import Shoppers
from sidecar.web.shoppers_json import as_json, why_as_json
from sidecar.web.wanted import as_id

#: Hits of a page that an app may want explained.
MAX_PRODUCTS = 100


def explain_blueprint(shoppers: Shoppers) -> Blueprint:
    """``POST /_sidecar/explain``: why products are where they are for a shopper.

    Parameters
    ----------
    shoppers : Shoppers
    """
    routes = Blueprint("explain", __name__, url_prefix="/_sidecar/explain")
    answer_errors(routes)

    @routes.post("")
    def explain() -> Response | Answer:
        customer_id, product_ids = _asked(read_json(64 << 10))
        portrait = shoppers.portrait(customer_id)
        if portrait is None:
            return problem(404, "unknown_shopper", "no interaction of this shopper is stored")
        why = shoppers.why(portrait, product_ids)
        return jsonify(why_as_json(portrait, product_ids, why))

    return routes


def _asked(body: Any) -> tuple[str, list[str]]:
    """Shopper and products.

    Raises
    ------
    ConfigError
    """
    if not isinstance(body, dict) or body.keys() != {"customer_id", "product_ids"}:
        raise ConfigError("body", type(body).__name__, "customer_id and product_ids")
    ids = body["product_ids"]
    if not isinstance(ids, list) or not 1 <= len(ids) <= MAX_PRODUCTS:
        raise ConfigError("product_ids", ids, f"a list of 1 to {MAX_PRODUCTS}")
    customer_id, *product_ids = (as_id("id", one) for one in (body["customer_id"], *ids))
    if not customer_id or not all(product_ids):
        raise ConfigError("id", "", "text or a whole number")
    return customer_id, product_ids


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
        if len(customer_id.encode()) > MAX_ID_BYTES:
            # No message could have named it, and no tombstone could be written for it.
            raise ConfigError("customer_id", "…", f"at most {MAX_ID_BYTES} bytes")
        return jsonify(forgotten=True, was_known=forget(customer_id))

    return routes
