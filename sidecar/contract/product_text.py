"""What a product says about itself: the text that is embedded, and the hash of that text.

``Nike Air Max | by Nike | Shoes | Sneakers | Running | Blue color | premium | vintage, handmade``:
name, merchant, parent category, category, sub-category, colour, price tier, labels.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from sidecar.contract.errors import ConfigError

#: From cheap to dear.
PRICE_TIERS = ("budget", "mid-range", "premium", "luxury")
#: Fewer prices than this in a parent category say nothing about its quartiles.
MIN_PRICES = 8

#: Our field name to the catalogue's (dotted paths allowed); an operator overrides single ones.
DEFAULT_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "name": "name",
        "merchant": "merchant",
        "parent_category": "parent_category",
        "category": "category",
        "sub_category": "sub_category",
        "color": "color",
        "price": "price",
        "labels": "labels",
    }
)


def product_fields(given: Mapping[str, Any], key: str) -> dict[str, str]:
    """Where each part of a text is, with what an operator says in place of our own names.

    Parameters
    ----------
    given : Mapping[str, Any]
        Some of our field names, to the catalogue's.
    key : str
        The setting that says so, for messages.

    Raises
    ------
    ConfigError
    """
    for ours, path in given.items():
        if ours not in DEFAULT_FIELDS:
            raise ConfigError(f"{key}.{ours}", path, f"one of {', '.join(DEFAULT_FIELDS)}")
        if not isinstance(path, str) or not path.strip():
            raise ConfigError(f"{key}.{ours}", path, "the name of a field, e.g. brand.name")
    return {**DEFAULT_FIELDS, **{ours: path.strip() for ours, path in given.items()}}


def in_our_words(document: Mapping[str, Any], fields: Mapping[str, str]) -> dict[str, Any]:
    """A document as it is, with the parts of its text under our names beside.

    Parameters
    ----------
    document : Mapping[str, Any]
    fields : Mapping[str, str]
        Our field name to the catalogue's.
    """
    found = {
        ours: first_of(look_up(document, path))
        for ours, path in fields.items()
        if path != DEFAULT_FIELDS[ours]
    }
    return {**document, **{ours: value for ours, value in found.items() if value is not None}}


def first_of(value: Any) -> Any:
    """What several values of one field are shown as: the first."""
    return value[0] if isinstance(value, list) and value else value


@dataclass(frozen=True)
class PriceTiers:
    """Upper price limits of the first three tiers, for each parent category.

    Parameters
    ----------
    limits : Mapping[str, tuple[float, float, float]]
        Parent category to three ascending prices; the key ``""`` serves all others. A price
        below the first is budget, at or above the last is luxury. No limits: no tier.

    Raises
    ------
    ConfigError
    """

    limits: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for category, limits in self.limits.items():
            ascending = len(limits) == 3 and limits[0] <= limits[1] <= limits[2]
            if not ascending or not all(map(math.isfinite, limits)):
                raise ConfigError(f"price_tiers.{category}", limits, "three ascending prices")

    @classmethod
    def fit(cls, products: Iterable[tuple[str | None, float | None]]) -> PriceTiers:
        """Quartiles of the prices within each parent category, and of all of them.

        Parameters
        ----------
        products : Iterable[tuple[str or None, float or None]]
            Parent category and price of each product; unusable prices are left out.
        """
        prices: dict[str, list[float]] = {"": []}
        for category, price in products:
            if price is not None and math.isfinite(price) and price >= 0:
                prices[""].append(price)
                if category:
                    prices.setdefault(category, []).append(price)
        return cls(
            {
                category: _quartiles(sorted(values))
                for category, values in prices.items()
                if len(values) >= MIN_PRICES
            }
        )

    def tier(self, price: float | None, parent_category: str | None = None) -> str | None:
        """One of :data:`PRICE_TIERS`; ``None`` without a usable price or limits."""
        limits = self.limits.get(parent_category or "", self.limits.get(""))
        if price is None or limits is None or not math.isfinite(price) or price < 0:
            return None
        return PRICE_TIERS[sum(price >= limit for limit in limits)]


def _quartiles(ordered: Sequence[float]) -> tuple[float, float, float]:
    """Quartiles with linear interpolation, rounded to four digits after the point."""

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        low = int(place)
        high = min(low + 1, len(ordered) - 1)
        return round(ordered[low] + (ordered[high] - ordered[low]) * (place - low), 4)

    return at(0.25), at(0.5), at(0.75)


def product_text(
    product: Mapping[str, Any],
    tiers: PriceTiers | None = None,
    fields: Mapping[str, str] = DEFAULT_FIELDS,
) -> str:
    """The text that stands for a product; absent and empty parts are left out.

    Parameters
    ----------
    product : Mapping[str, Any]
        A catalogue document.
    tiers : PriceTiers, optional
        Without it the price is left out.
    fields : Mapping[str, str]
        Our field name to a path in the document, e.g. ``{"color": "attributes.colour"}``.

    Returns
    -------
    str
        Empty for a product that says nothing.
    """
    found = {name: look_up(product, path) for name, path in fields.items()}
    text = {name: _text(value) for name, value in found.items() if name != "price"}
    color = text.get("color", "")
    merchant = text.get("merchant", "")
    tier = tiers.tier(parse_price(found.get("price")), text.get("parent_category")) if tiers else ""
    parts = (
        text.get("name", ""),
        f"by {merchant}" if merchant else "",
        text.get("parent_category", ""),
        text.get("category", ""),
        text.get("sub_category", ""),
        f"{color} color" if color else "",
        tier or "",
        text.get("labels", ""),
    )
    return " | ".join(part for part in parts if part)


def text_hash(text: str) -> str:
    """32 hex digits that change when the text does: what tells that a vector is out of date."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def look_up(document: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; a key that contains the dots itself wins. ``None`` if absent.

    In a list of objects it is the list of what they have there, as in Elasticsearch.
    """
    if path in document:
        return document[path]
    head, _, rest = path.partition(".")
    inner = document.get(head)
    if rest and isinstance(inner, Mapping):
        return look_up(inner, rest)
    if not rest or not isinstance(inner, list):
        return None
    found = [look_up(one, rest) for one in inner if isinstance(one, Mapping)]
    return [value for value in found if value is not None] or None


def parse_price(value: object) -> float | None:
    """A price as a number, ``None`` when it is absent or not one."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        price = float(value)
    except ValueError:
        return None
    return price if math.isfinite(price) else None


def _text(value: object) -> str:
    """One line of text; several values (labels) are joined by a comma. NaN is absent."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, (list, tuple, set, frozenset)):
        return ", ".join(part for part in map(_text, value) if part)
    if isinstance(value, Mapping):
        return ""
    return " ".join(str(value).split())
