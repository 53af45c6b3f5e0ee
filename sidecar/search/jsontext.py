"""JSON objects as text: read strictly, changed by splicing.

A body is never written anew. Members are cut out of or put into the text that the app sent, so
that every number, escape and key that is not ours reaches Elasticsearch exactly as it came.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from json.decoder import WHITESPACE, scanstring  # type: ignore[attr-defined]
from typing import Any


class DuplicateKey(ValueError):  # noqa: N818 - read as a fact about the text
    """A key occurs twice in one object."""


class Unparsable(ValueError):  # noqa: N818
    """The text is not one JSON object."""


@dataclass(frozen=True, slots=True)
class Member:
    """One member of an object, and where it stands in the text.

    Parameters
    ----------
    key : str
    value : Any
        Parsed.
    start : int
        Offset of the key's opening quote.
    value_start : int
    end : int
        Offset just past the value.
    """

    key: str
    value: Any
    start: int
    value_start: int
    end: int


@dataclass(frozen=True, slots=True)
class ObjectText:
    """An object in a text.

    Parameters
    ----------
    text : str
    open : int
        Offset of the opening brace.
    close : int
        Offset of the closing brace.
    members : dict[str, Member]
        In the order of the text.
    """

    text: str
    open: int
    close: int
    members: dict[str, Member]

    def value(self, key: str) -> Any:
        """A member's value, ``None`` where there is no such member."""
        member = self.members.get(key)
        return None if member is None else member.value

    def source(self, key: str) -> str:
        """A member's value as it stands in the text."""
        member = self.members[key]
        return self.text[member.value_start : member.end]


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise DuplicateKey("a key occurs twice")
    return found


def _refuse_constant(name: str) -> Any:
    raise Unparsable(f"{name} is not JSON")


_scan = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_constant=_refuse_constant
).scan_once  # type: ignore[attr-defined]


def parse_object(body: bytes) -> ObjectText:
    """Read a body that must be one JSON object and nothing else.

    Raises
    ------
    DuplicateKey
    Unparsable
        Not UTF-8, not JSON, not an object, or nested too deeply to be read.
    """
    try:
        text = body.decode("utf-8")
        found = object_at(text, _skip(text, 0))
    except DuplicateKey:
        raise
    except (ValueError, IndexError, StopIteration, RecursionError) as error:
        raise Unparsable(str(error) or type(error).__name__) from None
    if _skip(text, found.close + 1) != len(text):
        raise Unparsable("something follows the object")
    return found


def object_at(text: str, start: int) -> ObjectText:
    """Read the object that starts at an offset, with the places of its members.

    Raises
    ------
    DuplicateKey
    ValueError, IndexError, StopIteration, RecursionError
        What Python's own scanner says about malformed text.
    """
    if text[start] != "{":
        raise Unparsable("expected an object")
    members: dict[str, Member] = {}
    at = _skip(text, start + 1)
    if text[at] == "}":
        return ObjectText(text, start, at, members)
    while True:
        if text[at] != '"':
            raise Unparsable("expected a key")
        key_start = at
        key, at = scanstring(text, at + 1)
        at = _skip(text, at)
        if text[at] != ":":
            raise Unparsable("expected a colon")
        value_start = _skip(text, at + 1)
        value, end = _scan(text, value_start)
        if key in members:
            raise DuplicateKey("a key occurs twice")
        members[key] = Member(key, value, key_start, value_start, end)
        at = _skip(text, end)
        if text[at] == "}":
            return ObjectText(text, start, at, members)
        if text[at] != ",":
            raise Unparsable("expected a comma")
        at = _skip(text, at + 1)


def objects_at(text: str, start: int) -> list[ObjectText]:
    """Read the array of objects that starts at an offset, with the places of their members.

    Raises
    ------
    DuplicateKey
    ValueError, IndexError, StopIteration, RecursionError
        As :func:`object_at`.
    """
    if text[start] != "[":
        raise Unparsable("expected an array")
    found: list[ObjectText] = []
    at = _skip(text, start + 1)
    if text[at] == "]":
        return found
    while True:
        found.append(object_at(text, at))
        at = _skip(text, found[-1].close + 1)
        if text[at] == "]":
            return found
        if text[at] != ",":
            raise Unparsable("expected a comma")
        at = _skip(text, at + 1)


def _skip(text: str, at: int) -> int:
    end: int = WHITESPACE.match(text, at).end()
    return end


def splice(text: str, edits: list[tuple[int, int, str]]) -> str:
    """Replace pieces of a text that do not overlap: (start, end, by what)."""
    parts, at = [], 0
    for start, end, replacement in sorted(edits):
        parts += [text[at:start], replacement]
        at = end
    return "".join([*parts, text[at:]])


def removal(source: ObjectText, key: str) -> tuple[int, int, str]:
    """The edit that cuts a member out, with one comma."""
    members = list(source.members.values())
    index = list(source.members).index(key)
    if index > 0:
        return (members[index - 1].end, members[index].end, "")
    if len(members) > 1:
        return (members[0].start, members[1].start, "")
    return (members[0].start, members[0].end, "")


def insertion(source: ObjectText, fragment: str, removed: int = 0) -> tuple[int, int, str]:
    """The edit that puts members (``"key":value``, comma-separated) at the object's end.

    Parameters
    ----------
    source : ObjectText
    fragment : str
    removed : int
        How many members another edit cuts out.
    """
    comma = "," if len(source.members) > removed else ""
    return (source.close, source.close, comma + fragment)
