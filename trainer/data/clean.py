"""Events to the ones that count, with a count of those that do not.

Everything here is an ibis expression, so that the same code runs on DuckDB, BigQuery or Spark.
Nothing sorts or joins: on DuckDB the rows keep the order of the file. (``isin`` does join: of more
than a few values DuckDB makes a table.)
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import ibis
from ibis.expr.types import Table

from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import CLOCK_SKEW
from trainer.data import ga4
from trainer.data.tables import microseconds, require, text

#: What can be wrong with an event, in the order in which it is asked.
PROBLEMS: Mapping[str, str] = {
    "no_id": "without a customer or a product",
    "unknown_event": "of a name that is neither in the vocabulary nor mapped",
    "ignored_event": "of a kind that says nothing about taste (ignored)",
    "bad_timestamp": "with a timestamp that has no known form",
    "future_timestamp": "with a timestamp in the future",
    "unknown_product": "for products that the catalogue does not have",
    "duplicate": "that say the same as another",
}

#: Stands for every name that is ignored; a name has no blank in front.
IGNORED = " ignored"


def canonical_events(
    table: Table, where: str, vocabulary: EventVocabulary, now: int | None = None
) -> Table:
    """Canonical columns, and in ``problem`` why a row does not count (null where it does).

    Parameters
    ----------
    table : Table
        ``customer_id, product_id, event_name, timestamp`` and perhaps ``event_id``, or a GA4
        export; other columns are ignored.
    where : str
        The file, for messages.
    vocabulary : EventVocabulary
    now : int, optional
        Microseconds since 1970 UTC; later events are refused, as live.

    Raises
    ------
    DataError
    """
    if ga4.is_ga4(table):
        table = ga4.events(table, where)
    require(table, ("customer_id", "product_id", "event_name", "timestamp"), where)
    limit = (time.time_ns() // 1000 if now is None else now) + CLOCK_SKEW
    names = {name: name for name in vocabulary.names} | dict(vocabulary.aliases)
    known = names | dict.fromkeys(vocabulary.ignored - names.keys(), IGNORED)
    rows = table.select(
        customer_id=text(table.customer_id),
        product_id=text(table.product_id),
        event=text(table.event_name).substitute(known, else_=ibis.null("string")),
        at=microseconds(table.timestamp),
        event_id=text(table.event_id) if "event_id" in table.columns else ibis.null("string"),
    )
    problem = ibis.cases(
        (rows.customer_id.isnull() | rows.product_id.isnull(), "no_id"),
        (rows.event == IGNORED, "ignored_event"),
        (rows.event.isnull(), "unknown_event"),
        (rows["at"].isnull(), "bad_timestamp"),
        (rows["at"] > limit, "future_timestamp"),
        else_=ibis.null("string"),
    )
    return rows.select("customer_id", "product_id", "event", "at", "event_id", problem=problem)
