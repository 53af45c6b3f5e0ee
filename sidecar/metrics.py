"""What is counted of searches and weights, for Prometheus; the registry is an argument.

Labels have few, fixed values: never an id, never a path.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from sidecar.search.decision import Decision
from sidecar.search.observe import Observer

access = logging.getLogger("sidecar.access")

#: Seconds. The proxy's own part is to stay below a millisecond.
_ADDED = (0.00025, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.25, 1.0)
_UPSTREAM = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 30.0)


class SearchMetrics(Observer):
    """Counts what the proxy tells, and writes the access log.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Its own where none is given.
    access_log : bool
        One line a request to the logger ``sidecar.access``: which API, status, what was done
        and how long it took. Neither path nor shopper are in it.
    """

    def __init__(self, registry: CollectorRegistry | None = None, access_log: bool = False) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self._access_log = access_log
        self.requests = Counter(
            "sidecar_http_requests",
            "Requests for Elasticsearch's API, by API and status class",
            ["api", "status"],
            registry=self.registry,
        )
        self.searches = Counter(
            "sidecar_searches",
            "Searches by what was done with them, and why",
            ["action", "reason"],
            registry=self.registry,
        )
        self.added = Histogram(
            "sidecar_added_seconds",
            "What the proxy adds to a request, without Elasticsearch's own time",
            buckets=_ADDED,
            registry=self.registry,
        )
        self.upstream = Histogram(
            "sidecar_upstream_seconds",
            "Elasticsearch's time, to the head of its answer",
            buckets=_UPSTREAM,
            registry=self.registry,
        )
        self.planning = Histogram(
            "sidecar_planning_seconds",
            "Looking up, classifying and rewriting one search request",
            buckets=_ADDED,
            registry=self.registry,
        )
        self.lookups = Counter(
            "sidecar_lookups",
            "Lookups of shoppers, by outcome",
            ["outcome"],
            registry=self.registry,
        )
        self.repairs = Counter(
            "sidecar_repaired_searches",
            "Rewritten searches that failed where their original did not",
            registry=self.registry,
        )
        self.upstream_failures = Counter(
            "sidecar_upstream_failures",
            "Requests that Elasticsearch did not answer",
            ["kind"],
            registry=self.registry,
        )
        self.breakers = Gauge(
            "sidecar_open_breakers",
            "Indices that are left alone for a while",
            registry=self.registry,
        )

    def watch_breakers(self, count: Callable[[], int]) -> None:
        """Ask for the number of open breakers whenever metrics are read."""
        self.breakers.set_function(count)

    def answered(
        self,
        api: str,
        status: int,
        decision: Decision | None,
        upstream_s: float,
        added_s: float,
    ) -> None:
        self.requests.labels(api, f"{status // 100}xx").inc()
        self.added.observe(added_s)
        self.upstream.observe(upstream_s)
        if decision is not None:
            self.searches.labels(*decision).inc()
        if self._access_log:
            action, reason = decision or ("-", "-")
            access.info(
                "api=%s status=%d action=%s reason=%s upstream_ms=%.2f added_ms=%.2f",
                api,
                status,
                action,
                reason,
                upstream_s * 1e3,
                added_s * 1e3,
            )

    def planned(self, seconds: float) -> None:
        self.planning.observe(seconds)

    def repaired(self) -> None:
        self.repairs.inc()

    def upstream_failed(self, kind: str) -> None:
        self.upstream_failures.labels(kind).inc()

    def looked_up(self, outcome: str) -> None:
        self.lookups.labels(outcome).inc()


class LogMetrics:
    """What became of the entries of the log of queries and events.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Its own where none is given.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry if registry is not None else CollectorRegistry()
        self.entries = Counter(
            "sidecar_ubi_entries",
            "Entries of the log of queries and events, by what became of them",
            ["log", "outcome"],
            registry=self.registry,
        )

    def counting(self, log: str) -> Callable[[str, int], None]:
        """Counts the outcomes of one of the logs: ``queries`` or ``events``."""
        return lambda outcome, number: self.entries.labels(log, outcome).inc(number)


class WeightsMetrics:
    """Which weights are served, and what became of files that were dropped in.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Its own where none is given.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self._info = Gauge(
            "sidecar_weights_info",
            "1 for the weights that are served, 0 for those that were",
            ["fingerprint"],
            registry=registry,
        )
        self._swaps = Counter("sidecar_weights_swaps", "Swaps of weights", registry=registry)
        self._refused = Counter(
            "sidecar_weights_refused", "Weights files that were refused", registry=registry
        )
        self._served = ""

    def serve(self, fingerprint: str) -> None:
        """These weights are served now."""
        if self._served:
            self._info.labels(self._served).set(0)
        self._info.labels(fingerprint).set(1)
        self._served = fingerprint

    def swapped(self, fingerprint: str) -> None:
        """These weights took the place of others."""
        self._swaps.inc()
        self.serve(fingerprint)

    def refused(self) -> None:
        """A file was refused."""
        self._refused.inc()
