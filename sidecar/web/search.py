"""The search proxy, wired to Elasticsearch: what it asks for becomes calls of the one client."""

from __future__ import annotations

from sidecar.elastic.resolve import Resolver
from sidecar.elastic.users import User, Users
from sidecar.search.explained import Explainer, Explanations
from sidecar.search.observe import Observer
from sidecar.search.plan import BROWSE_LIMIT, Planner
from sidecar.search.ports import (
    Model,
    PinStore,
    QueryLog,
    Resolution,
    Shopper,
    ShopperLookup,
    VersionSource,
)
from sidecar.search.proxy import Proxy
from sidecar.search.settings import SearchSettings
from sidecar.search.tastes import Tastes
from sidecar.search.upstream import Upstream
from sidecar.web.lookup import Refresh, ShopperReader, authorization, ignore
from sidecar.web.model import ServedModel, ServedModelSource

__all__ = ["ServedModel", "ServedModelSource", "as_shopper", "search_proxy", "shopper_lookup"]


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
    api_key: str | None = None,
    browse_limit: int = BROWSE_LIMIT,
    refresh: Refresh = ignore,
    query_log: QueryLog | None = None,
    explainer: Explainer | None = None,
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
    api_key : str, optional
        Encoded key of the sidecar's own account, empty for none: shoppers are read on
        connections of their own. ``None``: through ``users``, which takes longer.
    browse_limit : int
        Documents up to which a browse request scores every match by script.
    refresh : Callable[[str], None]
        Told of shoppers whose vector other weights made; must not wait.
    query_log : QueryLog, optional
    explainer : Explainer, optional
        ``None``: hits are never explained.

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

    lookup = shopper_lookup(users, model, refresh)
    if api_key is not None:
        seconds = settings.deadline_ms / 1000
        reader = Upstream(
            url,
            connect_timeout_s=seconds,
            read_timeout_s=seconds,
            max_connections=settings.max_connections,
            ca_certs=ca_certs or None,
        )
        lookup = ShopperReader(reader, users.index, authorization(url, api_key), model, refresh)
    tastes = Tastes(lookup, known_model, settings, pins, observer.looked_up)
    upstream = Upstream(
        url,
        connect_timeout_s=settings.connect_timeout_s,
        read_timeout_s=settings.read_timeout_s,
        max_connections=settings.max_connections,
        ca_certs=ca_certs or None,
    )
    planner = Planner(settings, tastes, resolved, version, browse_limit=browse_limit)
    observer.watch_breakers(planner.breaker.count)
    explanations = None if explainer is None else Explanations(explainer)
    return Proxy(upstream, planner, observer, query_log, explanations)


def shopper_lookup(
    users: Users, model: ServedModelSource, refresh: Refresh = ignore
) -> ShopperLookup:
    """Read shoppers through the official client: slower than a :class:`ShopperReader`."""

    def lookup(customer_id: str, timeout_s: float) -> Shopper | None:
        user, served = users.get(customer_id, timeout_s), model()
        if user is None or served is None:
            return None
        if user.weights not in ("", served.fingerprint):
            refresh(customer_id)
        return as_shopper(user, served)

    return lookup


def as_shopper(user: User, served: ServedModel) -> Shopper:
    """A stored shopper as ranking sees one."""
    return Shopper(
        vector=user.vector,
        evidence=sum(served.event_weights.get(i.event, 0.0) for i in user.history),
        product_space=user.product_space,
        expires_at=served.expires_at(user.history[-1].occurred_at if user.history else 0),
    )
