"""Golden requests: the exact bytes that are sent."""

from __future__ import annotations

import json

import numpy as np
import pytest

from sidecar.contract.schema import Calibration
from sidecar.search.instructions import read_block
from sidecar.search.jsontext import DuplicateKey, Unparsable, parse_object
from sidecar.search.rewrite import Taste, add_sort, personalise, without_block
from sidecar.search.script import encode_vector
from sidecar.search.settings import SearchSettings

TASTE = Taste("[0.5,-0.5]", 0.8, Calibration(0.1, 0.6), "a-model")
SETTINGS = SearchSettings(fallback_sort='[{"popularity":"desc"}]')
SOURCE = (
    "if (!doc.containsKey('product_vector') || doc['product_vector'].empty) "
    "return params.neutral; "
    "if (doc.containsKey('embedding_model') && !doc['embedding_model'].empty "
    "? !doc['embedding_model'].value.equals(params.space) : !params.plain) return params.neutral; "
    "double c = cosineSimilarity(params.v, 'product_vector'); "
    "return 1.0 + params.a * Math.max(0.0, Math.min(1.0, (c - params.lo) / "
    "(params.hi - params.lo)));"
)
PARAMS = '{"v":[0.5,-0.5],"a":0.8,"neutral":1.4,"lo":0.1,"hi":0.6,"space":"a-model","plain":true}'
SCRIPT = f'{{"source":"{SOURCE}","params":{PARAMS}}}'
RESCORE = (
    '"rescore":{"window_size":500,"query":{"rescore_query":{"script_score":'
    '{"query":{"match_all":{}},"script":' + SCRIPT + '}},"score_mode":"multiply"}}'
)


def wrapped(query: str) -> str:
    return f'"query":{{"script_score":{{"query":{query},"script":{SCRIPT}}}}}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"query":{"match_all":{}}}', "{" + wrapped('{"match_all":{}}') + "}"),
        ("{}", "{" + wrapped('{"match_all":{}}') + "}"),
        ('{"size":5}', '{"size":5,' + wrapped('{"match_all":{}}') + "}"),
        # What is not ours stays as it was: spaces, numbers, escapes, key order.
        (
            ' { "size" : 5e0 , "query" : { "range":{"p":{"lt":1.10,"gt":1e2}} } , "x\\u00e9":1 }\n',
            ' { "size" : 5e0 , '
            + wrapped('{ "range":{"p":{"lt":1.10,"gt":1e2}} }')
            + ' , "x\\u00e9":1 }\n',
        ),
        (
            '{"ext":{"sidecar":{}},"query":{"match_all":{}}}',
            "{" + wrapped('{"match_all":{}}') + "}",
        ),
        (
            '{"query":{"match_all":{}},"ext":{"sidecar":{}}}',
            "{" + wrapped('{"match_all":{}}') + "}",
        ),
        ('{"ext":{"sidecar":{}}}', "{" + wrapped('{"match_all":{}}') + "}"),
        (
            '{"ext":{"a":1,"sidecar":{},"b":2}}',
            '{"ext":{"a":1,"b":2},' + wrapped('{"match_all":{}}') + "}",
        ),
    ],
)
def test_browse(body: str, expected: str) -> None:
    parsed = parse_object(body.encode())
    _, edit = read_block(parsed)
    assert personalise(parsed, "browse", TASTE, SETTINGS, edit) == expected


UNNAMED = '{"bool":{"must_not":{"exists":{"field":"embedding_model"}}}}'


@pytest.mark.parametrize(
    ("space", "among"),
    [
        (
            "a-model",
            '{"bool":{"should":[{"term":{"embedding_model":"a-model"}},' + UNNAMED + "]}}",
        ),
        ("a-model+5f0c", '{"term":{"embedding_model":"a-model+5f0c"}}'),
    ],
)
def test_browse_in_a_large_catalogue(space: str, among: str) -> None:
    query = '{"bool":{"filter":{"term":{"c":"x"}}}}'
    body = parse_object(f'{{"query":{query},"size":3}}'.encode())
    found = personalise(body, "nearest", TASTE._replace(product_space=space), SETTINGS)
    assert found == (
        f'{{"query":{{"bool":{{"must":[{query}],"should":[{{"knn":{{"field":"product_vector",'
        f'"query_vector":[0.5,-0.5],"num_candidates":500,'
        f'"filter":{{"bool":{{"filter":[{query},{among}]}}}},"boost":0.8}}}}]}}}}'
        ',"size":3}'
    )


def test_browse_without_a_body() -> None:
    assert personalise(None, "browse", TASTE, SETTINGS) == "{" + wrapped('{"match_all":{}}') + "}"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"query":{"match":{"n":"s"}}}', '{"query":{"match":{"n":"s"}},' + RESCORE + "}"),
        (
            '{"query":{"match":{"n":"s"}},"ext":{"sidecar":{"customer_id":1}},"size":2}',
            '{"query":{"match":{"n":"s"}},"size":2,' + RESCORE + "}",
        ),
        (
            '{"ext":{"sidecar":{}},"knn":{"k":12345678901234567890}}',
            '{"knn":{"k":12345678901234567890},' + RESCORE + "}",
        ),
    ],
)
def test_rescore(body: str, expected: str) -> None:
    parsed = parse_object(body.encode())
    _, edit = read_block(parsed)
    assert personalise(parsed, "rescore", TASTE, SETTINGS, edit) == expected


def test_cosine_is_the_articles_score() -> None:
    body = parse_object(b'{"query":{"match_all":{}}}')
    sent = json.loads(personalise(body, "browse", TASTE, SearchSettings(formula="cosine")))
    script = sent["query"]["script_score"]["script"]
    assert script == {
        "source": "if (!doc.containsKey('product_vector') || doc['product_vector'].empty) "
        "return 1.0; "
        "if (doc.containsKey('embedding_model') && !doc['embedding_model'].empty "
        "? !doc['embedding_model'].value.equals(params.space) : !params.plain) return 1.0; "
        "return cosineSimilarity(params.user_vector, 'product_vector') + 1.0;",
        "params": {"user_vector": [0.5, -0.5], "space": "a-model", "plain": True},
    }


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("{}", '{"sort":[{"popularity":"desc"}],"track_scores":true}'),
        ('{"size":3}', '{"size":3,"sort":[{"popularity":"desc"}],"track_scores":true}'),
        (
            '{"track_scores":false,"ext":{"sidecar":{}}}',
            '{"track_scores":false,"sort":[{"popularity":"desc"}]}',
        ),
    ],
)
def test_fallback_sort(body: str, expected: str) -> None:
    parsed = parse_object(body.encode())
    _, edit = read_block(parsed)
    assert add_sort(parsed, SETTINGS, edit) == expected


def test_fallback_sort_without_a_body() -> None:
    assert add_sort(None, SETTINGS) == '{"sort":[{"popularity":"desc"}],"track_scores":true}'


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ('{"ext":{"sidecar":{}}}', "{}"),
        ('{"ext":{"sidecar":{}},"size":1}', '{"size":1}'),
        ('{"size":1,"ext":{"sidecar":{}}}', '{"size":1}'),
        ('{"a":1 , "ext" : {"sidecar":{}} , "size":1}', '{"a":1 , "size":1}'),
        ('{"ext":{"sidecar":{},"other":{}}}', '{"ext":{"other":{}}}'),
        ('{"ext":{"other":{}}}', '{"ext":{"other":{}}}'),
    ],
)
def test_the_block_is_cut_out(body: str, expected: str) -> None:
    parsed = parse_object(body.encode())
    assert without_block(parsed, read_block(parsed)[1]) == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1,}', b"{'a':1}", b'{"a":NaN}', b"{} x",
        b'{"a":1}{"b":2}', b"\xff{}", b"\xef\xbb\xbf{}", b'{"a":' + b"[" * 100_000, b'{"a":01}',
        b'{"a":' + b"9" * 5000 + b"}", b'{"a":"\n"}', b"{1:2}",
    ],
)  # fmt: skip
def test_unparsable(body: bytes) -> None:
    with pytest.raises(Unparsable):
        parse_object(body)


@pytest.mark.parametrize(
    "body", [b'{"a":1,"a":1}', b'{"q":{"b":[{"c":1,"c":2}]}}', b'{"a":1,"\\u0061":2}']
)
def test_duplicate_keys(body: bytes) -> None:
    with pytest.raises(DuplicateKey):
        parse_object(body)


def test_vectors_keep_every_bit() -> None:
    vector = np.random.default_rng(3).normal(size=384).astype(np.float32)
    assert (np.asarray(json.loads(encode_vector(vector)), dtype=np.float32) == vector).all()
