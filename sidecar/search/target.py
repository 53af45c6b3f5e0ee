"""Which API a request line asks for. Reads the raw path: nothing is normalised, so that what is
understood here is what Elasticsearch will understand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Literal, NamedTuple
from urllib.parse import unquote, unquote_to_bytes

Api = Literal["search", "msearch", "async_search", "template", "scroll", "nodes", "other"]

#: Segments that end a path which the sidecar looks at.
_SEARCH_APIS: Mapping[str, Api] = {
    "_search": "search",
    "_msearch": "msearch",
    "_async_search": "async_search",
}
_NODES = re.compile(r"/_nodes(/[^/]+)?(/http)?")


class Target(NamedTuple):
    """A request line, understood.

    Parameters
    ----------
    api : str
        ``other`` for everything that passes through unseen.
    expression : str
        Index expression of the path, decoded; empty where the path has none.
    parameters : Mapping[str, str]
        Decoded URL parameters.
    odd : bool
        Something in path or parameters could be read in two ways (encoded slashes, a parameter
        given twice): the request is not touched.
    """

    api: Api
    expression: str = ""
    parameters: Mapping[str, str] = {}
    odd: bool = False


OTHER = Target("other")


@lru_cache(maxsize=1024)
def parse_target(method: str, raw: str) -> Target:
    """Understand a request line.

    Parameters
    ----------
    method : str
    raw : str
        Path and query string as sent.
    """
    path, _, query = raw.partition("?")
    if method not in ("GET", "POST"):
        return OTHER
    if path.startswith("/_nodes") and _NODES.fullmatch(path):
        return Target("nodes") if method == "GET" else OTHER
    segments = path[1:].split("/")
    last = segments[-1]
    if last in _SEARCH_APIS and len(segments) <= 2:
        if last == "_async_search" and method != "POST":
            return OTHER
        expression = _decode(segments[0]) if len(segments) == 2 else ""
        parameters = _parameters(query)
        odd = expression is None or parameters is None or "#" in raw
        return Target(_SEARCH_APIS[last], expression or "", parameters or {}, odd)
    if last == "template" and segments[-2:-1] in (["_search"], ["_msearch"]):
        return Target("template")
    if segments[:2] == ["_search", "scroll"]:
        return Target("scroll")
    return OTHER


def _decode(segment: str) -> str | None:
    """A path segment; ``None`` for what two parsers might read in two ways."""
    try:
        text = unquote_to_bytes(segment).decode("utf-8")
    except UnicodeDecodeError:
        return None
    # "<logs-{now/d}>" is date math, which only the server can resolve.
    if text in ("", ".", "..") or any(c in text for c in "/\\%?# <>") or not text.isprintable():
        return None
    return text


def _parameters(query: str) -> Mapping[str, str] | None:
    """URL parameters; ``None`` when one is given twice or cannot be decoded."""
    parameters: dict[str, str] = {}
    if not query:
        return parameters
    # Elasticsearch takes ";" as a separator too.
    for pair in query.replace(";", "&").split("&"):
        if not pair:
            continue
        name, equals, value = pair.partition("=")
        try:
            name = unquote(name.replace("+", " "), errors="strict")
            # A flag without a value counts as true.
            value = unquote(value.replace("+", " "), errors="strict") if equals else "true"
        except UnicodeDecodeError:
            return None
        if name in parameters:
            return None
        parameters[name] = value
    return parameters
