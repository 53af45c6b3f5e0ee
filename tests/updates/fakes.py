"""In-memory stand-ins that keep the rules of the real ones."""

from __future__ import annotations

import itertools
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tower.cases import random_weights

from sidecar.contract.errors import SidecarError
from sidecar.contract.history import HistoryLimits
from sidecar.contract.weights import F32
from sidecar.elastic.users import Outcome, User, Written
from sidecar.tower.load import Tower, check_tower
from sidecar.updates.envelopes import Outgoing, Received

START = 1_767_225_600_000_000  # 2026-01-01, microseconds
HOUR = 3_600_000_000


def small_tower(seed: int = 0, max_interactions: int = 5, window_hours: float = 48.0) -> Tower:
    """A trained-looking tower with short histories, so that the limits are felt."""
    limits = HistoryLimits(max_interactions, window_hours)
    return check_tower(random_weights(seed, limits=limits))


def message(
    body: object, message_id: str = "m", sent_at: int = START, receipt: str | None = None
) -> Received:
    """A received message."""
    text = body if isinstance(body, str) else json.dumps(body)
    return Received(message_id, text, receipt or f"r-{message_id}", sent_at, sent_at)


def event(
    customer: object = "c", product: object = "p1", name: str = "product_clicked", **more: object
) -> dict[str, object]:
    """A message's body."""
    return {"customer_id": customer, "product_id": product, "event_name": name, **more}


class FakeUsers:
    """The index of shoppers: create, if_seq_no and if_primary_term, realtime reads."""

    def __init__(self) -> None:
        self.stored: dict[str, User] = {}
        self._seq_no = itertools.count()
        self._lock = threading.Lock()
        #: Called between a read and its write: what another consumer does meanwhile.
        self.before_put: Callable[[], None] = lambda: None
        #: Outcomes of the next writes, by customer_id; errors of the next calls.
        self.outcomes: dict[str, list[Written]] = {}
        self.errors: list[SidecarError] = []
        self.calls: Counter[str] = Counter()

    def get_many(self, customer_ids: Sequence[str], *, vectors: bool = True) -> dict[str, User]:
        self._called("get_many")
        found = {one: self.stored[one] for one in customer_ids if one in self.stored}
        if vectors:
            return found
        return {one: replace(user, vector=None) for one, user in found.items()}

    def put_many(self, users: Sequence[User]) -> dict[str, Written]:
        hook, self.before_put = self.before_put, lambda: None
        hook()
        self._called("put_many")
        assert len({user.customer_id for user in users}) == len(users)
        with self._lock:
            return {user.customer_id: self._put(user) for user in users}

    def _put(self, user: User) -> Written:
        if planned := self.outcomes.get(user.customer_id):
            return planned.pop(0)
        there = self.stored.get(user.customer_id)
        if user.seq_no != (there.seq_no if there else None):
            return Written(Outcome.CONFLICT)
        self.stored[user.customer_id] = replace(user, seq_no=next(self._seq_no), primary_term=1)
        return Written(Outcome.STORED)

    def delete_many(self, users: Sequence[User]) -> dict[str, Written]:
        written = {}
        for user in users:
            there = self.stored.get(user.customer_id)
            if there is not None and there.seq_no == user.seq_no:
                del self.stored[user.customer_id]
                written[user.customer_id] = Written(Outcome.STORED)
            else:
                written[user.customer_id] = Written(Outcome.CONFLICT)
        return written

    def scan(
        self, query: Mapping[str, Any] | None = None, *, fields: Sequence[str] | None = None
    ) -> Iterator[User]:
        """Everybody who matches: the few kinds of query that the update path asks."""
        self._called("scan")
        yield from [user for user in self.stored.values() if matches(user, query)]

    def refresh(self) -> None:
        pass

    def _called(self, what: str) -> None:
        self.calls[what] += 1
        if self.errors:
            raise self.errors.pop(0)


def matches(user: User, query: Mapping[str, Any] | None) -> bool:
    """Elasticsearch's bool, exists, term, terms and range, on a shopper's document."""
    if query is None:
        return True
    fields: dict[str, Any] = {
        "newest_at": user.history[-1].occurred_at // 1000 if user.history else None,
        "forgotten_at": user.forgotten_at,
        "merged_into": user.merged_into or None,
        "waiting_for": user.waiting_for or None,
        "weights": user.weights,
        "product_space": user.product_space,
        "updated_at": user.updated_at,
    }
    ((kind, body),) = query.items()
    if kind == "bool":
        return (
            all(matches(user, one) for one in body.get("filter", ()))
            and not any(matches(user, one) for one in body.get("must_not", ()))
            and (not body.get("should") or any(matches(user, one) for one in body["should"]))
        )
    if kind == "exists":
        return fields[body["field"]] is not None
    ((name, wanted),) = body.items()
    value = fields[name]
    if kind == "term":
        return bool(value == wanted)
    if kind == "terms":
        return bool(set(value or ()) & set(wanted))
    assert kind == "range"
    return value is not None and all(
        value >= bound if op == "gte" else value < bound for op, bound in wanted.items()
    )


class FakeProducts:
    """Product vectors of a catalogue in memory."""

    def __init__(self, ids: Iterable[str], dimension: int, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.vectors: dict[str, F32] = {}
        for one in ids:
            vector = rng.normal(size=dimension).astype(np.float32)
            self.vectors[one] = vector / np.linalg.norm(vector)

    def get(self, product_ids: Iterable[str], space: str) -> dict[str, F32]:
        return {one: self.vectors[one] for one in product_ids if one in self.vectors}


class FakeQueue:
    """A queue in memory: hides what was received, shows again what was not deleted."""

    url = "http://fake/0/events"
    name = "events"
    is_fifo = False

    def __init__(self, messages: Iterable[Received] = ()) -> None:
        self.visible = list(messages)
        self.hidden: dict[str, Received] = {}
        self.deleted: list[Received] = []
        self.hides: list[tuple[list[str], int]] = []
        self.errors: dict[str, list[SidecarError]] = {}
        self.dead: FakeQueue | None = None
        self._changed = threading.Condition()

    def sibling(self, url: str, setting: str = "") -> FakeQueue:
        self.dead = FakeQueue()
        return self.dead

    def check(self) -> dict[str, str]:
        self._fail("check")
        return {}

    def receive(self, *, wait_s: int, visibility_s: int, limit: int = 10) -> list[Received]:
        self._fail("receive")
        with self._changed:
            self._changed.wait_for(lambda: self.visible, timeout=0.02)
            got, self.visible = self.visible[:limit], self.visible[limit:]
            self.hidden |= {one.receipt: one for one in got}
            return got

    def delete(self, messages: Sequence[Received]) -> list[Received]:
        self._fail("delete")
        with self._changed:
            for one in messages:
                self.hidden.pop(one.receipt, None)
            self.deleted += messages
        return []

    def hide(self, messages: Sequence[Received], seconds: int) -> list[Received]:
        self._fail("hide")
        self.hides.append(([one.message_id for one in messages], seconds))
        if seconds == 0:
            with self._changed:
                self.visible += [
                    self.hidden.pop(one.receipt) for one in messages if one.receipt in self.hidden
                ]
        return []

    def send(self, messages: Iterable[Outgoing]) -> list[str | None]:
        self._fail("send")
        ids: list[str | None] = []
        with self._changed:
            for one in messages:
                name = f"sent-{len(self.visible)}-{len(self.deleted)}"
                self.visible.append(
                    Received(name, one.body, f"r-{name}", START, START, 1, one.attributes)
                )
                ids.append(name)
            self._changed.notify_all()
        return ids

    def _fail(self, what: str) -> None:
        if planned := self.errors.get(what):
            raise planned.pop(0)
