"""Settings check themselves, and what a request may say is checked too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.errors import ConfigError
from sidecar.search.holdout import is_held_out
from sidecar.search.instructions import BadInstruction, Instructions, read_instructions
from sidecar.search.settings import SearchSettings
from sidecar.search.strength import boost, confidence, impact_for
from sidecar.search.tokens import TokenError, make_token, read_token

from .fakes import World, shopper, vector_of

SECRET = "0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("product_indices", ()),
        ("product_indices", ("",)),
        ("product_indices", ("*",)),
        ("product_indices", ("a,b",)),
        ("product_indices", ("-a",)),
        ("product_indices", ("Products",)),
        ("vector_field", "x'] + 1"),
        ("vector_field", ""),
        ("impact", -1),
        ("impact", 101),
        ("impact", float("nan")),
        ("impact", True),
        ("index_impact", {"a": 200}),
        ("formula", "sum"),
        ("window", 0),
        ("window", 10_001),
        ("deadline_ms", 0),
        ("holdout_percent", 100.5),
        ("fallback_sort", "{"),
        ("fallback_sort", "1"),
        ("fallback_sort", "[]"),
        ("fallback_sort", "[1]"),
        ("shopper_source", "cookie"),
        ("shopper_source", "token"),
        ("max_body_bytes", 0),
    ],
)
def test_a_setting_that_cannot_be_is_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError):
        SearchSettings(**{key: value})


def test_the_secret_is_not_in_the_error() -> None:
    with pytest.raises(ConfigError) as raised:
        SearchSettings(shopper_source="token", token_secret="short!")
    assert "short!" not in str(raised.value)


def test_one_view_moves_less_than_twenty_carts() -> None:
    settings = SearchSettings()
    view, click, carts = (boost(100, e, settings) for e in (0.1, 2.0, 100.0))
    assert 0 < view < click < carts < settings.max_boost
    assert click == pytest.approx(settings.max_boost / 2)
    assert confidence(0.0, 2.0) == 0.0
    assert confidence(0.1, 0.0) == 1.0


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 100))
def test_the_ramp_only_rises(a: float, b: float, impact: float) -> None:
    settings = SearchSettings()
    low, high = sorted((a, b))
    assert 0 <= boost(impact, low, settings) <= boost(impact, high, settings) <= settings.max_boost


def test_impact_of_request_index_and_all() -> None:
    settings = SearchSettings(impact=40, index_impact={"sale-*": 10, "shoes": 80})
    assert impact_for(7, ("shoes",), settings) == 7
    assert impact_for(None, ("shoes",), settings) == 80
    assert impact_for(None, ("sale-1", "shoes"), settings) == 10
    assert impact_for(None, ("hats",), settings) == 40


def told(block: Any = None, settings: SearchSettings | None = None, **headers: str) -> Instructions:
    environ = {"HTTP_" + name.upper(): value for name, value in headers.items()}
    return read_instructions(block, environ, settings or SearchSettings(), 1000.0)


def test_what_a_request_says() -> None:
    assert told() == Instructions()
    assert told({"customer_id": 12, "impact": 30, "enabled": False})[:3] == ("12", 30.0, False)
    assert told(x_customer_id="c1", x_sidecar_impact="12.5") == Instructions("c1", 12.5)
    # The body is closer to the search than a header that a gateway sets.
    assert told({"customer_id": "c2"}, x_customer_id="c1").customer_id == "c2"
    assert told(x_customer_id="caf\xc3\xa9").customer_id == "café"


@pytest.mark.parametrize(
    ("block", "headers"),
    [
        ([], {}),
        ({"customer": 1}, {}),
        ({"customer_id": True}, {}),
        ({"customer_id": 1.5}, {}),
        ({"customer_id": ""}, {}),
        ({"customer_id": "x" * 513}, {}),
        ({"customer_id": "a\nb"}, {}),
        ({"customer_id": "\ud800"}, {}),
        ({"impact": "30"}, {}),
        ({"impact": 101}, {}),
        ({"impact": float("inf")}, {}),
        ({"enabled": "no"}, {}),
        (None, {"x_customer_id": "c1,c2"}),
        (None, {"x_customer_id": "\xff"}),
        (None, {"x_customer_id": "a\x00b"}),
        (None, {"x_sidecar_impact": "nan"}),
        (None, {"x_sidecar_impact": "a lot"}),
    ],
)
def test_malformed_instructions_are_not_followed(block: Any, headers: dict[str, str]) -> None:
    with pytest.raises(BadInstruction):
        told(block, **headers)


def test_a_header_can_be_the_only_source() -> None:
    settings = SearchSettings(shopper_source="header")
    assert told({"customer_id": "c2"}, settings, x_customer_id="c1").customer_id == "c1"
    assert told({"customer_id": "c2"}, settings).customer_id is None


def test_a_signed_token_can_be_the_only_source() -> None:
    settings = SearchSettings(shopper_source="token", token_secret=SECRET)
    token = make_token("c.1é", SECRET, 1001)
    assert told({"customer_id": "c2"}, settings, x_customer_id="c3").customer_id is None
    assert told({"customer_id": "c2"}, settings, x_sidecar_token=token).customer_id == "c.1é"
    for bad in (
        make_token("c1", SECRET, 1000),
        make_token("c1", "another secret...", 2000),
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        token.replace(".1001.", ".9001."),
        "",
        "..",
        "\xe9",
    ):
        with pytest.raises(BadInstruction):
            told(None, settings, x_sidecar_token=bad)
    with pytest.raises(TokenError):
        read_token("x", SECRET, 0)


def test_the_holdout_is_the_same_everywhere_and_of_its_size() -> None:
    settings = SearchSettings(holdout_percent=20)
    held = [is_held_out(str(i), settings) for i in range(5000)]
    assert held == [is_held_out(str(i), settings) for i in range(5000)]
    assert 0.17 < sum(held) / 5000 < 0.23
    other = SearchSettings(holdout_percent=20, holdout_salt="b")
    assert held != [is_held_out(str(i), other) for i in range(5000)]
    # Who is in a small group is in a larger one.
    larger = SearchSettings(holdout_percent=40)
    assert all(is_held_out(str(i), larger) for i in range(5000) if held[i])


MATCH = '{"query":{"match":{"name":"shoe"}}}'


def test_decisions_about_shoppers() -> None:
    shoppers = {
        "c1": shopper(),
        "old": shopper(lives_s=-1),
        "other": shopper(space="elsewhere"),
    }
    world = World(shoppers, fallback_sort='["popularity"]')
    for customer, browse, text in (
        ("c1", ("rewritten", "browse"), ("rewritten", "scored")),
        ("old", ("fallback", "expired"), ("untouched", "expired")),
        ("other", ("fallback", "other_space"), ("untouched", "other_space")),
        ("nobody", ("fallback", "no_vector"), ("untouched", "no_vector")),
        (None, ("fallback", "no_shopper"), ("untouched", "no_shopper")),
    ):
        assert world.plan("{}", customer).decision == browse
        assert world.plan(MATCH, customer).decision == text
    # An explicit order is respected, even if it is the score's.
    assert world.plan('{"sort":["_score"]}', "nobody").decision == ("untouched", "no_vector")
    assert World(shoppers).plan("{}", "nobody").decision == ("untouched", "no_vector")
    quiet = World(shoppers, fallback_sort='["popularity"]', fallback_anonymous=False)
    assert quiet.plan("{}", None).decision == ("untouched", "no_shopper")
    assert quiet.plan("{}", "nobody").decision == ("fallback", "no_vector")
    assert World(shoppers, model=None).plan("{}").decision == ("bypassed", "no_weights")
    assert World(shoppers, fits=False).plan("{}").decision == ("untouched", "mapping")
    assert World(shoppers, holdout_percent=100).plan("{}").decision == ("holdout", "holdout")
    assert world.plan("{}", expression="logs").decision == ("untouched", "index")


def test_a_large_catalogue_is_not_scored_by_script() -> None:
    shoppers = {"c1": shopper()}
    world = World(shoppers, documents=100_001)
    assert world.plan("{}").decision == ("rewritten", "nearest")
    assert world.plan(MATCH).decision == ("rewritten", "scored")
    assert World(shoppers, documents=100_000).plan("{}").decision == ("rewritten", "browse")
    exact = World(shoppers, documents=100_001, formula="cosine")
    assert exact.plan("{}").decision == ("rewritten", "browse")
    for version in ((8, 11), None):
        old = World(shoppers, documents=100_001, version=version)
        assert old.plan("{}").decision == ("untouched", "catalogue_size")


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_a_vector_that_could_not_be_sent_is_none(value: float) -> None:
    broken = replace(shopper(), vector=np.full(384, value, dtype=np.float32))
    assert World({"c1": broken}).plan(MATCH).decision == ("untouched", "no_vector")


def test_nobody_elses_vector_can_be_chosen() -> None:
    world = World({"c1": shopper(1), "c2": shopper(2)}, shopper_source="header")
    body = '{"query":{"match":{"name":"shoe"}},"ext":{"sidecar":{"customer_id":"c2"}}}'
    assert vector_of(world.plan(body)) == vector_of(world.plan(MATCH))
    assert world.lookups == ["c1", "c1"]


def test_the_cache_is_short_and_shared_by_a_page_view() -> None:
    world = World({"c1": shopper()}, shopper_cache_s=60)
    world.plan(MATCH)
    world.plan("{}")
    world.plan("{}", "nobody")
    world.plan(MATCH, "nobody")
    assert world.lookups == ["c1", "nobody"]
