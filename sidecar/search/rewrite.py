"""Body in, body out: the three ways in which a search is changed. Pure.

Each is a list of edits on the text that the app sent; see :mod:`sidecar.search.jsontext`.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from sidecar.contract.schema import Calibration
from sidecar.search.decision import Kind
from sidecar.search.jsontext import ObjectText, insertion, splice
from sidecar.search.script import blend_source, cosine_source, in_space, is_plain
from sidecar.search.settings import SearchSettings

Edit = tuple[int, int, str]


class Taste(NamedTuple):
    """Everything of a shopper that goes into a request.

    Parameters
    ----------
    vector_json : str
        The user vector as JSON, see :func:`sidecar.search.script.encode_vector`.
    boost : float
        ``a`` of ``score x (1 + a u)``.
    calibration : Calibration
    product_space : str
        Products of another space count as without a vector.
    """

    vector_json: str
    boost: float
    calibration: Calibration
    product_space: str


def personalise(
    body: ObjectText | None,
    kind: Kind,
    taste: Taste,
    settings: SearchSettings,
    edit: Edit | None = None,
) -> str:
    """A search body that ranks by the shopper's taste.

    Parameters
    ----------
    body : ObjectText, optional
        ``None`` for a search without a body.
    kind : str
        ``browse``, ``nearest`` or ``rescore``.
    taste : Taste
    settings : SearchSettings
    edit : tuple, optional
        The cut of the sidecar's own block.
    """
    wrap = _nearest if kind == "nearest" else _wrapped
    if body is None:
        return "{" + wrap('{"match_all":{}}', taste, settings) + "}"
    edits, removed = _cut(body, edit)
    if kind == "rescore":
        edits.append(insertion(body, _rescore(taste, settings), removed))
    elif "query" in body.members:
        query = body.members["query"]
        # The key is written again too: "query":X becomes "query":{"script_score":...X...}.
        fragment = wrap(body.source("query"), taste, settings)
        edits.append((query.start, query.end, fragment))
    else:
        fragment = wrap('{"match_all":{}}', taste, settings)
        edits.append(insertion(body, fragment, removed))
    return splice(body.text, edits)


def add_sort(body: ObjectText | None, settings: SearchSettings, edit: Edit | None = None) -> str:
    """A browse request in the configured order; hits keep their scores."""
    fragment = f'"sort":{_one_line(settings.fallback_sort)}'
    if body is None:
        return "{" + fragment + ',"track_scores":true}'
    if "track_scores" not in body.members:
        fragment += ',"track_scores":true'
    edits, removed = _cut(body, edit)
    edits.append(insertion(body, fragment, removed))
    return splice(body.text, edits)


def without_block(body: ObjectText, edit: Edit | None) -> str:
    """The body as it came, but for the sidecar's own block."""
    return body.text if edit is None else splice(body.text, [edit])


def _cut(body: ObjectText, edit: Edit | None) -> tuple[list[Edit], int]:
    """The cut as a list, and how many top-level members it takes away."""
    if edit is None:
        return [], 0
    ext = body.members["ext"]
    # A cut inside of ext's value leaves ext itself in place.
    inside = ext.value_start < edit[0] and edit[1] < ext.end
    return [edit], 0 if inside else 1


def _wrapped(query: str, taste: Taste, settings: SearchSettings) -> str:
    if settings.formula == "cosine":
        source = _quoted(cosine_source(settings.vector_field))
        parameters = f'{{"user_vector":{taste.vector_json},{_space(taste.product_space)}}}'
    else:
        source = _quoted(blend_source(settings.vector_field))
        parameters = _parameters(taste)
    script = f'{{"source":{source},"params":{parameters}}}'
    return f'"query":{{"script_score":{{"query":{query},"script":{script}}}}}'


def _nearest(query: str, taste: Taste, settings: SearchSettings) -> str:
    # The clause adds to the score of the nearest and asks nothing of the others: the hits stay.
    # As its filter, the query sees to it that the nearest are among the matches.
    among = f'{{"bool":{{"filter":[{query},{_in_space(taste.product_space)}]}}}}'
    clause = (
        f'{{"knn":{{"field":"{settings.vector_field}","query_vector":{taste.vector_json},'
        f'"num_candidates":{settings.window},"filter":{among},"boost":{taste.boost:.9g}}}}}'
    )
    return f'"query":{{"bool":{{"must":[{query}],"should":[{clause}]}}}}'


def _rescore(taste: Taste, settings: SearchSettings) -> str:
    # The factor only raises scores and the window is constant, so a rescored hit never falls
    # below one outside the window, and every page is cut from one order.
    source = _quoted(blend_source(settings.vector_field))
    script = f'{{"source":{source},"params":{_parameters(taste)}}}'
    factor = f'{{"script_score":{{"query":{{"match_all":{{}}}},"script":{script}}}}}'
    return (
        f'"rescore":{{"window_size":{settings.window},"query":'
        f'{{"rescore_query":{factor},"score_mode":"multiply"}}}}'
    )


def _parameters(taste: Taste) -> str:
    a, calibration = taste.boost, taste.calibration
    # A product without a vector gets the middle: neither first nor last for lack of one.
    return (
        f'{{"v":{taste.vector_json},"a":{a:.9g},"neutral":{1 + a / 2:.9g},'
        f'"lo":{calibration.lo:.9g},"hi":{calibration.hi:.9g},{_space(taste.product_space)}}}'
    )


@lru_cache(maxsize=8)
def _space(space: str) -> str:
    return f'"space":{json.dumps(space)},"plain":{json.dumps(is_plain(space))}'


@lru_cache(maxsize=8)
def _in_space(space: str) -> str:
    return json.dumps(in_space(space), separators=(",", ":"))


@lru_cache(maxsize=8)
def _one_line(text: str) -> str:
    """A setting's JSON without line ends: in a multi-search they would end the item."""
    return json.dumps(json.loads(text), separators=(",", ":"))


@lru_cache(maxsize=8)
def _quoted(source: str) -> str:
    return json.dumps(source)
