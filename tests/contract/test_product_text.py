"""The text of a product, and the price tiers."""

from __future__ import annotations

import pytest

from sidecar.contract.errors import ConfigError
from sidecar.contract.product_text import (
    DEFAULT_FIELDS,
    PRICE_TIERS,
    PriceTiers,
    in_our_words,
    product_fields,
    product_text,
    text_hash,
)

SHOE = {
    "name": "Nike Air Max",
    "merchant": "Nike",
    "parent_category": "Shoes",
    "category": "Sneakers",
    "sub_category": "Running",
    "color": "Blue",
    "price": 120,
    "labels": ["vintage", "handmade"],
}
TIERS = PriceTiers({"Shoes": (40, 80, 150), "": (10, 20, 30)})


def test_the_example_of_the_contract() -> None:
    assert product_text(SHOE, TIERS) == (
        "Nike Air Max | by Nike | Shoes | Sneakers | Running | Blue color | premium "
        "| vintage, handmade"
    )


def test_absent_parts_are_left_out() -> None:
    assert product_text({"name": "Mug", "color": None, "labels": [], "merchant": " "}) == "Mug"
    assert product_text({"price": float("nan"), "name": float("nan")}, TIERS) == ""


def test_fields_of_an_existing_index_are_mapped() -> None:
    document = {"title": "Mug", "attributes": {"colour": "Red"}, "a.b": "Cups"}
    fields = {"name": "title", "color": "attributes.colour", "category": "a.b", "price": "none"}
    assert product_text(document, TIERS, fields) == "Mug | Cups | Red color"


def test_a_document_in_our_words_keeps_its_own() -> None:
    fields = product_fields({"name": "title", "merchant": "brand.name", "color": "no"}, "X")
    document = {"title": "Boot", "brand": {"name": ["Aldine", "Other"]}, "color": "red"}
    assert in_our_words(document, fields) == document | {"name": "Boot", "merchant": "Aldine"}
    assert in_our_words(document, DEFAULT_FIELDS) == document


def test_a_list_of_objects_is_the_list_of_what_they_have() -> None:
    document = {"name": "Mug", "kinds": [{"name": "Kitchen"}, {"id": 2}, {"name": "Cups"}, "odd"]}
    assert product_text(document, fields={"name": "name", "category": "kinds.name"}) == (
        "Mug | Kitchen, Cups"
    )
    assert product_text(document, fields={"name": "name", "category": "kinds.size"}) == "Mug"


@pytest.mark.parametrize(
    ("price", "tier"), [(0, 0), (39.9, 0), (40, 1), (80, 2), (149, 2), (150, 3), ("200", 3)]
)
def test_tiers_start_at_their_limit(price: object, tier: int) -> None:
    assert f" | {PRICE_TIERS[tier]}" in product_text(
        {"name": "x", "parent_category": "Shoes", "price": price}, TIERS
    )


def test_tiers_come_from_the_quartiles_of_the_parent_category() -> None:
    shoes = [("Shoes", float(p)) for p in range(1, 102)]
    tiers = PriceTiers.fit([*shoes, ("Rare", 5.0), (None, None), ("Shoes", float("nan"))])
    assert tiers.limits["Shoes"] == (26.0, 51.0, 76.0)
    assert "Rare" not in tiers.limits
    assert tiers.tier(5.0, "Rare") == "budget"  # falls back to all prices
    assert tiers.tier(-1, "Shoes") is None
    assert PriceTiers().tier(5.0) is None


def test_limits_must_ascend() -> None:
    with pytest.raises(ConfigError, match="price_tiers.Shoes"):
        PriceTiers({"Shoes": (3, 2, 1)})


def test_the_hash_changes_with_the_text() -> None:
    assert text_hash("a") == text_hash("a") != text_hash("b")
    assert len(text_hash("a")) == 32
