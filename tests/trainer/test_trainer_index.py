"""`trainer vectorize --index`: only what changed is embedded, and a killed run goes on."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from checkerboard import Files, text_vectors
from elasticsearch import Elasticsearch
from elasticsearch.helpers import bulk

from sidecar import resources
from sidecar.contract.product_text import text_hash
from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.vectors import read_vectors
from sidecar.contract.weights import F32
from sidecar.elastic.coverage import product_coverage
from sidecar.elastic.indices import setup_products
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.vectors import CHUNK, load_vectors
from sidecar.tower.load import load_tower
from trainer.cli import main
from trainer.vectors import cache

pytestmark = pytest.mark.servers


class Counting:
    """An encoder that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> F32:
        self.asked += texts
        return np.asarray(text_vectors(list(texts)), np.float32)


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> Counting:
    made = Counting()
    monkeypatch.setattr(cache, "load_encoder", lambda model: made)
    return made


def fill(client: Elasticsearch, index: str, products: dict[str, dict[str, object]]) -> str:
    """An index of a shop's own making, without any field of ours."""
    if not client.indices.exists(index=index):
        client.indices.create(index=index, mappings={"properties": {"name": {"type": "text"}}})
    actions = [{"_index": index, "_id": i, "_source": source} for i, source in products.items()]
    bulk(client, actions, refresh=True)
    return index


def vectorize(url: str, index: str, *more: str) -> None:
    main(["vectorize", "--elasticsearch-url", url, "--index", index, *more])


def vectors(client: Elasticsearch, index: str, ids: Sequence[str], space: str) -> dict[str, F32]:
    return ProductVectors(client, [index], dimension=384).fetch(ids, space)


def test_a_second_run_embeds_nothing_and_a_third_what_changed(
    client: Elasticsearch, elasticsearch_url: str, unique: str, encoder: Counting
) -> None:
    names = {f"p{i}": f"thing {i}" for i in range(30)}
    index = fill(client, f"{unique}-p", {i: {"name": n, "stock": 1} for i, n in names.items()})
    vectorize(elasticsearch_url, index)
    assert sorted(encoder.asked) == sorted(names.values())
    found = vectors(client, index, list(names), EMBEDDING_MODEL)
    for i, name in names.items():
        assert np.allclose(found[i], text_vectors([name])[0], atol=1e-6)
    stored = client.get(index=index, id="p7", source_excludes=["product_vector"])["_source"]
    assert stored == {
        "name": "thing 7",
        "stock": 1,
        "product_text_hash": text_hash("thing 7"),
        "embedding_model": EMBEDDING_MODEL,
    }
    vectorize(elasticsearch_url, index)
    assert len(encoder.asked) == 30
    # A price or a stock is written: nothing to do. A name: one. A document written anew: one.
    client.update(index=index, id="p3", doc={"stock": 9})
    client.update(index=index, id="p4", doc={"name": "another thing"})
    client.index(index=index, id="p5", document={"name": "thing 5, new"})
    client.delete(index=index, id="p6")
    vectorize(elasticsearch_url, index)
    assert sorted(encoder.asked[30:]) == ["another thing", "thing 5, new"]
    assert product_coverage(client, [index]).with_vector == 29


def test_a_hash_without_its_vector_counts_for_nothing(
    client: Elasticsearch, elasticsearch_url: str, unique: str, encoder: Counting
) -> None:
    index = fill(client, f"{unique}-p", {"p1": {"name": "one"}, "p2": {"name": "two"}})
    vectorize(elasticsearch_url, index)
    # What an app does that reads a document, changes it and writes it back where the server
    # leaves vectors out of what is read.
    source = client.get(index=index, id="p1", source_excludes=["product_vector"])["_source"]
    client.index(index=index, id="p1", document=source)
    vectorize(elasticsearch_url, index)
    assert encoder.asked[2:] == ["one"]


def test_the_index_s_own_field_names(
    client: Elasticsearch, elasticsearch_url: str, unique: str, encoder: Counting
) -> None:
    document = {"title": "Boot", "attributes": {"colour": "Red"}, "tags": ["vintage", "worn"]}
    index = fill(client, f"{unique}-p", {"p1": document})
    paths = (
        "--field",
        "name=title",
        "--field",
        "color=attributes.colour",
        "--field",
        "labels=tags",
    )
    vectorize(elasticsearch_url, index, *paths)
    assert encoder.asked == ["Boot | Red color | vintage, worn"]


def test_a_product_tower_is_applied_as_by_setup(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    encoder: Counting,
    weights: Path,
    files: Files,
    tmp_path: Path,
) -> None:
    plain = read_vectors(files.vectors)
    names = {i: {"name": f"thing number {int(i[1:])}"} for i in plain.product_ids}
    one, other = fill(client, f"{unique}-a", names), fill(client, f"{unique}-b", names)
    out = tmp_path / "products.safetensors"
    products = ("--products", str(files.products), "--weights", str(weights))
    main(["vectorize", *products, "--cache", str(files.vectors), "--out", str(out)])
    setup_products(client, [other], resources.mapping("products"))
    load_vectors(client, [other], read_vectors(out))
    vectorize(elasticsearch_url, one, "--weights", str(weights), "--cache", str(files.vectors))
    # The texts were embedded when the weights were trained.
    assert encoder.asked == []
    space = load_tower(weights).weights.product_space
    ours, theirs = (vectors(client, index, list(names), space) for index in (one, other))
    assert ours.keys() == theirs.keys() == names.keys()
    assert all(np.allclose(ours[i], theirs[i], atol=1e-6) for i in names)
    assert not np.allclose(ours["p03"], plain.unit()[3], atol=1e-3)
    # Other weights, the same texts: everything is written, nothing embedded.
    vectorize(elasticsearch_url, one, "--cache", str(files.vectors))
    assert product_coverage(client, [one]).is_of(EMBEDDING_MODEL)
    assert encoder.asked == []


def test_a_file_s_texts_and_what_the_index_lacks(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    encoder: Counting,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    index = fill(client, f"{unique}-p", {"1": {"name": "old"}, "2": {"name": "old"}})
    products = tmp_path / "products.csv"
    products.write_text("product_id,name\n1,new\n3,gone\n")
    vectorize(elasticsearch_url, index, "--products", str(products))
    said = capsys.readouterr().err
    assert encoder.asked == ["new"]
    assert f"warning: 1 products of {products} are not in the index" in said
    assert "1 vectors written" in said
    assert "1 left alone" in said
    assert vectors(client, index, ["1", "2"], EMBEDDING_MODEL).keys() == {"1"}


SLOW = """
    import sys, time
    import numpy as np
    from trainer.vectors import cache

    def slow(texts):
        time.sleep(0.3)
        return np.eye(len(texts), 384, dtype=np.float32) + 0.1

    cache.load_encoder = lambda model: slow
    from trainer.cli import main
    main(sys.argv[1:])
"""


def test_a_killed_run_goes_on_where_it_was(
    client: Elasticsearch, elasticsearch_url: str, unique: str, encoder: Counting
) -> None:
    total = 4000
    index = fill(client, f"{unique}-p", {f"p{i}": {"name": f"n{i}"} for i in range(total)})
    command = ["vectorize", "--elasticsearch-url", elasticsearch_url, "--index", index]
    script = [sys.executable, "-c", textwrap.dedent(SLOW), *command]
    with subprocess.Popen(script, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            client.options(ignore_status=404).indices.refresh(index=index)
            if product_coverage(client, [index]).with_vector >= 600:
                break
            time.sleep(0.05)
        assert process.poll() is None, "it was over before it could be killed"
        process.kill()
    client.indices.refresh(index=index)
    kept = product_coverage(client, [index]).with_vector
    assert 600 <= kept < total
    vectorize(elasticsearch_url, index)
    # The server may still have finished the bulk request that was on its way.
    assert total - kept - CHUNK <= len(encoder.asked) <= total - kept
    assert product_coverage(client, [index]).with_vector == total


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--products", "x.csv"], "expected --index, to write into Elasticsearch, or --out FILE"),
        (["--out", "x.safetensors"], "expected --products FILE, or --index to read the catalogue"),
        (["--elasticsearch-url", "http://127.0.0.1:1", "--out", "x"], "expected --index too"),
        (["--index", "i", "--field", "size=s"], "--field size=s: expected OURS=PATH, with one of"),
        (["--index", "i", "--field", "color="], "--field color=: expected OURS=PATH"),
        (["--index", "i", "--elasticsearch-url", "nonsense"], "expected an address such as"),
        (["--index", "i", "--elasticsearch-url", "http://127.0.0.1:1"], "is not reachable"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["vectorize", *arguments])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert line in said
    assert len(said.splitlines()) == 1


def test_an_index_that_is_not_there_or_empty(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        vectorize(elasticsearch_url, f"{unique}-p")
    assert "there is no index behind" in capsys.readouterr().err
    client.indices.create(index=f"{unique}-p")
    with pytest.raises(SystemExit):
        vectorize(elasticsearch_url, f"{unique}-p")
    assert "no product in the index" in capsys.readouterr().err
