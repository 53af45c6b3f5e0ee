"""Events of the past through the same code as live ones, with progress and resume."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from sidecar.contract.errors import ConfigError, MessageError, SidecarError
from sidecar.contract.messages import CLOCK_SKEW
from sidecar.contract.timestamps import to_microseconds
from sidecar.updates.backoff import Backoff, pause
from sidecar.updates.envelopes import Received
from sidecar.updates.handler import BatchHandler

BATCH = 500
#: Bytes that are not UTF-8 make their own line invalid, not the whole file.
_KEEP = "surrogateescape"
#: Batches between two notes of where we are.
_NOTE_EVERY = 10


@dataclass
class Backfilled:
    """What a backfill did.

    Parameters
    ----------
    lines : int
        Read so far, those of earlier runs included.
    stored : int
    too_old : int
        Skipped, see ``since``.
    refused : Counter[str]
        By reason.
    reached : int
        When the newest event so far happened; microseconds since 1970-01-01 UTC.
    finished : bool
        ``False`` if it was stopped.
    """

    lines: int = 0
    stored: int = 0
    too_old: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    reached: int = 0
    finished: bool = False


def backfill(
    events: Iterable[str | Mapping[str, Any]],
    handler: BatchHandler,
    *,
    since: int = 0,
    note: Path | None = None,
    name: str = "",
    skip: bool = True,
    stop: threading.Event | None = None,
    progress: Callable[[Backfilled], None] = lambda done: None,
    on_refused: Callable[[int, MessageError], None] = lambda line, error: None,
    clock: Callable[[], float] = time.time,
) -> Backfilled:
    """Store events of the past.

    An event is known by its ``event_id``, or else by what it says: the same line twice, in one
    file or in two runs, is one interaction. It counts as received when it happened, so that a
    shopper who was forgotten later stays forgotten.

    Parameters
    ----------
    events : Iterable[str or Mapping]
        JSON text or its object, each with a ``timestamp``, see :func:`lines`,
        :func:`csv_rows` and :func:`sidecar.elastic.events.events`.
    handler : BatchHandler
    since : int
        Skip events that happened before; microseconds since 1970-01-01 UTC. What is older than
        the history's window by the clock would be expired as soon as it is stored.
    note : Path, optional
        File that notes how far we are; a run that finds it goes on from there, and one that
        finishes removes it.
    name : str
        What the note is about; a note about something else is refused.
    skip : bool
        Whether a run that goes on skips as many lines as the note says: right for a file. An
        index of events is opened at the note's ``reached`` instead, see :func:`noted`.
    stop : threading.Event, optional
    progress : Callable[[Backfilled], None]
    on_refused : Callable[[int, MessageError], None]
        Called with the line's number (from 1) and the reason.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.

    Raises
    ------
    ConfigError
        For a note about something else.
    UnreachableError, RefusedError
        When Elasticsearch stays away, or says no; run it again with the same note.
    """
    stop = stop or threading.Event()
    done = noted(note, name)
    source = iter(events)
    for _ in islice(source, done.lines if skip else 0):
        pass
    batches = 0
    while rows := list(islice(source, BATCH)):
        if stop.is_set():
            _write_note(note, name, done)
            return done
        batch = []
        for row in rows:
            done.lines += 1
            try:
                message = _message(row, clock)
            except MessageError as error:
                done.refused[error.reason] += 1
                on_refused(done.lines, error)
                continue
            done.reached = max(done.reached, message.sent_at)
            if message.sent_at < since:
                done.too_old += 1
            else:
                batch.append((done.lines, message))
        _store(batch, handler, done, on_refused, stop)
        progress(done)
        batches += 1
        if batches % _NOTE_EVERY == 0:
            _write_note(note, name, done)
    done.finished = True
    if note is not None:
        note.unlink(missing_ok=True)
    return done


def _store(
    batch: list[tuple[int, Received]],
    handler: BatchHandler,
    done: Backfilled,
    on_refused: Callable[[int, MessageError], None],
    stop: threading.Event,
) -> None:
    line_of = {message.receipt: line for line, message in batch}
    # One line may stand in the file twice, and is one message.
    left = list({message.receipt: message for _, message in batch}.values())
    backoff = Backoff(0.2, 10.0)
    while left:
        handled = handler.handle(left)
        done.stored += len(handled.stored)
        refused = [*handled.poison]
        refused += [(m, MessageError("refused", reason)) for m, reason in handled.refused]
        for message, error in refused:
            done.refused[error.reason] += 1
            on_refused(line_of[message.receipt], error)
        left = handled.again
        if left and (backoff.faults >= 10 or pause(backoff.next(), stop)):
            raise handled.fault or SidecarError("shoppers that others keep writing")


def _message(row: str | Mapping[str, Any], clock: Callable[[], float]) -> Received:
    if isinstance(row, str):
        try:
            value = json.loads(row)
        except (ValueError, RecursionError) as error:
            raise MessageError("not_json", str(error)[:200]) from None
        if not isinstance(value, dict):
            raise MessageError("wrong_type", "expected one event, an object, in each line")
    else:
        value = row
    if value.get("timestamp") is None:
        raise MessageError("bad_timestamp", "an event of the past needs a timestamp")
    try:
        occurred_at = to_microseconds(value["timestamp"])
    except ValueError as error:
        raise MessageError("bad_timestamp", str(error)) from None
    if occurred_at > clock() * 1e6 + CLOCK_SKEW:
        raise MessageError("future_timestamp", f"timestamp={value['timestamp']!r} is in the future")
    body = json.dumps(value, sort_keys=True, default=str)
    identity = f"backfill-{hashlib.sha256(body.encode()).hexdigest()[:32]}"
    return Received(identity, body, identity, occurred_at, occurred_at)


def lines(path: Path) -> Iterator[str]:
    """Lines of a JSON Lines file, ``.gz`` or not; empty ones are left out.

    Raises
    ------
    ConfigError
        If it cannot be read.
    """
    with _open(path) as file:
        yield from (line for line in file if line.strip())


def csv_rows(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header, ``.gz`` or not; empty cells are left out.

    Raises
    ------
    ConfigError
        If it cannot be read, or has no ``customer_id``, ``event_name`` and ``timestamp``.
    """
    with _open(path) as file:
        reader = csv.DictReader(file)
        missing = {"customer_id", "event_name", "timestamp"} - set(reader.fieldnames or ())
        if missing:
            raise ConfigError("events", str(path), f"the columns {', '.join(sorted(missing))}")
        for row in reader:
            yield {key: value for key, value in row.items() if key and value}


def _open(path: Path) -> io.TextIOBase:
    try:
        if path.suffix == ".gz":
            return gzip.open(path, "rt", encoding="utf-8", errors=_KEEP, newline="")
        return path.open(encoding="utf-8", errors=_KEEP, newline="")
    except OSError as error:
        raise ConfigError("events", str(path), f"a file that can be read ({error})") from None


def noted(note: Path | None, name: str) -> Backfilled:
    """How far an earlier run came.

    Raises
    ------
    ConfigError
        For a note about something else.
    """
    if note is None or not note.exists():
        return Backfilled()
    try:
        raw = json.loads(note.read_text())
        about, counts = raw["name"], raw["refused"]
        done = Backfilled(
            raw["lines"], raw["stored"], raw["too_old"], Counter(counts), raw["reached"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError("note", str(note), "a note of an earlier backfill") from None
    if about != name:
        raise ConfigError("note", str(note), f"a note about {name!r}, it is about {about!r}")
    return done


def _write_note(note: Path | None, name: str, done: Backfilled) -> None:
    """Atomically: a kill between two notes repeats some lines, which changes nothing."""
    if note is None:
        return
    state = {
        "name": name,
        "lines": done.lines,
        "stored": done.stored,
        "too_old": done.too_old,
        "refused": dict(done.refused),
        "reached": done.reached,
    }
    partial = note.with_suffix(note.suffix + ".partial")
    partial.write_text(json.dumps(state))
    os.replace(partial, note)
