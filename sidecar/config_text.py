"""From the text of an environment variable to a value.

Each function raises ``ValueError`` with what was expected.
"""

from __future__ import annotations

import json
import re
from typing import Any

#: What Elasticsearch takes as the name of an index or of an alias.
_INDEX = re.compile(r'(?![-_+])(?!\.{1,2}$)[^\s,*/\\?"<>|#:]{1,200}')


def text(raw: str) -> str:
    """As it is, without space around it."""
    return raw.strip()


def line(raw: str) -> str:
    """Text without line ends and other control characters."""
    found = raw.strip()
    if not found.isprintable():
        raise ValueError("printable text in one line")
    return found


def key(raw: str) -> str:
    """What can stand in a header as it is."""
    found = line(raw)
    if not found.isascii():
        raise ValueError("printable ASCII, since it is sent in a header")
    return found


def index(raw: str) -> str:
    """The name of one index, or of an alias."""
    found = line(raw)
    if not _INDEX.fullmatch(found):
        raise ValueError("the name of one index")
    return found


def optional(raw: str) -> str | None:
    """Text, or nothing."""
    return line(raw) or None


def number(raw: str) -> float:
    """Any number."""
    try:
        return float(raw)
    except ValueError:
        raise ValueError("a number") from None


def whole(raw: str) -> int:
    """A whole number."""
    try:
        return int(raw)
    except ValueError:
        raise ValueError("a whole number") from None


def names(raw: str) -> tuple[str, ...]:
    """Names between commas."""
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def yes_no(raw: str) -> bool:
    """A switch."""
    if raw.strip().lower() in ("1", "true", "yes", "on"):
        return True
    if raw.strip().lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("yes or no")


def json_object(raw: str) -> dict[str, Any]:
    """A JSON object, each key of it once."""
    try:
        value = json.loads(raw, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError("a JSON object, each key of it once")
    return value


def other_names(raw: str) -> dict[str, str | None]:
    """A JSON object of names to names, or to ``null``."""
    found = json_object(raw)
    if not all(value is None or isinstance(value, str) for value in found.values()):
        raise ValueError("a JSON object of names, each to a name or to null")
    return found


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found
