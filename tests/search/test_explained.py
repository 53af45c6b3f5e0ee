"""``ext.sidecar.explain``: what is added to each hit, and that nothing else changes."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.errors import UnreachableError
from sidecar.search.decision import Decision
from sidecar.search.explained import FIELD, MOST_HITS, Explanations
from sidecar.search.planned import Plan
from sidecar.search.proxy import Proxy

from .front import MATCH, Front, refuse_rewritten
from .stub import HITS, answer
from .wsgi import Got, call

EXPLAIN = MATCH[:-1] + ',"ext":{"sidecar":{"explain":true}}}'
WHY = {"similarity": 0.5, "because": [{"in_words": "like é"}]}
RAW = (
    '{"took" : 3, "_shards":{"total":1,"failed":0},"hits":{"total":{"value":3,"relation":"eq"},'
    '"max_score":1.0E-5,"hits":[ {"_index":"products","_id":"a","_score":1.50,'
    '"_source":{"n":12345678901234567890}} , {"_id":"b","_score":1,"fields":{"p":[1.0]}},'
    '{"_id":"c","fields":{}},{"_id":"d","fields":{"_sidecar":["theirs"]}},{"_score":1} ]}}'
)
PART = '{"similarity":0.5,"because":[{"in_words":"like \\u00e9"}]}'
GOLDEN = (
    RAW.replace("567890}}", f'567890}},"fields":{{"_sidecar":[{PART}]}}}}')
    .replace('[1.0]}}', f'[1.0],"_sidecar":[{PART}]}}}}')
    .replace('"c","fields":{}', f'"c","fields":{{"_sidecar":[{PART}]}}')
)  # fmt: skip


class Knows:
    """Explains everything, to everybody whose key is not wrong."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.act: Callable[[], None] = lambda: None

    def refusal(self, environ: Mapping[str, Any]) -> str:
        return "key" if environ.get("HTTP_X_API_KEY") == "wrong" else ""

    def __call__(self, plan: Plan, product_ids: Sequence[str]) -> Mapping[str, Any]:
        self.asked.append(product_ids)
        self.act()
        return dict.fromkeys(product_ids, WHY)


@pytest.fixture
def knows() -> Knows:
    return Knows()


@pytest.fixture
def one(front: Callable[..., Front], knows: Knows) -> Front:
    made = front()
    explanations = Explanations(knows, patience_s=5)
    made.proxy = Proxy(made.upstream, made.world.planner, made.metrics, None, explanations)
    made.stub.respond = lambda request: answer(RAW.encode())
    return made


def outcome(got: Got) -> str | None:
    return got.headers.get("x-sidecar-explain")


def test_each_hit_says_why_and_no_other_byte_changes(one: Front) -> None:
    got = one.search(EXPLAIN)
    assert got.body.decode() == GOLDEN
    assert outcome(got) == "done"
    assert got.headers["content-length"] == str(len(got.body))
    assert [hit.get("fields") for hit in got.json()["hits"]["hits"]] == [
        {FIELD: [WHY]},
        {"p": [1.0], FIELD: [WHY]},
        {FIELD: [WHY]},
        {FIELD: ["theirs"]},  # a shop's own field of that name
        None,  # filter_path took its id
    ]


@pytest.mark.parametrize("block", ["", ',"ext":{"sidecar":{"explain":false}}'])
def test_without_the_flag_nothing_is_touched(one: Front, knows: Knows, block: str) -> None:
    got = one.search(MATCH[:-1] + block + "}", x_api_key="theirs", accept_encoding="gzip")
    assert got.body == RAW.encode()
    assert outcome(got) is None
    assert not knows.asked
    # A gateway's own key goes on, and so does the wish for packed answers.
    assert one.stub.requests[0].header("X-Api-Key") == "theirs"
    assert one.stub.requests[0].header("Accept-Encoding") == "gzip"


def test_elasticsearch_sees_neither_key_nor_flag(one: Front) -> None:
    one.search(EXPLAIN, x_api_key="secret", accept_encoding="gzip")
    (sent,) = one.stub.requests
    assert sent.header("X-Api-Key") is None
    assert sent.header("Accept-Encoding") is None
    assert b"explain" not in sent.body


@pytest.mark.parametrize(
    ("uri", "more"),
    [
        ("/logs/_search", ""),
        ("/products/_search", ',"sort":["price"]'),
        ("/products/_search?q=x", ""),
        ("/products/_search", ',"size":"many"'),
    ],
)
def test_the_key_stays_behind_where_there_is_nothing_to_explain(
    one: Front, uri: str, more: str
) -> None:
    got = one.search(EXPLAIN[:-1] + more + "}", uri, x_api_key="secret")
    assert (got.body, outcome(got)) == (RAW.encode(), "not_personalised")
    assert one.stub.requests[0].header("X-Api-Key") is None


def test_who_may_not_see_a_shopper_sees_no_reasons(one: Front, knows: Knows) -> None:
    got = one.search(EXPLAIN, x_api_key="wrong")
    assert got.decision == ("rewritten", "scored")
    assert (got.body, outcome(got)) == (RAW.encode(), "key")
    assert not knows.asked


def test_what_was_not_personalised_is_not_explained(one: Front) -> None:
    assert outcome(one.search(EXPLAIN, x_customer_id="nobody")) == "not_personalised"
    one.stub.respond = refuse_rewritten(lambda: answer({"error": {}}, "400 Bad Request"))
    got = one.search(EXPLAIN)
    assert got.decision == ("bypassed", "rewrite_failed")
    assert (outcome(got), got.json()) == ("not_personalised", HITS)


def test_nobody_waits_long_for_a_reason(one: Front, knows: Knows) -> None:
    explanations = Explanations(knows, patience_s=0.05)
    one.proxy = Proxy(one.upstream, one.world.planner, None, None, explanations)
    knows.act = lambda: time.sleep(1)
    began = time.monotonic()
    got = one.search(EXPLAIN)
    assert time.monotonic() - began < 0.9
    assert (got.status, got.body, outcome(got)) == (200, RAW.encode(), "deadline")


def test_a_fault_leaves_the_answer_as_it_is(one: Front, knows: Knows) -> None:
    def unreachable() -> None:
        raise UnreachableError("down")

    for act in (unreachable, lambda: 1 / 0):
        knows.act = act  # type: ignore[assignment]
        got = one.search(EXPLAIN)
        assert (got.status, got.body, outcome(got)) == (200, RAW.encode(), "failed")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b'{"hits":{"hits":[1]}}', b'{"hits":{"hits":[{"_id":"a","_id":"b"}]}}', b"\xff", b'{"hits":{"hits":', gzip.compress(RAW.encode())]
)  # fmt: skip
def test_an_answer_of_another_form_goes_on_as_it_is(one: Front, body: bytes) -> None:
    one.stub.respond = lambda request: answer(body)
    got = one.search(EXPLAIN)
    assert (got.status, got.body, outcome(got)) == (200, body, "failed")


def test_a_large_answer_is_not_waited_for(one: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.search.explained.LIMIT", 100)
    got = one.search(EXPLAIN)
    assert (got.body, outcome(got)) == (RAW.encode(), "too_large")


def test_at_most_so_many_hits_are_explained(one: Front, knows: Knows) -> None:
    hits = [{"_id": str(i)} for i in range(MOST_HITS + 5)]
    one.stub.respond = lambda request: answer({**HITS, "hits": {"hits": hits}})
    found = one.search(EXPLAIN).json()["hits"]["hits"]
    assert ["fields" in hit for hit in found] == [True] * MOST_HITS + [False] * 5
    assert len(knows.asked[0]) == MOST_HITS


def test_each_search_of_a_request_by_itself(one: Front, knows: Knows) -> None:
    one.stub.respond = lambda request: answer(f'{{"took":1,"responses":[{RAW},{RAW} ]}}'.encode())
    got = one.search(f"{{}}\n{MATCH}\n{{}}\n{EXPLAIN}\n", "/products/_msearch")
    assert got.body.decode() == f'{{"took":1,"responses":[{RAW},{GOLDEN} ]}}'
    assert len(knows.asked) == 1


def test_an_asynchronous_search_that_is_done(one: Front) -> None:
    one.stub.respond = lambda request: answer(f'{{"id":"x","response":{RAW}}}'.encode())
    got = one.search(EXPLAIN, "/products/_async_search")
    assert got.body.decode() == f'{{"id":"x","response":{GOLDEN}}}'


def test_an_answer_that_breaks_off_is_not_made_whole(one: Front) -> None:
    whole = answer(RAW.encode())
    one.stub.respond = lambda request: whole.replace(b"content-length: ", b"content-length: 9")
    one.stub.respond = lambda request: whole[:-20].replace(b"content-length", b"x-nothing")
    got = call(one.proxy, "POST", "/products/_search", EXPLAIN, x_customer_id="c1")
    assert FIELD.encode() not in got.body


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)  # fmt: skip
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
hits = st.lists(
    st.fixed_dictionaries(
        {"_id": st.text(max_size=6)},
        optional={
            "_source": st.dictionaries(st.text(max_size=4), trees, max_size=4),
            "fields": st.dictionaries(st.text(max_size=4), st.lists(leaves), max_size=3),
            "sort": st.lists(leaves),
        },
    ),
    max_size=4,
)


@given(hits, st.sampled_from([None, 1, "\t"]), st.booleans(), st.dictionaries(st.text(max_size=4), trees, max_size=3))  # fmt: skip
def test_whatever_the_hits_only_the_explanation_is_added(
    found: list[dict[str, Any]], indent: Any, is_ascii: bool, more: dict[str, Any]
) -> None:
    more.pop("hits", None)
    more.pop("response", None)
    text = json.dumps({**more, "hits": {"hits": found}}, indent=indent, ensure_ascii=is_ascii)
    plan = Plan(Decision("rewritten", "scored"), explain=True)
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        return
    body, done = Explanations(Knows()).of(plan, {}, lambda size: raw)
    assert (done, body is None) == ("done", False)
    assert body is not None
    answered = json.loads(body)
    for hit, before in zip(answered["hits"]["hits"], found, strict=True):
        assert hit["fields"].pop(FIELD) == [WHY]
        if "fields" not in before:
            assert hit.pop("fields") == {}
    assert answered == json.loads(text)
    # To the byte: what was added, taken out again, leaves what there was.
    part = json.dumps([WHY], separators=(",", ":")).encode()
    for added in (
        b',"fields":{"_sidecar":' + part + b"}",
        b',"_sidecar":' + part,
        b'"_sidecar":' + part,
    ):
        body = body.replace(added, b"")
    assert body == raw
