"""What a data set holds, in counts, and the data set as files of our own columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sidecar.contract.files import replacing
from sidecar.contract.product_text import parse_price
from sidecar.contract.timestamps import to_iso
from trainer.data import ga4
from trainer.data.dataset import Dataset
from trainer.data.fields import Fields, read
from trainer.data.load import OURS
from trainer.data.split import Split
from trainer.data.tables import connect, read_table, text


def describe(data: Dataset, split: Split) -> dict[str, Any]:
    """Counts, the time split, and everything that a person should be warned of."""
    per_customer = np.bincount(data.customer)
    per_customer = per_customer[per_customer > 0]
    single = int((per_customer == 1).sum())
    silent = len(data.catalogue) - len(np.unique(data.product))
    warnings = [*data.warnings, *split.warnings]
    if single > len(per_customer) // 2:
        warnings.append(f"{single:,} of {len(per_customer):,} shoppers have one event only")
    counts = np.bincount(data.event, minlength=len(data.vocabulary.names))
    missing = [n for n, c in zip(data.vocabulary.names, counts, strict=True) if not c]
    if missing:
        warnings.append(f"no event of type {', '.join(missing)}: their weights stay as configured")
    return {
        "name": data.name,
        "products": len(data.catalogue),
        "products_without_events": silent,
        "shoppers": len(per_customer),
        "shoppers_with_one_event": single,
        "events": len(data.at),
        "events_dropped": sum(data.dropped.values()),
        "examples_train": len(split.train),
        "examples_validation": len(split.validation),
        "examples_test": len(split.test),
        "first_event": to_iso(int(data.at.min())),
        "validation_from": to_iso(split.cuts[0]),
        "test_from": to_iso(split.cuts[1]),
        "last_event": to_iso(int(data.at.max())),
        "events_by_type": {
            n: int(c) for n, c in zip(data.vocabulary.names, counts, strict=True) if c
        },
        "dropped": dict(data.dropped),
        "fingerprint": data.fingerprint,
        "warnings": warnings,
    }


def write_dataset(
    folder: Path, products: str | Path, data: Dataset, found: dict[str, Any], fields: Fields = OURS
) -> None:
    """``products.parquet``, ``events.parquet`` and ``dataset.json``, each written atomically.

    Raises
    ------
    OSError
    """
    backend = connect()
    table = read_table(backend, products)
    if ga4.is_ga4(table):
        table, fields = ga4.products(table, str(products)), OURS
    paths = fields.columns(table.columns)
    same = [n for n in (*paths, "created_at") if paths.get(n, n) == n and n in table.columns]
    chosen = table.select(product_id=text(table[fields.product_id]), **{n: table[n] for n in same})
    made = chosen.to_pyarrow()
    for name in paths.keys() - set(same):
        head = paths[name] if paths[name] in table.columns else paths[name].partition(".")[0]
        rows = table.select(head).to_pyarrow().to_pylist()
        made = made.append_column(name, _column(name, rows, paths[name]))
    _write(folder / "products.parquet", made)
    backend.disconnect()
    ids = pa.array(list(data.catalogue.ids))
    events = pa.table(
        {
            "customer_id": pa.array(data.customer).cast(pa.string()),
            "product_id": ids.take(pa.array(data.product)),
            "event_name": pa.array(list(data.vocabulary.names)).take(pa.array(data.event)),
            "timestamp": pa.array(data.at, pa.timestamp("us", tz="UTC")),
        }
    )
    # Numbers instead of the shop's own customer ids: a training file needs no names.
    _write(folder / "events.parquet", events.sort_by("timestamp"))
    with replacing(folder / "dataset.json") as partial:
        partial.write_text(json.dumps(found, indent=2) + "\n")


def _column(name: str, rows: Sequence[Mapping[str, Any]], path: str) -> pa.Array:
    values = [read(row, {name: path}).get(name) for row in rows]
    if name == "price":
        return pa.array([parse_price(value) for value in values], pa.float64())
    if name == "labels" and any(isinstance(value, list) for value in values):
        return pa.array([value if isinstance(value, list) else [] for value in values])
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _write(path: Path, table: pa.Table) -> None:
    with replacing(path) as partial:
        pq.write_table(table, partial)
