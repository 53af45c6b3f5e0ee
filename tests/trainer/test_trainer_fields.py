"""`trainer vectorize --field`: a mapping that finds nothing must not replace good vectors."""

from __future__ import annotations

import pytest
from elasticsearch import Elasticsearch

from trainer.cli import main
from trainer.vectors import cache

pytestmark = pytest.mark.servers

DOCUMENT = {"title": "Boot", "brand": {"name": "Aldine"}, "tags": [], "note": ""}


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ([], "no product has any of name, merchant, parent_category"),
        (["name=titel"], "--field name=titel: no product of "),
        (["name=title", "merchant=brand"], "--field merchant=brand: no product of "),
        (["name=title", "labels=tags"], "--field labels=tags: no product of "),
        (["name=title", "category=note"], "--field category=note: no product of "),
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
