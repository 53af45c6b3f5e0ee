"""Request headers: from the WSGI environ to Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from sidecar.search.instructions import OWN_HEADERS
from sidecar.search.wire import HOP_BY_HOP

#: Headers of one connection, those for the sidecar, and those that are set anew.
_DROPPED = OWN_HEADERS | {
    *("HTTP_" + name.upper().replace("-", "_") for name in HOP_BY_HOP),
    "HTTP_HOST",
    "HTTP_EXPECT",
    "HTTP_CONTENT_LENGTH",
    "HTTP_CONTENT_TYPE",
}


@lru_cache(maxsize=512)
def _name(key: str) -> str:
    """``HTTP_X_OPAQUE_ID`` as ``X-Opaque-Id``: case carries no meaning, and is lost before."""
    return key[5:].replace("_", "-").title()


def forwarded(
    environ: Mapping[str, Any], host: str, without: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """The headers of a request as they go on to Elasticsearch, without what frames the body.

    Parameters
    ----------
    environ : Mapping
    host : str
        Elasticsearch's own.
    without : frozenset[str]
        Further environ keys that stay behind.
    """
    headers = [("Host", host)]
    named = environ.get("HTTP_CONNECTION")
    dropped = _DROPPED if not named else _DROPPED | _connection_keys(named)
    for key, value in environ.items():
        if key[:5] == "HTTP_" and key not in dropped and key not in without:
            headers.append((_name(key), value))
    content_type = environ.get("CONTENT_TYPE")
    if content_type:
        headers.append(("Content-Type", content_type))
    return headers


@lru_cache(maxsize=64)
def _connection_keys(value: str) -> frozenset[str]:
    """The keys of headers that ``Connection`` says are for one hop only."""
    names = (one.strip().upper().replace("-", "_") for one in value.split(","))
    return frozenset("HTTP_" + name for name in names)
