"""The parts, put together from the settings. Nothing here decides; nothing below knows of it."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import NamedTuple

from sidecar.config import Config, listen_address
from sidecar.contract.errors import ConfigError, SidecarError
from sidecar.contract.events import EventVocabulary
from sidecar.elastic.client import Client, Version, connect, server_version
from sidecar.elastic.indices import check_users, concrete_indices
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.resolve import Resolver
from sidecar.elastic.users import Users
from sidecar.tower.load import Tower, load_tower
from sidecar.updates.consumer import Consumer, Timing
from sidecar.updates.handler import BatchHandler
from sidecar.updates.metrics import UpdateMetrics
from sidecar.updates.sqs import Queue
from sidecar.web.app import create_app
from sidecar.web.search import ServedModel, search_proxy
from sidecar.web.server import serve as serve_http

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
    """The weights that are served.

    Raises
    ------
    WeightsError
    """
    return load_tower(config.service.weights)


def vocabulary(config: Config, served: Tower) -> EventVocabulary:
    """The weights' events, with the operator's own names for them.

    Raises
    ------
    ConfigError
    """
    return served.weights.metadata.vocabulary.with_aliases(config.service.event_aliases)


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


class UpdateParts(NamedTuple):
    """What everything that writes shoppers needs."""

    users: Users
    products: ProductVectors
    tower_of: Callable[[], Tower]
    vocabulary: EventVocabulary


def update_parts(config: Config, stack: ExitStack) -> UpdateParts:
    """Connection, weights and cache of the update path; the stack closes them.

    Raises
    ------
    ConfigError, WeightsError
    """
    client = stack.enter_context(elasticsearch(config))
    served = tower(config)
    products = ProductVectors(
        client,
        config.search.product_indices,
        dimension=served.weights.metadata.architecture.dimension,
        cache_mb=config.service.product_cache_mb,
        ttl_s=config.service.product_cache_s,
    )
    users = Users(client, config.service.users_index)
    return UpdateParts(users, products, lambda: served, vocabulary(config, served))


def batch_handler(config: Config, stack: ExitStack) -> BatchHandler:
    """What stores a batch of messages, without a queue.

    Raises
    ------
    ConfigError, WeightsError
    """
    return BatchHandler(
        *update_parts(config, stack), conflict_attempts=config.updates.conflict_attempts
    )


def consumer(
    config: Config,
    stack: ExitStack,
    *,
    on_stored: Callable[[Timing], None] | None = None,
    metrics: UpdateMetrics | None = None,
) -> Consumer:
    """A consumer with everything that it needs; the stack closes it.

    Raises
    ------
    ConfigError, WeightsError
    """
    parts = update_parts(config, stack)
    return Consumer(queue(config), *parts, config.updates, metrics=metrics, on_stored=on_stored)


def consume(config: Config, stop: threading.Event) -> None:
    """Consume until told to stop.

    Raises
    ------
    ConfigError, WeightsError, UnreachableError, RefusedError
    """
    with ExitStack() as stack:
        one = consumer(config, stack)
        client = stack.enter_context(elasticsearch(config))
        # Faults that come later are waited out; one at the start is most likely a mistake.
        server_version(client)
        concrete_indices(client, config.search.product_indices)
        check_users(client, config.service.users_index)
        one.check()
        log.info("consuming %s", config.service.sqs_queue_url)
        one.run(stop)
    log.info("stopped")


def serve(config: Config) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises
    ------
    ConfigError, WeightsError
        Also when the port is taken. Without Elasticsearch the sidecar starts, and is not ready.
    """
    service = config.service
    check_port(service.listen)
    if not service.on_loopback and not service.api_key:
        raise ConfigError("SIDECAR_API_KEY", "", f"a key, since {service.listen} is not loopback")
    with ExitStack() as stack:
        client = stack.enter_context(elasticsearch(config))
        served = tower(config)
        metadata = served.weights.metadata
        model = ServedModel(
            served.weights.product_space,
            metadata.calibration,
            metadata.vocabulary.weights,
            metadata.limits,
        )
        version = KnownVersion(client)
        proxy = search_proxy(
            service.elasticsearch_url,
            Users(client, service.users_index),
            Resolver(client, config.search.vector_field, config.search.dimension),
            lambda: model,
            config.search,
            version=version,
            ca_certs=service.elasticsearch_ca_certs,
        )
        app = create_app(proxy, {"elasticsearch": version.check})
        serve_http(
            app,
            service.listen,
            workers=service.workers,
            threads=service.threads,
            when_ready=lambda: log.info("serving on http://%s", service.listen),
        )


class KnownVersion:
    """The server's version: asked for by the readiness check, remembered for searches."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._version: Version | None = None

    def __call__(self) -> Version | None:
        """The version; ``None`` as long as the server could not be asked. Never raises."""
        if self._version is None:
            with suppress(SidecarError):
                self.check()
        return self._version

    def check(self) -> None:
        """Ask.

        Raises
        ------
        UnreachableError, RefusedError
        """
        self._version = server_version(self._client)


def check_port(listen: str) -> None:
    """See that nobody else listens there.

    Raises
    ------
    ConfigError
    """
    host, port = listen_address(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As servers do: a port whose last user just ended is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), port))
        except OSError as error:
            expected = f"an address that is free and this machine's own ({error.strerror})"
            raise ConfigError("SIDECAR_LISTEN", listen, expected) from None
