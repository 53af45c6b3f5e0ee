"""What a request for recommendations asks for: read from URL parameters or a JSON body. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sidecar.contract.errors import ConfigError
from sidecar.contract.messages import MAX_ID_BYTES
from sidecar.web.filters import checked

#: The deepest hit that can be asked for: candidates for diversity are read with their vectors.
MAX_DEPTH = 200
EXCLUDES = frozenset({"seen", "bought"})
#: What each kind of list can be asked for; anything else would be ignored, and so is refused.
_ALL = ("size", "from", "filter", "exclude")
TASTE = frozenset({*_ALL, "diversity", "explore"})
SIMILAR = TASTE | {"customer_id"}
TRENDING = frozenset({*_ALL, "customer_id"})


@dataclass(frozen=True)
class Wanted:
    """Which recommendations.

    Parameters
    ----------
    size, start : int
        How many hits, and how many to skip; together at most 200.
    filter : dict, optional
        An Elasticsearch query that every hit must match.
    exclude : frozenset[str]
        ``seen``: whatever is in the shopper's history; ``bought``: only what was bought.
    diversity : float
        0 to 1, see :func:`sidecar.web.diversity.mmr`.
    customer_id : str
        For similar and trending products: whose history is excluded; empty for nobody's.
    explore : float
        0 to 1: share of the slots that show products outside of the shopper's taste.
    """

    size: int = 10
    start: int = 0
    filter: Any = None
    exclude: frozenset[str] = frozenset()
    diversity: float = 0.0
    customer_id: str = ""
    explore: float = 0.0


def from_parameters(
    parameters: Mapping[str, str],
    known: frozenset[str] = TASTE,
    defaults: Wanted = Wanted(),
) -> Wanted:
    """The same as :func:`from_body` from URL parameters: ``filter`` is JSON, ``exclude`` a list
    with commas.

    Raises
    ------
    ConfigError
    """
    values: dict[str, Any] = dict(parameters)
    for name in ("size", "from", "diversity", "explore"):
        if name in values:
            values[name] = _number(name, values[name])
    if "filter" in values:
        try:
            values["filter"] = json.loads(values["filter"])
        except (ValueError, RecursionError):
            raise ConfigError(
                "filter", values["filter"], "an Elasticsearch query as JSON"
            ) from None
    if "exclude" in values:
        values["exclude"] = [one for one in values["exclude"].split(",") if one]
    return from_body(values, known, defaults)


def from_body(
    body: Any,
    known: frozenset[str] = TASTE,
    defaults: Wanted = Wanted(),
) -> Wanted:
    """What a JSON body asks for.

    Parameters
    ----------
    body : Any
    known : frozenset[str]
        Keys that the route has a use for.
    defaults : Wanted
        The shop's own.

    Raises
    ------
    ConfigError
        Names the key, what was found and what was expected.
    """
    if not isinstance(body, Mapping):
        raise ConfigError("body", type(body).__name__, "a JSON object")
    if unknown := sorted(body.keys() - known):
        raise ConfigError(unknown[0], body[unknown[0]], f"one of {', '.join(sorted(known))}")
    size, start = _whole("size", body.get("size", 10), 1), _whole("from", body.get("from", 0), 0)
    if size + start > MAX_DEPTH:
        raise ConfigError("from + size", start + size, f"at most {MAX_DEPTH}")
    query = body.get("filter")
    exclude = body.get("exclude", [])
    if isinstance(exclude, str):
        exclude = [exclude]
    if not isinstance(exclude, list) or not all(
        isinstance(one, str) and one in EXCLUDES for one in exclude
    ):
        raise ConfigError("exclude", exclude, "seen, bought, or both")
    customer_id = as_id("customer_id", body.get("customer_id", ""))
    if exclude and "customer_id" in known and not customer_id:
        raise ConfigError("exclude", exclude, "customer_id beside it: whose history is meant")
    return replace(
        defaults,
        size=size,
        start=start,
        filter=None if query is None else checked(query),
        exclude=frozenset(exclude),
        diversity=_share("diversity", body.get("diversity", defaults.diversity)),
        customer_id=customer_id,
        explore=_share("explore", body.get("explore", defaults.explore)),
    )


def as_id(name: str, value: Any) -> str:
    """An id of a JSON body.

    Raises
    ------
    ConfigError
    """
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise ConfigError(name, value, "text or a whole number")
    text = str(value)
    if len(text.encode("utf-8", "replace")) > MAX_ID_BYTES:
        raise ConfigError(name, f"{text[:40]}...", f"at most {MAX_ID_BYTES} bytes")
    # Half a pair of surrogates: JSON can write it, UTF-8 cannot.
    if any("\ud800" <= one <= "\udfff" for one in text):
        raise ConfigError(name, value, "valid Unicode")
    return text


def _whole(name: str, value: Any, low: int) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Bounds first: int() takes neither NaN nor infinity.
    if not is_number or not low <= value <= MAX_DEPTH or value != int(value):
        raise ConfigError(name, value, f"a whole number from {low} to {MAX_DEPTH}")
    return int(value)


def _share(name: str, value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # NaN is refused too
        raise ConfigError(name, value, "a number from 0 to 1")
    return float(value)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ConfigError(name, text, "a number") from None
