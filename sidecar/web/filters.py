"""Filters that callers send along: Elasticsearch queries of a kind that cannot do harm. Pure.

They run with the sidecar's own credentials, so what could run a script or read another index is
refused: only listed query types pass.
"""

from __future__ import annotations

from typing import Any

from sidecar.contract.errors import ConfigError

_BOOL = frozenset({"must", "should", "filter", "must_not"})
#: Query types without sub-queries that look at the documents alone.
_LEAVES = frozenset(
    {
        "exists", "geo_bounding_box", "geo_distance", "ids", "match", "match_all", "match_none",
        "match_phrase", "match_phrase_prefix", "multi_match", "prefix", "range", "term", "terms",
        "wildcard",
    }
)  # fmt: skip
_MAX_DEPTH = 20


def checked(query: Any, key: str = "filter", depth: int = 0) -> Any:
    """The query itself, if it may be sent.

    Parameters
    ----------
    query : Any
        Parsed JSON.
    key : str
        Where it stands, for the message.
    depth : int
        Of nesting.

    Raises
    ------
    ConfigError
        Names the place, what was found and what was expected.
    """
    if not isinstance(query, dict) or len(query) != 1:
        raise ConfigError(key, query, "an object with one query")
    if depth > _MAX_DEPTH:
        raise ConfigError(key, "…", f"at most {_MAX_DEPTH} levels")
    (kind, body), *_ = query.items()
    place = f"{key}.{kind}"
    if kind == "bool":
        _check_bool(body, place, depth)
    elif kind in ("constant_score", "nested"):
        if not isinstance(body, dict):
            raise ConfigError(place, body, "an object")
        inner = "filter" if kind == "constant_score" else "query"
        checked(body.get(inner), f"{place}.{inner}", depth + 1)
    elif kind not in _LEAVES:
        allowed = ", ".join(sorted(_LEAVES | {"bool", "constant_score", "nested"}))
        raise ConfigError(key, kind, f"one of {allowed}")
    elif kind == "terms" and any(isinstance(value, dict) for value in _values(body)):
        raise ConfigError(place, body, "lists of values: lookups in other documents are refused")
    return query


def _check_bool(body: Any, place: str, depth: int) -> None:
    if not isinstance(body, dict):
        raise ConfigError(place, body, "an object")
    for name, clauses in body.items():
        if name in _BOOL:
            for one in clauses if isinstance(clauses, list) else [clauses]:
                checked(one, f"{place}.{name}", depth + 1)
        elif name not in ("minimum_should_match", "boost", "_name", "adjust_pure_negative"):
            raise ConfigError(place, name, f"one of {', '.join(sorted(_BOOL))}")


def _values(body: Any) -> list[Any]:
    return list(body.values()) if isinstance(body, dict) else [body]
