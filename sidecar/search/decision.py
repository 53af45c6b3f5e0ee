"""The words of a decision: what was done with a search, and why.

Both go into response headers and metric labels, so their values are few and fixed.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

Action = Literal["rewritten", "fallback", "holdout", "bypassed", "untouched"]
Kind = Literal["browse", "nearest", "rescore", "none"]

ACTION_HEADER = "X-Sidecar-Action"
REASON_HEADER = "X-Sidecar-Reason"
#: Names a shopper's search, for events to refer to; of the request and of the answer.
QUERY_ID_HEADER = "X-Sidecar-Query-Id"
#: What became of ``ext.sidecar.explain``.
EXPLAIN_HEADER = "X-Sidecar-Explain"

#: Every reason, in words. A test holds docs/rewriting.md against it.
REASONS: Mapping[str, str] = MappingProxyType(
    {
        # rewritten
        "browse": "every match ties: ranked by the shopper's taste (script_score)",
        "nearest": "every match ties, in a large catalogue: the nearest to the taste first (knn)",
        "scored": "best matches re-ranked by relevance and taste (rescore)",
        "multi": "a multi-search: each item was decided by itself",
        # fallback
        "no_vector": "the shopper has no vector (yet)",
        "expired": "the shopper's newest interaction is too old",
        "no_shopper": "the request names no shopper",
        "other_space": "the shopper's vector belongs to other weights",
        # holdout
        "holdout": "the shopper is in the comparison group",
        # bypassed: personalisation was possible, and left out
        "disabled": "the request switched it off",
        "impact_zero": "impact is 0",
        "deadline": "the shopper was not found in time",
        "lookup_failed": "looking up the shopper failed",
        "no_weights": "no valid weights are loaded",
        "breaker_open": "the last rewritten request on this index failed",
        "rewrite_failed": "Elasticsearch refused the rewritten request: the original was sent",
        "fault": "something unexpected went wrong: the original was sent",
        "page_one": "page 1 of this search was not personalised",
        # untouched: not a request to personalise
        "index": "not (only) configured product indices",
        "mapping": "an index maps the vector field differently",
        "unresolved": "the indices could not be looked up",
        "not_json": "the body is not plain JSON",
        "body_too_large": "the body is larger than the limit",
        "unparsable": "the body is not a JSON object: Elasticsearch reports its own error",
        "duplicate_key": "a key occurs twice",
        "unknown_key": "the body has a key that the sidecar does not know",
        "too_deep": "the query is nested too deeply",
        "bad_value": "a value has a type that Elasticsearch would refuse",
        "bad_instruction": "an instruction to the sidecar is malformed",
        "unknown_parameter": "a URL parameter that the sidecar does not know, or one given twice",
        "query_string": "the query is in the URL",
        "source_parameter": "the body is in the URL",
        "format": "the answer is asked for in another format than JSON",
        "cursor": "scroll, search_after, point in time or slice",
        "sort": "the request asks for its own order",
        "deliberate_order": "random, scripted, pinned or rule order",
        "no_hits": "no hits are asked for",
        "suggest": "only suggestions are asked for",
        "aggregation_scores": "an aggregation reads scores",
        "min_score": "min_score on a browse request",
        "terminate_after": "terminate_after on a browse request",
        "plain_highlighter": "plain highlighter on a browse request",
        "explain": "explain or profile would show the shopper's vector",
        "own_ranking": "the request has its own rescore, rank or retriever",
        "collapse": "collapse with rescore needs Elasticsearch 8.15",
        "catalogue_size": "a large catalogue on a server before 8.12",
        "request_cache": "request_cache=true: shoppers would fill the cache",
        "template": "a search template",
        "scroll_page": "a further page of a scroll",
    }
)


class Verdict(NamedTuple):
    """What a request is, whoever the shopper may be.

    Parameters
    ----------
    kind : str
        ``browse`` (wrap in script_score), ``nearest`` (the same for a large catalogue),
        ``rescore``, or ``none`` (leave it).
    reason : str
        One of :data:`REASONS`.
    sorted : bool
        Whether the request asks for an order, if only ``_score``: no fallback sort then.
    """

    kind: Kind
    reason: str
    sorted: bool = False


class Decision(NamedTuple):
    """What was done, for the response headers and the metrics."""

    action: Action
    reason: str
