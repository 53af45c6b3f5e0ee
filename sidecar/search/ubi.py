"""The log of queries in the form of User Behavior Insights 1.3 (https://github.com/o19s/ubi).

Pure: what was asked and answered in, rows of the index of queries out. Names of fields are UBI's.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sidecar.contract.errors import ConfigError
from sidecar.contract.timestamps import to_iso
from sidecar.search.bodies import gunzip
from sidecar.search.planned import Asked, Plan
from sidecar.search.ports import Answered
from sidecar.search.settings import SearchSettings
from sidecar.search.strength import impact_for

#: What a row says of the shopper: the id as it was sent, one that only the key's owner can make
#: from it, or nothing.
CLIENT_IDS = ("customer", "hash", "none")
#: Characters of what a shopper typed that are noted.
MOST_TEXT = 1000
#: Bytes of an answer once it is unpacked.
_UNPACKED = 16 << 20
_INDEX = re.compile(r"[a-z0-9][a-z0-9._-]{0,200}")
Row = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class UbiSettings:
    """Settings of the log of queries and events.

    Parameters
    ----------
    log : bool
        Whether there is one.
    queries_index, events_index : str
    client_id : str
        One of :data:`CLIENT_IDS`.
    client_secret : str
        Key of ``hash``, at least 16 characters.
    keep_days : float
        Days after which ``sidecar prune`` deletes a row.

    Raises
    ------
    ConfigError
    """

    log: bool = False
    queries_index: str = "ubi_queries"
    events_index: str = "ubi_events"
    client_id: str = "customer"
    client_secret: str = ""
    keep_days: float = 90.0

    def __post_init__(self) -> None:
        for key in ("queries_index", "events_index"):
            if not _INDEX.fullmatch(getattr(self, key)):
                raise ConfigError(key, getattr(self, key), "the name of an index, in lower case")
        if self.queries_index == self.events_index:
            raise ConfigError("events_index", self.events_index, "another index than for queries")
        if self.client_id not in CLIENT_IDS:
            raise ConfigError("client_id", self.client_id, f"one of {', '.join(CLIENT_IDS)}")
        if self.client_id == "hash" and len(self.client_secret) < 16:
            raise ConfigError("client_secret", "***", "at least 16 characters")
        if not 0.01 <= self.keep_days <= 36_500:
            raise ConfigError("keep_days", self.keep_days, "days, from 0.01 to 36500")

    def client_of(self, customer_id: str) -> str | None:
        """What rows call a shopper; ``None``: nothing."""
        if self.client_id == "none":
            return None
        if self.client_id == "customer":
            return customer_id
        key, name = self.client_secret.encode(), customer_id.encode()
        return hmac.new(key, name, hashlib.sha256).hexdigest()[:40]


def query_rows(answered: Answered, ubi: UbiSettings, search: SearchSettings) -> Iterator[Row]:
    """Rows of the index of queries, each with its ``_id``: one for each search of the request.

    Parameters
    ----------
    answered : Answered
    ubi : UbiSettings
    search : SearchSettings
        With the experiment's name, and the impact where the request did not say.
    """
    answers = _answers(answered)
    for place, plan in enumerate(answered.plan.singles):
        if plan.asked is None:
            continue
        # The same answer that is written twice is one row.
        response_id = str(uuid.uuid4())
        asked = plan.asked
        row: dict[str, Any] = {
            "timestamp": to_iso(int(answered.at * 1e6)),
            "query_id": asked.query_id,
            "query_response_id": response_id,
            "user_query": user_query(asked)[:MOST_TEXT],
            "object_id_field": "_id",
            "query_attributes": _attributes(plan, asked, search, answered.request_id),
        }
        client_id = ubi.client_of(asked.customer_id)
        if client_id is not None:
            row["client_id"] = client_id
        if place < len(answers):
            _add_hits(row, answers[place])
        yield response_id, row


def _attributes(
    plan: Plan, asked: Asked, search: SearchSettings, request_id: str
) -> dict[str, Any]:
    values = {key: None if asked.body is None else asked.body.value(key) for key in _PAGE}
    values |= {key: asked.parameters[key] for key in _PAGE if key in asked.parameters}
    attributes: dict[str, Any] = {
        "action": plan.decision.action,
        "reason": plan.decision.reason,
        "impact": impact_for(asked.impact, (asked.expression,), search),
        "index": asked.expression,
        "request_id": request_id,
        "from": _count(values["from"], 0),
        "size": _count(values["size"], 10),
    }
    if asked.group:
        attributes |= {"group": asked.group, "experiment": search.holdout_salt}
    return attributes


#: What a page is, and what it is where the request does not say.
_PAGE = ("from", "size")


def _count(value: Any, default: int) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return default


def _answers(answered: Answered) -> list[Any]:
    """Each search's answer; none where they cannot be read."""
    body = answered.body
    if body is not None and answered.encoding in ("gzip", "x-gzip"):
        body = gunzip(body, _UNPACKED)
    elif answered.encoding not in ("", "identity"):
        return []
    try:
        found = json.loads(body or b"")
        if answered.plan.items:
            return list(found["responses"])
        # An asynchronous search wraps its answer.
        return [found.get("response", found)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []


def _add_hits(row: dict[str, Any], answer: Any) -> None:
    try:
        hits = answer["hits"]["hits"]
        row["query_response_hit_ids"] = [hit["_id"] for hit in hits if "_id" in hit]
        row["query_attributes"]["total"] = answer["hits"]["total"]["value"]
    except (KeyError, TypeError):
        pass  # an error, a filtered answer, or one that does not count its hits


#: Clauses that hold what was typed: in ``query``, or by field.
_QUERY = frozenset(
    {"multi_match", "query_string", "simple_query_string", "combined_fields", "semantic"}
)
_BY_FIELD = frozenset({"match", "match_phrase", "match_phrase_prefix", "match_bool_prefix"})
#: Where clauses that are more than filters stand.
_INSIDE = ("must", "should", "query", "queries", "positive")


def user_query(asked: Asked) -> str:
    """What the shopper typed: as the request says, else the first text that is searched for."""
    if asked.user_query is not None:
        return asked.user_query
    query = None if asked.body is None else asked.body.value("query")
    return _text(query) or ""


def _text(query: Any) -> str | None:
    if isinstance(query, list):
        return next((text for one in query if (text := _text(one))), None)
    if not isinstance(query, Mapping):
        return None
    for kind, inside in query.items():
        found: Any = None
        if kind in _QUERY and isinstance(inside, Mapping):
            found = inside.get("query")
        elif kind in _BY_FIELD and isinstance(inside, Mapping):
            found = next(iter(inside.values()), None)
            found = found.get("query") if isinstance(found, Mapping) else found
        elif isinstance(inside, Mapping):
            found = next((text for key in _INSIDE if (text := _text(inside.get(key)))), None)
        if isinstance(found, str) and found:
            return found
    return None
