"""HTTP/1.1 answers as bytes: the head, and the three ways in which a body can be framed. No I/O.

Written for the proxy because it is measurably the larger half of its work: against a stub
upstream, ``http.client`` and ``urllib3`` each took about twice the time of this
(``bench/proxy.py --clients``). What it does not understand it refuses.
"""

from __future__ import annotations

import re
from typing import NamedTuple

#: Longest head (status line and headers) of an answer, in bytes.
MAX_HEAD = 256 * 1024
_STATUS = re.compile(r"HTTP/1\.([01]) ([1-9][0-9]{2})(?: (.*))?")
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?")


class BadAnswer(ValueError):  # noqa: N818 - what came back
    """Bytes that are not an HTTP/1.1 answer, or an answer that was cut off."""


class Head(NamedTuple):
    """Status line and headers of an answer.

    Parameters
    ----------
    status : int
    reason : str
    headers : list[tuple[str, str]]
        As sent, without those of the connection; values in Latin-1.
    length : int, optional
        Bytes of body; ``None`` when it is chunked or ends with the connection.
    chunked : bool
    reusable : bool
        Whether the connection can carry another request after the body.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    length: int | None
    chunked: bool
    reusable: bool


#: Headers that belong to one connection and are not handed on.
HOP_BY_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def parse_head(raw: bytes, method: str) -> Head:
    """Read the head of an answer.

    Parameters
    ----------
    raw : bytes
        Up to, without, the empty line.
    method : str
        Of the request: an answer to HEAD has no body, whatever its headers say.

    Raises
    ------
    BadAnswer
    """
    first, *lines = raw.decode("latin-1").split("\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise BadAnswer(f"status line {first[:80]!r}")
    status = int(found[2])
    reusable = found[1] == "1"
    headers, length, chunked, dropped = [], None, False, HOP_BY_HOP
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise BadAnswer(f"header {line[:80]!r}")
        value = value.strip(" \t")
        lower = name.lower()
        if lower in HOP_BY_HOP:
            if lower == "connection":
                tokens = {token.strip().lower() for token in value.split(",")}
                reusable = "close" not in tokens and (reusable or "keep-alive" in tokens)
                if extra := tokens - {"close", "keep-alive"}:
                    dropped = dropped | extra
            elif lower == "transfer-encoding":
                if value.lower() != "chunked":
                    raise BadAnswer(f"transfer-encoding {value[:80]!r}")
                chunked = True
            continue
        if lower == "content-length":
            if not (value.isascii() and value.isdecimal()) or length not in (None, int(value)):
                raise BadAnswer(f"content-length {value[:80]!r}")
            length = int(value)
        headers.append((name, value))
    if dropped is not HOP_BY_HOP:
        headers = [one for one in headers if one[0].lower() not in dropped]
    if chunked and length is not None:
        # Two framings: the chunks count, and the connection is not trusted any further.
        headers = [one for one in headers if one[0].lower() != "content-length"]
        length, reusable = None, False
    if method == "HEAD" or status in (204, 304) or status < 200:
        length, chunked = 0, False
    elif length is None and not chunked:
        reusable = False
    return Head(status, found[3] or "", headers, length, chunked, reusable)


def chunk_size(line: bytes) -> int:
    """Size in a chunk's first line (without its line end).

    Raises
    ------
    BadAnswer
    """
    found = _SIZE.fullmatch(line)
    if found is None:
        raise BadAnswer(f"chunk size {line[:40]!r}")
    return int(found[1], 16)
