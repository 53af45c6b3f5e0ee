"""Which searches get a name, whose it is, and that nothing of it reaches Elasticsearch."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.search.holdout import is_held_out
from sidecar.search.instructions import BadInstruction, read_instructions
from sidecar.search.settings import SearchSettings

from .fakes import World, shopper
from .front import FAILED, MATCH, Front, is_rewritten, refuse_rewritten
from .stub import HITS, answer
from .wsgi import Got

ID = "x-sidecar-query-id"
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def with_block(block: str, body: str = MATCH) -> str:
    return f'{body[:-1]},"ext":{{"sidecar":{block}}}}}'


def test_every_search_of_a_named_shopper_that_could_be_personalised_has_one(
    front: Callable[..., Front],
) -> None:
    one = front(fallback_sort='["popularity"]', index_impact={"quiet*": 0}, product_indices=("products", "quiet"))  # fmt: skip
    answers: dict[str, Got] = {
        "rewritten": one.search(),
        "fallback": one.search("{}", x_customer_id="nobody"),
        "no_vector": one.search(x_customer_id="nobody"),
        "impact_zero": one.search(uri="/quiet/_search"),
        "page 2": one.search(MATCH[:-1] + ',"from":10}'),
    }
    names = {reason: got.headers[ID] for reason, got in answers.items()}
    assert len(set(names.values())) == len(names)
    assert all(UUID.fullmatch(name) for name in names.values()), names


def test_the_comparison_group_has_names_too(front: Callable[..., Front]) -> None:
    settings = SearchSettings(holdout_percent=50, holdout_salt="x")
    customer = next(c for c in map(str, range(50)) if is_held_out(c, settings))
    got = front(holdout_percent=50, holdout_salt="x").search(x_customer_id=customer)
    assert got.decision == ("holdout", "holdout")
    assert UUID.fullmatch(got.headers[ID])


@pytest.mark.parametrize(
    ("body", "uri", "customer"),
    [
        (MATCH, "/products/_search", ""),  # nobody to personalise it for
        (MATCH, "/logs/_search", "c1"),  # no index of products
        (MATCH[:-1] + ',"sort":["price"]}', "/products/_search", "c1"),  # no search to personalise
        (with_block('{"enabled":false}'), "/products/_search", "c1"),  # somebody who opted out
        ("", "/products/_count", "c1"),
    ],
)
def test_all_other_requests_have_none(
    front: Callable[..., Front], body: str, uri: str, customer: str
) -> None:
    assert ID not in front().search(body, uri, x_customer_id=customer).headers


def test_a_search_that_is_repaired_keeps_its_name(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = refuse_rewritten(lambda: answer({"error": {}}, "400 Bad Request"))
    got = one.search(with_block('{"query_id":"q1"}'))
    assert got.decision == ("bypassed", "rewrite_failed")
    assert got.headers[ID] == "q1"


def test_a_search_that_misses_its_deadline_has_a_name(front: Callable[..., Front]) -> None:
    got = front(deadline_ms=1e-9 + 1, shopper_cache_s=0).search()
    if got.decision[1] == "deadline":  # a millisecond may do on an idle machine
        assert UUID.fullmatch(got.headers[ID])


@pytest.mark.parametrize(
    ("block", "header", "expected"),
    [
        ('{"query_id":"of the body"}', "", None),  # spaces: not followed
        ('{"query_id":"body"}', "header", "body"),
        ("{}", "header", "header"),
        ("{}", "", "ubi"),
        ('{"query_id":"body"}', "", "body"),
    ],
)
def test_the_apps_own_name_is_kept(
    front: Callable[..., Front], block: str, header: str, expected: str | None
) -> None:
    one = front()
    theirs = '"ubi":{"query_id":"ubi", "client_id" : 1.50}'
    body = f'{MATCH[:-1]},"ext":{{{theirs},"sidecar":{block}}}}}'
    headers = {"x_sidecar_query_id": header} if header else {}
    got = one.search(body, **headers)
    assert got.headers.get(ID) == expected
    (sent,) = one.stub.requests
    # Ours is cut out, theirs is left as it is, to the byte.
    assert b'"ext":{' + theirs.encode() + b"}" in sent.body
    assert b"sidecar" not in sent.body
    assert sent.header("X-Sidecar-Query-Id") is None
    if expected is None:
        assert got.decision == ("untouched", "bad_instruction")


@pytest.mark.parametrize("bad", [1, True, "", "x" * 101, "a b", "é", "a\nb", {}, []])
def test_a_name_must_fit_into_a_header(bad: Any) -> None:
    with pytest.raises(BadInstruction, match="query_id"):
        read_instructions({"query_id": bad}, {}, SearchSettings(), 0)
    # What is wrong with another plugin's block is not ours to say.
    assert read_instructions(None, {}, SearchSettings(), 0, {"query_id": bad}).query_id == ""


def test_the_searches_of_one_request(front: Callable[..., Front]) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"responses": [HITS] * 3})
    own = with_block('{"query_id":"own"}')
    body = f"{{}}\n{MATCH}\n{{}}\n{own}\n{{}}\n{MATCH}\n"
    got = one.search(body, "/products/_msearch")
    base = got.headers[ID]
    assert UUID.fullmatch(base)
    got = one.search(body, "/products/_msearch", x_sidecar_query_id="mine")
    assert got.headers[ID] == "mine"
    sent = one.stub.requests[-1]
    assert b"own" not in sent.body


def test_nothing_in_a_request_of_several_has_a_name_where_nobody_is_named(
    front: Callable[..., Front],
) -> None:
    one = front()
    one.stub.respond = lambda request: answer({"responses": [HITS]})
    got = one.search(f"{{}}\n{MATCH}\n", "/products/_msearch", x_customer_id="")
    assert ID not in got.headers


def test_several_that_are_repaired_together(front: Callable[..., Front]) -> None:
    one = front()
    failed, fine = {"responses": [FAILED, HITS]}, {"responses": [HITS, HITS]}
    one.stub.respond = lambda request: answer(failed if is_rewritten(request) else fine)
    body = f"{{}}\n{MATCH}\n{{}}\n{MATCH}\n"
    got = one.search(body, "/products/_msearch", x_sidecar_query_id="mine")
    assert (got.decision, got.headers[ID]) == (("bypassed", "rewrite_failed"), "mine")


@given(st.text(max_size=120))
def test_whatever_a_header_says_never_makes_another_header(text: str) -> None:
    world = World({"c1": shopper()})
    plan = world.plan(MATCH, environ={"HTTP_X_SIDECAR_QUERY_ID": text})
    assert re.fullmatch(r"[!-~]{0,100}", plan.query_id)
