"""Reading a shopper while a search waits: one GET on a kept connection, and nothing else.

The official client takes about half a millisecond of processor time for a GET, most of it for
options and namespaces that are made anew each time; a search without the shopper in its cache
would pay that. Everything that is not waited for uses the client.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import numpy as np

from sidecar.contract.errors import RefusedError
from sidecar.search.ports import Shopper
from sidecar.search.upstream import Upstream
from sidecar.web.model import ServedModel, ServedModelSource

#: Answers that mean "no such shopper" and "ask later", by status; the rest is a refusal.
_MISSING = 404


#: Takes the id of a shopper whose vector should be made anew.
Refresh = Callable[[str], None]


def ignore(customer_id: str) -> None:
    """A refresh that does nothing."""


class ShopperReader:
    """A ShopperLookup over plain HTTP.

    Parameters
    ----------
    upstream : Upstream
        Connections of its own, with timeouts as short as the deadline of a search.
    index : str
        Index of shoppers.
    authorization : str
        Value of the header; empty for none. The sidecar's own, never a caller's.
    model : Callable
    refresh : Callable[[str], None]
        Told of shoppers whose vector other weights made; must not wait.
    """

    def __init__(
        self,
        upstream: Upstream,
        index: str,
        authorization: str,
        model: ServedModelSource,
        refresh: Refresh = ignore,
    ) -> None:
        self._upstream = upstream
        self._path = f"/{quote(index, safe='')}/_doc/"
        self._headers = [("Host", upstream.host_header), ("Accept", "application/json")]
        if authorization:
            self._headers.append(("Authorization", authorization))
        self._model = model
        self._refresh = refresh

    def __call__(self, customer_id: str, timeout_s: float) -> Shopper | None:
        """The shopper as last written; ``None`` for an unknown one.

        Raises
        ------
        UnreachableError, RefusedError
        """
        path = self._path + quote(customer_id, safe="")
        answer = self._upstream.request("GET", path, self._headers, repeatable=True)
        body = answer.read()
        status = answer.head.status
        if status not in (200, _MISSING):
            raise RefusedError(f"reading a shopper: Elasticsearch answered {status}")
        served = self._model()
        try:
            hit = json.loads(body)
            if status == _MISSING and "found" not in hit:
                raise RefusedError("reading a shopper: the index of shoppers is missing")
            if not hit["found"] or served is None:
                return None
            if hit["_source"].get("weights", "") not in ("", served.fingerprint):
                self._refresh(customer_id)
            return _shopper(hit["_source"], served)
        except (ValueError, KeyError, TypeError) as error:
            raise RefusedError(f"reading a shopper: not as written ({error})") from None


def _shopper(source: dict[str, Any], served: ServedModel) -> Shopper:
    interactions = source.get("interactions", [])
    vector = source.get("user_vector")
    return Shopper(
        vector=None if vector is None else np.asarray(vector, dtype=np.float32),
        evidence=sum(served.event_weights.get(i["event"], 0.0) for i in interactions),
        product_space=source.get("product_space", ""),
        expires_at=served.expires_at(interactions[-1]["occurred_at"] if interactions else 0),
    )


def authorization(url: str, api_key: str) -> str:
    """The header's value for an API key, else for the address's own credentials."""
    if api_key:
        return f"ApiKey {api_key}"
    parts = urlsplit(url)
    if parts.username is None:
        return ""
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return "Basic " + base64.b64encode(pair.encode()).decode()
