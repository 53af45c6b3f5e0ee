"""The decision table as requests: name, URL parameters, body, verdict and reason.

One line or more for each row of docs/rewriting.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Row(NamedTuple):
    """A request, and what must be decided about it."""

    name: str
    body: str
    kind: str
    reason: str
    parameters: Mapping[str, str] = MappingProxyType({})
    version: tuple[int, int] | None = (8, 15)


MATCH = '{"query":{"match":{"name":"shoe"}}'
ALL = '{"query":{"match_all":{}}'

ROWS = [
    # constant-score queries: browse
    Row("no body", "", "browse", "browse"),
    Row("empty object", "{}", "browse", "browse"),
    Row("size only", '{"size":5}', "browse", "browse"),
    Row("match_all", ALL + "}", "browse", "browse"),
    Row("match_all with boost", '{"query":{"match_all":{"boost":2}}}', "browse", "browse"),
    Row("filters", '{"query":{"bool":{"filter":[{"term":{"c":"x"}}]}}}', "browse", "browse"),
    Row("filter object", '{"query":{"bool":{"filter":{"term":{"c":"x"}}}}}', "browse", "browse"),
    Row("must_not", '{"query":{"bool":{"must_not":{"term":{"c":"x"}}}}}', "browse", "browse"),
    Row("empty bool", '{"query":{"bool":{}}}', "browse", "browse"),
    Row(
        "bool in bool",
        '{"query":{"bool":{"must":[{"bool":{"filter":[]}}],"should":[]}}}',
        "browse",
        "browse",
    ),
    Row("constant_score", '{"query":{"constant_score":{"filter":{}}}}', "browse", "browse"),
    Row("terms", '{"query":{"terms":{"c":["x","y"]}}}', "browse", "browse"),
    Row("range", '{"query":{"range":{"price":{"lt":5}}}}', "browse", "browse"),
    Row("match_all by score", ALL + ',"sort":["_score"]}', "browse", "browse"),
    Row("browse with post_filter", ALL + ',"post_filter":{"term":{"c":"x"}}}', "browse", "browse"),
    Row("browse with collapse", ALL + ',"collapse":{"field":"c"}}', "browse", "browse", {}, None),
    Row("browse with aggs", ALL + ',"aggs":{"c":{"terms":{"field":"c"}}}}', "browse", "browse"),
    Row("browse with highlight", ALL + ',"highlight":{"fields":{"n":{}}}}', "browse", "browse"),
    Row("a page", ALL + ',"from":20,"size":20}', "browse", "browse"),
    Row(
        "another field's score",
        ALL + ',"aggs":{"a":{"avg":{"field":"review_score"}}}}',
        "browse",
        "browse",
    ),
    # scoring queries: rescore
    Row("match", MATCH + "}", "rescore", "scored"),
    Row("term", '{"query":{"term":{"name":"shoe"}}}', "rescore", "scored"),
    Row(
        "multi_match", '{"query":{"multi_match":{"query":"s","fields":["a"]}}}', "rescore", "scored"
    ),
    Row(
        "bool with should", '{"query":{"bool":{"should":[{"match_all":{}}]}}}', "rescore", "scored"
    ),
    Row("must match", '{"query":{"bool":{"must":[{"match":{"n":"s"}}]}}}', "rescore", "scored"),
    Row(
        "function_score",
        '{"query":{"function_score":{"query":{"match":{"n":"s"}},"field_value_factor":{"field":"p"}}}}',
        "rescore",
        "scored",
    ),
    Row(
        "script in a filter",
        '{"query":{"bool":{"must":{"match":{"n":"s"}},"filter":{"script_score":{}}}}}',
        "rescore",
        "scored",
    ),
    Row(
        "knn",
        '{"knn":{"field":"v","query_vector":[1],"k":5,"num_candidates":9}}',
        "rescore",
        "scored",
    ),
    Row("sort _score", MATCH + ',"sort":"_score"}', "rescore", "scored"),
    Row("sort [_score]", MATCH + ',"sort":["_score"]}', "rescore", "scored"),
    Row("sort _score desc", MATCH + ',"sort":[{"_score":"desc"}]}', "rescore", "scored"),
    Row("sort _score order", MATCH + ',"sort":{"_score":{"order":"desc"}}}', "rescore", "scored"),
    Row("sort in the URL", MATCH + "}", "rescore", "scored", {"sort": "_score:desc"}),
    Row("collapse on 8.15", MATCH + ',"collapse":{"field":"c"}}', "rescore", "scored"),
    Row("min_score", MATCH + ',"min_score":0.5}', "rescore", "scored"),
    Row("terminate_after", MATCH + ',"terminate_after":100}', "rescore", "scored"),
    Row(
        "plain highlighter",
        MATCH + ',"highlight":{"type":"plain","fields":{"n":{}}}}',
        "rescore",
        "scored",
    ),
    Row("post_filter", MATCH + ',"post_filter":{"term":{"c":"x"}}}', "rescore", "scored"),
    Row("aggregations", MATCH + ',"aggs":{"c":{"terms":{"field":"c"}}}}', "rescore", "scored"),
    Row("suggest too", MATCH + ',"suggest":{"s":{"text":"x"}}}', "rescore", "scored"),
    Row(
        "runtime_mappings",
        MATCH + ',"runtime_mappings":{"r":{"type":"long"}}}',
        "rescore",
        "scored",
    ),
    Row("named", '{"query":{"match":{"n":{"query":"s","_name":"q"}}}}', "rescore", "scored"),
    Row(
        "neutral parameters",
        MATCH + "}",
        "rescore",
        "scored",
        {"routing": "a", "typed_keys": "true"},
    ),
    # a deliberate order
    Row("random", '{"query":{"function_score":{"random_score":{}}}}', "none", "deliberate_order"),
    Row("script_score", '{"query":{"script_score":{"query":{}}}}', "none", "deliberate_order"),
    Row("pinned", '{"query":{"pinned":{"ids":["1"],"organic":{}}}}', "none", "deliberate_order"),
    Row("rule", '{"query":{"rule":{"organic":{}}}}', "none", "deliberate_order"),
    Row(
        "random below",
        '{"query":{"bool":{"must":[{"function_score":{"functions":[{"random_score":{}}]}}]}}}',
        "none",
        "deliberate_order",
    ),
    # sorts of its own
    Row("price", ALL + ',"sort":[{"price":"asc"}]}', "none", "sort"),
    Row("_score asc", ALL + ',"sort":[{"_score":"asc"}]}', "none", "sort"),
    Row("_score then price", ALL + ',"sort":["_score","price"]}', "none", "sort"),
    Row("_doc", ALL + ',"sort":["_doc"]}', "none", "sort"),
    Row("no sort at all", ALL + ',"sort":[]}', "none", "sort"),
    Row("price in the URL", ALL + "}", "none", "sort", {"sort": "price:asc"}),
    Row("sorts in both", ALL + ',"sort":"_score"}', "none", "sort", {"sort": "_score"}),
    # cursors
    Row("search_after", ALL + ',"search_after":[1]}', "none", "cursor"),
    Row("pit", ALL + ',"pit":{"id":"x"}}', "none", "cursor"),
    Row("slice", ALL + ',"slice":{"id":0,"max":2}}', "none", "cursor"),
    Row("scroll", ALL + "}", "none", "cursor", {"scroll": "1m"}),
    # others
    Row(
        "collapse before 8.15",
        MATCH + ',"collapse":{"field":"c"}}',
        "none",
        "collapse",
        {},
        (8, 14),
    ),
    Row("collapse, who knows", MATCH + ',"collapse":{"field":"c"}}', "none", "collapse", {}, None),
    Row("size 0", MATCH + ',"size":0}', "none", "no_hits"),
    Row("size 0 in the URL", MATCH + "}", "none", "no_hits", {"size": "0"}),
    Row("suggest only", '{"suggest":{"s":{"text":"x"}}}', "none", "suggest"),
    Row("top_hits", MATCH + ',"aggs":{"t":{"top_hits":{"size":1}}}}', "none", "aggregation_scores"),
    Row(
        "sampler below",
        ALL + ',"aggs":{"c":{"terms":{"field":"c"},"aggs":{"s":{"sampler":{}}}}}}',
        "none",
        "aggregation_scores",
    ),
    Row(
        "a script of scores",
        ALL + ',"aggregations":{"m":{"max":{"script":{"source":"_score"}}}}}',
        "none",
        "aggregation_scores",
    ),
    Row("browse min_score", ALL + ',"min_score":0.5}', "none", "min_score"),
    Row("browse terminate_after", ALL + ',"terminate_after":10}', "none", "terminate_after"),
    Row(
        "browse terminate_after in the URL",
        ALL + "}",
        "none",
        "terminate_after",
        {"terminate_after": "9"},
    ),
    Row(
        "browse plain highlighter",
        ALL + ',"highlight":{"fields":[{"n":{"type":"plain"}}]}}',
        "none",
        "plain_highlighter",
    ),
    Row("explain", MATCH + ',"explain":true}', "none", "explain"),
    Row("profile", MATCH + ',"profile":true}', "none", "explain"),
    Row("explain in the URL", MATCH + "}", "none", "explain", {"explain": "true"}),
    Row("rescore", MATCH + ',"rescore":{"query":{}}}', "none", "own_ranking"),
    Row("retriever", '{"retriever":{"standard":{}}}', "none", "own_ranking"),
    Row("rank", MATCH + ',"rank":{"rrf":{}}}', "none", "own_ranking"),
    Row("sub_searches", '{"sub_searches":[]}', "none", "own_ranking"),
    Row("unknown key", MATCH + ',"sizes":5}', "none", "unknown_key"),
    Row("size as an object", MATCH + ',"size":{}}', "none", "bad_value"),
    Row("negative from", MATCH + ',"from":-1}', "none", "bad_value"),
    Row("query as text", '{"query":"shoe"}', "none", "bad_value"),
    Row("query null", '{"query":null}', "none", "bad_value"),
    Row("empty query", '{"query":{}}', "none", "bad_value"),
    Row("two queries", '{"query":{"match_all":{},"match":{}}}', "none", "bad_value"),
    Row("aggs twice", ALL + ',"aggs":{},"aggregations":{}}', "none", "bad_value"),
    Row(
        "too deep",
        '{"query":' + '{"bool":{"must":' * 70 + "[]" + "}}" * 70 + "}",
        "none",
        "too_deep",
    ),
    Row("request_cache", MATCH + "}", "none", "request_cache", {"request_cache": "true"}),
    Row("q", "", "none", "query_string", {"q": "shoe"}),
    Row("source", "", "none", "source_parameter", {"source": "{}"}),
    Row("yaml", MATCH + "}", "none", "format", {"format": "yaml"}),
    Row("json", MATCH + "}", "rescore", "scored", {"format": "json"}),
    Row("hidden indices", MATCH + "}", "none", "index", {"expand_wildcards": "all"}),
    Row("suggest in the URL", "", "none", "suggest", {"suggest_text": "x"}),
    Row("unknown parameter", MATCH + "}", "none", "unknown_parameter", {"colour": "red"}),
]
