"""Shoppers and explanations as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sidecar.updates.explain import Influence, Reason, deed, in_words
from sidecar.web.shoppers import Portrait, Why, name_of, reason_in_words


def as_json(portrait: Portrait) -> dict[str, Any]:
    """The answer of ``GET /_sidecar/users/{id}``."""
    user, now = portrait.user, portrait.now
    return {
        "customer_id": user.customer_id,
        "history": [_entry(one, portrait) for one in portrait.explanation.influences],
        "vector": {
            "exists": user.vector is not None,
            "updated_at": iso(user.updated_at / 1e3),
            "age_seconds": round(max(0.0, now - user.updated_at / 1e3), 3),
            "expired": portrait.expired,
            "from_own_products": _rounded(portrait.explanation.from_products),
            "weights": user.weights,
            "made_by_served_weights": portrait.current,
            "product_space": user.product_space,
        },
        "evidence": round(portrait.evidence, 3),
        "merged_into": list(user.merged_into),
        "waiting_for": list(user.waiting_for),
    }


def _entry(influence: Influence, portrait: Portrait) -> dict[str, Any]:
    one = influence.interaction
    source = portrait.products.get(one.product_id)
    return {
        "product_id": one.product_id,
        "product": None if source is None else name_of(source, one.product_id),
        "event": one.event,
        "event_id": one.event_id,
        "occurred_at": iso(one.occurred_at / 1e6),
        "age_seconds": round(max(0.0, portrait.now - one.occurred_at / 1e6), 3),
        "share": _rounded(influence.share),
        "in_words": in_words(influence, portrait.now),
        "did": deed(one.event),
    }


def why_as_json(portrait: Portrait, product_ids: Iterable[str], why: Mapping[str, Why]) -> Any:
    """The answer of ``POST /_sidecar/explain``."""
    return {
        "customer_id": portrait.user.customer_id,
        "products": [
            {
                "product_id": name,
                "similarity": _rounded(why[name].similarity) if name in why else None,
                "because": [_reason(one, portrait) for one in why[name].because]
                if name in why
                else [],
            }
            for name in product_ids
        ],
    }


def _reason(reason: Reason, portrait: Portrait) -> dict[str, Any]:
    one = reason.interaction
    source = portrait.products.get(one.product_id, {})
    return {
        "product_id": one.product_id,
        "product": name_of(source, one.product_id),
        "event": one.event,
        "event_id": one.event_id,
        "part": _rounded(reason.part),
        "in_words": reason_in_words(reason, portrait),
    }


def iso(seconds: float) -> str:
    """A time as ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
