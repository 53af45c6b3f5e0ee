"""What a data set holds, in counts, and the data set as files of our own columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sidecar.contract.files import replacing
from sidecar.contract.product_text import DEFAULT_FIELDS
from sidecar.contract.timestamps import to_iso
from trainer.data import ga4
from trainer.data.dataset import Dataset
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


def write_dataset(folder: Path, products: str | Path, data: Dataset, found: dict[str, Any]) -> None:
    """``products.parquet``, ``events.parquet`` and ``dataset.json``, each written atomically.

    Raises
    ------
    OSError
    """
    backend = connect()
    table = read_table(backend, products)
    if ga4.is_ga4(table):
        table = ga4.products(table, str(products))
    names = [n for n in (*DEFAULT_FIELDS, "created_at") if n in table.columns]
    chosen = table.select(product_id=text(table.product_id), **{n: table[n] for n in names})
    _write(folder / "products.parquet", chosen.to_pyarrow())
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


def _write(path: Path, table: pa.Table) -> None:
    with replacing(path) as partial:
        pq.write_table(table, partial)
