"""What the parsed parts of a search body mean for ranking: questions with yes or no."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Deeper bodies are left alone: Elasticsearch refuses most of them anyway.
MAX_DEPTH = 64

#: Queries that give every match the same score, whatever they hold.
_CONSTANT = frozenset(
    {
        "match_all",
        "constant_score",
        "terms",
        "range",
        "exists",
        "prefix",
        "wildcard",
        "regexp",
        "ids",
        "geo_bounding_box",
        "geo_distance",
        "geo_polygon",
        "geo_shape",
        "geo_grid",
        "shape",
    }
)
_DELIBERATE = frozenset(
    {"random_score", "script_score", "pinned", "pinned_query", "rule", "rule_query"}
)
_UNSCORED = frozenset({"filter", "must_not"})
_SCORE_AGGREGATIONS = frozenset({"top_hits", "sampler", "diversified_sampler"})
_SCORE = re.compile(r"(?<!\w)_score\b")
_SCORE_SORTS: tuple[Any, ...] = (
    "_score",
    {"_score": "desc"},
    {"_score": {"order": "desc"}},
    {"_score": {}},
)


class TooDeep(ValueError):  # noqa: N818 - a fact about the body
    """Nested deeper than :data:`MAX_DEPTH`."""


def is_constant(query: Any, depth: int = 0) -> bool:
    """Whether every match of a query has the same score.

    Raises
    ------
    TooDeep
    """
    if depth > MAX_DEPTH:
        raise TooDeep
    if query is None or query == {}:
        return query is None
    if not isinstance(query, Mapping) or len(query) != 1:
        return False
    ((name, inner),) = query.items()
    if name in _CONSTANT:
        return True
    if name != "bool" or not isinstance(inner, Mapping):
        return False
    if inner.get("should"):
        return False
    must = inner.get("must", [])
    clauses = must if isinstance(must, list) else [must]
    return all(is_constant(clause, depth + 1) for clause in clauses)


def is_deliberate(query: Any, depth: int = 0) -> bool:
    """Whether a query sets an order on purpose: random, scripted, pinned. Filters do not.

    Raises
    ------
    TooDeep
    """
    if depth > MAX_DEPTH:
        raise TooDeep
    if isinstance(query, Mapping):
        return any(
            name in _DELIBERATE or (name not in _UNSCORED and is_deliberate(inner, depth + 1))
            for name, inner in query.items()
        )
    if isinstance(query, list):
        return any(is_deliberate(inner, depth + 1) for inner in query)
    return False


def reads_scores(aggregations: Any, depth: int = 0) -> bool:
    """Whether an aggregation depends on scores: top hits, samples, ``_score`` in a script.

    Raises
    ------
    TooDeep
    """
    if depth > MAX_DEPTH:
        raise TooDeep
    if isinstance(aggregations, str):
        return _SCORE.search(aggregations) is not None
    if isinstance(aggregations, Mapping):
        return any(
            name in _SCORE_AGGREGATIONS or name == "_score" or reads_scores(inner, depth + 1)
            for name, inner in aggregations.items()
        )
    if isinstance(aggregations, list):
        return any(reads_scores(inner, depth + 1) for inner in aggregations)
    return False


def is_by_score(sort: Any) -> bool:
    """Whether a sort is exactly ``_score``, best first: as if there were none."""
    if isinstance(sort, list):
        return len(sort) == 1 and sort[0] in _SCORE_SORTS
    return sort in _SCORE_SORTS


def has_plain_highlighter(highlight: Any) -> bool:
    """Whether a highlighter of type ``plain`` is asked for, for all fields or for one."""
    if not isinstance(highlight, Mapping):
        return False
    fields = highlight.get("fields")
    parts = fields if isinstance(fields, list) else [fields]
    options = [highlight]
    for part in parts:
        if isinstance(part, Mapping):
            options += [one for one in part.values() if isinstance(one, Mapping)]
    return any(one.get("type") == "plain" for one in options)
