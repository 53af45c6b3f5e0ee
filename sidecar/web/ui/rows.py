"""What the pages show of hits: rows with rank changes, in signs and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from sidecar.contract.product_text import DEFAULT_FIELDS, in_our_words
from sidecar.web.shoppers import name_of

#: Hits of each list that are shown.
SHOWN = 12
_DETAILS = ("merchant", "category", "sub_category", "color")
#: What products are told apart by at a glance, the finest that there is.
_KINDS = ("sub_category", "category", "parent_category")
#: Colours of kinds in the style sheet.
HUES = 8


class Row(NamedTuple):
    """One product in a list.

    Parameters
    ----------
    product_id, name, details : str
    score : str
    moved : int or None
        Places up (down where negative) against the plain list; ``None`` where that is not
        known: it came from beyond what was read.
    because : str
        Which of the shopper's own products it is like.
    now : int or None
        Where it stands in the other order, from 1; 0: below what was read; ``None``: there is no
        other order.
    kind : str
        Its category.
    """

    product_id: str
    name: str
    details: str
    score: str
    moved: int | None = 0
    because: str = ""
    now: int | None = None
    kind: str = ""

    @property
    def initials(self) -> str:
        """Two letters for the eye."""
        return (self.kind or self.name)[:2].capitalize()

    @property
    def hue(self) -> int:
        """The same colour for the same kind, everywhere and always."""
        return crc32(self.kind.encode()) % HUES

    @property
    def sign(self) -> str:
        """For the eye: ``▲ 12``."""
        if self.moved is None:
            return "▲ new"
        return "=" if self.moved == 0 else f"{'▲' if self.moved > 0 else '▼'} {abs(self.moved)}"

    @property
    def words(self) -> str:
        """For the ear: ``up 12 places``."""
        if self.moved is None:
            return "came up from further down than was read"
        if self.moved == 0:
            return "same place"
        places = f"{abs(self.moved)} place{'s' if abs(self.moved) > 1 else ''}"
        return f"{'up' if self.moved > 0 else 'down'} {places}"

    @property
    def direction(self) -> str:
        """``up``, ``down`` or ``same``."""
        if self.moved is None or self.moved > 0:
            return "up"
        return "down" if self.moved < 0 else "same"


def rows(
    hits: Sequence[Mapping[str, Any]],
    before: Sequence[Mapping[str, Any]] | None = None,
    after: Sequence[Mapping[str, Any]] | None = None,
    *,
    fields: Mapping[str, str] = DEFAULT_FIELDS,
) -> list[Row]:
    """The first hits of a list, with their moves against another.

    Parameters
    ----------
    hits : Sequence[Mapping]
    before : Sequence[Mapping], optional
        The plain list; none: nothing moved.
    after : Sequence[Mapping], optional
        The personalised list, for hits of the plain one.
    fields : Mapping[str, str]
        Our names of what a product says about itself, to the catalogue's.
    """
    later = {hit["_id"]: rank for rank, hit in enumerate(after or (), 1)}
    ranks = {hit["_id"]: rank for rank, hit in enumerate(before or ())}
    found = []
    for rank, hit in enumerate(hits[:SHOWN]):
        source = in_our_words(hit.get("_source") or {}, fields)
        old = ranks.get(hit["_id"])
        moved = 0 if before is None else None if old is None else old - rank
        score = hit.get("_score")
        found.append(
            Row(
                hit["_id"],
                name_of(source, hit["_id"]),
                details_of(source),
                "" if score is None else f"{score:.3f}",
                moved,
                now=None if after is None else later.get(hit["_id"], 0),
                kind=kind_of(source),
            )
        )
    return found


def in_short(personal: Sequence[Row]) -> str:
    """What personalisation did to the first hits, in one sentence."""
    if not personal:
        return "Nothing matches."
    came = sum(
        row.moved is None or rank + row.moved > len(personal)
        for rank, row in enumerate(personal, 1)
    )
    rose = sum(row.direction == "up" for row in personal) - came
    same = sum(row.direction == "same" for row in personal)
    if same == len(personal):
        return f"The first {same} stand where they stood."
    parts = ((came, "came up from further down"), (rose, "rose among them"),
             (same, "kept their place"),
             (sum(row.direction == "down" for row in personal), "went down"))  # fmt: skip
    told = [f"{count} {what}" for count, what in parts if count]
    return f"Of the first {len(personal)}: {', '.join(told)}."


def kind_of(source: Mapping[str, Any]) -> str:
    """A product's category; empty where it has none."""
    found = (source.get(field) for field in _KINDS)
    return next((one.strip() for one in found if isinstance(one, str) and one.strip()), "")


def details_of(source: Mapping[str, Any]) -> str:
    """What tells products of one name apart."""
    words = [str(source[field]) for field in _DETAILS if isinstance(source.get(field), str)]
    price = source.get("price")
    if isinstance(price, int | float) and not isinstance(price, bool):
        words.append(f"{price:.2f}")
    return " · ".join(words)
