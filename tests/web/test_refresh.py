"""Shoppers of other weights are recomputed because somebody reads them."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from sidecar.contract.errors import UnreachableError
from sidecar.web.refresh import MOST, Refresher


def test_each_shopper_once_and_in_batches() -> None:
    seen: list[str] = []
    go = threading.Event()

    def recompute(ids: Sequence[str]) -> None:
        go.wait(10)
        seen.extend(ids)

    refresher = Refresher(recompute)
    for one in ["a", "b", "a", "c", "b"]:
        refresher(one)
    go.set()
    assert refresher.idle(10)
    assert sorted(set(seen)) == ["a", "b", "c"]
    assert len(seen) <= 4  # the one in hand may be asked for again, no other


def test_a_fault_does_not_end_it() -> None:
    seen: list[str] = []

    def recompute(ids: Sequence[str]) -> None:
        seen.extend(ids)
        if len(seen) == 1:
            raise UnreachableError("away")
        if len(seen) == 2:
            raise RuntimeError("unforeseen")

    refresher = Refresher(recompute)
    for one in ["a", "b", "c"]:
        refresher(one)
        assert refresher.idle(10)
    assert seen == ["a", "b", "c"]


def test_it_holds_a_bounded_number() -> None:
    go = threading.Event()
    refresher = Refresher(lambda ids: go.wait(10))
    for i in range(MOST + 200):
        refresher(str(i))
    assert len(refresher._waiting) <= MOST
    go.set()


def test_it_works_after_a_fork() -> None:
    refresher = Refresher(lambda ids: None)
    refresher("before")
    assert refresher.idle(10)
    child = os.fork()
    if child == 0:
        refresher("after")
        os._exit(0 if refresher.idle(10) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
