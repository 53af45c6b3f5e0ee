"""What a set of messages must end as, computed in one pass and without any state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from sidecar.contract.errors import MessageError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import Interaction, merge
from sidecar.contract.messages import parse_message
from sidecar.elastic.users import User
from sidecar.updates.batch import missing, with_vectors
from sidecar.updates.envelopes import Received
from updates.fakes import FakeProducts, small_tower

TOWER = small_tower()
DIMENSION = TOWER.weights.metadata.architecture.dimension
VOCABULARY = EventVocabulary()
#: p6 and further ones have no vector.
PRODUCTS = FakeProducts([f"p{i}" for i in range(6)], DIMENSION)


def oracle(messages: Iterable[Received]) -> dict[str, User]:
    """Everybody's interactions, and those of all whom a merge makes the same shopper."""
    own: dict[str, list[Interaction]] = {}
    becomes: dict[str, set[str]] = {}
    for one in messages:
        try:
            parsed = parse_message(
                one.body, message_id=one.message_id, sent_at=one.sent_at, vocabulary=VOCABULARY
            )
        except MessageError:
            continue
        for e in parsed.events:
            own.setdefault(e.customer_id, []).append(e.interaction)
        for m in parsed.merges:
            becomes.setdefault(m.previous_id, set()).add(m.customer_id)
    names = own.keys() | becomes.keys() | {to for many in becomes.values() for to in many}
    reaches = {one: {one} for one in names}
    for _ in names:
        for one in names:
            reaches[one] |= {far for near in list(reaches[one]) for far in becomes.get(near, ())}
        if not becomes:
            break
    users = []
    for one in sorted(names):
        parts = [own.get(other, []) for other in names if one in reaches[other]]
        history = merge(*parts, limits=TOWER.weights.metadata.limits)
        if history or one in becomes:
            users.append(User(one, history, merged_into=tuple(sorted(becomes.get(one, ())))))
    made = with_vectors(users, PRODUCTS.vectors, TOWER, VOCABULARY, 0)
    return {user.customer_id: user for user in made}


def same(found: Mapping[str, User], expected: Mapping[str, User], exact: bool = True) -> None:
    """The same shoppers; vectors up to what a batch's size changes in float32 sums.

    ``exact=False`` leaves out when the queue took a message, which no oracle can know.
    """
    assert found.keys() == expected.keys()
    for one, user in expected.items():
        other = found[one]
        upto = None if exact else 4
        assert [i[:upto] for i in other.history] == [i[:upto] for i in user.history], one
        assert other.merged_into == user.merged_into
        assert other.waiting_for == user.waiting_for == missing(user, PRODUCTS.vectors)
        assert other.weights == user.weights
        assert (other.vector is None) == (user.vector is None)
        if user.vector is not None:
            np.testing.assert_allclose(other.vector, user.vector, atol=2e-6)
