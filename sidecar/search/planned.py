"""The plan for a search: what is sent, what is sent if that fails, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.search.decision import Action, Decision
from sidecar.search.jsontext import ObjectText
from sidecar.search.rewrite import Edit, Taste, without_block


class Asked(NamedTuple):
    """What a named shopper asked for: what the log of queries and explanations are made of.

    Parameters
    ----------
    query_id : str
        The app's, else one that is new.
    customer_id : str
    expression : str
        Index expression.
    user_query : str, optional
        What the shopper typed, where the request says so.
    body : ObjectText, optional
        The search's, as it came.
    parameters : Mapping[str, str]
        URL parameters.
    group : str
        Of the experiment: ``holdout`` or ``personalised``; empty where there is none.
    impact : float, optional
        0 to 100, where the request says so.
    """

    query_id: str
    customer_id: str
    expression: str
    user_query: str | None
    body: ObjectText | None
    parameters: Mapping[str, str]
    group: str
    impact: float | None


class Plan(NamedTuple):
    """What to send.

    Parameters
    ----------
    decision : Decision
    body : bytes, optional
        Sent instead of what came; ``None``: what came.
    original : bytes, optional
        Sent when ``body`` fails; ``None``: what came.
    altered : bool
        Whether ``body`` asks for another order than what came: then a failure is repaired.
    breaker_key : str
    pin_key, customer_id : str
        Of page 1 of a search that is remembered; empty otherwise.
    items : tuple[Plan, ...]
        Of a multi-search, each by itself.
    query_id : str
        For the answer's header; empty for a search that nobody will refer to.
    asked : Asked, optional
        ``None`` where no shopper is named, or personalising is out of the question.
    taste : Taste, optional
        What the hits' scores are multiplied by, where they are.
    explain : bool
        Whether hits are to say why they are where they are; of any search of a multi-search.
    """

    decision: Decision
    body: bytes | None = None
    original: bytes | None = None
    altered: bool = False
    breaker_key: str = ""
    pin_key: str = ""
    customer_id: str = ""
    items: tuple[Plan, ...] = ()
    query_id: str = ""
    asked: Asked | None = None
    taste: Taste | None = None
    explain: bool = False

    @property
    def singles(self) -> tuple[Plan, ...]:
        """The plan of each search in the request."""
        return self.items or (self,)

    def gone_out_plain(self) -> Plan:
        """The same, once what was changed has failed and the originals were sent."""
        failed = Decision("bypassed", "rewrite_failed")
        items = tuple(one._replace(decision=failed) if one.altered else one for one in self.items)
        return self._replace(decision=failed, items=items)


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
    query_id : str
        Its name, unless the request has one for it; empty: a new one.
    place : str
        What a name in the header is followed by, for one of a multi-search.
    """

    expression: str
    parameters: Mapping[str, str]
    environ: Mapping[str, Any]
    body: bytes
    query_id: str = ""
    place: str = ""


def original(body: ObjectText | None, edit: Edit | None) -> bytes | None:
    """What to send instead of what came; ``None`` where there is nothing to cut out."""
    return None if body is None or edit is None else without_block(body, edit).encode()


def left(action: Action, reason: str, body: ObjectText | None, edit: Edit | None) -> Plan:
    text = original(body, edit)
    return Plan(Decision(action, reason), text, text)
