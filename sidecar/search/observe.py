"""What the proxy tells about its work; ``sidecar/metrics.py`` counts it."""

from __future__ import annotations

from collections.abc import Callable

from sidecar.search.decision import Decision


class Observer:
    """Hears everything and does nothing: the base of those that count."""

    def answered(
        self,
        api: str,
        status: int,
        decision: Decision | None,
        upstream_s: float,
        added_s: float,
    ) -> None:
        """A request has its answer's head.

        Parameters
        ----------
        api : str
            One of :data:`sidecar.search.target.Api`.
        status : int
        decision : Decision, optional
            What was done; ``None`` for what is no search.
        upstream_s : float
            Seconds that Elasticsearch took.
        added_s : float
            Seconds that the proxy took on top of that.
        """

    def planned(self, seconds: float) -> None:
        """A search was planned: lookup, classifying, rewriting."""

    def repaired(self) -> None:
        """A rewritten search failed, and its original did not."""

    def upstream_failed(self, kind: str) -> None:
        """Elasticsearch could not be reached (``unreachable``) or was too slow (``timeout``)."""

    def looked_up(self, outcome: str) -> None:
        """A shopper was looked up: hit, found, unknown, timeout, error, paused, pin_failed."""

    def watch_breakers(self, count: Callable[[], int]) -> None:
        """How to find out how many breakers are open."""
