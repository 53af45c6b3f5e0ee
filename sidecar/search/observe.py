"""What the proxy tells about its work; ``sidecar/metrics.py`` counts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sidecar.search.decision import Decision


class Observer:
    """Hears everything and does nothing: the base of those that count."""

    def decided(self, decision: Decision) -> None:
        """A search was answered, and this was done with it."""

    def repaired(self) -> None:
        """A rewritten search failed, and its original did not."""

    def upstream_failed(self, kind: str) -> None:
        """Elasticsearch could not be reached (``unreachable``) or was too slow (``timeout``)."""

    def looked_up(self, outcome: str) -> None:
        """A shopper was looked up: hit, found, unknown, timeout, error, paused, pin_failed."""

    @contextmanager
    def planning(self) -> Iterator[None]:
        """Around the planning of one search."""
        yield
