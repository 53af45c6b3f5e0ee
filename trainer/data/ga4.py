"""The BigQuery export of Google Analytics 4 / Firebase: nested events to our two tables.

https://support.google.com/analytics/answer/7029846 describes the columns. Late rows (an event may
arrive up to three days after its day's table was written) and rows that were exported twice need
no care here: events are ordered by their own time and deduplicated by :mod:`trainer.data.clean`.
"""

from __future__ import annotations

import ibis
import ibis.expr.datatypes as dt
from ibis.expr.types import StringColumn, Table

from trainer.data.tables import text
from trainer.errors import DataError

#: Our product column to the field of ``items[]``.
ITEM_FIELDS = {
    "name": "item_name",
    "merchant": "item_brand",
    "parent_category": "item_category",
    "category": "item_category2",
    "sub_category": "item_category3",
    "color": "item_variant",
    "price": "price",
}
#: What Analytics writes where nothing was sent.
NOT_SET = "(not set)"


def is_ga4(table: Table) -> bool:
    """Whether these are the columns of the export, and not our own."""
    return {"event_timestamp", "event_name", "items"} <= set(table.columns)


def events(table: Table, where: str) -> Table:
    """One row for each item of each event: customer_id, product_id, event_name, timestamp.

    Raises
    ------
    DataError
        Without a column that names the shopper.
    """
    _check_items(table, where)
    names = [name for name in ("user_id", "user_pseudo_id") if name in table.columns]
    if not names:
        raise DataError(where, "a GA4 export without user_id and user_pseudo_id")
    flat = table.select(
        customer_id=ibis.coalesce(*(text(table[name]) for name in names)),
        event_name=table.event_name,
        timestamp=table.event_timestamp,
        item=table["items"].unnest(),
    )
    return flat.select("customer_id", "event_name", "timestamp", product_id=_item_id(flat))


def products(table: Table, where: str) -> Table:
    """The items that the events speak of, each with the words that it was last seen with."""
    _check_items(table, where)
    flat = table.select(at=table.event_timestamp, item=table["items"].unnest())
    fields = set(flat.item.type().names)
    columns = {
        ours: flat.item[theirs].cast("string").nullif(NOT_SET).nullif("")
        for ours, theirs in ITEM_FIELDS.items()
        if theirs in fields
    }
    rows = flat.select("at", product_id=_item_id(flat), **columns)
    rows = rows.filter(rows.product_id.notnull())
    return rows.group_by("product_id").agg(**{name: rows[name].argmax(rows["at"]) for name in columns})


def _item_id(flat: Table) -> StringColumn:
    return text(flat.item["item_id"]).nullif(NOT_SET)


def _check_items(table: Table, where: str) -> None:
    kind = table["items"].type()
    if not isinstance(kind, dt.Array) or not isinstance(kind.value_type, dt.Struct):
        raise DataError(where, f"items is of type {kind}: expected a list of records")
    if "item_id" not in kind.value_type.names:
        raise DataError(where, "items have no item_id")
