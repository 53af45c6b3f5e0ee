"""The index of shoppers: read by id, written only with optimistic concurrency."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
from elasticsearch import Elasticsearch, NotFoundError
from elasticsearch.helpers import ScanError, scan

from sidecar.contract.errors import RefusedError, UnreachableError
from sidecar.contract.history import History, Interaction
from sidecar.contract.weights import F32
from sidecar.elastic.client import errors, listed, reason


@dataclass(frozen=True, slots=True)
class User:
    """A shopper as stored.

    Parameters
    ----------
    customer_id : str
    history : History
    vector : float32 array of shape (D,), optional
        ``None`` as long as no interaction's product has a vector.
    weights : str
        Fingerprint of the weights that made the vector.
    product_space : str
        Space of the product vectors that it was made of.
    updated_at : int
        Milliseconds since 1970-01-01 UTC.
    forgotten_at : int, optional
        Milliseconds since 1970-01-01 UTC; interactions received up to then no longer count.
    merged_into : tuple[str, ...]
        Shoppers for whom this one's interactions count too (``user_merged``), sorted.
    waiting_for : tuple[str, ...]
        Products of the history that had no vector when the shopper's was made, sorted.
    seq_no, primary_term : int, optional
        What was read, and must still be there when it is written; ``None`` for a new shopper.
    """

    customer_id: str
    history: History = ()
    vector: F32 | None = None
    weights: str = ""
    product_space: str = ""
    updated_at: int = 0
    forgotten_at: int | None = None
    merged_into: tuple[str, ...] = ()
    waiting_for: tuple[str, ...] = ()
    seq_no: int | None = None
    primary_term: int | None = None


class Outcome(Enum):
    """What became of a write."""

    STORED = "stored"
    CONFLICT = "conflict"  # somebody else wrote in between: read again and merge
    RETRY = "retry"  # the server said "later"
    REFUSED = "refused"  # the server cannot take this document


@dataclass(frozen=True, slots=True)
class Written:
    """A write's outcome, with the server's reason where there is one."""

    outcome: Outcome
    reason: str = ""


class Users:
    """The index of shoppers.

    Parameters
    ----------
    client : Elasticsearch
    index : str
    """

    def __init__(self, client: Elasticsearch, index: str) -> None:
        self._client = client
        self.index = index

    def get(self, customer_id: str, timeout_s: float | None = None) -> User | None:
        """One shopper, as last written (realtime); ``None`` for an unknown one.

        Parameters
        ----------
        customer_id : str
        timeout_s : float, optional
            Seconds to wait for the answer.

        Raises
        ------
        UnreachableError, RefusedError
        """
        client = self._client
        if timeout_s is not None:
            client = client.options(request_timeout=timeout_s)
        with errors("reading a shopper"):
            try:
                return _user(client.get(index=self.index, id=customer_id).body)
            except NotFoundError as error:
                if "found" in error.body:
                    return None
                raise

    def get_many(self, customer_ids: Sequence[str], *, vectors: bool = True) -> dict[str, User]:
        """Those shoppers that are known, in one request.

        Parameters
        ----------
        customer_ids : Sequence[str]
        vectors : bool
            Without them the answer is half as long, for callers who make new ones anyway.

        Raises
        ------
        UnreachableError, RefusedError
            A missing index, or one shopper that could not be read, refuses all.
        """
        if not customer_ids:
            return {}
        with errors("reading shoppers"):
            answer = self._client.mget(
                index=self.index,
                ids=list(customer_ids),
                source_excludes=None if vectors else "user_vector",
            ).body
        users = {}
        for doc in listed("reading shoppers", answer, "docs"):
            if "error" in doc:
                raise_item(doc)
            if doc.get("found"):
                users[doc["_id"]] = _user(doc)
        return users

    def put_many(self, users: Sequence[User]) -> dict[str, Written]:
        """Write shoppers in one request, each only if nobody else wrote it in between.

        Returns
        -------
        dict[str, Written]
            Outcome by customer_id.

        Raises
        ------
        UnreachableError, RefusedError
            When the request as a whole failed; which items were stored is then unknown, and
            writing them again is safe.
        """
        if not users:
            return {}
        operations: list[Any] = []
        for user in users:
            action: dict[str, Any] = {"_id": user.customer_id}
            if user.seq_no is None:
                operations.append(orjson.dumps({"create": action}))
            else:
                action |= {"if_seq_no": user.seq_no, "if_primary_term": user.primary_term}
                operations.append(orjson.dumps({"index": action}))
            operations.append(orjson.dumps(_document(user), option=orjson.OPT_SERIALIZE_NUMPY))
        with errors("writing shoppers"):
            answer = self._client.bulk(index=self.index, operations=operations).body
        return _outcomes(answer)

    def delete(self, customer_id: str) -> bool:
        """Delete a shopper's document; whether there was one.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors("deleting a shopper"):
            try:
                self._client.delete(index=self.index, id=customer_id)
            except NotFoundError:
                return False
        return True

    def delete_many(self, users: Sequence[User]) -> dict[str, Written]:
        """Delete shoppers in one request, each only if nobody wrote it since it was read.

        Raises
        ------
        UnreachableError, RefusedError
        """
        if not users:
            return {}
        operations = [
            {
                "delete": {
                    "_id": user.customer_id,
                    "if_seq_no": user.seq_no,
                    "if_primary_term": user.primary_term,
                }
            }
            for user in users
        ]
        with errors("deleting shoppers"):
            answer = self._client.bulk(index=self.index, operations=operations).body
        return _outcomes(answer)

    def scan(
        self, query: Mapping[str, Any] | None = None, *, fields: Sequence[str] | None = None
    ) -> Iterator[User]:
        """All shoppers that match, in no order; as of the index's last refresh.

        Parameters
        ----------
        query : Mapping, optional
        fields : Sequence[str], optional
            Fields to read; the others have their defaults. All where ``None``.

        Raises
        ------
        UnreachableError, RefusedError
        """
        body: dict[str, Any] = {"query": query or {"match_all": {}}, "seq_no_primary_term": True}
        if fields is not None:
            body["_source"] = list(fields) or False
        with errors("scanning shoppers"):
            try:
                for hit in scan(self._client, index=self.index, query=body, size=500):
                    yield _user(hit)
            except ScanError as error:
                raise UnreachableError(
                    f"scanning shoppers: not all shards answer ({error})"
                ) from None

    def refresh(self) -> None:
        """Make all that was written so far visible to :meth:`scan` and :meth:`count`.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors("refreshing shoppers"):
            self._client.indices.refresh(index=self.index)

    def count(self, query: Mapping[str, Any] | None = None) -> int:
        """How many shoppers match.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors("counting shoppers"):
            return int(self._client.count(index=self.index, query=query)["count"])


def raise_item(doc: Mapping[str, Any]) -> None:
    """Raise what one item of a multi-document answer says.

    Raises
    ------
    RefusedError
    """
    raise RefusedError(f"reading {doc.get('_index')}: {reason(doc)}")


def encode_vector(vector: F32) -> list[float]:
    """Numbers for JSON: seven digits after the point carry a unit vector's float32."""
    rounded: list[float] = vector.astype(np.float64).round(7).tolist()
    return rounded


def _document(user: User) -> dict[str, Any]:
    document: dict[str, Any] = {
        "interactions": [
            {
                "occurred_at": i.occurred_at,
                "event_id": i.event_id,
                "product_id": i.product_id,
                "event": i.event,
                "received_at": i.received_at,
            }
            for i in user.history
        ],
        "weights": user.weights,
        "product_space": user.product_space,
        "updated_at": user.updated_at,
    }
    if user.history:
        document["newest_at"] = user.history[-1].occurred_at // 1000
    if user.vector is not None:
        # orjson writes an array's floats in the fewest digits that read back as the same float32:
        # 7 microseconds for 384, against 110 of a list of Python floats through json.
        document["user_vector"] = np.ascontiguousarray(user.vector, dtype=np.float32)
    if user.forgotten_at is not None:
        document["forgotten_at"] = user.forgotten_at
    if user.merged_into:
        document["merged_into"] = user.merged_into
    if user.waiting_for:
        document["waiting_for"] = user.waiting_for
    return document


def _user(hit: Mapping[str, Any]) -> User:
    source = hit.get("_source") or {}
    raw = source.get("user_vector")
    return User(
        customer_id=hit["_id"],
        history=_history(source.get("interactions", ())),
        vector=None if raw is None else np.asarray(raw, dtype=np.float32),
        weights=source.get("weights", ""),
        product_space=source.get("product_space", ""),
        updated_at=source.get("updated_at", 0),
        forgotten_at=source.get("forgotten_at"),
        merged_into=tuple(source.get("merged_into", ())),
        waiting_for=tuple(source.get("waiting_for", ())),
        seq_no=hit.get("_seq_no"),
        primary_term=hit.get("_primary_term"),
    )


#: In the order of :class:`Interaction`.
_FIELDS = itemgetter("occurred_at", "event_id", "product_id", "event", "received_at")


def _history(raw: Iterable[Mapping[str, Any]]) -> History:
    return tuple(map(Interaction._make, map(_FIELDS, raw)))


def _outcomes(answer: object) -> dict[str, Written]:
    items = listed("writing shoppers", answer, "items")
    results = [next(iter(item.values())) for item in items]
    return {result["_id"]: _outcome(result) for result in results}


def _outcome(result: Mapping[str, Any]) -> Written:
    status = result["status"]
    if status < 300:
        return Written(Outcome.STORED)
    if status == 409:
        return Written(Outcome.CONFLICT)
    # 400 and 413 are about this document; whatever else says no (no rights, a blocked index, a
    # failed shard) says it to every document, and may end.
    outcome = Outcome.REFUSED if status in (400, 413) else Outcome.RETRY
    return Written(outcome, reason(result))
