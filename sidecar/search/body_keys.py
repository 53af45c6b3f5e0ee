"""The keys of a search body, and what their values may be.

Elasticsearch refuses an unknown key with an error of its own; a body that holds one is forwarded
as it came. The list is that of Elasticsearch 8.11 to 9.x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def _object(value: Any) -> bool:
    return isinstance(value, Mapping)


def _whole(value: Any) -> bool:
    # Elasticsearch takes numbers as text as well.
    if isinstance(value, str):
        return value.isascii() and value.isdecimal()
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flag(value: Any) -> bool:
    return isinstance(value, bool) or value in ("true", "false")


def _flag_or_count(value: Any) -> bool:
    return _flag(value) or (isinstance(value, int) and -1 <= value < 2**31)


def _list(value: Any) -> bool:
    return isinstance(value, list)


def _object_or_list(value: Any) -> bool:
    return isinstance(value, Mapping | list)


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _names(value: Any) -> bool:
    return isinstance(value, str | list)


def _fields(value: Any) -> bool:
    return isinstance(value, bool | str | list | Mapping)


#: Key to what its value must look like.
BODY_KEYS: Mapping[str, Callable[[Any], bool]] = {
    "_source": _fields,
    "aggregations": _object,
    "aggs": _object,
    "collapse": _object,
    "docvalue_fields": _list,
    "explain": _flag,
    "ext": _object,
    "fields": _list,
    "from": _whole,
    "highlight": _object,
    "indices_boost": _object_or_list,
    "knn": _object_or_list,
    "min_score": _number,
    "pit": _object,
    "post_filter": _object,
    "profile": _flag,
    "query": _object,
    "rank": _object,
    "rescore": _object_or_list,
    "retriever": _object,
    "runtime_mappings": _object,
    "script_fields": _object,
    "search_after": _list,
    "seq_no_primary_term": _flag,
    "size": _whole,
    "slice": _object,
    "sort": lambda value: isinstance(value, str | list | Mapping),
    "stats": _list,
    "stored_fields": _names,
    "sub_searches": _list,
    "suggest": _object,
    "terminate_after": _whole,
    "timeout": _text,
    "track_scores": _flag,
    "track_total_hits": _flag_or_count,
    "version": _flag,
}

#: URL parameters of ``_search`` and its relatives that do not change what may be done.
NEUTRAL_PARAMETERS = frozenset(
    {
        "_source",
        "_source_excludes",
        "_source_exclude_vectors",
        "_source_includes",
        "allow_no_indices",
        "allow_partial_search_results",
        "batched_reduce_size",
        "ccs_minimize_roundtrips",
        "docvalue_fields",
        "error_trace",
        "filter_path",
        "force_synthetic_source",
        "from",
        "human",
        "ignore_throttled",
        "ignore_unavailable",
        "include_named_queries_score",
        "keep_alive",
        "keep_on_completion",
        "max_concurrent_searches",
        "max_concurrent_shard_requests",
        "pre_filter_shard_size",
        "preference",
        "pretty",
        "rest_total_hits_as_int",
        "routing",
        "search_type",
        "seq_no_primary_term",
        "stats",
        "stored_fields",
        "timeout",
        "track_scores",
        "track_total_hits",
        "typed_keys",
        "version",
        "wait_for_completion_timeout",
    }
)
