"""Rows for an index that is only ever added to, written in the background.

Nobody waits for a row: it is put into a bounded queue, and a thread of its own writes batches.
What does not fit is dropped and counted. While Elasticsearch cannot take rows they are kept and
tried again, as long as there is room.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from sidecar.contract.errors import MalformedError, SidecarError
from sidecar.elastic.client import RETRYABLE, errors, listed, reason
from sidecar.elastic.indices import setup_users

log = logging.getLogger(__name__)

#: Makes the rows of one entry, each with its ``_id``; called by the writer.
MakeRows = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]
#: Entries, and bytes of what they hold on to, that may wait.
MOST_ENTRIES = 10_000
MOST_BYTES = 32 << 20
#: Seconds that the writer waits for company before it writes, and entries in one request.
_GATHER_S = 0.5
_BATCH = 500
#: Seconds of the first pause after a fault; pauses double up to the second.
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
#: Seconds for a deletion by query: there may be many rows.
_DELETE_S = 600.0


class BulkLog:
    """An index of rows.

    Parameters
    ----------
    client : Elasticsearch
    index : str
    body : Mapping
        Mappings and settings: the index is created before the first row is written to it.
    count : Callable[[str, int], None]
        Told what became of entries (``dropped``) and rows (``written``, ``duplicate``,
        ``refused``).
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        body: Mapping[str, Any],
        count: Callable[[str, int], None] = lambda outcome, number: None,
    ) -> None:
        self._client = client
        self.index = index
        self._body = body
        self._count = count
        self._waiting: deque[tuple[MakeRows, int]] = deque()
        self._bytes = 0
        self._busy = False
        self._closing = threading.Event()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ready = False
        self._abandoned = False

    def put(self, rows: MakeRows, size: int = 0) -> None:
        """Have rows written soon. Neither waits nor raises.

        Parameters
        ----------
        rows : Callable
            Makes them.
        size : int
            Bytes that it holds on to.
        """
        with self._changed:
            full = len(self._waiting) >= MOST_ENTRIES or self._bytes + size > MOST_BYTES
            if not full and not self._closing.is_set():
                self._waiting.append((rows, size))
                self._bytes += size
                if self._thread is None:
                    # Made at the first row: threads do not survive the fork of a server's workers.
                    self._thread = threading.Thread(target=self._run, daemon=True, name="bulk-log")
                    self._thread.start()
                # The writer sleeps in between: waking it for each row would cost the searches.
                if len(self._waiting) in (1, _BATCH):
                    self._changed.notify_all()
                return
        self._count("dropped", 1)

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything is written; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._busy), timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what waits, for at most so many seconds; what is left then is dropped."""
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
            thread = self._thread
        if thread is None or self.flush(timeout_s):
            return
        with self._changed:
            # The writer counts the batch that it has in hand.
            self._abandoned = True
            left = len(self._waiting)
            self._waiting.clear()
        self._count("dropped", left)
        log.warning("%s: %d entries and the batch in hand could not be written", self.index, left)

    def forget(self, field: str, value: str) -> None:
        """Delete all rows with this value, those that wait here included.

        Raises
        ------
        UnreachableError, RefusedError
        """
        self.flush(2.0)
        self._delete({"term": {field: value}})

    def prune(self, before_ms: int, field: str = "timestamp") -> int:
        """Delete rows from before a moment (milliseconds since 1970); how many there were.

        Raises
        ------
        UnreachableError, RefusedError
        """
        older = {"lt": before_ms, "format": "epoch_millis"}
        return self._delete({"range": {field: older}})

    def _delete(self, query: Mapping[str, Any]) -> int:
        with errors(f"deleting from {self.index}"):
            try:
                # Searchable first: deleting by query finds what a refresh has shown.
                self._client.indices.refresh(index=self.index)
                answer = self._client.options(request_timeout=_DELETE_S).delete_by_query(
                    index=self.index, query=query, conflicts="proceed"
                )
            except NotFoundError:
                return 0  # nothing was ever logged
            except ConflictError:
                log.debug("somebody else is deleting these rows too")
                return 0
        return int(answer.body.get("deleted", 0))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._waiting))
                self._changed.wait_for(self._is_due, _GATHER_S)
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                self._bytes -= sum(size for _, size in batch)
                self._busy = True
            try:
                self._store(self._rows([rows for rows, _ in batch]))
            except Exception:
                log.exception("%s: a batch is lost", self.index)
                self._count("dropped", len(batch))

    def _is_due(self) -> bool:
        return len(self._waiting) >= _BATCH or self._closing.is_set()

    def _rows(self, makers: Sequence[MakeRows]) -> list[tuple[str, bytes]]:
        made = []
        for maker in makers:
            try:
                made += [(name, orjson.dumps(row)) for name, row in maker()]
            except Exception:
                # One entry that cannot be made into rows takes no other with it.
                log.exception("%s: an entry is lost", self.index)
                self._count("refused", 1)
        return made

    def _store(self, rows: list[tuple[str, bytes]]) -> None:
        pause = _PAUSE_S
        while rows:
            if self._abandoned:
                self._count("dropped", len(rows))
                return
            try:
                rows = self._write(rows)
                why = "Elasticsearch is busy"
            except MalformedError as error:
                log.warning("%s: %d rows are lost: %s", self.index, len(rows), error)
                self._count("refused", len(rows))
                return
            except SidecarError as error:
                why = str(error)
            if rows:
                log.warning("%s: %d rows wait: %s", self.index, len(rows), why)
                # Told to stop, there is no time for long pauses.
                if self._closing.wait(pause):
                    time.sleep(0.2)
                pause = min(2 * pause, _LONGEST_PAUSE_S)

    def _write(self, rows: Sequence[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        """Write rows, each once; those come back that Elasticsearch cannot take now."""
        if not self._ready:
            setup_users(self._client, self.index, self._body)
            self._ready = True
        operations: list[Any] = []
        for name, source in rows:
            operations += [orjson.dumps({"create": {"_id": name}}), source]
        with errors(f"writing to {self.index}"):
            answer = self._client.bulk(index=self.index, operations=operations).body
        items = listed(f"writing to {self.index}", answer, "items")
        again: list[tuple[str, bytes]] = []
        outcomes = {"written": 0, "duplicate": 0, "refused": 0}
        for row, item in zip(rows, items, strict=True):
            result = next(iter(item.values()))
            status = result["status"]
            if status in RETRYABLE:
                again.append(row)
                continue
            outcome = "written" if status < 300 else "duplicate" if status == 409 else "refused"
            outcomes[outcome] += 1
            if outcome == "refused":
                log.warning("%s: a row is lost: %s", self.index, reason(result))
        for outcome, number in outcomes.items():
            if number:
                self._count(outcome, number)
        return again
