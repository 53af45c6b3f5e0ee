"""Files to cases: the same rules as live, and one clear line for what cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlglot

from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits, Interaction, merge
from sidecar.contract.timestamps import to_microseconds
from trainer.data import ga4
from trainer.data.cases import find_cases, pad
from trainer.data.clean import canonical_events
from trainer.data.dataset import Dataset
from trainer.data.load import load_dataset
from trainer.data.split import split_by_time
from trainer.errors import DataError

TIMES = [
    "2024-01-31T10:00:00.123456Z",
    "2024-01-31 12:00:00.5+02:00",
    "20240131",
    "2024-01-31",
    "1700000000",
    "1700000000123",
    "1700000000123456",
    "1700000000.5",
]


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def catalogue(folder: Path, ids: str = "1\n2\n3\n4\n") -> Path:
    return write(folder / "products.csv", "product_id\n" + ids)


def csv(
    folder: Path, *rows: str, head: str = "customer_id,product_id,event_name,timestamp"
) -> Path:
    return write(folder / "events.csv", "\n".join([head, *rows]) + "\n")


def test_timestamps_are_read_as_they_are_live(tmp_path: Path) -> None:
    events = csv(tmp_path, *(f"c{i},1,purchase,{t}" for i, t in enumerate(TIMES)))
    data = load_dataset(catalogue(tmp_path), events)
    assert data.at.tolist() == [to_microseconds(t) for t in TIMES]


@pytest.mark.parametrize("number", [1_700_000_000, 1_700_000_000_123, 1_700_000_000_123_456])
def test_numbers_in_json_are_timestamps_too(tmp_path: Path, number: int) -> None:
    row = {"customer_id": 7, "product_id": 2, "event_name": "view_item", "timestamp": number}
    events = write(tmp_path / "events.jsonl", json.dumps(row) + "\n")
    data = load_dataset(catalogue(tmp_path), events)
    assert data.at.tolist() == [to_microseconds(number)]
    assert data.product.tolist() == [1]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Rome"])
def test_every_kind_of_parquet_timestamp(tmp_path: Path, unit: str, zone: str | None) -> None:
    moment = pa.array([1_700_000_000], pa.int64()).cast(pa.timestamp("s"))
    moment = moment.cast(pa.timestamp(unit)).cast(pa.int64()).cast(pa.timestamp(unit, zone))
    columns = {"customer_id": [1], "product_id": [2], "event_name": ["share"], "timestamp": moment}
    pq.write_table(pa.table(columns), tmp_path / "events.parquet")
    data = load_dataset(catalogue(tmp_path), tmp_path / "events.parquet")
    assert data.at.tolist() == [1_700_000_000_000_000]


def test_every_row_that_does_not_count_is_counted(tmp_path: Path) -> None:
    events = csv(
        tmp_path,
        "a,1,purchase,1700000000",
        "a,1,purchase,1700000000",
        ",1,purchase,1700000000",
        "a,1,unheard_of,1700000000",
        "a,1,refund,1700000000",
        "a,1,purchase,yesterday",
        "a,1,purchase,4000000000",
        "a,99,purchase,1700000000",
    )
    data = load_dataset(catalogue(tmp_path), events)
    assert data.dropped == {
        "no_id": 1,
        "unknown_event": 1,
        "ignored_event": 1,
        "bad_timestamp": 1,
        "future_timestamp": 1,
        "unknown_product": 1,
        "duplicate": 1,
    }
    assert len(data.at) == 1
    assert len(data.warnings) == 8  # and the products without a text


def test_a_ga4_export_is_catalogue_and_events(tmp_path: Path) -> None:
    def event(name: str, micros: int, *items: str) -> str:
        listed = [{"item_id": i, "item_name": f"name {i}", "price": 2.5} for i in items]
        return json.dumps(
            {
                "event_timestamp": micros,
                "event_name": name,
                "user_pseudo_id": "u.1",
                "items": listed,
            }
        )

    at = 1_700_000_000_000_000
    lines = [
        event("add_to_cart", at + 5, "x"),
        event("view_item_list", at, "x", "y"),
        event("purchase", at + 9, "x", "y"),
        event("purchase", at + 9, "x", "y"),
        event("view_item", at + 1, "y"),
    ]
    write(tmp_path / "events_20240101.jsonl", "\n".join(lines) + "\n")
    pattern = str(tmp_path / "events_*")
    data = load_dataset(pattern, pattern)
    assert sorted(data.catalogue.texts) == ["name x", "name y"]
    named = [
        (data.vocabulary.names[e], data.catalogue.ids[p])
        for e, p in zip(data.event, data.product, strict=True)
    ]
    assert named == [
        ("product_viewed", "y"),
        ("product_added_to_cart", "x"),
        ("product_purchased", "x"),
        ("product_purchased", "y"),
    ]
    assert data.dropped == {"ignored_event": 2, "duplicate": 2}


EXPORT = {
    "event_timestamp": "int64",
    "event_name": "string",
    "user_id": "string",
    "user_pseudo_id": "string",
    "items": "array<struct<item_id: string, item_name: string, item_category: string, price: float64>>",
}
OWN = {"customer_id": "int64", "product_id": "float64", "event_name": "string"}


@pytest.mark.parametrize("dialect", ["duckdb", "bigquery", "databricks"])
@pytest.mark.parametrize(
    "columns",
    [
        EXPORT,
        OWN | {"timestamp": "string", "event_id": "string"},
        OWN | {"timestamp": "int64"},
        OWN | {"timestamp": "timestamp('UTC')"},
        OWN | {"timestamp": "date"},
    ],
    ids=["export", "text", "number", "moment", "day"],
)
def test_the_same_expressions_are_sql_for_bigquery_and_spark(
    columns: dict[str, str], dialect: str
) -> None:
    table = ibis.table(columns, name="events")
    expressions = [canonical_events(table, "events", EventVocabulary(), now=0)]
    if ga4.is_ga4(table):
        expressions.append(ga4.products(table, "events"))
    for one in expressions:
        parsed = sqlglot.parse_one(str(ibis.to_sql(one, dialect=dialect)), read=dialect)
        assert parsed.named_selects == list(one.columns)


def test_late_rows_and_items_that_are_not_set(tmp_path: Path) -> None:
    def row(name: str, micros: int, item: str) -> str:
        listed = [{"item_id": item, "item_name": "(not set)", "item_category": "shoes"}]
        found = {"event_timestamp": micros, "event_name": name, "items": listed}
        return json.dumps(found | {"user_id": None, "user_pseudo_id": "u.1"}) + "\n"

    at = 1_700_000_000_000_000
    write(tmp_path / "events_20231114.jsonl", row("view_item", at + 7, "b"))
    # Of the day before, in the next day's table; and once more there.
    late = (
        row("view_item", at, "a") + row("view_item", at + 7, "b") + row("purchase", at, "(not set)")
    )
    write(tmp_path / "events_20231115.jsonl", late)
    data = load_dataset(str(tmp_path / "events_*"), str(tmp_path / "events_*"))
    assert [data.catalogue.ids[p] for p in data.product] == ["a", "b"]
    assert list(data.catalogue.texts) == ["shoes", "shoes"]
    assert data.dropped == {"duplicate": 1, "no_id": 1}


def test_histories_are_those_of_the_contract() -> None:
    rng = np.random.default_rng(3)
    limits = HistoryLimits(4, 10)
    data = random_dataset(rng, 400)
    cases = find_cases(data, limits)
    assert len(cases) > 50
    histories = pad(data, cases, limits.max_interactions)
    for row, target in enumerate(cases.target):
        mine = range(int(np.searchsorted(data.customer, data.customer[target])), target)
        live = merge(
            [Interaction(int(data.at[i]), f"{i:06}", str(data.product[i]), "x", 0) for i in mine],
            limits=limits,
        )
        length = histories.lengths[row]
        assert [str(p) for p in histories.products[row, :length]] == [i.product_id for i in live]
        ages = [(live[-1].occurred_at - i.occurred_at) / 3.6e9 for i in live]
        assert np.allclose(histories.ages[row, :length], ages)
        assert str(data.product[target]) not in {i.product_id for i in live}


def random_dataset(rng: np.random.Generator, n: int) -> Dataset:
    from trainer.data.dataset import Catalogue, sort_events

    columns = {
        "customer": rng.integers(0, 12, n).astype(np.int32),
        "product": rng.integers(0, 30, n).astype(np.int32),
        "event": np.zeros(n, np.int32),
        "at": rng.integers(0, 200, n).astype(np.int64) * 3_600_000_000,
    }
    ordered, _ = sort_events(columns)
    ids = tuple(map(str, range(30)))
    return Dataset(
        "random",
        Catalogue(ids, ids, np.zeros(30, np.int32)),
        EventVocabulary(),
        customer=ordered["customer"],
        product=ordered["product"],
        event=ordered["event"],
        at=ordered["at"],
    )


def test_the_split_is_by_time() -> None:
    data = random_dataset(np.random.default_rng(0), 3000)
    split = split_by_time(data, HistoryLimits(5, 24))
    ends = [data.at[c.target] for c in (split.train, split.validation, split.test)]
    assert ends[0].max() < split.cuts[0] <= ends[1].min()
    assert ends[1].max() < split.cuts[1] <= ends[2].min()


def test_event_ids_order_a_moment_and_a_sorted_file_is_warned_of(tmp_path: Path) -> None:
    rows = [f"a,{p},purchase,1700000000" for p in (1, 2, 3, 4)]
    data = load_dataset(catalogue(tmp_path), csv(tmp_path, *rows))
    assert "sorted by product_id" in data.warnings[-1]
    named = [f"{r},{k}" for r, k in zip(rows, "dcba", strict=True)]
    head = "customer_id,product_id,event_name,timestamp,event_id"
    data = load_dataset(catalogue(tmp_path), csv(tmp_path, *named, head=head))
    assert data.product.tolist() == [3, 2, 1, 0]


@pytest.mark.parametrize(
    ("rows", "head", "message"),
    [
        (["a,1,purchase"], "customer_id,product_id,event_name", "column timestamp is missing"),
        (["a,9,purchase,1700000000"], None, "no usable event: 1 for products"),
        (["a,1,purchase,x"], None, "1 with a timestamp that has no known form"),
        ([], None, "no usable event"),
    ],
)
def test_bad_files_end_in_one_line(
    tmp_path: Path, rows: list[str], head: str | None, message: str
) -> None:
    events = csv(tmp_path, *rows, head=head or "customer_id,product_id,event_name,timestamp")
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(catalogue(tmp_path), events)
    assert "\n" not in str(caught.value)


def test_a_missing_and_a_broken_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        load_dataset(tmp_path / "none.parquet", tmp_path / "none.csv")
    broken = write(tmp_path / "broken.parquet", "this is no parquet")
    with pytest.raises(DataError, match="not readable"):
        load_dataset(broken, broken)


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    events = csv(tmp_path, *(f"a,{p},purchase,{1700000000 + p}" for p in (1, 2, 3)))
    with pytest.raises(DataError, match="2 examples: expected shoppers"):
        split_by_time(load_dataset(catalogue(tmp_path), events))


def test_the_line_says_which_window_would_do(tmp_path: Path) -> None:
    day = 86_400
    rows = [
        f"c{c},{1 + visit % 4},purchase,{1_600_000_000 + c * day + visit * 9 * day}"
        for c in range(30)
        for visit in range(5)
    ]
    data = load_dataset(catalogue(tmp_path), csv(tmp_path, *rows))
    with pytest.raises(DataError, match=r"9\.0 days apart or more: train with --window-hours 216"):
        split_by_time(data)
    split = split_by_time(data, HistoryLimits(20, 217))
    assert len(split.train) > 10


def test_no_window_helps_where_nobody_comes_back(tmp_path: Path) -> None:
    rows = [f"c{c},{1 + c % 4},purchase,{1_600_000_000 + c}" for c in range(50)]
    data = load_dataset(catalogue(tmp_path), csv(tmp_path, *rows))
    with pytest.raises(DataError, match="no shopper here has events for two different products"):
        split_by_time(data)


def test_few_events_within_the_window_are_warned_of(tmp_path: Path) -> None:
    day = 86_400
    rows = [
        f"c{c},{1 + visit % 4},purchase,{1_600_000_000 + c * day + visit * (9 if c % 10 else 1) * day}"
        for c in range(200)
        for visit in range(5)
    ]
    split = split_by_time(load_dataset(catalogue(tmp_path), csv(tmp_path, *rows)))
    assert any("only 10% of the events come within 48 hours" in note for note in split.warnings)


def test_a_column_of_two_types_in_json(tmp_path: Path) -> None:
    rows = [
        {"customer_id": 7, "product_id": "1", "timestamp": 1_700_000_000},
        {"customer_id": "7", "product_id": 1, "timestamp": "2023-11-14T22:13:21Z"},
        {"customer_id": "x", "product_id": 2, "timestamp": "1700000002"},
    ]
    events = write(
        tmp_path / "events.jsonl",
        "".join(json.dumps(row | {"event_name": "view_item"}) + "\n" for row in rows),
    )
    data = load_dataset(catalogue(tmp_path), events)
    assert data.product.tolist() == [0, 0, 1]
    assert data.customer.tolist() == [0, 0, 1]
    assert (data.at // 1_000_000).tolist() == [1_700_000_000, 1_700_000_001, 1_700_000_002]


def test_a_json_array_is_read_too(tmp_path: Path) -> None:
    row = {"customer_id": 7, "product_id": "1", "event_name": "share", "timestamp": 1_700_000_000}
    data = load_dataset(catalogue(tmp_path), write(tmp_path / "events.json", json.dumps([row])))
    assert data.product.tolist() == [0]


def test_ids_of_another_type_in_the_two_files(tmp_path: Path) -> None:
    def events(ids: pa.Array) -> Path:
        columns = {"customer_id": ["a"] * 4, "product_id": ids, "event_name": ["share"] * 4}
        pq.write_table(
            pa.table(columns | {"timestamp": [1_700_000_000 + i for i in range(4)]}),
            tmp_path / "events.parquet",
        )
        return tmp_path / "events.parquet"

    for kind in (pa.int32(), pa.uint64(), pa.float64(), pa.string(), pa.decimal128(21, 2)):
        ids = pa.array([1, 2, 3, 4]).cast(kind)
        assert load_dataset(catalogue(tmp_path), events(ids)).product.tolist() == [0, 1, 2, 3]
    padded = catalogue(tmp_path, "00001\n00002\n")
    with pytest.raises(DataError, match=r"such as '1': the catalogue has ids like '00001'\)"):
        load_dataset(padded, events(pa.array([1, 2, 3, 4])))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"customer_id,product_id,event_name,timestamp\na,1,share,1,2,3\n",
            "more columns than its",
        ),
        (b"customer_id,product_id,event_name,timestamp\n\xfc,1,share,1\n", "not utf-8"),
        (b"", "column customer_id, product_id, event_name, timestamp is missing"),
        (bytes(range(256)) * 9, "not readable as csv"),
    ],
)
def test_broken_csv_ends_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "events.csv").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_dataset(catalogue(tmp_path), tmp_path / "events.csv")
    assert "\n" not in str(caught.value)


def test_events_of_one_moment_cannot_be_split(tmp_path: Path) -> None:
    rows = [f"c{c},{p},purchase,1700000000" for c in range(10) for p in range(1, 5)]
    with pytest.raises(DataError, match="leaves a part empty .* expected events of different"):
        split_by_time(load_dataset(catalogue(tmp_path), csv(tmp_path, *rows)))


def test_a_data_set_is_named_by_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = tmp_path / "shop of shoes"
    shop.mkdir()
    events = csv(shop, "a,1,purchase,1700000000")
    monkeypatch.chdir(shop)
    for path in (events, Path(events.name), Path("../shop of shoes") / events.name):
        assert load_dataset(catalogue(shop), path).name == "shop of shoes"
