"""``GET /_sidecar/metrics`` in Prometheus's text format."""

from __future__ import annotations

from flask import Blueprint, Response, request
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def metrics_blueprint(registry: CollectorRegistry) -> Blueprint:
    """The route.

    Parameters
    ----------
    registry : CollectorRegistry
        Each process answers for itself: scrape replicas, not one address with several workers.
    """
    routes = Blueprint("metrics", __name__, url_prefix="/_sidecar")

    @routes.get("/metrics")
    def metrics() -> Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return Response(encode(registry), content_type=content_type)

    return routes
