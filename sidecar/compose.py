"""The parts, put together from the settings. Nothing here decides; nothing below knows of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from sidecar import resources
from sidecar.config import Config
from sidecar.contract.errors import ConfigError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.messages import CustomerEvent
from sidecar.elastic.bulk_log import BulkLog
from sidecar.elastic.client import Client, connect
from sidecar.elastic.coverage import product_coverage
from sidecar.elastic.pages import Pages
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.metrics import LogMetrics, WeightsMetrics
from sidecar.tower.load import Tower
from sidecar.tower.store import WeightsStore
from sidecar.updates.consumer import Consumer, Timing
from sidecar.updates.handler import BatchHandler
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.sqs import Queue
from sidecar.updates.ubi import event_rows

log = logging.getLogger("sidecar")


def elasticsearch(config: Config) -> Client:
    """The sidecar's own connection.

    Raises
    ------
    ConfigError
    """
    service = config.service
    return connect(
        service.elasticsearch_url,
        service.elasticsearch_api_key or None,
        ca_certs=service.elasticsearch_ca_certs or None,
        timeout_s=service.elasticsearch_timeout_s,
        max_connections=max(16, service.threads),
    )


def tower(config: Config) -> Tower:
    """The weights that are active now, for a command that ends soon.

    Raises
    ------
    WeightsError
    """
    return WeightsStore(config.service.weights, watch=False).current


def vocabulary(config: Config, served: Tower) -> EventVocabulary:
    """The weights' events, with the operator's own names for them.

    Raises
    ------
    ConfigError
    """
    try:
        return served.weights.metadata.vocabulary.with_aliases(config.service.event_aliases)
    except ConfigError as error:
        setting = error.key.replace("event alias ", "SIDECAR_EVENT_ALIASES.")
        raise ConfigError(setting, error.value, error.expected) from None


def queue(config: Config) -> Queue:
    """The queue of events.

    Raises
    ------
    ConfigError
        Also when none is set.
    """
    if not config.service.sqs_queue_url:
        raise ConfigError(
            "SIDECAR_SQS_QUEUE_URL", "", "the URL of the queue that brings the events"
        )
    return Queue(config.service.sqs_queue_url, max_connections=config.updates.receivers + 8)


def dead_letters(config: Config, queue: Queue) -> Queue | None:
    """The queue that takes what can never be stored: as set, else as the redrive policy has it.

    Raises
    ------
    UnreachableError, RefusedError
    """
    url = config.updates.dead_letter_url
    return queue.sibling(url) if url else queue.dead_letter_queue()


class UpdateParts(NamedTuple):
    """What everything that reads or writes shoppers needs."""

    client: Client
    users: Users
    products: ProductVectors
    store: WeightsStore
    vocabulary: EventVocabulary

    def tower_of(self) -> Tower:
        """The tower that is served now: take it once for a batch."""
        return self.store.current

    def names(self) -> EventVocabulary:
        """The names of events that count now."""
        return self.vocabulary.with_events(self.tower_of().weights.metadata.vocabulary.weights)


def update_parts(
    config: Config, stack: ExitStack, metrics: WeightsMetrics | None = None
) -> UpdateParts:
    """Connection, weights and cache of the update path; the stack closes them.

    Raises
    ------
    ConfigError, WeightsError
    """
    client = stack.enter_context(elasticsearch(config))
    store = weights_store(config, client, metrics)
    stack.callback(store.close)
    served = store.current
    products = ProductVectors(
        client,
        config.search.product_indices,
        dimension=served.weights.metadata.architecture.dimension,
        cache_mb=config.service.product_cache_mb,
        ttl_s=config.service.product_cache_s,
    )
    users = Users(client, config.service.users_index)
    return UpdateParts(client, users, products, store, vocabulary(config, served))


def weights_store(
    config: Config, client: Client, metrics: WeightsMetrics | None = None, *, watch: bool = True
) -> WeightsStore:
    """The weights, exchanged while they are served.

    Asks Elasticsearch only when weights of another product space lie there.

    Raises
    ------
    WeightsError
        If there are none to start with.
    """
    counted = metrics or WeightsMetrics()

    def is_ready(space: str) -> bool:
        return product_coverage(client, config.search.product_indices).is_of(space)

    store = WeightsStore(
        config.service.weights,
        space_ready=is_ready,
        on_swap=lambda tower: counted.swapped(tower.weights.fingerprint),
        on_refused=lambda notice: counted.refused(),
        watch=watch,
    )
    counted.serve(store.current.weights.fingerprint)
    return store


def pages(config: Config, client: Client) -> Pages:
    """The index of what page 1 of a search was ranked by."""
    body = resources.mapping("pages")
    return Pages(client, config.service.pages_index, body, config.search.page_ttl_s)


class UbiLogs(NamedTuple):
    """The log of queries and events."""

    queries: BulkLog
    events: BulkLog

    def close(self) -> None:
        """Write what waits; what cannot be written in time is dropped."""
        for one in self:
            one.close()


def ubi_logs(config: Config, client: Client, metrics: LogMetrics | None = None) -> UbiLogs | None:
    """The log of queries and events; ``None`` where it is off."""
    ubi = config.ubi
    if not ubi.log:
        return None
    metrics = metrics or LogMetrics()
    return UbiLogs(
        BulkLog(
            client,
            ubi.queries_index,
            resources.mapping("ubi_queries"),
            metrics.counting("queries"),
        ),
        BulkLog(
            client, ubi.events_index, resources.mapping("ubi_events"), metrics.counting("events")
        ),
    )


def accepted_events(
    config: Config, logs: UbiLogs | None
) -> Callable[[Sequence[CustomerEvent]], None] | None:
    """What takes the consumer's events to the log."""
    if logs is None:
        return None
    return lambda events: logs.events.put(partial(event_rows, tuple(events), config.ubi))


def forget_also(config: Config, pins: Pages, logs: UbiLogs | None) -> Callable[[str], None]:
    """Forgets what is kept of a shopper elsewhere than in the index of shoppers."""

    def forget(customer_id: str) -> None:
        pins.forget(customer_id)
        client_id = config.ubi.client_of(customer_id)
        if logs is not None and client_id is not None:
            for one in logs:
                one.forget("client_id", client_id)

    return forget


def batch_handler(config: Config, stack: ExitStack) -> BatchHandler:
    """What stores a batch of messages, without a queue.

    Raises
    ------
    ConfigError, WeightsError
    """
    parts = update_parts(config, stack)
    return BatchHandler(
        parts.users,
        parts.products,
        parts.tower_of,
        parts.vocabulary,
        conflict_attempts=config.updates.conflict_attempts,
    )


def consumer(
    config: Config,
    parts: UpdateParts,
    *,
    on_stored: Callable[[Timing], None] | None = None,
    metrics: UpdateMetrics | None = None,
    logs: UbiLogs | None = None,
) -> Consumer:
    """A consumer of the queue of events.

    Raises
    ------
    ConfigError
    """
    return Consumer(
        queue(config),
        parts.users,
        parts.products,
        parts.tower_of,
        parts.vocabulary,
        config.updates,
        metrics=metrics,
        on_stored=on_stored,
        on_accepted=accepted_events(config, logs),
    )
