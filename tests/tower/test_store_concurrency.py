"""Weights exchanged under real threads, and in forked processes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from sidecar.tower.served import served_tower
from sidecar.tower.store import WeightsStore
from tower import cases
from tower.stores import A, B, Make, drop, served, until

# --- Threads and processes -----------------------------------------------------------------------


def test_the_watching_thread_notices_by_itself(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    store = store_of(watch=True, poll_s=0.05)
    assert served(store) == A.fingerprint
    drop(folder / "b.safetensors", B)
    assert until(lambda: served(store) == B.fingerprint)


def test_the_default_look_is_often_enough_for_two_seconds() -> None:
    assert WeightsStore.__init__.__kwdefaults__["poll_s"] <= 1.0


def test_every_batch_is_of_one_tower(folder: Path, store_of: Make) -> None:
    path = drop(folder / "w.safetensors", A)
    store = store_of()
    batch = cases.random_batch(np.random.default_rng(1), [5, 20, 1], 20, A.metadata)
    towers = {w.fingerprint: served_tower(store_of(path).current.folded, *batch)[0] for w in [A]}
    drop(path, B)
    towers[B.fingerprint] = served_tower(store_of(path).current.folded, *batch)[0]
    failures: list[str] = []
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            tower = store.current
            users = served_tower(tower.folded, *batch)[0]
            if not np.array_equal(users, towers[tower.weights.fingerprint]):
                failures.append("a batch of mixed weights")

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for turn in range(12):
        drop(path, (A, B)[turn % 2])
        store.poll()
    done.set()
    for thread in threads:
        thread.join(timeout=30)
    assert not failures


def test_many_stores_race_for_one_drop(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    stores = [store_of() for _ in range(6)]
    drop(folder / "b.safetensors", B)
    threads = [threading.Thread(target=store.poll) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert {served(store) for store in stores} == {B.fingerprint}
    assert len(stores[0].status()["previous"]) == 1


FORKED = """
import os, sys, time
from sidecar.contract.weights import read_weights, write_weights
from sidecar.tower.store import WeightsStore

folder, new = sys.argv[1:]
expected = read_weights(new).fingerprint
store = WeightsStore(folder, poll_s=0.05)
store.current  # the parent watches already when the children are made
children = []
for _ in range(3):
    child = os.fork()
    if child == 0:
        end = time.monotonic() + 30
        while store.current.weights.fingerprint != expected:
            if time.monotonic() > end:
                os._exit(1)
            time.sleep(0.02)
        os._exit(0)
    children.append(child)
write_weights(folder + "/new.safetensors", read_weights(new))
codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
sys.exit(0 if codes == [0, 0, 0] else 1)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_every_forked_worker_notices(folder: Path, tmp_path: Path) -> None:
    drop(folder / "a.safetensors", A)
    new = drop(tmp_path / "b.safetensors", B)
    done = subprocess.run(
        [sys.executable, "-c", FORKED, str(folder), str(new)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


IDLE = """
import os, sys, time
from sidecar.contract.weights import read_weights, write_weights
from sidecar.tower.store import WeightsStore

folder, new = sys.argv[1:]
expected = read_weights(new).fingerprint
store = WeightsStore(folder, poll_s=0.05)
store.current
child = os.fork()
if child == 0:
    time.sleep(3)  # no request comes
    os._exit(0 if store.current.weights.fingerprint == expected else 1)
write_weights(folder + "/new.safetensors", read_weights(new))
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_an_idle_worker_notices_too(folder: Path, tmp_path: Path) -> None:
    """Its first request must not meet the old weights, and write a vector of theirs."""
    drop(folder / "a.safetensors", A)
    new = drop(tmp_path / "b.safetensors", B)
    done = subprocess.run(
        [sys.executable, "-c", IDLE, str(folder), str(new)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_copy_of_the_folder_works_elsewhere(folder: Path, store_of: Make, tmp_path: Path) -> None:
    drop(folder / "a.safetensors", A)
    store = store_of()
    drop(folder / "b.safetensors", B)
    store.poll()
    store.rollback()
    shutil.copytree(folder, tmp_path / "copy")
    assert served(store_of(tmp_path / "copy")) == A.fingerprint
