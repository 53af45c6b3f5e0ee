"""The plan for a search: what is sent, what is sent if that fails, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from sidecar.search.decision import Action, Decision
from sidecar.search.jsontext import ObjectText
from sidecar.search.rewrite import Edit, without_block


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
    """

    decision: Decision
    body: bytes | None = None
    original: bytes | None = None
    altered: bool = False
    breaker_key: str = ""
    pin_key: str = ""
    customer_id: str = ""
    items: tuple[Plan, ...] = ()


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


def original(body: ObjectText | None, edit: Edit | None) -> bytes | None:
    """What to send instead of what came; ``None`` where there is nothing to cut out."""
    return None if body is None or edit is None else without_block(body, edit).encode()


def left(action: Action, reason: str, body: ObjectText | None, edit: Edit | None) -> Plan:
    text = original(body, edit)
    return Plan(Decision(action, reason), text, text)
