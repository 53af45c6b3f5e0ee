"""The routes of the sidecar's own, put together. It only wires."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from flask import Blueprint

from sidecar.elastic.activity import Active
from sidecar.elastic.documents import ProductDocuments
from sidecar.elastic.products import ProductVectors
from sidecar.elastic.users import Users
from sidecar.search.settings import SearchSettings
from sidecar.tower.load import Tower
from sidecar.updates.forget import forget
from sidecar.web.algolia import algolia_blueprint
from sidecar.web.auth import Guard, auth_blueprint
from sidecar.web.comparison import Comparison
from sidecar.web.events import SendEvents, events_blueprint
from sidecar.web.health import Checks
from sidecar.web.recommend import Recommender
from sidecar.web.recommendations import recommendations_blueprint
from sidecar.web.shoppers import Shoppers
from sidecar.web.trending import Trends
from sidecar.web.ui import glance
from sidecar.web.ui.pages import Inspected, inspector_blueprint
from sidecar.web.users import explain_blueprint, users_blueprint
from sidecar.web.wanted import Wanted
from sidecar.web.weights_routes import WeightsControl, weights_blueprint


@dataclass(frozen=True)
class OwnParts:
    """What the sidecar's own routes need.

    Parameters
    ----------
    users : Users
    documents : ProductDocuments
    vectors : ProductVectors
    recent : Callable[[int], Sequence[Active]]
        So many shoppers, those who were written last.
    send : Callable, optional
        Puts events on the queue; ``None`` where there is no queue.
    tower_of : Callable[[], Tower]
        The tower that is served now.
    search : SearchSettings
    guard : Guard
    ready : Checks
        As for ``/_sidecar/health/ready``.
    queue_counts : Callable, optional
        The queue's attributes, as :meth:`sidecar.updates.sqs.Queue.check` gives them, and perhaps
        :data:`sidecar.web.ui.glance.DEAD_LETTERS`.
    weights : WeightsControl, optional
        The folder of weights; ``None``: no routes about them.
    forget_also : Callable[[str], None]
        Forgets what else is kept about a shopper: the pins of pages.
    clock : Callable[[], float]
        Seconds since 1970-01-01 UTC.
    """

    users: Users
    documents: ProductDocuments
    vectors: ProductVectors
    recent: Callable[[int], Sequence[Active]]
    send: SendEvents | None
    tower_of: Callable[[], Tower]
    search: SearchSettings
    guard: Guard
    ready: Checks = field(default_factory=dict)
    queue_counts: Callable[[], dict[str, str]] | None = None
    weights: WeightsControl | None = None
    forget_also: Callable[[str], None] = lambda customer_id: None
    clock: Callable[[], float] = time.time


def own_blueprints(parts: OwnParts) -> list[Blueprint]:
    """All routes but health; each but the guard's own is guarded."""
    sources = (parts.users, parts.documents, parts.vectors, parts.tower_of)
    trends = Trends(
        parts.recent, lambda: parts.tower_of().weights.metadata.vocabulary.weights, parts.clock
    )
    shoppers = Shoppers(*sources, parts.clock)
    recommender = Recommender(*sources, trends, parts.search.fallback_sort, parts.clock)
    forget_one = partial(forget, parts.users, clock=parts.clock, also=parts.forget_also)
    inspected = Inspected(
        shoppers,
        recommender,
        Comparison(parts.documents, parts.tower_of, parts.search),
        parts.send,
        forget_one,
        parts.recent,
        partial(glance.health, parts.ready),
        partial(glance.weights, parts.tower_of),
        partial(glance.flow, parts.users, parts.queue_counts, parts.clock),
        parts.guard,
        parts.documents.fields,
    )
    blueprints = [
        auth_blueprint(parts.guard),
        inspector_blueprint(inspected),
        users_blueprint(shoppers, forget_one),
        explain_blueprint(shoppers),
        recommendations_blueprint(
            recommender, Wanted(diversity=parts.search.diversity, explore=parts.search.explore)
        ),
    ]
    if parts.send is not None:
        blueprints += [events_blueprint(parts.send), algolia_blueprint(parts.send)]
    if parts.weights is not None:
        blueprints.append(weights_blueprint(parts.weights))
    return blueprints
