"""Answers whose hits say why they are where they are: ``ext.sidecar.explain``.

The explanation stands in the hit's ``fields``, as one value of the field ``_sidecar``. That is
the one place of a hit that every client takes as an open map of lists of any JSON; keys that no
release knows are refused by some. All other bytes of the answer stay as they are.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from sidecar.contract.errors import SidecarError
from sidecar.search.jsontext import (
    DuplicateKey,
    ObjectText,
    Unparsable,
    insertion,
    object_at,
    objects_at,
    parse_object,
    splice,
)
from sidecar.search.limits import Bounded, Deadline, DeadlineExceeded
from sidecar.search.planned import Plan
from sidecar.search.rewrite import Edit

FIELD = "_sidecar"
#: Bytes of an answer up to which it is explained.
LIMIT = 8 << 20
#: Hits of one search that are explained; further ones are left without.
MOST_HITS = 100
#: Seconds that an answer waits for its explanations.
PATIENCE_S = 1.0
Explained = Mapping[str, Mapping[str, Any]]


class Explainer(Protocol):
    """Who knows why; implemented above this layer."""

    def refusal(self, environ: Mapping[str, Any]) -> str:
        """Why this request may not see it (``key``, ``host``, ``origin``); empty if it may."""

    def __call__(self, plan: Plan, product_ids: Sequence[str]) -> Explained:
        """The explanation of each product for the plan's shopper. Raises SidecarError."""


class Explanations:
    """Puts explanations into answers, within a deadline.

    Parameters
    ----------
    explainer : Explainer
    patience_s : float
        Seconds that an answer waits for them.
    """

    def __init__(self, explainer: Explainer, patience_s: float = PATIENCE_S) -> None:
        self._explainer = explainer
        self._patience_s = patience_s
        self._bounded = Bounded()

    def of(
        self, plan: Plan, environ: Mapping[str, Any], peek: Callable[[int], bytes]
    ) -> tuple[bytes | None, str]:
        """An answer with explanations, and what became of the wish.

        Parameters
        ----------
        plan : Plan
        environ : Mapping
            Of the request: who is asking.
        peek : Callable[[int], bytes]
            The answer's first bytes, at least so many if there are so many.

        Returns
        -------
        body : bytes, optional
            ``None`` where the answer stays as it is.
        outcome : str
            ``done``; else why not: ``key``, ``host``, ``origin``, ``not_personalised``,
            ``too_large``, ``deadline``, ``failed``.

        Raises
        ------
        UnreachableError
            When Elasticsearch's answer breaks off.
        """
        if not any(_is_wanted(one) for one in plan.singles):
            return None, "not_personalised"
        refusal = self._explainer.refusal(environ)
        if refusal:
            return None, refusal
        body = peek(LIMIT + 1)
        if len(body) > LIMIT:
            return None, "too_large"
        try:
            found = parse_object(body)
            return splice(found.text, self._edits(plan, found)).encode(), "done"
        except DeadlineExceeded:
            return None, "deadline"
        except (SidecarError, Unparsable, DuplicateKey, ValueError, LookupError):
            return None, "failed"

    def _edits(self, plan: Plan, found: ObjectText) -> list[Edit]:
        deadline = Deadline(self._patience_s)
        edits: list[Edit] = []
        for one, answer in zip(plan.singles, _answers(plan, found), strict=False):
            if _is_wanted(one):
                hits = list(_hits(answer))[:MOST_HITS]
                edits += self._explain(one, hits, deadline) if hits else []
        return edits

    def _explain(self, plan: Plan, hits: Sequence[ObjectText], deadline: Deadline) -> list[Edit]:
        ids = list(dict.fromkeys(str(hit.value("_id")) for hit in hits))
        known = self._bounded.call(lambda seconds: self._explainer(plan, ids), deadline)
        edits = []
        for hit in hits:
            reason = known.get(str(hit.value("_id")))
            if reason is not None and (edit := _edit(hit, reason)) is not None:
                edits.append(edit)
        return edits


def _is_wanted(plan: Plan) -> bool:
    return plan.explain and plan.decision.action == "rewritten"


def _answers(plan: Plan, found: ObjectText) -> list[ObjectText]:
    """The answer to each search: a multi-search's, an asynchronous one's, or the only one."""
    if plan.items:
        return objects_at(found.text, found.members["responses"].value_start)
    if "response" in found.members and "hits" not in found.members:
        return [object_at(found.text, found.members["response"].value_start)]
    return [found]


def _hits(answer: ObjectText) -> Iterator[ObjectText]:
    if "hits" not in answer.members:
        return
    outer = object_at(answer.text, answer.members["hits"].value_start)
    if "hits" in outer.members:
        yield from (
            hit
            for hit in objects_at(answer.text, outer.members["hits"].value_start)
            if isinstance(hit.value("_id"), str)
        )


def _edit(hit: ObjectText, reason: Mapping[str, Any]) -> Edit | None:
    """Where an explanation goes; ``None`` where the hit has a field of that name already."""
    member = f'"{FIELD}":[{json.dumps(reason, separators=(",", ":"))}]'
    if "fields" not in hit.members:
        return insertion(hit, f'"fields":{{{member}}}')
    fields = object_at(hit.text, hit.members["fields"].value_start)
    return None if FIELD in fields.members else insertion(fields, member)
