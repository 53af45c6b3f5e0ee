"""What the pages say about lists, in signs and in words: pure, so without a browser."""

from __future__ import annotations

import pytest

from sidecar.contract.errors import UnreachableError
from sidecar.contract.product_text import product_fields
from sidecar.elastic.activity import Active
from sidecar.web.ui import glance
from sidecar.web.ui.lately import lately, newest
from sidecar.web.ui.rows import HUES, SHOWN, in_short, rows


def hits(names: str) -> list[dict[str, object]]:
    return [{"_id": name, "_score": 1.0, "_source": {"category": "tea"}} for name in names]


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("abc", "abc", "The first 3 stand where they stood."),
        ("abc", "cab", "Of the first 3: 1 rose among them, 2 went down."),
        ("abc", "xyz", "Of the first 3: 3 came up from further down."),
        ("abcdefghijklmn", "nabcdefghijklm", "1 came up from further down, 11 went down."),
        ("", "", "Nothing matches."),
    ],
)
def test_what_happened_to_a_list_is_one_sentence(before: str, after: str, told: str) -> None:
    assert told in in_short(rows(hits(after), hits(before)))


def test_the_plain_list_says_where_its_products_went() -> None:
    plain = rows(hits("abc"), after=hits("cbx"))
    assert [one.now for one in plain] == [0, 2, 1]
    assert [one.now for one in rows(hits("abc"))] == [None] * 3
    assert len(rows(hits("abcdefghijklmnop"))) == SHOWN


def test_a_kind_has_one_colour_and_a_product_without_one_its_name() -> None:
    one, other = rows([{"_id": "a", "_source": {"category": "Tea"}}, {"_id": "b", "_source": {}}])
    assert (one.initials, other.initials) == ("Te", "B")
    assert 0 <= one.hue < HUES
    mapped = product_fields({"name": "title", "category": "kind.name"}, "X")
    (row,) = rows(
        [{"_id": "a", "_source": {"title": "Pot", "kind": {"name": "Tea"}}}], fields=mapped
    )
    assert (row.name, row.kind) == ("Pot", "Tea")
    assert one.hue == rows([{"_id": "z", "_source": {"category": "Tea"}}])[0].hue


def test_the_newest_deed_of_each_shopper_is_told() -> None:
    now = 1_000_000.0
    active = [
        Active(
            "c1", 0, (("old", "product_viewed", 1), ("p", "product_purchased", 999_880_000_000))
        ),
        Active("c2", 0, ()),
    ]
    assert newest(active) == ["p"]
    basket = Active("c3", 0, (("a", "product_purchased", 5), ("b", "product_purchased", 5)))
    assert newest([basket]) == ["b"], "of one moment the last one, as in the history"
    (one,) = lately(active, {"p": {"name": "Mug"}}, now)
    assert one == ("c1", "bought", "Mug", "2 minutes ago", 2)
    assert lately(active, {}, now)[0].product == "p"


def test_the_headline_names_what_is_not_well() -> None:
    def down() -> dict[str, str]:
        raise UnreachableError("SQS is not reachable: see SIDECAR_SQS_QUEUE_URL")

    class Gone:
        def refresh(self) -> None:
            raise UnreachableError("Elasticsearch is not reachable")

    good = glance.health({"elasticsearch": lambda: None, "weights": lambda: "one waits"})
    told, well = glance.headline(good, glance.Part([]), glance.Part([]))
    assert (told, well) == ("All is well: every check passed.", True)
    bad = glance.health({"elasticsearch": lambda: None, "queue": down})
    flow = glance.flow(Gone(), down)  # type: ignore[arg-type]
    told, well = glance.headline(bad, glance.Part([], "truncated"), flow)
    assert not well
    assert told == "Not well: queue, shoppers, weights."
    # A sidecar without a queue is nothing to worry about.
    assert glance.flow(Gone(), None).bad == ("shoppers",)  # type: ignore[arg-type]
