"""``sidecar serve``, put together."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry

from sidecar import compose, tracing
from sidecar.config import Config, listen_address
from sidecar.contract.errors import ConfigError, SidecarError
from sidecar.contract.product_text import product_fields
from sidecar.elastic.activity import recent
from sidecar.elastic.client import Client, Version, server_version
from sidecar.elastic.documents import ProductDocuments
from sidecar.elastic.indices import check_users
from sidecar.elastic.resolve import Resolver
from sidecar.metrics import LogMetrics, SearchMetrics, WeightsMetrics
from sidecar.tower.store import WeightsStore
from sidecar.updates.publish import Sent, send_events
from sidecar.updates.recompute import Recompute
from sidecar.updates.sqs import Queue
from sidecar.web.app import WsgiApp, create_app
from sidecar.web.auth import Guard
from sidecar.web.explainer import HitExplainer
from sidecar.web.health import Checks
from sidecar.web.metrics import metrics_blueprint
from sidecar.web.own import OwnParts, own_blueprints
from sidecar.web.pins import StoredPins
from sidecar.web.query_log import StoredQueries
from sidecar.web.refresh import Refresher
from sidecar.web.search import ServedModel, search_proxy
from sidecar.web.server import serve as serve_http
from sidecar.web.shoppers import Shoppers
from sidecar.web.ui.glance import DEAD_LETTERS

log = logging.getLogger("sidecar")


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
        serve_http(
            application(config, stack),
            service.listen,
            workers=service.workers,
            threads=service.threads,
            when_ready=lambda: log.info("serving on http://%s", service.listen),
        )


def application(config: Config, stack: ExitStack) -> WsgiApp:
    """The WSGI application; the stack closes what it holds.

    Raises
    ------
    ConfigError, WeightsError
    """
    service = config.service
    registry = CollectorRegistry()
    parts = compose.update_parts(config, stack, WeightsMetrics(registry))
    client = parts.client
    version = KnownVersion(client)
    pages = compose.pages(config, client)
    logs = compose.ubi_logs(config, client, LogMetrics(registry))
    if logs is not None:
        stack.callback(logs.close)
    guard = Guard(service.api_key, service.on_loopback)
    documents = ProductDocuments(
        client,
        config.search.product_indices,
        fields=product_fields(service.product_fields, "SIDECAR_PRODUCT_FIELDS"),
    )
    shoppers = Shoppers(parts.users, documents, parts.products, parts.tower_of)
    recompute = Recompute(parts.users, parts.products, parts.tower_of)
    proxy = search_proxy(
        service.elasticsearch_url,
        parts.users,
        Resolver(client, config.search.vector_field, config.search.dimension),
        partial(_model, parts),
        config.search,
        version=version,
        pins=StoredPins(pages),
        observer=SearchMetrics(registry, access_log=service.access_log),
        ca_certs=service.elasticsearch_ca_certs,
        api_key=service.elasticsearch_api_key,
        refresh=Refresher(recompute.run),
        query_log=None if logs is None else StoredQueries(logs.queries, config.ubi, config.search),
        explainer=HitExplainer(shoppers, guard, config.search),
    )
    ready: Checks = {
        "elasticsearch": version.check,
        "shoppers": partial(check_users, client, service.users_index),
        "weights": partial(weights_remark, parts.store),
    }
    queue = compose.queue(config) if service.sqs_queue_url else None
    own = OwnParts(
        users=parts.users,
        documents=documents,
        vectors=parts.products,
        recent=partial(recent, client, service.users_index),
        send=partial(_send, queue, parts) if queue else None,
        tower_of=parts.tower_of,
        search=config.search,
        guard=guard,
        ready=ready,
        queue_counts=partial(queue_counts, config, queue) if queue else None,
        weights=parts.store,
        forget_also=compose.forget_also(config, pages, logs),
    )
    return create_app(proxy, ready, [*own_blueprints(own), metrics_blueprint(registry)])


def queue_counts(config: Config, queue: Queue) -> dict[str, str]:
    """The queue's attributes, with the number of dead letters where there is a queue of them.

    Raises
    ------
    UnreachableError, RefusedError
    """
    counts = queue.check()
    dead = compose.dead_letters(config, queue)
    if dead is not None:
        counts[DEAD_LETTERS] = dead.check().get("ApproximateNumberOfMessages", "unknown")
    return counts


def _send(
    queue: Queue, parts: compose.UpdateParts, events: Sequence[Mapping[str, Any]]
) -> list[Sent]:
    return send_events(queue, events, parts.names(), tracing.traceparent())


def _model(parts: compose.UpdateParts) -> ServedModel:
    weights = parts.tower_of().weights
    metadata = weights.metadata
    return ServedModel(
        weights.fingerprint,
        weights.product_space,
        metadata.calibration,
        metadata.vocabulary.weights,
        metadata.limits,
    )


def weights_remark(store: WeightsStore) -> str | None:
    """What an operator should know of weights files that are not served; the others are."""
    notices = [f"{one.file} is refused: {one.reason}" for one in store.refused]
    if store.waiting:
        notices.append(f"{store.waiting.file} waits: {store.waiting.reason}")
    return "; ".join(notices) or None


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


def check_port(listen: str, setting: str = "SIDECAR_LISTEN") -> None:
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
        # A host that is no host name fails before anybody is asked, with an error of its own.
        except (OSError, TypeError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            expected = f"an address that is free and this machine's own ({why})"
            raise ConfigError(setting, listen, expected) from None
