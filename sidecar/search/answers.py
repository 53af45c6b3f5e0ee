"""Whether a rewritten search came back whole. Pure."""

from __future__ import annotations

import json
import re
import zlib
from typing import Any

#: The shards' report stands before the hits, within the first bytes of an answer.
_SHARDS = re.compile(rb'"_shards"\s*:\s*\{[^{}\[\]]*?"failed"\s*:\s*(\d+)')
_FAILED = re.compile(rb'"failed"\s*:\s*[1-9]')
#: How much of an answer is looked at, in bytes.
GLANCE = 4096


def unpack_start(start: bytes, encoding: str) -> bytes | None:
    """The start of an answer without its compression; ``None`` for an unknown one."""
    if encoding in ("", "identity"):
        return start[:GLANCE]
    if encoding not in ("gzip", "x-gzip"):
        return None
    try:
        return zlib.decompressobj(31).decompress(start, GLANCE)
    except zlib.error:
        return None


def has_failed_shards(start: bytes | None) -> bool:
    """Whether the start of an answer reports shards that failed.

    Answers that are filtered, or of a form that is not known, count as whole.
    """
    if not start:
        return False
    # A product could have a field of that name: the report comes before the hits.
    found = _SHARDS.search(start.partition(b'"hits"')[0])
    return found is not None and int(found[1]) > 0


def failed_items(body: bytes, encoding: str, count: int, limit: int) -> set[int]:
    """Which items of a multi-search's answer failed; none where it cannot be told."""
    if encoding in ("gzip", "x-gzip"):
        try:
            body = zlib.decompressobj(31).decompress(body, limit)
        except zlib.error:
            return set()
    # Most answers are spared the parsing: nothing in them looks like a failure.
    if b'"error"' not in body and not _FAILED.search(body):
        return set()
    try:
        responses: Any = json.loads(body)["responses"]
        return {
            i
            for i, one in enumerate(responses[:count])
            if (one.get("error") and one.get("status") != 429)
            or one.get("_shards", {}).get("failed", 0)
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()
