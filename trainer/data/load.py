"""From the files that a person names to a :class:`~trainer.data.dataset.Dataset`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ibis.expr.types import Table
from numpy.typing import NDArray

from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import MAX_ID_BYTES
from sidecar.contract.product_text import DEFAULT_FIELDS, PriceTiers, parse_price, product_text
from trainer.data import ga4
from trainer.data.clean import PROBLEMS, canonical_events
from trainer.data.fields import ID, Fields, read, require_values
from trainer.data.dataset import Catalogue, Dataset, sort_events
from trainer.data.tables import connect, first_line, read_table, require, text
from trainer.errors import DataError

#: Files with columns of our own names.
OURS = Fields()
#: How the events of one customer and one moment are ordered.
TIES = ("file", "shuffle")


def load_dataset(
    products: str | Path,
    events: str | Path,
    *,
    vocabulary: EventVocabulary | None = None,
    ties: str = "file",
    price_tiers: Mapping[str, tuple[float, float, float]] | None = None,
    seed: int = 0,
    now: int | None = None,
    fields: Fields = OURS,
) -> Dataset:
    """Read, clean and order a shop's products and events.

    Parameters
    ----------
    products, events : str or Path
        Parquet, CSV or JSON Lines: a file, a folder or a pattern. ``products`` may be a GA4
        export as well: the items that it speaks of are then the catalogue.
    vocabulary : EventVocabulary, optional
    ties : str
        ``file``: by ``event_id`` where there is one, as live, else as the file has them;
        ``shuffle``: at random, because the lines of a basket have no order.
    price_tiers : Mapping, optional
        Limits of the weights file that is evaluated; without them the catalogue's quartiles.
    seed : int
    now : int, optional
        Microseconds since 1970 UTC.
    fields : Fields
        Where the products' file keeps what their texts are made of.

    Raises
    ------
    DataError, ConfigError
        In one line: what is wrong with which file.
    """
    vocabulary = vocabulary or EventVocabulary()
    backend = connect()
    try:
        catalogue, notes = load_catalogue(backend, products, price_tiers, fields)
        rows = canonical_events(read_table(backend, events), str(events), vocabulary, now)
        table = _run(rows, str(events))
    finally:
        backend.disconnect()
    counts = Counter[str]()
    for row in pc.value_counts(table["problem"].drop_null()).to_pylist():
        counts[row["values"]] = row["counts"]
    table = table.filter(pc.is_null(table["problem"]))
    place = pc.index_in(table["product_id"], pa.array(catalogue.ids, pa.string()))
    counts["unknown_product"] = place.null_count
    known = pc.is_valid(place)
    other = ""
    if counts["unknown_product"] > len(table) // 2:
        name = table["product_id"].filter(pc.is_null(place))[0]
        other = f" (such as {name.as_py()!r}: the catalogue has ids like {catalogue.ids[0]!r})"
    table, place = table.filter(known), place.filter(known)
    if not len(table):
        raise DataError(str(events), f"no usable event{_reasons(counts)}{other}")
    customer = table["customer_id"].combine_chunks().dictionary_encode()
    event = pc.index_in(table["event"], pa.array(vocabulary.names, pa.string()))
    columns = {
        "customer": customer.indices.to_numpy(zero_copy_only=False).astype(np.int32),
        "product": place.to_numpy().astype(np.int32),
        "event": event.to_numpy().astype(np.int32),
        "at": table["at"].to_numpy().astype(np.int64),
    }
    ordered, counts["duplicate"] = sort_events(columns, _tie(table["event_id"], ties, seed))
    dropped = {key: counts[key] for key in PROBLEMS if counts[key]}
    notes += [
        f"{n:,} events {PROBLEMS[key]}{other if key == 'unknown_product' else ''}"
        for key, n in dropped.items()
    ]
    dataset = Dataset(
        Path(events).absolute().parent.name or Path(events).stem,
        catalogue,
        vocabulary,
        customer=ordered["customer"],
        product=ordered["product"],
        event=ordered["event"],
        at=ordered["at"],
        dropped=dropped,
        shuffled=ties == "shuffle",
    )
    return replace(dataset, warnings=(*notes, *_tie_note(dataset, ties)))


def load_catalogue(
    backend: ibis.BaseBackend,
    path: str | Path,
    price_tiers: Mapping[str, tuple[float, float, float]] | None = None,
    fields: Fields = OURS,
) -> tuple[Catalogue, list[str]]:
    """The products of a file, and what is remarkable about them.

    Raises
    ------
    DataError, ConfigError
    """
    table = read_table(backend, path)
    export = ga4.is_ga4(table)
    if export:
        table = ga4.products(table, str(path))
    key_column = ID if export else fields.product_id
    require(table, (key_column,), str(path))
    paths = DEFAULT_FIELDS if export else fields.columns(table.columns)
    heads = {path if path in table.columns else path.partition(".")[0] for path in paths.values()}
    chosen = table.select(
        product_id_=text(table[key_column]),
        **{head: table[head] for head in sorted(heads & set(table.columns))},
    )
    rows = _run(chosen, str(path)).to_pylist()
    if export:  # groups come in any order, and the catalogue's is part of what a seed makes
        rows.sort(key=lambda row: row["product_id_"])
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        key = row.pop("product_id_")
        if key and len(key.encode()) <= MAX_ID_BYTES:
            found[key] = read(row, paths)
    if not found:
        raise DataError(str(path), "no product with a product_id")
    if not export:
        require_values(list(found.values()), paths, fields.named - {ID}, str(path))
    catalogue, notes = catalogue_of(list(found), list(found.values()), price_tiers)
    if len(found) < len(rows):
        notes.insert(0, f"{len(rows) - len(found):,} product rows without an id, or with one again")
    return catalogue, notes


def catalogue_of(
    ids: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    price_tiers: Mapping[str, tuple[float, float, float]] | None = None,
) -> tuple[Catalogue, list[str]]:
    """Texts, categories and labels of products, and what is remarkable about them.

    Parameters
    ----------
    ids : Sequence[str]
    rows : Sequence[Mapping[str, Any]]
        Their columns, by the names of ``product_text.DEFAULT_FIELDS``.
    price_tiers : Mapping, optional
        Without it the quartiles of these prices.
    """
    tiers = PriceTiers(price_tiers) if price_tiers is not None else _fit_tiers(rows)
    texts = [product_text(row, tiers) for row in rows]
    notes = []
    silent = sum(not t for t in texts)
    if silent:
        notes.append(f"{silent:,} products without any text: their id stands for it")
    texts = [t or key for key, t in zip(ids, texts, strict=True)]
    odd = sum(bool(r.get("price")) and parse_price(r["price"]) is None for r in rows)
    if odd:
        notes.append(f"{odd:,} products with a price that is no number: expected e.g. 12.50")
    doubles = len(texts) - len(set(texts))
    if doubles > len(texts) // 10:
        notes.append(f"{doubles:,} of {len(texts):,} products share their text with another")
    names = [
        " | ".join(str(r.get(k) or "") for k in ("parent_category", "category")) for r in rows
    ]
    return Catalogue(
        ids=tuple(ids),
        texts=texts,
        categories=np.unique(np.array(names), return_inverse=True)[1].astype(np.int32),
        labels=[_labels(r.get("labels")) for r in rows],
        price_tiers={k: (v[0], v[1], v[2]) for k, v in tiers.limits.items()},
    ), notes


def _fit_tiers(rows: Sequence[Mapping[str, Any]]) -> PriceTiers:
    return PriceTiers.fit(
        (str(r["parent_category"]) if r.get("parent_category") else None, parse_price(r.get("price")))
        for r in rows
    )


def _labels(value: object) -> tuple[str, ...]:
    """A list of tags, or tags in one text between commas."""
    parts = value if isinstance(value, (list, tuple)) else str(value or "").split(",")
    return tuple(sorted({str(p).strip().lower() for p in parts if p and str(p).strip()}))


def _run(expression: Table, where: str) -> pa.Table:
    try:
        return expression.to_pyarrow()
    except Exception as error:
        raise DataError(where, f"not readable ({first_line(error)})") from None


def _reasons(counts: Mapping[str, int]) -> str:
    said = [f"{n:,} {PROBLEMS[key]}" for key, n in counts.items() if n]
    return f": {'; '.join(said)}" if said else " (the file is empty)"


def _tie(event_ids: pa.ChunkedArray, ties: str, seed: int) -> NDArray[Any] | None:
    if ties == "shuffle":
        return np.random.default_rng(seed).permutation(len(event_ids))
    if event_ids.null_count:
        return None
    order = np.empty(len(event_ids), np.int64)
    order[pc.array_sort_indices(event_ids.combine_chunks()).to_numpy()] = np.arange(len(order))
    return order


def _tie_note(d: Dataset, ties: str) -> list[str]:
    """A file that is sorted by product inside a basket shows an order that no shopper chose."""
    tied = (d.customer[1:] == d.customer[:-1]) & (d.at[1:] == d.at[:-1])
    if ties != "file" or tied.sum() < max(1, 0.2 * len(tied)):
        return []
    share = f"{tied.mean():.0%} of neighbouring events share a timestamp"
    names = list(d.catalogue.ids)
    numbers = all(name.isdecimal() and len(name) < 18 for name in names)
    ids = np.array([int(name) for name in names]) if numbers else np.unique(names, return_inverse=True)[1]
    step = ids[d.product[1:]] > ids[d.product[:-1]]
    if step[tied].mean() > 0.9 or step[tied].mean() < 0.1:
        return [
            f"{share}, sorted by product_id: figures of whatever reads the order (last product, "
            "item-kNN, the tower) are better than a shopper's own order would allow; compare with "
            "--ties shuffle"
        ]
    return [f"{share}: their order is the file's"]

