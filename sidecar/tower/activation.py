"""Which weights file is active: pure decisions on what lies in the folder and what is on record.

The rule that an operator can rely on: *dropping a file activates it, once*. A drop is a content at
a time (checksum and modification time), so that copying the same file again, or touching it,
activates it again, while restarts, renames and changes of permissions do nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

#: Activated files that are kept for going back, the active one included.
KEPT = 5
#: Drops that are remembered although their files are gone.
REMEMBERED = 200


class Drop(NamedTuple):
    """A content at a time."""

    checksum: str
    mtime_ns: int


@dataclass(frozen=True)
class Activation:
    """A file that was activated.

    Parameters
    ----------
    checksum, fingerprint, product_space : str
        As in :class:`sidecar.contract.weights.Weights`.
    file : str
        The name under which it was dropped.
    at : str
        ISO 8601.
    """

    checksum: str
    fingerprint: str
    product_space: str
    file: str
    at: str


@dataclass(frozen=True)
class Record:
    """What all processes agree on.

    Parameters
    ----------
    history : tuple[Activation, ...]
        Newest first: the first is active, the second is what rollback goes to.
    seen : frozenset[Drop]
        Drops that were dealt with.
    """

    history: tuple[Activation, ...] = ()
    seen: frozenset[Drop] = frozenset()

    @property
    def active(self) -> Activation | None:
        """The file that should be served; ``None`` before there was any."""
        return self.history[0] if self.history else None


def activated(record: Record, new: Activation, drops: Sequence[Drop]) -> Record:
    """The record after ``new`` became active while ``drops`` lay in the folder.

    Older drops count as dealt with too: they must not come up when the new one is rolled back.
    """
    others = tuple(one for one in record.history if one.checksum != new.checksum)
    gone = sorted(record.seen.difference(drops), key=lambda drop: drop.mtime_ns)
    return Record((new, *others)[:KEPT], frozenset([*drops, *gone[-REMEMBERED:]]))


def rolled_back(record: Record, to: Activation) -> Record:
    """The record after going back to an earlier activation; what came after it is forgotten."""
    return Record(record.history[record.history.index(to) :], record.seen)


def is_settled(unchanged_s: float, settle_s: float) -> bool:
    """Whether a file that cannot be read is wrong, rather than still being copied."""
    return unchanged_s >= settle_s


def dump_record(record: Record) -> str:
    """The record as ``active.json`` holds it."""
    body = {
        "format": "sidecar-weights",
        "version": 1,
        "history": [asdict(one) for one in record.history],
        "seen": sorted(record.seen),
    }
    return json.dumps(body, indent=1) + "\n"


def parse_record(text: str) -> Record:
    """The inverse of :func:`dump_record`.

    Raises
    ------
    ValueError
        If it is nothing of the kind.
    """
    try:
        body = json.loads(text)
        if body["format"] != "sidecar-weights" or body["version"] != 1:
            raise ValueError("of another release")
        history = tuple(Activation(**one) for one in body["history"])
        seen = frozenset(Drop(str(checksum), int(at)) for checksum, at in body["seen"])
    except (KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None
    for one in history:
        if not all(isinstance(value, str) for value in asdict(one).values()):
            raise ValueError("an activation that does not consist of text")
        # It becomes part of a file's name.
        if not (len(one.checksum) == 64 and set(one.checksum) <= set("0123456789abcdef")):
            raise ValueError(f"checksum {one.checksum!r:.80}")
    return Record(history, seen)
