"""What the update path counts, for Prometheus; the registry is an argument."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_LATENCY = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0, 300.0)


class UpdateMetrics:
    """Counters of the consumer.

    Parameters
    ----------
    registry : CollectorRegistry, optional
        Its own where none is given.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry if registry is not None else CollectorRegistry()
        self.received = Counter(
            "sidecar_messages_received",
            "Messages received from the queue, redeliveries included",
            registry=registry,
        )
        self.finished = Counter(
            "sidecar_messages_finished",
            "Messages that are done: stored, poison, or left to the queue",
            ["outcome"],
            registry=registry,
        )
        self.poison = Counter(
            "sidecar_messages_poison",
            "Messages that can never be stored, by reason",
            ["reason"],
            registry=registry,
        )
        self.interactions = Counter(
            "sidecar_interactions", "Interactions in stored messages", registry=registry
        )
        self.ignored = Counter(
            "sidecar_events_ignored", "Events that are mapped to nothing", registry=registry
        )
        self.merges = Counter(
            "sidecar_user_merges", "Shoppers merged into another", registry=registry
        )
        self.users_written = Counter("sidecar_users_written", "Shoppers written", registry=registry)
        self.users_unchanged = Counter(
            "sidecar_users_unchanged",
            "Shoppers for whom messages changed nothing (duplicates)",
            registry=registry,
        )
        self.caught_up = Counter(
            "sidecar_users_caught_up",
            "Shoppers written again because a product of theirs got its vector",
            registry=registry,
        )
        self.conflicts = Counter(
            "sidecar_user_conflicts",
            "Writes that met another writer, and were read and merged again",
            registry=registry,
        )
        self.faults = Counter(
            "sidecar_update_faults",
            "Failed requests, by what failed",
            ["what"],
            registry=registry,
        )
        self.batch = Histogram(
            "sidecar_batch_messages",
            "Messages in a micro-batch",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=registry,
        )
        self.receive_to_stored = Histogram(
            "sidecar_receive_to_stored_seconds",
            "From a message's receipt by this process to its shopper's stored vector",
            buckets=_LATENCY,
            registry=registry,
        )
        self.sent_to_stored = Histogram(
            "sidecar_sent_to_stored_seconds",
            "From a message's arrival in the queue to its shopper's stored vector",
            buckets=_LATENCY,
            registry=registry,
        )
        self.in_flight = Gauge(
            "sidecar_messages_in_flight", "Messages received and not finished", registry=registry
        )
        self.ready = Gauge(
            "sidecar_consumer_ready", "1 while messages get through", registry=registry
        )
