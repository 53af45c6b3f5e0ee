"""From a search request to what is sent instead, and why. Never raises.

The order of the questions is the order of their cost: request line, body, settings, and only
then the shopper and the indices, for which a deadline holds.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from sidecar.search.catalogue import Catalogue
from sidecar.search.classify import classify
from sidecar.search.decision import Decision, Verdict
from sidecar.search.holdout import is_held_out
from sidecar.search.indices import is_configured
from sidecar.search.instructions import (
    BadInstruction,
    Instructions,
    new_query_id,
    read_block,
    read_instructions,
    read_ubi,
)
from sidecar.search.jsontext import DuplicateKey, ObjectText, Unparsable, parse_object
from sidecar.search.limits import Breaker, Deadline, DeadlineExceeded
from sidecar.search.pages import pin_key, starts_at_zero
from sidecar.search.planned import Asked, Plan, Search, left, original
from sidecar.search.ports import IndexResolver, Resolution, VersionSource
from sidecar.search.rewrite import Edit, Taste, add_sort, personalise
from sidecar.search.settings import SearchSettings
from sidecar.search.strength import boost, impact_for
from sidecar.search.tastes import Known, Tastes

log = logging.getLogger(__name__)

#: Oldest server that takes ``knn`` as a clause of a query.
KNN_CLAUSE = (8, 12)
#: Documents up to which a browse request scores every match by script.
BROWSE_LIMIT = 100_000


class Planner:
    """Plans searches.

    Parameters
    ----------
    settings : SearchSettings
    tastes : Tastes
    resolve : IndexResolver
    version : VersionSource
    breaker : Breaker, optional
    now : Callable
        Seconds since 1970-01-01 UTC.
    browse_limit : int
        Documents up to which a browse request scores every match by script, in time linear in
        their number; in larger catalogues the ``window`` nearest of each shard come first.
    new_query_id : Callable[[], str]
        Names a search for which the app has no name.
    """

    def __init__(
        self,
        settings: SearchSettings,
        tastes: Tastes,
        resolve: IndexResolver,
        version: VersionSource = lambda: None,
        breaker: Breaker | None = None,
        now: Callable[[], float] = time.time,
        browse_limit: int = BROWSE_LIMIT,
        new_query_id: Callable[[], str] = new_query_id,
    ) -> None:
        self.settings = settings
        self.new_query_id = new_query_id
        self.breaker = breaker or Breaker(settings.breaker_s)
        self._tastes = tastes
        self._catalogue = Catalogue(resolve, version, settings.resolution_cache_s)
        self._now = now
        self._browse_limit = browse_limit

    def plan(self, search: Search, deadline: Deadline | None = None, leave: str = "") -> Plan:
        """Decide about one search; on any fault, to leave it alone.

        ``leave`` is the reason for which the request as a whole is to be left alone: then only
        the sidecar's own block is taken out, which Elasticsearch would refuse.
        """
        body: ObjectText | None = None
        block: Any = None
        edit: Edit | None = None
        deadline = deadline or Deadline(self.settings.deadline_ms / 1000)
        try:
            # Space is not nothing: Elasticsearch has an error for it.
            if search.body:
                body = parse_object(search.body)
                block, edit = read_block(body)
            if leave:
                plan = left("untouched", leave, body, edit)
            else:
                plan = self._plan(search, body, block, edit, deadline)
        except DuplicateKey:
            plan = left("untouched", leave or "duplicate_key", body, edit)
        except Unparsable:
            plan = left("untouched", leave or "unparsable", body, edit)
        except BadInstruction as error:
            log.info("instruction not followed: %s", error)
            plan = left("untouched", "bad_instruction", body, edit)
        except DeadlineExceeded:
            plan = left("bypassed", "deadline", body, edit)
        except Exception:
            # Whatever it is, the shopper gets the plain result.
            log.exception("planning a search failed")
            plan = left("bypassed", "fault", body, edit)
        # Also where there is nothing to explain: what such a request carries stays behind.
        return plan._replace(explain=True) if _explains(block) else plan

    def _plan(
        self,
        search: Search,
        body: ObjectText | None,
        block: Any,
        edit: Edit | None,
        deadline: Deadline,
    ) -> Plan:
        settings = self.settings
        if not is_configured(search.expression, settings.product_indices):
            return left("untouched", "index", body, edit)
        told = read_instructions(
            block, search.environ, settings, self._now(), read_ubi(body), search.place
        )
        # Only asked where it matters: the first time it may take a while.
        has_collapse = body is not None and "collapse" in body.members
        version = self._catalogue.version(deadline) if has_collapse else None
        verdict = classify(search.parameters, body, settings, version)
        if verdict.kind == "none":
            return left("untouched", verdict.reason, body, edit)
        if not told.enabled:
            return left("bypassed", "disabled", body, edit)
        if told.customer_id is None:
            if impact_for(told.impact, (search.expression,), settings) <= 0:
                return left("bypassed", "impact_zero", body, edit)
            if settings.shopper_source == "any" and not settings.fallback_anonymous:
                return left("untouched", "no_shopper", body, edit)
            return self._fallback(search, body, verdict, "no_shopper", edit, deadline)
        asked = self._asked(told, told.customer_id, search, body)
        try:
            plan = self._for_shopper(asked, search, body, verdict, told, edit, deadline)
        except DeadlineExceeded:
            plan = left("bypassed", "deadline", body, edit)
        return plan._replace(query_id=asked.query_id, asked=asked)

    def _asked(
        self, told: Instructions, customer_id: str, search: Search, body: ObjectText | None
    ) -> Asked:
        group = "holdout" if is_held_out(customer_id, self.settings) else "personalised"
        return Asked(
            told.query_id or search.query_id or self.new_query_id(),
            customer_id,
            search.expression,
            told.user_query,
            body,
            search.parameters,
            group if self.settings.holdout_percent > 0 else "",
            told.impact,
        )

    def _for_shopper(
        self,
        asked: Asked,
        search: Search,
        body: ObjectText | None,
        verdict: Verdict,
        told: Instructions,
        edit: Edit | None,
        deadline: Deadline,
    ) -> Plan:
        if impact_for(told.impact, (search.expression,), self.settings) <= 0:
            return left("bypassed", "impact_zero", body, edit)
        if asked.group == "holdout":
            return left("holdout", "holdout", body, edit)
        customer = asked.customer_id
        key = pin_key(customer, search.expression, body)
        first = starts_at_zero(search.parameters, body)
        tastes = self._tastes
        if first:
            known = tastes.newest(customer, deadline)
        else:
            known = tastes.pinned(key, customer, deadline)
        plan = self._with(known, search, body, verdict, told, edit, deadline)
        if not first:
            return plan
        tastes.pin(key, customer, known.pin if plan.decision.action == "rewritten" else None)
        return plan._replace(pin_key=key, customer_id=customer)

    def _with(
        self,
        known: Known,
        search: Search,
        body: ObjectText | None,
        verdict: Verdict,
        told: Instructions,
        edit: Edit | None,
        deadline: Deadline,
    ) -> Plan:
        if known.pin is None:
            if known.failed:
                return left("bypassed", known.reason, body, edit)
            return self._fallback(search, body, verdict, known.reason, edit, deadline)
        key = f"{search.expression}\0{verdict.kind}"
        if self.breaker.is_open(key):
            return left("bypassed", "breaker_open", body, edit)
        resolution = self._catalogue.resolution(search.expression, deadline)
        if resolution is None or not resolution.fits:
            return left("untouched", "unresolved" if resolution is None else "mapping", body, edit)
        kind, reason = verdict.kind, verdict.reason
        if self._is_too_large(verdict, resolution):
            if (self._catalogue.version(deadline) or (0, 0)) < KNN_CLAUSE:
                return left("untouched", "catalogue_size", body, edit)
            kind = reason = "nearest"
        impact = impact_for(told.impact, resolution.indices, self.settings)
        if impact <= 0:
            return left("bypassed", "impact_zero", body, edit)
        strength = boost(impact, known.pin.evidence, self.settings)
        taste = Taste(
            known.pin.vector_json, strength, known.pin.calibration, known.pin.product_space
        )
        text = personalise(body, kind, taste, self.settings, edit).encode()
        deadline.left()
        return Plan(
            Decision("rewritten", reason), text, original(body, edit), True, key, taste=taste
        )

    def _is_too_large(self, verdict: Verdict, resolution: Resolution) -> bool:
        # Who asks for the cosine's exact score gets it, and pays for it.
        exact = self.settings.formula == "cosine"
        return verdict.kind == "browse" and not exact and resolution.documents > self._browse_limit

    def _fallback(
        self,
        search: Search,
        body: ObjectText | None,
        verdict: Verdict,
        reason: str,
        edit: Edit | None,
        deadline: Deadline,
    ) -> Plan:
        settings = self.settings
        if verdict.kind != "browse" or verdict.sorted or not settings.fallback_sort:
            return left("untouched", reason, body, edit)
        key = f"{search.expression}\0fallback"
        if self.breaker.is_open(key):
            return left("bypassed", "breaker_open", body, edit)
        return Plan(
            Decision("fallback", reason),
            add_sort(body, settings, edit).encode(),
            original(body, edit),
            True,
            key,
        )

    def unpin(self, plan: Plan) -> None:
        """Page 1 went out as the original after all: so will the next pages."""
        for one in plan.singles:
            if one.pin_key:
                self._tastes.pin(one.pin_key, one.customer_id, None)


def _explains(block: Any) -> bool:
    return isinstance(block, dict) and block.get("explain") is True
