"""What a service relies on: bounded memory, no lock, nothing shared between calls or threads."""

from __future__ import annotations

import gc
import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest

from sidecar.tower import served
from sidecar.tower.served import fold, served_tower
from tower import cases

KINDS = {"one length": lambda i: 20, "all lengths": lambda i: 1 + i % 20}


def batch_of(size: int, kind: str = "one length") -> tuple[Any, cases.Batch]:
    weights = cases.random_weights(4, cases.SHIPPED)
    lengths = [KINDS[kind](i) for i in range(size)]
    batch = cases.random_batch(np.random.default_rng(4), lengths, 20, weights.metadata)
    return fold(weights), batch


# --- Memory --------------------------------------------------------------------------------------


def working_memory(size: int, kind: str) -> int:
    """The most that a call holds at any time, less its result; bytes."""
    folded, batch = batch_of(size, kind)
    served_tower(folded, *batch)
    gc.collect()
    tracemalloc.start()
    result = served_tower(folded, *batch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak - sum(array.nbytes for array in result)


@pytest.mark.parametrize("kind", KINDS)
def test_working_memory_does_not_grow_with_the_batch(kind: str) -> None:
    # Both end in a full part of the longest histories, which is where the peak is.
    few, many = working_memory(240, kind), working_memory(1200, kind)
    assert few > 100_000, "numpy's memory is not traced: this test would prove nothing"
    # The order of the rows, and a list of the parts: bytes a row, where a history takes 30 kB.
    assert many - few < 64 * (1200 - 240)


@pytest.mark.parametrize("size", [1, 33])
def test_calls_leave_nothing_behind(size: int) -> None:
    folded, batch = batch_of(size)
    served_tower(folded, *batch)
    gc.collect()
    tracemalloc.start(20)
    for _ in range(50):
        served_tower(folded, *batch)
    gc.collect()
    # Only what the tower asked for: threads of other tests may be at work in this process.
    own = tracemalloc.Filter(True, str(served.__file__), all_frames=True)
    left = sum(one.size for one in tracemalloc.take_snapshot().filter_traces([own]).traces)
    tracemalloc.stop()
    # One result alone is 1.5 kB for each row.
    assert left < 1000


# --- Threads -------------------------------------------------------------------------------------


class StoppedInExp:
    """numpy, but that one thread stands still in its second ``exp`` until it is let go: the one of
    the attention, where most arrays are in use."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.calls = 0
        self.inside, self.go_on = threading.Event(), threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def exp(self, *args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is self.thread:
            self.calls += 1
            if self.calls == 2:
                self.inside.set()
                assert self.go_on.wait(30)
        return np.exp(*args, **kwargs)


@pytest.mark.parametrize("size", [1, 33])
def test_a_call_does_not_wait_for_another(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One call stands still in the middle: a lock would stop the others, a shared buffer would let
    them write into its numbers."""
    folded, batch = batch_of(size)
    expected = served_tower(folded, *batch)[0]
    other = batch._replace(products=np.ascontiguousarray(-batch.products))
    expected_other = served_tower(folded, *other)[0]

    stopped = StoppedInExp()
    monkeypatch.setattr(served, "np", stopped)
    found: list[np.ndarray] = []
    first = threading.Thread(target=lambda: found.append(served_tower(folded, *batch)[0]))
    stopped.thread = first
    first.start()
    assert stopped.inside.wait(30)
    second = threading.Thread(target=lambda: found.append(served_tower(folded, *other)[0]))
    second.start()
    second.join(timeout=10)
    waited = second.is_alive()
    stopped.go_on.set()
    first.join(timeout=30)
    assert not waited, "it waited for the call that stood still"
    np.testing.assert_allclose(found[0], expected_other, atol=1e-6, rtol=0)
    np.testing.assert_allclose(found[1], expected, atol=1e-6, rtol=0)


def test_results_are_the_callers_own() -> None:
    """A later call must not write into an earlier result, and a caller may write into its own."""
    weights = cases.random_weights(4, cases.SHIPPED)
    folded = fold(weights)
    batch = cases.random_batch(np.random.default_rng(4), [20], 20, weights.metadata)
    first, shares = served_tower(folded, *batch)
    kept = first.copy(), shares.copy()
    first_again, shares_again = served_tower(folded, *batch)
    first_again += 1
    shares_again += 1
    np.testing.assert_array_equal(first, kept[0])
    np.testing.assert_array_equal(shares, kept[1])


def test_concurrent_calls_equal_serial_ones() -> None:
    weights = cases.random_weights(6, cases.SHIPPED)
    folded = fold(weights)
    rng = np.random.default_rng(6)
    batches = [
        cases.random_batch(rng, rng.integers(0, 21, size).tolist(), 20, weights.metadata)
        for size in (1, 3, 1, 8, 33, 1, 2, 5)
    ]
    serial = [served_tower(folded, *batch)[0] for batch in batches]
    failures: list[str] = []
    start = threading.Barrier(len(batches))

    def work(index: int) -> None:
        start.wait(timeout=30)
        for _ in range(40):
            users = served_tower(folded, *batches[index])[0]
            if np.abs(users - serial[index]).max() > 1e-6:
                failures.append(f"batch {index} changed under concurrency")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)
