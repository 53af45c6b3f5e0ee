"""Files of any accepted kind to ibis tables, and how to find a column in them."""

from __future__ import annotations

import glob
import gzip
import re
from collections.abc import Sequence
from pathlib import Path

import ibis
import ibis.expr.datatypes as dt
from ibis.expr.types import Column, StringColumn, Table

from trainer.errors import DataError

#: Suffix to reader. JSON Lines under each of its usual names.
KINDS = {
    ".parquet": "parquet",
    ".csv": "csv",
    ".csv.gz": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".jsonl.gz": "json",
    ".json.gz": "json",
}


def connect(memory: str = "1500MB") -> ibis.BaseBackend:
    """An empty DuckDB in memory, in UTC, that never takes more than ``memory``."""
    backend = ibis.duckdb.connect()
    backend.raw_sql(f"SET memory_limit = '{memory}'")
    backend.raw_sql("SET TimeZone = 'UTC'")
    return backend


def read_table(backend: ibis.BaseBackend, path: str | Path) -> Table:
    """A file, a folder of files or a glob pattern as a table; every CSV column is text.

    Raises
    ------
    DataError
        Nothing there, a kind that is not known, or a file that its reader refuses.
    """
    files = find_files(path)
    kinds = {_kind(name) for name in files}
    if len(kinds) != 1:
        raise DataError(str(path), f"holds files of several kinds ({', '.join(sorted(kinds))})")
    kind = kinds.pop()
    try:
        if kind == "parquet":
            return backend.read_parquet(files, union_by_name=True)
        if kind == "csv":
            # An id like 00123 must stay what it is.
            table = backend.read_csv(files, all_varchar=True, union_by_name=True, header=True)
            for name in files:
                _check_header(name, table)
            return table
        # All of it is looked at: the millionth line may hold an id of another type.
        return backend.read_json(files, format="auto", union_by_name=True, sample_size=-1)
    except DataError:
        raise
    except Exception as error:
        raise DataError(str(path), f"not readable as {kind} ({first_line(error)})") from None


def _check_header(name: str, table: Table) -> None:
    """DuckDB takes a later line for the header when the first has fewer columns than most."""
    with gzip.open(name) if name.lower().endswith(".gz") else open(name, "rb") as file:
        first = file.readline().decode("utf-8-sig", errors="replace")
    names = {part.strip(" \"'\r\n") for part in re.split(r"[,;|\t]", first)}
    if first.strip() and not names & set(table.columns):
        raise DataError(
            name,
            "its lines have more columns than its first line, which is to name them: expected "
            "quotes around text with commas",
        )


def find_files(path: str | Path) -> list[str]:
    """The files behind a path, a folder or a glob pattern, in the order of their names."""
    name = str(path)
    if Path(name).is_dir():
        found = [str(p) for p in sorted(Path(name).iterdir()) if _kind(str(p), strict=False)]
    elif Path(name).is_file():
        found = [name]
    else:
        found = sorted(glob.glob(name))
    if not found:
        raise DataError(name, "no such file: expected Parquet, CSV or JSON Lines")
    return found


def _kind(name: str, strict: bool = True) -> str:
    for suffix, kind in KINDS.items():
        if name.lower().endswith(suffix):
            return kind
    if strict:
        raise DataError(name, f"expected a name that ends in one of {', '.join(KINDS)}")
    return ""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, cut to something that fits a terminal."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    if "CSV Error on Line" in lines[0]:
        # Where, then the line itself, and only then what is wrong with it.
        lines[0] += "".join(f": {line}" for line in lines[2:3])
    return lines[0][:200]


def require(table: Table, names: Sequence[str], where: str) -> None:
    """Raise unless all columns are there, and say which are."""
    missing = [name for name in names if name not in table.columns]
    if missing:
        found = ", ".join(table.columns) or "none"
        raise DataError(where, f"column {', '.join(missing)} is missing (found: {found})")


def text(column: Column) -> StringColumn:
    """Ids and names as text: whole numbers without a fraction, empty text as null."""
    column = _plain(column)
    kind = column.type()
    if isinstance(kind, dt.Floating) or (isinstance(kind, dt.Decimal) and kind.scale):
        # Ids beside missing ones are read as 123.0.
        column = column.try_cast("int64")
    result = column.cast("string") if not isinstance(kind, dt.String) else column
    return result.strip().nullif("")


def _plain(column: Column) -> Column:
    """JSON that is a number in one line and a text in another, as text."""
    if not isinstance(column.type(), dt.JSON):
        return column
    return ibis.coalesce(column.str, column.cast("string"))


def microseconds(column: Column) -> Column:
    """Timestamps in every accepted form to microseconds since 1970 UTC; null where unusable.

    The same forms as :func:`sidecar.contract.timestamps.to_microseconds`, as one expression.
    """
    column = _plain(column)
    kind = column.type()
    if isinstance(kind, (dt.Timestamp, dt.Date)):
        return _from_moment(column)
    if isinstance(kind, dt.Numeric):
        return _from_number(column.cast("float64"), column.try_cast("int64"))
    if isinstance(kind, dt.String):
        trimmed = column.strip()
        compact = trimmed.re_search(r"^\d{8}$")
        dashed = trimmed[0:4] + "-" + trimmed[4:6] + "-" + trimmed[6:8]
        number = compact.ifelse(ibis.null("float64"), trimmed.try_cast("float64"))
        moment = compact.ifelse(dashed, trimmed).try_cast("timestamp('UTC')")
        return ibis.coalesce(_from_number(number, trimmed.try_cast("int64")), _from_moment(moment))
    # Kinds that ibis does not know by name, such as pandas' nanoseconds with a zone.
    return _from_moment(column.cast("timestamp('UTC')"))


def _from_number(number: Column, whole: Column) -> Column:
    """Epoch seconds, milliseconds or microseconds, told apart by their size."""
    return ibis.cases(
        (number.isnull() | (number < 0) | (number >= 2.6e17), ibis.null("int64")),
        (number < 1e11, (number * 1e6).round().cast("int64")),
        (number < 1e14, (number * 1e3).round().cast("int64")),
        else_=ibis.coalesce(whole, number.cast("int64")),
    )


def _from_moment(column: Column) -> Column:
    # The session's zone is UTC: a moment with an offset becomes the same moment without one. Counted
    # from 1970, because not every dialect (Spark's) can take the microseconds out of a moment.
    return column.cast("timestamp").delta(ibis.timestamp("1970-01-01 00:00:00"), unit="microsecond")
