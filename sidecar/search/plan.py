"""From a search request to what is sent instead, and why. Never raises.

The order of the questions is the order of their cost: request line, body, settings, and only
then the shopper and the indices, for which a deadline holds.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from sidecar.contract.errors import SidecarError
from sidecar.search.classify import classify, media_reason
from sidecar.search.decision import Action, Decision, Verdict
from sidecar.search.indices import is_configured
from sidecar.search.instructions import (
    BadInstruction,
    Instructions,
    read_block,
    read_instructions,
)
from sidecar.search.jsontext import DuplicateKey, ObjectText, Unparsable, parse_object
from sidecar.search.limits import Bounded, Breaker, Deadline, DeadlineExceeded, ShortCache
from sidecar.search.ports import IndexResolver, Resolution, VersionSource
from sidecar.search.rewrite import Edit, Taste, add_sort, personalise, without_block
from sidecar.search.settings import SearchSettings
from sidecar.search.strength import boost, impact_for
from sidecar.search.tastes import Known, Tastes

log = logging.getLogger(__name__)


class Plan(NamedTuple):
    """What to send.

    Parameters
    ----------
    decision : Decision
    body : str, optional
        Sent instead of what came; ``None``: what came.
    original : str, optional
        Sent when ``body`` fails; ``None``: what came.
    altered : bool
        Whether ``body`` asks for another order than what came: then a failure is repaired.
    breaker_key : str
    pin_key, customer_id : str
        Of page 1 of a search that is remembered; empty otherwise.
    """

    decision: Decision
    body: str | None = None
    original: str | None = None
    altered: bool = False
    breaker_key: str = ""
    pin_key: str = ""
    customer_id: str = ""


class Search(NamedTuple):
    """One search, as the proxy or a multi-search hands it over.

    Parameters
    ----------
    expression : str
        Index expression.
    parameters : Mapping[str, str]
        URL parameters.
    environ : Mapping[str, Any]
        The sidecar's own headers, under their WSGI keys.
    body : bytes
        Decoded; empty for none.
    """

    expression: str
    parameters: Mapping[str, str]
    environ: Mapping[str, Any]
    body: bytes


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
    """

    def __init__(
        self,
        settings: SearchSettings,
        tastes: Tastes,
        resolve: IndexResolver,
        version: VersionSource = lambda: None,
        breaker: Breaker | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings
        self.breaker = breaker or Breaker(settings.breaker_s)
        self._tastes = tastes
        self._resolve = resolve
        self._version = version
        self._now = now
        self._bounded = Bounded()
        self._resolutions: ShortCache[Resolution | None] = ShortCache(settings.resolution_cache_s)

    def plan(self, search: Search, deadline: Deadline | None = None) -> Plan:
        """Decide about one search; on any fault, to leave it alone."""
        body: ObjectText | None = None
        edit: Edit | None = None
        try:
            if search.body.strip():
                body = parse_object(search.body)
                block, edit = read_block(body)
            else:
                block = None
            deadline = deadline or Deadline(self.settings.deadline_ms / 1000)
            return self._plan(search, body, block, edit, deadline)
        except DuplicateKey:
            return _left("untouched", "duplicate_key", body, edit)
        except Unparsable:
            return _left("untouched", "unparsable", body, edit)
        except BadInstruction as error:
            log.info("instruction not followed: %s", error)
            return _left("untouched", "bad_instruction", body, edit)
        except DeadlineExceeded:
            return _left("bypassed", "deadline", body, edit)
        except Exception:
            # Whatever it is, the shopper gets the plain result.
            log.exception("planning a search failed")
            return _left("bypassed", "fault", body, edit)

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
            return _left("untouched", "index", body, edit)
        told = read_instructions(block, search.environ, settings, self._now())
        verdict = classify(search.parameters, body, settings, self._version())
        if verdict.kind == "none":
            return _left("untouched", verdict.reason, body, edit)
        refusal = self._switched_off(told, search)
        if refusal:
            return _left("bypassed", refusal, body, edit)
        customer = told.customer_id
        if customer is None:
            if settings.shopper_source == "any" and not settings.fallback_anonymous:
                return _left("untouched", "no_shopper", body, edit)
            return self._fallback(search, body, verdict, "no_shopper", edit, deadline)
        if is_held_out(customer, settings):
            return _left("holdout", "holdout", body, edit)
        key = pin_key(customer, search.expression, body)
        first = _starts_at_zero(search.parameters, body)
        tastes = self._tastes
        if first:
            known = tastes.newest(customer, deadline)
        else:
            known = tastes.pinned(key, customer, deadline)
        plan = self._with(known, search, body, verdict, told, edit, deadline)
        if not first:
            return plan
        self._tastes.pin(key, customer, known.pin if plan.decision.action == "rewritten" else None)
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
                return _left("bypassed", known.reason, body, edit)
            return self._fallback(search, body, verdict, known.reason, edit, deadline)
        key = f"{search.expression}\0{verdict.kind}"
        if self.breaker.is_open(key):
            return _left("bypassed", "breaker_open", body, edit)
        resolution = self._resolution(search.expression, deadline)
        if resolution is None or not resolution.fits:
            return _left("untouched", "unresolved" if resolution is None else "mapping", body, edit)
        impact = impact_for(told.impact, resolution.indices, self.settings)
        if impact <= 0:
            return _left("bypassed", "impact_zero", body, edit)
        strength = boost(impact, known.pin.evidence, self.settings)
        taste = Taste(known.pin.vector_json, strength, known.pin.calibration)
        text = personalise(body, verdict.kind, taste, self.settings, edit)
        deadline.left()
        return Plan(Decision("rewritten", verdict.reason), text, _original(body, edit), True, key)

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
            return _left("untouched", reason, body, edit)
        key = f"{search.expression}\0fallback"
        if self.breaker.is_open(key):
            return _left("bypassed", "breaker_open", body, edit)
        return Plan(
            Decision("fallback", reason),
            add_sort(body, settings, edit),
            _original(body, edit),
            True,
            key,
        )

    def _switched_off(self, told: Instructions, search: Search) -> str | None:
        if not told.enabled:
            return "disabled"
        if impact_for(told.impact, (search.expression,), self.settings) <= 0:
            return "impact_zero"
        return None

    def _resolution(self, expression: str, deadline: Deadline) -> Resolution | None:
        cached = self._resolutions.get(expression)
        if cached is not None:
            return cached[0]
        found = None
        try:
            found = self._bounded.call(lambda left: self._resolve(expression, left), deadline)
        except SidecarError as error:
            log.warning("looking up %s failed: %s", expression, error)
        self._resolutions.put(expression, found)
        return found

    def unpin(self, plan: Plan) -> None:
        """Page 1 went out as the original after all: so will the next pages."""
        if plan.pin_key:
            self._tastes.pin(plan.pin_key, plan.customer_id, None)


def is_held_out(customer_id: str, settings: SearchSettings) -> bool:
    """Whether a shopper is in the comparison group: the same answer everywhere and always."""
    if settings.holdout_percent <= 0:
        return False
    digest = hashlib.sha256(f"{settings.holdout_salt}\0{customer_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < settings.holdout_percent / 100


def pin_key(customer_id: str, expression: str, body: ObjectText | None) -> str:
    """Names a shopper's search, whatever its page: the parts that choose and score its hits."""
    parts: list[Any] = [customer_id, expression]
    if body is not None:
        parts += [body.value("query"), body.value("knn"), body.value("collapse")]
        parts += [body.value("post_filter"), body.value("min_score")]
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:40]


def _starts_at_zero(parameters: Mapping[str, str], body: ObjectText | None) -> bool:
    start = parameters.get("from", None if body is None else body.value("from"))
    return start in (None, 0, "0")


def _original(body: ObjectText | None, edit: Edit | None) -> str | None:
    return None if body is None or edit is None else without_block(body, edit)


def _left(action: Action, reason: str, body: ObjectText | None, edit: Edit | None) -> Plan:
    original = _original(body, edit)
    return Plan(Decision(action, reason), original, original)


def media_verdict(content_type: str | None, accept: str | None, has_body: bool) -> Plan | None:
    """The plan for a request whose media types forbid rewriting, ``None`` if they do not."""
    reason = media_reason(content_type, accept, has_body)
    return Plan(Decision("untouched", reason)) if reason else None
