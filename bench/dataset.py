"""`trainer dataset` on a made-up million: seconds and peak memory of the whole command.

    python bench/dataset.py             every form
    python bench/dataset.py 100000      fewer events

The GA4 export has nested items, microseconds, shoppers with and without a user_id, rows that
arrived days late (in a later day's table) and one row in fifty exported twice.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

PRODUCTS, DAYS = 20_000, 60
DAY = 86_400_000_000
START = 1_700_006_400_000_000  # a midnight, microseconds


def shop(events: int, rng: np.random.Generator) -> dict[str, np.ndarray]:  # type: ignore[type-arg]
    """Columns of so many events: visits of a few clicks, popular products more often."""
    visits = events // 5
    who = rng.integers(0, events // 20, visits)
    begun = rng.integers(0, DAYS * DAY, visits)
    visit = rng.integers(0, visits, events)
    names = np.array(["view_item", "select_item", "add_to_cart", "purchase", "view_item_list"])
    return {
        "customer": who[visit],
        "product": (PRODUCTS * rng.random(events) ** 2).astype(np.int64),
        "name": names[rng.choice(5, events, p=[0.6, 0.2, 0.1, 0.05, 0.05])],
        "at": START + begun[visit] + rng.integers(0, 3_600_000_000, events),
    }


def plain(found: dict[str, np.ndarray], folder: Path, kind: str) -> tuple[str, str]:  # type: ignore[type-arg]
    """Our own columns."""
    table = pa.table(
        {
            "customer_id": pa.array(found["customer"]).cast(pa.string()),
            "product_id": pa.array(found["product"]).cast(pa.string()),
            "event_name": pa.array(found["name"]),
            "timestamp": pa.array(found["at"], pa.timestamp("us", "UTC")),
        }
    )
    ids = np.arange(PRODUCTS)
    products = pa.table(
        {
            "product_id": pa.array(ids).cast(pa.string()),
            "name": [f"product number {i}" for i in ids],
            "category": [f"category {i % 40}" for i in ids],
            "price": (ids % 100).astype(float),
        }
    )
    where = folder / f"products.{kind}", folder / f"events.{kind}"
    for path, one in zip(where, (products, table), strict=True):
        if kind == "parquet":
            pq.write_table(one, path)
        elif kind == "csv":
            pyarrow.csv.write_csv(one, path)
        else:
            with path.open("w") as file:
                for batch in one.to_batches(50_000):
                    file.writelines(
                        json.dumps(row, default=str) + "\n" for row in batch.to_pylist()
                    )
    return str(where[0]), str(where[1])


def ga4(
    found: dict[str, np.ndarray],  # type: ignore[type-arg]
    folder: Path,
    kind: str,
    rng: np.random.Generator,
) -> tuple[str, str]:
    """An export: one table a day, one to three items an event, so that items are the events."""
    rows = len(found["at"]) // 2
    at, name, customer = (found[key][:rows] for key in ("at", "name", "customer"))
    sizes = rng.choice([1, 2, 3], rows, p=[0.3, 0.4, 0.3])
    items = found["product"][np.arange(sizes.sum()) % len(found["product"])]
    kinds = {
        "item_id": pa.array(items).cast(pa.string()),
        "item_name": pa.array(items).cast(pa.string()),
        "item_category": pa.array(items % 40).cast(pa.string()),
        "price": pa.array(items % 100 + 0.5),
    }
    nested = pa.ListArray.from_arrays(
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32),
        pa.StructArray.from_arrays(list(kinds.values()), list(kinds)),
    )
    signed_in = pa.array(customer % 3 == 0)
    table = pa.table(
        {
            "event_timestamp": pa.array(at),
            "event_name": pa.array(name),
            "user_id": pa.compute.if_else(signed_in, pa.array(customer).cast(pa.string()), None),
            "user_pseudo_id": pa.array(customer).cast(pa.string()),
            "items": nested,
        }
    )
    late = rng.choice(4, rows, p=[0.97, 0.01, 0.01, 0.01])
    day = (at - START) // DAY + late
    twice = np.concatenate([np.arange(rows), rng.choice(rows, rows // 50, replace=False)])
    for one in np.unique(day):
        part = table.take(twice[day[twice] == one])
        path = folder / f"events_{one:04}.{kind}"
        if kind == "parquet":
            pq.write_table(part, path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in part.to_pylist()))
    pattern = str(folder / "events_*")
    return pattern, pattern


def run(products: str, events: str, out: Path) -> tuple[float, float, dict[str, int]]:
    """Seconds, peak memory in GiB, and what the command found."""
    program = Path(sys.executable).with_name("trainer")
    command = ["trainer", "dataset", "--products", products, "--events", events, "--json"]
    with tempfile.TemporaryFile() as said:
        started = time.perf_counter()
        # Not subprocess: wait4 gives the peak of this one process.
        child = os.posix_spawn(
            program,
            [*command, "--out", str(out)],
            os.environ,
            file_actions=[(os.POSIX_SPAWN_DUP2, said.fileno(), 1)],
        )
        _, status, used = os.wait4(child, 0)
        seconds = time.perf_counter() - started
        if status:
            raise subprocess.CalledProcessError(status, command)
        said.seek(0)
        return seconds, used.ru_maxrss / 2**20, json.loads(said.read())


def main() -> None:
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    rng = np.random.default_rng(0)
    found = shop(events, rng)
    print("| files | events | dropped | examples | seconds | peak memory, GiB |")
    print("|---|---|---|---|---|---|")
    for form in ("Parquet", "CSV", "JSON Lines", "GA4 export, Parquet", "GA4 export, JSON Lines"):
        kind = {"Parquet": "parquet", "CSV": "csv"}.get(form.split(", ")[-1], "jsonl")
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            names = (
                ga4(found, folder, kind, np.random.default_rng(1))
                if form.startswith("GA4")
                else plain(found, folder, kind)
            )
            seconds, memory, said = run(*names, folder / "out")
        examples = said["examples_train"] + said["examples_validation"] + said["examples_test"]
        print(
            f"| {form} | {said['events']:,} | {said['events_dropped']:,} | {examples:,} "
            f"| {seconds:.1f} | {memory:.2f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
