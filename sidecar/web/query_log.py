"""The log of queries as Elasticsearch keeps it."""

from __future__ import annotations

from functools import partial

from sidecar.elastic.bulk_log import BulkLog
from sidecar.search.ports import Answered
from sidecar.search.settings import SearchSettings
from sidecar.search.ubi import UbiSettings, query_rows


class StoredQueries:
    """Notes searches down in the index of queries; see :class:`sidecar.search.ports.QueryLog`.

    Parameters
    ----------
    log : BulkLog
    ubi : UbiSettings
    search : SearchSettings
    """

    def __init__(self, log: BulkLog, ubi: UbiSettings, search: SearchSettings) -> None:
        self._log = log
        self._ubi = ubi
        self._search = search

    def put(self, answered: Answered) -> None:
        """Note one down; the answer is read by the log's own thread."""
        rows = partial(query_rows, answered, self._ubi, self._search)
        self._log.put(rows, len(answered.body or b""))
