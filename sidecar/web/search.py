"""The search proxy, wired to Elasticsearch: what it asks for becomes calls of the one client."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Calibration
from sidecar.elastic.resolve import Resolver
from sidecar.elastic.users import User, Users
from sidecar.search.observe import Observer
from sidecar.search.plan import Planner
from sidecar.search.ports import Model, PinStore, Resolution, Shopper, ShopperLookup, VersionSource
from sidecar.search.proxy import Proxy
from sidecar.search.settings import SearchSettings
from sidecar.search.tastes import Tastes
from sidecar.search.upstream import Upstream


@dataclass(frozen=True)
class ServedModel:
    """What searches need of the weights that are being served.

    Parameters
    ----------
    product_space : str
    calibration : Calibration
    event_weights : Mapping[str, float]
        Canonical event name to business weight.
    limits : HistoryLimits
    """

    product_space: str
    calibration: Calibration
    event_weights: Mapping[str, float]
    limits: HistoryLimits


#: The weights being served; ``None`` as long as there are none. Asked anew for every search.
ServedModelSource = Callable[[], ServedModel | None]


def search_proxy(
    url: str,
    users: Users,
    resolver: Resolver,
    model: ServedModelSource,
    settings: SearchSettings,
    *,
    version: VersionSource = lambda: None,
    pins: PinStore | None = None,
    observer: Observer | None = None,
    ca_certs: str = "",
) -> Proxy:
    """The proxy, ready to be served.

    Parameters
    ----------
    url : str
        Elasticsearch's address; requests go there with the caller's own credentials.
    users : Users
    resolver : Resolver
    model : Callable
    settings : SearchSettings
    version : Callable
        The server's version: collapse with rescore needs 8.15.
    pins : PinStore, optional
        Where page 1's vector is kept for page 2.
    observer : Observer, optional
    ca_certs : str
        File of the authority that signed Elasticsearch's certificate.

    Raises
    ------
    ConfigError
    """
    observer = observer or Observer()

    def known_model() -> Model | None:
        served = model()
        return None if served is None else Model(served.product_space, served.calibration)

    def resolved(expression: str, timeout_s: float) -> Resolution:
        return Resolution(*resolver(expression, timeout_s))

    tastes = Tastes(shopper_lookup(users, model), known_model, settings, pins, observer.looked_up)
    upstream = Upstream(
        url,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_connections=settings.max_connections,
        ca_certs=ca_certs or None,
    )
    planner = Planner(settings, tastes, resolved, version)
    observer.watch_breakers(planner.breaker.count)
    return Proxy(upstream, planner, observer)


def shopper_lookup(users: Users, model: ServedModelSource) -> ShopperLookup:
    """Read shoppers from their index, with what the served weights say about evidence and age."""

    def lookup(customer_id: str, timeout_s: float) -> Shopper | None:
        user, served = users.get(customer_id, timeout_s), model()
        return None if user is None or served is None else as_shopper(user, served)

    return lookup


def as_shopper(user: User, served: ServedModel) -> Shopper:
    """A stored shopper as ranking sees one."""
    newest = user.history[-1].occurred_at if user.history else 0
    return Shopper(
        vector=user.vector,
        evidence=sum(served.event_weights.get(i.event, 0.0) for i in user.history),
        product_space=user.product_space,
        expires_at=newest + served.limits.window,
    )
