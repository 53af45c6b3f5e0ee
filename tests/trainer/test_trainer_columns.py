"""Files whose columns have a shop's own names: said once, in a setting, or for one run."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sidecar.contract.errors import ConfigError
from trainer.cli import main
from trainer.data.fields import SETTING, fields_of
from trainer.data.load import load_dataset

PRODUCTS = [
    {
        "sku": i,
        "title": f"Boot {i}",
        "brand": {"name": "Aldine"},
        "attributes": {"colour": "red"},
        "kinds": [{"name": "Shoes"}, {"name": "Boots"}],
        "pricing": {"amount": 10.5 + i},
        "tags": ["vintage", "warm"],
        "merchant": "our own name for something else",
    }
    for i in range(20)
]
MAPPED = {
    "name": "title",
    "merchant": "brand.name",
    "color": "attributes.colour",
    "category": "kinds.name",
    "price": "pricing.amount",
    "labels": "tags",
}
TEXT = "Boot 3 | by Aldine | Shoes, Boots | red color | budget | vintage, warm"


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    products, events = tmp_path / "products.jsonl", tmp_path / "events.csv"
    products.write_text("".join(json.dumps(row) + "\n" for row in PRODUCTS))
    rows = [
        f"c{i // 5},{i % 20},purchase,{1_600_000_000 + (i // 5) * 86_400 + i}" for i in range(400)
    ]
    events.write_text("customer_id,product_id,event_name,timestamp\n" + "\n".join(rows) + "\n")
    return products, events


def options() -> list[str]:
    pairs = MAPPED | {"product_id": "sku"}
    return [part for ours, path in pairs.items() for part in ("--field", f"{ours}={path}")]


def test_columns_and_fields_of_objects_are_found(files: tuple[Path, Path]) -> None:
    where = fields_of(options()[1::2])
    data = load_dataset(*files, fields=where)
    assert data.catalogue.ids[3] == "3"
    assert data.catalogue.texts[3] == TEXT
    assert data.catalogue.labels[3] == ("vintage", "warm")


def test_the_setting_holds_for_files_that_have_such_columns(
    files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, json.dumps(MAPPED))
    data = load_dataset(*files, fields=fields_of(["product_id=sku"]))
    assert data.catalogue.texts[3] == TEXT
    # A file of our own columns beside an index of others.
    ours = tmp_path / "ours.csv"
    ours.write_text("product_id,name\n" + "".join(f"{i},Shoe {i}\n" for i in range(20)))
    assert load_dataset(ours, files[1], fields=fields_of([])).catalogue.texts[3] == "Shoe 3"


def test_a_data_set_that_is_written_has_our_columns(
    files: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    products, events = map(str, files)
    main(["dataset", "--products", products, "--events", events, *options(), "--out", str(out)])
    row = pq.read_table(out / "products.parquet").to_pylist()[3]
    assert row == {
        "product_id": "3", "name": "Boot 3", "merchant": "Aldine", "color": "red",
        "category": "Shoes, Boots", "price": 13.5, "labels": ["vintage", "warm"],
    }  # fmt: skip
    again = load_dataset(out / "products.parquet", out / "events.parquet")
    assert again.catalogue.texts[3] == TEXT


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("name=titel", "--field name='titel': expected one of the columns sku, title"),
        ("titel=name", "--field titel=name: expected OURS=PATH, with one of name, merchant"),
        ("name", "--field name: expected OURS=PATH"),
        ("product_id=id", "column id is missing"),
        ("merchant=brand", "field merchant=brand: no product of "),
        ("merchant=brand.nam", "field merchant=brand.nam: no product of "),
    ],
)
def test_a_mistake_is_named(
    files: tuple[Path, Path], option: str, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    products, events = map(str, files)
    with pytest.raises(SystemExit):
        main(["dataset", "--products", products, "--events", events, *options(), "--field", option])
    said = capsys.readouterr().err
    assert line in said, said


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("[]", SETTING),
        ("{", SETTING),
        ("[" * 100_000, SETTING),
        ('{"title": "name"}', f"{SETTING}.title"),
        ('{"name": ["title"]}', f"{SETTING}.name"),
        ('{"name": " "}', f"{SETTING}.name"),
    ],
)
def test_a_setting_that_makes_no_sense_is_named(
    value: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SETTING, value)
    with pytest.raises(ConfigError) as error:
        fields_of([])
    assert error.value.key == key
