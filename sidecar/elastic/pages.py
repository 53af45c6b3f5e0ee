"""The index of pins: what page 1 of a search ranked by, for every replica to find.

Reading is a GET by id, which Elasticsearch answers from what was written last, refreshed or not.
Writing is done in batches by a thread of its own: no search waits for it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from elasticsearch import ConflictError, Elasticsearch, NotFoundError

from sidecar.contract.errors import SidecarError
from sidecar.elastic.client import errors
from sidecar.elastic.indices import setup_users

log = logging.getLogger(__name__)

#: Seconds that the writer waits for company before it writes.
_GATHER_S = 0.02
#: Pins that may wait to be written; beyond it new ones are dropped.
_MOST = 10_000
_BATCH = 500


class Pages:
    """The index of pins.

    Parameters
    ----------
    client : Elasticsearch
    index : str
    body : Mapping
        ``mappings/pages.json``: the index is created when it is first written to.
    ttl_s : float
        Seconds for which a pin counts.
    clock : Callable
        Seconds since 1970-01-01 UTC.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        body: Mapping[str, Any],
        ttl_s: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self.index = index
        self._body = body
        self._ttl_s = ttl_s
        self._clock = clock
        self._waiting: dict[str, dict[str, Any]] = {}
        self._writing: dict[str, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._ready = False
        self._prune_at = 0.0

    def put(self, key: str, owner: str, pin: Mapping[str, Any]) -> None:
        """Keep a pin. Neither waits nor raises; a pin that cannot be written is lost.

        Parameters
        ----------
        key : str
        owner : str
            The shopper: what :meth:`forget` deletes by.
        pin : Mapping
        """
        expires_at = int((self._clock() + self._ttl_s) * 1000)
        document = {"pin": pin, "owner": owner, "expires_at": expires_at}
        with self._changed:
            if len(self._waiting) >= _MOST and key not in self._waiting:
                return
            self._waiting[key] = document
            if self._thread is None:
                # Made at the first pin: threads do not survive the fork of a server's workers.
                self._thread = threading.Thread(target=self._run, daemon=True, name="pages")
                self._thread.start()
            self._changed.notify_all()

    def get(self, key: str, timeout_s: float) -> Mapping[str, Any] | None:
        """A pin that has not expired.

        Raises
        ------
        UnreachableError, RefusedError
        """
        document = self._waiting.get(key) or self._writing.get(key)
        if document is None:
            with errors("reading a page's pin"):
                try:
                    client = self._client.options(request_timeout=timeout_s)
                    document = client.get(index=self.index, id=key).body["_source"]
                except NotFoundError:
                    return None
        if document["expires_at"] <= self._clock() * 1000:
            return None
        pin: Mapping[str, Any] = document["pin"]
        return pin

    def flush(self, timeout_s: float = 10.0) -> bool:
        """Wait until everything is written; whether it was."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout_s)

    def forget(self, owner: str) -> None:
        """Delete a shopper's pins.

        Raises
        ------
        UnreachableError, RefusedError
        """
        self.flush(1.0)
        with errors("deleting a shopper's pins"):
            try:
                # Searchable first: deleting by query finds what a refresh has shown.
                self._client.indices.refresh(index=self.index)
                self._delete({"term": {"owner": owner}})
            except NotFoundError:
                return

    def prune(self) -> None:
        """Delete what has expired.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors("deleting expired pins"):
            try:
                self._delete({"range": {"expires_at": {"lt": int(self._clock() * 1000)}}})
            except NotFoundError:
                return

    def _delete(self, query: Mapping[str, Any]) -> None:
        try:
            self._client.delete_by_query(index=self.index, query=query, conflicts="proceed")
        except ConflictError:
            log.debug("somebody else is deleting pins too")

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._waiting))
            time.sleep(_GATHER_S)
            with self._changed:
                keys = list(self._waiting)[:_BATCH]
                self._writing = {key: self._waiting.pop(key) for key in keys}
            try:
                self._write(self._writing)
            except SidecarError as error:
                log.warning("%d pins are lost: %s", len(keys), error)
            except Exception:
                log.exception("%d pins are lost", len(keys))
            with self._changed:
                self._writing = {}
                self._changed.notify_all()

    def _write(self, pins: Mapping[str, Mapping[str, Any]]) -> None:
        if not self._ready:
            setup_users(self._client, self.index, self._body)
            self._ready = True
        operations: list[Mapping[str, Any]] = []
        for key, document in pins.items():
            operations += [{"index": {"_id": key}}, document]
        with errors("writing pins"):
            self._client.bulk(index=self.index, operations=operations)
        now = self._clock()
        if now >= self._prune_at:
            self._prune_at = now + max(self._ttl_s, 60.0)
            self.prune()
