"""What a real cluster refuses, and the embedded one does not: a validator of what we send.

Written from Elasticsearch's documentation and source, apart from the code that it checks.
"""

from __future__ import annotations

import json
import math
from typing import Any

from sidecar.search.body_keys import BODY_KEYS

NUMBERS = {"a", "neutral", "lo", "hi"}
BLEND_PARAMETERS = NUMBERS | {"v", "space", "plain"}


def refusals(
    body: bytes, parameters: dict[str, str], version: tuple[int, int] = (8, 15)
) -> list[str]:
    """Why a real cluster would refuse a rewritten search; empty when it would not."""
    wrong = []

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            wrong.append("duplicate key")
        return dict(pairs)

    sent = json.loads(body, object_pairs_hook=unique)
    wrong += [f"unknown key {key}" for key in sent if key not in BODY_KEYS]
    if "sidecar" in (sent.get("ext") or {}):
        wrong.append("ext.sidecar is forwarded")
    if "rescore" in sent:
        wrong += _rescore(sent, parameters, version)
    query = sent.get("query")
    if query is not None and len(query) != 1:
        wrong.append("a query needs exactly one clause")
    if isinstance(query, dict) and "script_score" in query:
        wrong += _script_score(query["script_score"])
        wrong += [f"{key} would change its meaning" for key in ("min_score",) if key in sent]
    return wrong + _nearest(query)


def _nearest(query: Any) -> list[str]:
    """The clause that is added in large catalogues, if it is there."""
    should = query.get("bool", {}).get("should") if isinstance(query, dict) else None
    if not isinstance(should, list) or not should or "knn" not in should[0]:
        return []
    clause = should[0]["knn"]
    wrong = []
    if set(clause) != {"field", "query_vector", "num_candidates", "filter", "boost"}:
        wrong.append("knn is malformed")
    if not 1 <= clause["num_candidates"] <= 10_000 or not clause["boost"] >= 0:
        wrong.append("knn: a number is out of range")
    if len(clause["query_vector"]) != 384 or not any(clause["query_vector"]):
        wrong.append("knn: the vector has another size, or is zero")
    return wrong


def _rescore(
    sent: dict[str, Any], parameters: dict[str, str], version: tuple[int, int]
) -> list[str]:
    never = ("search_after", "pit", "slice", "retriever", "rank", "sub_searches")
    wrong = [f"rescore with {key}" for key in never if key in sent]
    if "scroll" in parameters:
        wrong.append("rescore with scroll")
    sort = sent.get("sort", parameters.get("sort", "_score"))
    sorts = sort if isinstance(sort, list) else [sort]
    by_score = (
        "_score",
        "_score:desc",
        {"_score": "desc"},
        {"_score": {"order": "desc"}},
        {"_score": {}},
    )
    if len(sorts) != 1 or sorts[0] not in by_score:
        wrong.append("rescore with a sort of its own")
    if "collapse" in sent and version < (8, 15):
        wrong.append("rescore with collapse before 8.15")
    rescore = sent["rescore"]
    if set(rescore) != {"window_size", "query"} or not 1 <= rescore["window_size"] <= 10_000:
        wrong.append("rescore is malformed")
    if set(rescore["query"]) != {"rescore_query", "score_mode"}:
        wrong.append("rescore.query is malformed")
    return wrong + _script_score(rescore["query"]["rescore_query"]["script_score"])


def _script_score(found: dict[str, Any]) -> list[str]:
    wrong = []
    if set(found) != {"query", "script"} or set(found["script"]) != {"source", "params"}:
        wrong.append("script_score is malformed")
    params = found["script"]["params"]
    if set(params) != BLEND_PARAMETERS:
        wrong.append("parameters")
    numbers = [*params["v"], *(params[key] for key in NUMBERS)]
    if not all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
        wrong.append("a parameter is not a finite number")
    if not isinstance(params["space"], str) or not isinstance(params["plain"], bool):
        wrong.append("a parameter is of another type")
    if len(params["v"]) != 384 or not any(params["v"]):
        wrong.append("the vector has another size, or is zero")
    if not params["a"] >= 0 or not params["neutral"] >= 1 or not params["lo"] < params["hi"]:
        wrong.append("the score could be negative")
    return wrong
