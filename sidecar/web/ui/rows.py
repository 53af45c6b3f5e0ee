"""What the pages show of hits: rows with rank changes, in signs and in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.web.shoppers import name_of

#: Hits of each list that are shown.
SHOWN = 12
_DETAILS = ("merchant", "category", "sub_category", "color")


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
    """

    product_id: str
    name: str
    details: str
    score: str
    moved: int | None = 0
    because: str = ""

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
    hits: Sequence[Mapping[str, Any]], before: Sequence[Mapping[str, Any]] | None = None
) -> list[Row]:
    """The first hits of a list, with their moves against another.

    Parameters
    ----------
    hits : Sequence[Mapping]
    before : Sequence[Mapping], optional
        The plain list; none: nothing moved.
    """
    ranks = {hit["_id"]: rank for rank, hit in enumerate(before or ())}
    found = []
    for rank, hit in enumerate(hits[:SHOWN]):
        source = hit.get("_source") or {}
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
            )
        )
    return found


def details_of(source: Mapping[str, Any]) -> str:
    """What tells products of one name apart."""
    words = [str(source[field]) for field in _DETAILS if isinstance(source.get(field), str)]
    price = source.get("price")
    if isinstance(price, int | float) and not isinstance(price, bool):
        words.append(f"{price:.2f}")
    return " · ".join(words)
