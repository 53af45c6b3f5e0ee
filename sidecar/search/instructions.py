"""What a request says to the sidecar: who the shopper is, and how much it should count."""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from sidecar.search.jsontext import ObjectText, object_at, removal
from sidecar.search.settings import SearchSettings
from sidecar.search.tokens import TokenError, read_token

#: The environ keys of headers that are for the sidecar alone: they are not forwarded.
CUSTOMER_HEADER = "HTTP_X_CUSTOMER_ID"
IMPACT_HEADER = "HTTP_X_SIDECAR_IMPACT"
TOKEN_HEADER = "HTTP_X_SIDECAR_TOKEN"  # noqa: S105 - a header's name
QUERY_ID_KEY = "HTTP_X_SIDECAR_QUERY_ID"
OWN_HEADERS = frozenset({CUSTOMER_HEADER, IMPACT_HEADER, TOKEN_HEADER, QUERY_ID_KEY})
_KEYS = frozenset({"customer_id", "impact", "enabled", "query_id", "user_query", "explain"})
#: A query id goes into a header: printable ASCII, no longer than UBI allows.
_QUERY_ID = re.compile(r"[!-~]{1,100}")
#: Longest id, in bytes: Elasticsearch's own limit of an ``_id``.
MAX_ID_BYTES = 512


class BadInstruction(ValueError):  # noqa: N818 - names what the request has
    """An instruction that cannot be followed: the search is forwarded without."""


class Instructions(NamedTuple):
    """What the request asks of the sidecar.

    Parameters
    ----------
    customer_id : str, optional
    impact : float, optional
        0 to 100; ``None`` where the request does not say.
    enabled : bool
    query_id : str
        The app's own name for the search; empty where it has none.
    user_query : str, optional
        What the shopper typed, for the log of queries.
    """

    customer_id: str | None = None
    impact: float | None = None
    enabled: bool = True
    query_id: str = ""
    user_query: str | None = None


def read_block(body: ObjectText) -> tuple[Any, tuple[int, int, str] | None]:
    """The block ``ext.sidecar`` of a search body, and the edit that cuts it out.

    Elasticsearch refuses an ``ext`` block that no plugin knows, so it must never be forwarded.

    Returns
    -------
    block : Any
        ``None`` where there is none.
    edit : tuple, optional
        For :func:`sidecar.search.jsontext.splice`.
    """
    ext = body.members.get("ext")
    if ext is None or not isinstance(ext.value, dict) or "sidecar" not in ext.value:
        return None, None
    block = ext.value["sidecar"]
    if len(ext.value) == 1:
        return block, removal(body, "ext")
    return block, removal(object_at(body.text, ext.value_start), "sidecar")


def read_ubi(body: ObjectText | None) -> Mapping[str, Any]:
    """The block ``ext.ubi``, which is another plugin's: read, and left where it is."""
    ext = None if body is None else body.value("ext")
    found = ext.get("ubi") if isinstance(ext, dict) else None
    return found if isinstance(found, dict) else {}


def read_instructions(
    block: Any,
    environ: Mapping[str, Any],
    settings: SearchSettings,
    now_s: float,
    ubi: Mapping[str, Any] = MappingProxyType({}),
    place: str = "",
) -> Instructions:
    """Put the body's block and the headers together; the body, being closer, counts first.

    Parameters
    ----------
    block : Any
        ``ext.sidecar``, ``None`` where there is none.
    environ : Mapping
        WSGI environ, or any mapping with its header keys.
    settings : SearchSettings
    now_s : float
        Seconds since 1970-01-01 UTC: signed tokens expire.
    ubi : Mapping
        As :func:`read_ubi` says.
    place : str
        What the header's query id is followed by for this search of a multi-search.

    Raises
    ------
    BadInstruction
    """
    if block is None:
        block = {}
    elif not isinstance(block, dict) or not block.keys() <= _KEYS:
        raise BadInstruction(f"ext.sidecar: expected an object with {', '.join(sorted(_KEYS))}")
    user_query = block.get("user_query")
    if user_query is not None and not isinstance(user_query, str):
        raise BadInstruction("ext.sidecar.user_query: expected text")
    _flag(block, "explain", False)  # followed wherever it stands, and checked here
    return Instructions(
        _customer(block, environ, settings, now_s),
        _impact(block.get("impact"), environ.get(IMPACT_HEADER)),
        _flag(block, "enabled", True),
        _query_id(block, environ, ubi, place),
        _text(ubi.get("user_query")) if user_query is None else user_query,
    )


def _flag(block: Mapping[str, Any], key: str, default: bool) -> bool:
    value = block.get(key, default)
    if not isinstance(value, bool):
        raise BadInstruction(f"ext.sidecar.{key}: expected true or false")
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _query_id(
    block: Mapping[str, Any], environ: Mapping[str, Any], ubi: Mapping[str, Any], place: str
) -> str:
    """The app's own name for a search: the body's, the header's, or that of the UBI plugin."""
    said = block.get("query_id")
    if said is None:
        header = environ.get(QUERY_ID_KEY)
        said = header + place if header else None
    if said is None:
        theirs = ubi.get("query_id")
        # What is wrong with it is for the other plugin to say.
        return theirs if isinstance(theirs, str) and is_query_id(theirs) else ""
    if not isinstance(said, str) or not is_query_id(said):
        raise BadInstruction("query_id: expected 1 to 100 printable ASCII characters, no spaces")
    return said


def new_query_id() -> str:
    """A name that no other search has: a random UUID."""
    return str(uuid.uuid4())


def is_query_id(text: str) -> bool:
    """Whether a search can be called that."""
    return _QUERY_ID.fullmatch(text) is not None


def _customer(
    block: Mapping[str, Any], environ: Mapping[str, Any], settings: SearchSettings, now_s: float
) -> str | None:
    if settings.shopper_source == "token":
        token = environ.get(TOKEN_HEADER)
        if token is None:
            return None
        try:
            return read_token(token, settings.token_secret, now_s)
        except TokenError as error:
            raise BadInstruction(str(error)) from None
    found = block.get("customer_id") if settings.shopper_source == "any" else None
    if found is None:
        found = _header(environ)
        if found is None:
            return None
    elif isinstance(found, bool) or not isinstance(found, str | int):
        raise BadInstruction("ext.sidecar.customer_id: expected text or a whole number")
    try:
        text = str(found)
        size = len(text.encode())
    except ValueError:  # a lone surrogate, or a number of thousands of digits
        raise BadInstruction("customer_id: expected text") from None
    if not 1 <= size <= MAX_ID_BYTES or not text.isprintable():
        raise BadInstruction(f"customer_id: expected 1 to {MAX_ID_BYTES} printable bytes")
    return text


def _header(environ: Mapping[str, Any]) -> str | None:
    raw: str | None = environ.get(CUSTOMER_HEADER)
    if not raw:
        return None
    if "," in raw:
        # The server joins a header that was sent twice with a comma: which one is the shopper?
        raise BadInstruction("X-Customer-Id: expected one id, without a comma")
    try:
        # WSGI hands on bytes as Latin-1; ids are UTF-8.
        return raw.encode("latin-1").decode("utf-8")
    except UnicodeError:
        raise BadInstruction("X-Customer-Id: expected UTF-8") from None


def _impact(block: Any, header: str | None) -> float | None:
    value = block
    if value is None:
        if not header:
            return None
        try:
            value = float(header)
        except ValueError:
            raise BadInstruction("X-Sidecar-Impact: expected a number from 0 to 100") from None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 100:
        raise BadInstruction("impact: expected a number from 0 to 100")
    return 0.0 if math.isnan(value) else float(value)
