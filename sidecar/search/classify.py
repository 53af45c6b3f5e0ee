"""What to do with a search, whoever the shopper is: the decision table of docs/rewriting.md.

Pure: request in, verdict and reason out. In doubt a request is left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sidecar.search import queries
from sidecar.search.body_keys import BODY_KEYS, NEUTRAL_PARAMETERS
from sidecar.search.decision import Verdict
from sidecar.search.jsontext import ObjectText
from sidecar.search.settings import SearchSettings

#: Oldest server that takes collapse together with rescore.
COLLAPSE_RESCORE = (8, 15)
#: URL parameters that mean the same as a key of the body, and are read with it.
_SHARED = frozenset({"size", "sort", "explain", "profile", "terminate_after"})
#: URL parameters that only matter to ``q``.
_QUERY_STRING = frozenset({"analyzer", "analyze_wildcard", "default_operator", "df", "lenient"})
_JSON = frozenset({"application/json", "application/vnd.elasticsearch+json"})
_JSON_ANSWERS = _JSON | {"*/*", "application/*"}
_OTHER_FORMATS = ("yaml", "cbor", "smile")
_LINES = frozenset({"application/x-ndjson", "application/vnd.elasticsearch+x-ndjson"})


def media_reason(
    content_type: str | None, accept: str | None, has_body: bool, lines: bool = False
) -> str | None:
    """Why a request's media types keep it from being rewritten, ``None`` if they do not.

    Parameters
    ----------
    content_type, accept : str, optional
    has_body : bool
    lines : bool
        Whether the body is one JSON object a line.
    """
    if has_body:
        kind = (content_type or "").partition(";")[0].strip().lower()
        if kind not in _JSON and not (lines and kind in _LINES):
            return "not_json"
    if accept:
        kinds = {one.partition(";")[0].strip().lower() for one in accept.split(",")}
        # The JavaScript client always asks for "application/json, text/plain".
        if not kinds & _JSON_ANSWERS or any(kind.endswith(_OTHER_FORMATS) for kind in kinds):
            return "format"
    return None


def parameters_reason(parameters: Mapping[str, str]) -> str | None:
    """Why URL parameters keep a request from being rewritten, ``None`` if they do not."""
    for name, value in parameters.items():
        if name in NEUTRAL_PARAMETERS or name in _SHARED:
            continue
        if name == "q":
            return "query_string"
        if name in ("source", "source_content_type"):
            return "source_parameter"
        if name == "format":
            if value.lower() != "json":
                return "format"
        elif name == "scroll":
            return "cursor"
        elif name == "request_cache":
            if value != "false":
                return "request_cache"
        elif name == "expand_wildcards":
            # Hidden and closed indices are not what was looked up.
            if value != "open":
                return "index"
        elif name.startswith("suggest_"):
            return "suggest"
        elif name not in _QUERY_STRING:
            return "unknown_parameter"
    return None


def classify(
    parameters: Mapping[str, str],
    body: ObjectText | None,
    settings: SearchSettings,
    version: tuple[int, int] | None = None,
) -> Verdict:
    """Decide what may be done with a search.

    Parameters
    ----------
    parameters : Mapping[str, str]
        Decoded URL parameters.
    body : ObjectText, optional
        ``None`` for a search without a body.
    settings : SearchSettings
    version : tuple[int, int], optional
        The server's; ``None`` where it is not known.

    Returns
    -------
    Verdict
    """
    reason = parameters_reason(parameters)
    if reason:
        return Verdict("none", reason)
    values = {} if body is None else {key: one.value for key, one in body.members.items()}
    for key, value in values.items():
        check = BODY_KEYS.get(key)
        if check is None:
            return Verdict("none", "unknown_key")
        if not check(value):
            return Verdict("none", "bad_value")
    for key in _SHARED & parameters.keys():
        # The URL overrides the body, and asking for a sort adds to it.
        if key == "sort" and "sort" in values:
            return Verdict("none", "sort")
        values[key] = _typed(parameters[key])
    try:
        return _classify(values, settings, version)
    except queries.TooDeep:
        return Verdict("none", "too_deep")


def _typed(value: str) -> Any:
    if value == "_score:desc":
        return "_score"
    return int(value) if value.isascii() and value.isdecimal() and len(value) < 10 else value


def _classify(
    values: Mapping[str, Any], settings: SearchSettings, version: tuple[int, int] | None
) -> Verdict:
    reason = _always_untouched(values, settings)
    if reason:
        return Verdict("none", reason)
    is_sorted = "sort" in values
    if "knn" in values or not queries.is_constant(values.get("query")):
        if "collapse" in values and (version is None or version < COLLAPSE_RESCORE):
            return Verdict("none", "collapse")
        return Verdict("rescore", "scored", is_sorted)
    if "min_score" in values:
        return Verdict("none", "min_score")
    if "terminate_after" in values and values["terminate_after"] not in (0, "0"):
        return Verdict("none", "terminate_after")
    if queries.has_plain_highlighter(values.get("highlight")):
        return Verdict("none", "plain_highlighter")
    return Verdict("browse", "browse", is_sorted)


def _always_untouched(values: Mapping[str, Any], settings: SearchSettings) -> str | None:
    """Why a search is left alone whatever its query scores, ``None`` if it need not be."""
    if values.keys() & {"search_after", "pit", "slice"}:
        return "cursor"
    if values.keys() & {"rescore", "rank", "sub_searches", "retriever"}:
        return "own_ranking"
    if "sort" in values and not queries.is_by_score(values["sort"]):
        return "sort"
    if values.get("size", 10) in (0, "0"):
        return "no_hits"
    aggregations = values.get("aggs", values.get("aggregations"))
    if "suggest" in values and not values.keys() & {"query", "knn", "aggs", "aggregations"}:
        return "suggest"
    if not settings.allow_explain and any(
        values.get(key, False) not in (False, "false") for key in ("explain", "profile")
    ):
        return "explain"
    query = values.get("query")
    if query is not None and len(query) != 1:
        return "bad_value"
    if queries.is_deliberate(query):
        return "deliberate_order"
    if aggregations is not None and queries.reads_scores(aggregations):
        return "aggregation_scores"
    if "aggs" in values and "aggregations" in values:
        return "bad_value"
    return None
