"""Explanations for the hits of an ordinary search, by the code of ``POST /_sidecar/explain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from werkzeug.wrappers import Request

from sidecar.search.explained import Explained
from sidecar.search.planned import Plan
from sidecar.search.settings import SearchSettings
from sidecar.web.auth import Guard
from sidecar.web.shoppers import Shoppers
from sidecar.web.shoppers_json import why_as_json


class HitExplainer:
    """An :class:`sidecar.search.explained.Explainer`.

    Parameters
    ----------
    shoppers : Shoppers
    guard : Guard
        An explanation names a shopper's events: who may ask is who may ask for the shopper.
    settings : SearchSettings
    """

    def __init__(self, shoppers: Shoppers, guard: Guard, settings: SearchSettings) -> None:
        self._shoppers = shoppers
        self._guard = guard
        self._settings = settings

    def refusal(self, environ: Mapping[str, Any]) -> str:
        """Why this request may not see it; empty if it may."""
        return self._guard.refusal(Request(dict(environ)))

    def __call__(self, plan: Plan, product_ids: Sequence[str]) -> Explained:
        """Similarity, factor and reasons of each product; nothing for a forgotten shopper.

        Raises
        ------
        UnreachableError, RefusedError
        """
        portrait = self._shoppers.portrait(plan.asked.customer_id) if plan.asked else None
        if portrait is None:
            return {}
        why = why_as_json(portrait, product_ids, self._shoppers.why(portrait, product_ids))
        return {
            one["product_id"]: {
                "similarity": one["similarity"],
                "factor": self._factor(plan, one["similarity"]),
                "because": one["because"],
            }
            for one in why["products"]
        }

    def _factor(self, plan: Plan, similarity: float | None) -> float | None:
        """What the hit's score was multiplied by; ``None`` where scores are not multiplied."""
        taste = plan.taste
        if taste is None or plan.decision.reason == "nearest":
            return None
        if self._settings.formula == "cosine" and plan.decision.reason == "browse":
            return None
        lo, hi = taste.calibration.lo, taste.calibration.hi
        liking = 0.5 if similarity is None else min(1.0, max(0.0, (similarity - lo) / (hi - lo)))
        return round(1 + taste.boost * liking, 4)
