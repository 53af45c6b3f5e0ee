"""Multi-search bodies: pairs of lines, taken apart and put together again. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sidecar.search.jsontext import DuplicateKey, Unparsable, parse_object

_INDEX_KEYS = ("index", "indices")


class Malformed(ValueError):  # noqa: N818
    """Not pairs of lines with a newline at the end."""


class Item(NamedTuple):
    """One search of a multi-search, to the byte, without line ends."""

    header: bytes
    body: bytes

    def read(self, default: str) -> tuple[str, Mapping[str, str]] | None:
        """Index expression and parameters; ``None`` for a header that cannot be read.

        Parameters
        ----------
        default : str
            The index expression of the URL.
        """
        if not self.header.strip():
            return default, {}
        try:
            header = parse_object(self.header)
        except (Unparsable, DuplicateKey):
            return None
        parameters: dict[str, str] = {}
        expression = default
        if all(key in header.members for key in _INDEX_KEYS):
            return None
        for key, member in header.members.items():
            value = member.value
            if key in _INDEX_KEYS:
                names = value if isinstance(value, list) else [value]
                if not names or not all(isinstance(name, str) for name in names):
                    return None
                expression = ",".join(names)
            elif isinstance(value, bool):
                parameters[key] = str(value).lower()
            elif isinstance(value, str | int):
                parameters[key] = str(value)
            else:
                return None
        return expression, parameters


def split(body: bytes) -> list[Item]:
    """The searches of a multi-search body.

    Raises
    ------
    Malformed
    """
    *lines, rest = body.split(b"\n")
    if rest or not lines or len(lines) % 2:
        raise Malformed
    return [Item(lines[i], lines[i + 1]) for i in range(0, len(lines), 2)]


def join(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The body of those pairs of lines."""
    return b"".join(b"%b\n%b\n" % pair for pair in pairs)
