"""The order of a file is part of the data: of events of one moment, and of what a seed makes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from sidecar.contract.events import EventVocabulary
from trainer.data.clean import canonical_events
from trainer.data.load import load_dataset
from trainer.data.tables import connect, read_table

ROWS = 200_000
PRODUCTS = 500


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """One basket of everybody's, in no order but the file's."""
    rng = np.random.default_rng(0)
    names = np.array(["view_item", "purchase", "view_cart", "page_view"])
    return pa.table(
        {
            "customer_id": [f"c{i % 40}" for i in range(ROWS)],
            "product_id": [f"p{i}" for i in rng.integers(0, PRODUCTS, ROWS)],
            "event_name": names[rng.integers(0, 4, ROWS)],
            "timestamp": np.full(ROWS, 1_600_000_000),
        }
    )


def written(table: pa.Table, folder: Path, kind: str) -> Path:
    path = folder / f"events.{kind}"
    if kind == "parquet":
        pq.write_table(table, path, row_group_size=5000)
    elif kind == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    return path


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_events_come_as_the_file_has_them(table: pa.Table, tmp_path: Path, kind: str) -> None:
    path = written(table, tmp_path, kind)
    backend = connect()
    backend.raw_sql("SET threads = 8")
    expression = canonical_events(read_table(backend, path), "events", EventVocabulary())
    for _ in range(3):
        found = expression.to_pyarrow()
        assert found["product_id"].equals(table["product_id"])
        assert found["customer_id"].equals(table["customer_id"])


def test_nothing_in_the_plan_loses_the_order(table: pa.Table, tmp_path: Path) -> None:
    """DuckDB keeps the order of rows through everything but joins and groups."""
    backend = connect()
    events = read_table(backend, written(table, tmp_path, "parquet"))
    sql = canonical_events(events, "events", EventVocabulary()).compile()
    plan = str(backend.raw_sql(f"EXPLAIN {sql}").fetchall()).lower()
    assert "parquet" in plan
    assert "join" not in plan
    assert "aggregate" not in plan


def test_the_same_files_are_the_same_data(table: pa.Table, tmp_path: Path) -> None:
    events = written(table, tmp_path, "parquet")
    products = tmp_path / "products.csv"
    products.write_text("product_id\n" + "".join(f"p{i}\n" for i in range(PRODUCTS)))
    assert len({load_dataset(products, events).fingerprint for _ in range(4)}) == 1


def test_a_ga4_catalogue_has_one_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    path = tmp_path / "events.parquet"
    rows = [
        {
            "event_name": "purchase",
            "event_timestamp": 1_600_000_000_000_000 + i,
            "user_pseudo_id": f"u{i % 50}",
            "items": [{"item_id": f"p{rng.integers(0, 3000):04}", "item_name": "thing"}],
        }
        for i in range(20_000)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2500)
    made = [load_dataset(path, path) for _ in range(3)]
    assert list(made[0].catalogue.ids) == sorted(made[0].catalogue.ids)
    assert len({one.fingerprint for one in made}) == 1
