"""Multi-searches: each item is decided by itself."""

from __future__ import annotations

import logging

from sidecar.search.decision import Action, Decision
from sidecar.search.instructions import QUERY_ID_KEY
from sidecar.search.limits import Deadline
from sidecar.search.msearch import Item, Malformed, join, split
from sidecar.search.plan import Planner
from sidecar.search.planned import Plan, Search, left

log = logging.getLogger(__name__)


def plan_multi(planner: Planner, search: Search, leave: str = "") -> Plan:
    """Decide about each item of a multi-search by itself; the other lines stay as they are.

    ``leave`` is as :meth:`sidecar.search.plan.Planner.plan` has it.
    """
    try:
        items = split(search.body)
        deadline = Deadline(planner.settings.deadline_ms / 1000)
        base = search.environ.get(QUERY_ID_KEY) or planner.new_query_id()
        plans = [
            _plan_item(planner, item, search, deadline, (f"{base}.{place}", f".{place}"), leave)
            for place, item in enumerate(items)
        ]
    except Malformed:
        return Plan(Decision("untouched", leave or "unparsable"))
    except Exception:
        log.exception("planning a multi-search failed")
        return Plan(Decision("bypassed", "fault"))
    sent = join(
        (i.header, i.body if p.body is None else p.body) for i, p in zip(items, plans, strict=True)
    )
    original = join(
        (i.header, i.body if p.original is None else p.original)
        for i, p in zip(items, plans, strict=True)
    )
    return Plan(
        _summary([plan.decision for plan in plans]),
        None if sent == search.body else sent,
        None if original == search.body else original,
        any(plan.altered for plan in plans),
        items=tuple(plans),
        query_id=base if any(plan.query_id for plan in plans) else "",
        explain=any(plan.explain for plan in plans),
    )


def _plan_item(
    planner: Planner,
    item: Item,
    search: Search,
    deadline: Deadline,
    named: tuple[str, str],
    leave: str,
) -> Plan:
    if not item.body.strip():
        return left("untouched", leave or "unparsable", None, None)
    told = item.read(search.expression)
    if told is None or leave:
        # Its block, if it has one, must be cut out all the same.
        return planner.plan(Search("", {}, search.environ, item.body, *named), deadline, leave)
    expression, parameters = told
    merged = {**search.parameters, **parameters}
    return planner.plan(Search(expression, merged, search.environ, item.body, *named), deadline)


def _summary(decisions: list[Decision]) -> Decision:
    """One decision for the headers of a multi-search's answer."""
    if len(set(decisions)) == 1:
        return decisions[0]
    actions = {decision.action for decision in decisions}
    order: tuple[Action, ...] = ("rewritten", "fallback", "holdout", "bypassed", "untouched")
    return Decision(next(action for action in order if action in actions), "multi")
