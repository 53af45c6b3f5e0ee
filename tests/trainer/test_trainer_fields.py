"""`trainer vectorize --field`: a mapping that finds nothing must not replace good vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from checkerboard import text_vectors
from elasticsearch import Elasticsearch

from sidecar.contract.weights import F32
from trainer.cli import main
from trainer.vectors import cache

pytestmark = pytest.mark.servers

DOCUMENT = {
    "title": "Boot",
    "brand": {"name": "Aldine"},
    "kinds": [{"name": "Shoes"}, {"name": "Boots"}],
    "tags": [],
    "note": "",
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were embedded so far."""
    found: list[str] = []

    def encode(texts: Sequence[str]) -> F32:
        found.extend(texts)
        return np.asarray(text_vectors(list(texts)), np.float32)

    monkeypatch.setattr(cache, "load_encoder", lambda model: encode)
    return found


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ([], "no product has any of name, merchant, parent_category"),
        (["name=titel"], "field name=titel: no product of "),
        (["name=title", "merchant=brand"], "field merchant=brand: no product of "),
        (["name=title", "labels=tags"], "field labels=tags: no product of "),
        (["name=title", "category=kinds"], "field category=kinds: no product of "),
        (["name=title", "category=note"], "field category=note: no product of "),
    ],
)
def test_what_finds_nothing_is_refused(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    fields: list[str],
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(cache, "load_encoder", lambda model: pytest.fail("nothing to embed"))
    index = f"{unique}-p"
    client.index(index=index, id="1", document=DOCUMENT, refresh=True)
    arguments = [part for field in fields for part in ("--field", field)]
    with pytest.raises(SystemExit) as stop:
        main(["vectorize", "--elasticsearch-url", elasticsearch_url, "--index", index, *arguments])
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert line in said
    assert len(said.splitlines()) == 1
    assert "product_vector" not in client.get(index=index, id="1")["_source"]


def test_a_list_of_objects_gives_its_values(
    client: Elasticsearch, elasticsearch_url: str, unique: str, asked: list[str]
) -> None:
    index = f"{unique}-p"
    client.index(index=index, id="1", document=DOCUMENT, refresh=True)
    arguments = ["--index", index, "--field", "name=title", "--field", "category=kinds.name"]
    main(["vectorize", "--elasticsearch-url", elasticsearch_url, *arguments])
    assert asked == ["Boot | Shoes, Boots"]


def test_the_setting_is_remembered_from_run_to_run(
    client: Elasticsearch,
    elasticsearch_url: str,
    unique: str,
    asked: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SIDECAR_PRODUCT_FIELDS", '{"name": "title", "merchant": "brand.name"}')
    index = f"{unique}-p"
    client.index(index=index, id="1", document=DOCUMENT, refresh=True)
    arguments = ["vectorize", "--elasticsearch-url", elasticsearch_url, "--index", index]
    main(arguments)
    main(arguments)
    assert asked == ["Boot | by Aldine"]
    # An option counts before the setting, for one run.
    main([*arguments, "--field", "merchant=kinds.name"])
    assert asked[1:] == ["Boot | by Shoes, Boots"]
