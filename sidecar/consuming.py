"""``sidecar consume``, put together."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from prometheus_client import CollectorRegistry
from werkzeug.serving import WSGIRequestHandler, make_server

from sidecar import compose
from sidecar.config import LOOPBACK, Config, listen_address
from sidecar.contract.errors import UnreachableError
from sidecar.elastic.client import server_version
from sidecar.elastic.indices import check_users, concrete_indices
from sidecar.metrics import LogMetrics, WeightsMetrics
from sidecar.serving import check_port, weights_remark
from sidecar.tower.store import WeightsStore
from sidecar.updates.consumer import Consumer
from sidecar.updates.metrics import UpdateMetrics
from sidecar.web.app import own_app
from sidecar.web.auth import Guard, auth_blueprint
from sidecar.web.health import Checks
from sidecar.web.metrics import metrics_blueprint

log = logging.getLogger("sidecar")


def consume(config: Config, stop: threading.Event) -> None:
    """Consume until told to stop.

    Raises
    ------
    ConfigError, WeightsError, UnreachableError, RefusedError
        Only at the start: faults that come later are waited out.
    """
    listen = config.service.consumer_listen
    with ExitStack() as stack:
        registry = CollectorRegistry()
        parts = compose.update_parts(config, stack, WeightsMetrics(registry))
        logs = compose.ubi_logs(config, parts.client, LogMetrics(registry))
        if logs is not None:
            stack.callback(logs.close)
        consumer = compose.consumer(config, parts, metrics=UpdateMetrics(registry), logs=logs)
        server_version(parts.client)
        concrete_indices(parts.client, config.search.product_indices)
        check_users(parts.client, config.service.users_index)
        consumer.check()
        if listen:
            stack.enter_context(_probes(config, consumer, parts.store, registry))
        log.info("consuming %s", config.service.sqs_queue_url)
        consumer.run(stop)
    log.info("stopped")


@contextmanager
def _probes(
    config: Config, consumer: Consumer, store: WeightsStore, registry: CollectorRegistry
) -> Iterator[None]:
    """Health and metrics of a consumer: a few small requests a minute, from a thread.

    Raises
    ------
    ConfigError
    """
    listen = config.service.consumer_listen
    check_port(listen, "SIDECAR_CONSUMER_LISTEN")
    host, port = listen_address(listen)
    guard = Guard(config.service.api_key, host in LOOPBACK)

    def works() -> None:
        status = consumer.status()
        if not status.ready:
            raise UnreachableError(status.why)

    checks: Checks = {"consumer": works, "weights": partial(weights_remark, store)}
    app = own_app(checks, [auth_blueprint(guard), metrics_blueprint(registry)])
    server = make_server(host.strip("[]"), port, app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, name="probes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Silent(WSGIRequestHandler):
    """Probes are not worth a log line each."""

    def log(self, type: str, message: str, *args: object) -> None:
        """Nothing."""
