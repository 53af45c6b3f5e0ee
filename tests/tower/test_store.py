"""Weights exchanged while they are served: real files, real threads, a real fork."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.contract.errors import WeightsError
from sidecar.contract.weights import write_weights
from sidecar.tower.notices import Notice
from sidecar.tower.served import served_tower
from sidecar.tower.store import WeightsStore
from tower import cases

A, B, C = (cases.random_weights(seed) for seed in (1, 2, 3))
OTHER_SPACE = cases.random_weights(4, product_tower="linear")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "weights"
    path.mkdir()
    return path


Make = Callable[..., WeightsStore]


@pytest.fixture
def store_of(folder: Path) -> Iterator[Make]:
    """Stores that only look when they are told to, unless asked otherwise."""
    made: list[WeightsStore] = []

    def make(path: Path = folder, **settings: Any) -> WeightsStore:
        defaults = {"watch": False, "settle_s": 0.0, "ask_s": 0.0}
        made.append(WeightsStore(path, **{**defaults, **settings}))
        return made[-1]

    yield make
    for store in made:
        store.close()


def drop(path: Path, weights: Any, mtime: float | None = None) -> Path:
    write_weights(path, weights)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def served(store: WeightsStore) -> str:
    return store.current.weights.fingerprint


def until(condition: Callable[[], bool], seconds: float = 30.0) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


# --- Starting ------------------------------------------------------------------------------------


def test_the_newest_accepted_file_is_where_it_starts(folder: Path, store_of: Make) -> None:
    drop(folder / "z-old.safetensors", A, 1_000)
    drop(folder / "a-new.safetensors", B, 2_000)
    (folder / "broken.safetensors").write_bytes(b"x")
    store = store_of()
    assert served(store) == B.fingerprint
    assert [notice.file for notice in store.refused] == ["broken.safetensors"]
    store.poll()
    assert served(store) == B.fingerprint, "an older file is not a drop"


def test_nothing_to_start_with(folder: Path, store_of: Make) -> None:
    with pytest.raises(WeightsError, match=r"holds no \.safetensors file"):
        store_of()
    (folder / "w.safetensors").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"w\.safetensors: 0 bytes long"):
        store_of()
    with pytest.raises(WeightsError, match="No such file"):
        store_of(folder / "missing")


# --- Dropping a file -----------------------------------------------------------------------------


def test_a_dropped_file_is_activated(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    swaps: list[str] = []
    store = store_of(on_swap=lambda tower: swaps.append(tower.weights.fingerprint))
    drop(folder / "b.safetensors", B)
    assert served(store) == A.fingerprint
    store.poll()
    assert served(store) == B.fingerprint
    assert swaps == [B.fingerprint]
    assert store.status()["file"] == "b.safetensors"


def test_its_age_does_not_matter(folder: Path, store_of: Make) -> None:
    """`cp -p` and rsync keep the time at which a file was made somewhere else."""
    drop(folder / "a.safetensors", A, 2_000)
    store = store_of()
    drop(folder / "b.safetensors", B, 1_000)
    store.poll()
    assert served(store) == B.fingerprint


def test_the_same_name_may_be_overwritten(folder: Path, store_of: Make) -> None:
    path = drop(folder / "w.safetensors", A)
    store = store_of()
    drop(path, B)
    store.poll()
    assert served(store) == B.fingerprint
    assert store.rollback().weights.fingerprint == A.fingerprint


def test_a_touched_file_is_dropped_again(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A, 1_000)
    store = store_of()
    drop(folder / "b.safetensors", B, 2_000)
    store.poll()
    os.utime(folder / "a.safetensors", (3_000, 3_000))
    store.poll()
    assert served(store) == A.fingerprint
    (folder / "b.safetensors").chmod(0o600)
    store.poll()
    assert served(store) == A.fingerprint, "a change of permissions is not a drop"


def test_new_calibration_alone_is_a_new_file(folder: Path, store_of: Make) -> None:
    path = drop(folder / "w.safetensors", A)
    store = store_of()
    described = replace(A, metadata=replace(A.metadata, metrics={"note": 1}))
    drop(path, described)
    store.poll()
    assert store.current.weights.metadata.metrics == {"note": 1}


def test_a_slow_copy_is_waited_for_quietly(folder: Path, store_of: Make, tmp_path: Path) -> None:
    drop(folder / "a.safetensors", A)
    refused: list[Notice] = []
    store = store_of(settle_s=60.0, on_refused=refused.append)
    blob = drop(tmp_path / "b.safetensors", B).read_bytes()
    with (folder / "b.safetensors").open("wb") as target:
        for start in range(0, len(blob), len(blob) // 7):
            target.write(blob[start : start + len(blob) // 7])
            target.flush()
            store.poll()
            whole = target.tell() == len(blob)
            assert served(store) == (B if whole else A).fingerprint
    assert not refused
    assert not store.refused


def test_an_overwriting_copy_of_the_same_size_is_waited_for(
    folder: Path, store_of: Make, tmp_path: Path
) -> None:
    path = drop(folder / "w.safetensors", A)
    store = store_of(settle_s=60.0)
    blob = drop(tmp_path / "b.safetensors", B).read_bytes()
    assert len(blob) == path.stat().st_size
    with path.open("r+b") as target:
        target.write(blob[: len(blob) // 2])
        target.flush()
        store.poll()
        assert served(store) == A.fingerprint
        target.write(blob[len(blob) // 2 :])
    store.poll()
    assert served(store) == B.fingerprint


def test_hidden_and_other_files_are_no_candidates(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    drop(folder / ".b.safetensors.Xy12", B)
    drop(folder / ".b.safetensors", B)
    (folder / "README.md").write_text("hello")
    store = store_of()
    store.poll()
    assert served(store) == A.fingerprint
    assert not store.refused


# --- Refusing ------------------------------------------------------------------------------------


def test_a_refused_file_changes_nothing_and_is_reported_once(
    folder: Path, store_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    drop(folder / "a.safetensors", A)
    refused: list[Notice] = []
    store = store_of(on_refused=refused.append)
    (folder / "b.safetensors").write_bytes(b"\x80\x04 a pickle")
    for _ in range(3):
        store.poll()
    assert served(store) == A.fingerprint
    assert [notice.file for notice in refused] == ["b.safetensors"]
    assert "pickle" in refused[0].reason
    assert store.refused == tuple(refused)
    assert sum("b.safetensors is refused" in line for line in caplog.messages) == 1

    drop(folder / "b.safetensors", B)
    store.poll()
    assert served(store) == B.fingerprint
    assert not store.refused


def test_a_removed_file_is_no_longer_reported(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    store = store_of()
    (folder / "b.safetensors").write_bytes(b"x")
    store.poll()
    assert store.refused
    (folder / "b.safetensors").unlink()
    store.poll()
    assert not store.refused
    (folder / "a.safetensors").unlink()
    store.poll()
    assert served(store) == A.fingerprint, "what is in memory, and kept, is still good"


def test_links_may_not_leave_the_folder(folder: Path, store_of: Make, tmp_path: Path) -> None:
    drop(folder / "a.safetensors", A)
    outside = drop(tmp_path / "secret.safetensors", B)
    (folder / "b.safetensors").symlink_to(outside)
    (folder / "c.safetensors").symlink_to(folder / "nowhere")
    refused: list[Notice] = []
    store = store_of(on_refused=refused.append)
    store.poll()
    assert served(store) == A.fingerprint
    reasons = {notice.file: notice.reason for notice in refused}
    assert "leaves the folder" in reasons["b.safetensors"]
    assert "cannot be read" in reasons["c.safetensors"]
    assert len(refused) == 2


def test_links_within_the_folder_are_how_mounted_volumes_are_updated(
    folder: Path, store_of: Make
) -> None:
    for name, weights in (("..v1", A), ("..v2", B)):
        (folder / name).mkdir()
        drop(folder / name / "w.safetensors", weights)
    (folder / "..data").symlink_to("..v1")
    (folder / "w.safetensors").symlink_to("..data/w.safetensors")
    store = store_of()
    assert served(store) == A.fingerprint
    (folder / "..new").symlink_to("..v2")
    os.replace(folder / "..new", folder / "..data")
    store.poll()
    assert served(store) == B.fingerprint


# --- Going back ----------------------------------------------------------------------------------


def test_rollback_survives_restarts_and_is_seen_by_others(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    first, second = store_of(), store_of()
    drop(folder / "b.safetensors", B)
    for store in (first, second):
        store.poll()
        assert served(store) == B.fingerprint
    first.rollback()
    assert served(first) == A.fingerprint
    second.poll()
    assert served(second) == A.fingerprint
    assert served(store_of()) == A.fingerprint
    for store in (first, second):
        store.poll()
        assert served(store) == A.fingerprint, "the file still lies there, and stays inactive"
    drop(folder / "c.safetensors", C)
    second.poll()
    first.poll()
    assert served(first) == served(second) == C.fingerprint
    assert second.rollback().weights.fingerprint == A.fingerprint


def test_rollback_goes_back_step_by_step(folder: Path, store_of: Make) -> None:
    store = None
    for name, weights in zip("abc", (A, B, C), strict=True):
        drop(folder / f"{name}.safetensors", weights)
        store = store or store_of()
        store.poll()
        (folder / f"{name}.safetensors").unlink()
    assert store is not None
    assert [one["file"] for one in store.status()["previous"]] == ["b.safetensors", "a.safetensors"]
    assert store.rollback().weights.fingerprint == B.fingerprint
    assert store.rollback().weights.fingerprint == A.fingerprint
    assert not store.status()["can_roll_back"]
    with pytest.raises(WeightsError, match="no earlier weights"):
        store.rollback()
    assert served(store) == A.fingerprint


def test_a_damaged_copy_is_passed_over(folder: Path, store_of: Make) -> None:
    store = None
    for weights in (A, B, C):
        drop(folder / "w.safetensors", weights)
        store = store or store_of()
        store.poll()
    assert store is not None
    kept = {path: path.read_bytes() for path in (folder / "kept").iterdir()}
    assert len(kept) == 3
    previous = store.status()["previous"][0]["checksum"]
    (folder / "kept" / f"{previous}.safetensors").write_bytes(b"x")
    assert store.rollback().weights.fingerprint == A.fingerprint


def test_others_follow_although_no_copy_could_be_kept(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    first, second = store_of(), store_of()
    shutil.rmtree(folder / "kept")
    (folder / "kept").write_text("in the way")
    drop(folder / "b.safetensors", B)
    for store in (first, second):
        store.poll()
        assert served(store) == B.fingerprint
    with pytest.raises(WeightsError, match="no earlier weights"):
        first.rollback()
    assert served(first) == B.fingerprint


def test_a_folder_that_vanishes_is_said_once(
    folder: Path, store_of: Make, caplog: pytest.LogCaptureFixture
) -> None:
    drop(folder / "a.safetensors", A)
    store = store_of(watch=True, poll_s=0.02)
    assert served(store) == A.fingerprint
    folder.rename(folder.with_name("gone"))
    assert until(lambda: bool(caplog.messages))
    time.sleep(0.2)
    assert sum("could not look" in line for line in caplog.messages) == 1
    folder.with_name("gone").rename(folder)
    drop(folder / "b.safetensors", B)
    assert until(lambda: served(store) == B.fingerprint)


def test_a_single_file_has_no_way_back(folder: Path, store_of: Make) -> None:
    path = drop(folder / "w.safetensors", A)
    store = store_of(path)
    drop(path, B)
    store.poll()
    assert served(store) == B.fingerprint
    with pytest.raises(WeightsError, match="single file"):
        store.rollback()
    assert [p.name for p in folder.iterdir()] == ["w.safetensors"], "nothing is written beside it"


def test_a_folder_that_cannot_be_written(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    (folder / ".active.lock").mkdir()  # also for root
    store = store_of()
    drop(folder / "b.safetensors", B)
    store.poll()
    assert served(store) == B.fingerprint
    store.poll()
    assert served(store) == B.fingerprint
    with pytest.raises(WeightsError, match="cannot be written"):
        store.rollback()
    # Another process that can write goes on; this one follows.
    (folder / ".active.lock").rmdir()
    writer = store_of()
    drop(folder / "c.safetensors", C)
    writer.poll()
    store.poll()
    assert served(store) == C.fingerprint
    writer.rollback()
    store.poll()
    assert served(store) == served(writer)


def test_a_damaged_record_starts_anew(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A, 1_000)
    drop(folder / "b.safetensors", B, 2_000)
    store_of()
    (folder / "active.json").write_text('{"format": "somethi')
    store = store_of()
    assert served(store) == B.fingerprint
    assert '"sidecar-weights"' in (folder / "active.json").read_text()


# --- Another product tower -----------------------------------------------------------------------


def test_weights_of_another_product_space_wait(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)
    ready: set[str] = set()
    asked: list[str] = []

    def space_ready(space: str) -> bool:
        asked.append(space)
        return space in ready

    store = store_of(space_ready=space_ready)
    drop(folder / "b.safetensors", OTHER_SPACE)
    store.poll()
    assert served(store) == A.fingerprint
    assert store.waiting is not None
    assert "trainer vectorize --weights b.safetensors" in store.waiting.reason
    assert "sidecar rebuild" in store.waiting.reason
    assert not store.refused
    # Vectors were made; both processes and later ones switch.
    ready.add(OTHER_SPACE.product_space)
    store.poll()
    assert served(store) == OTHER_SPACE.fingerprint
    assert store.waiting is None
    assert set(asked) == {OTHER_SPACE.product_space}
    with pytest.raises(WeightsError, match="trainer vectorize"):
        store.rollback()
    ready.add(A.product_space)
    assert store.rollback().weights.fingerprint == A.fingerprint


def test_without_an_answer_nothing_is_mixed(folder: Path, store_of: Make) -> None:
    drop(folder / "a.safetensors", A)

    def unreachable(space: str) -> bool:
        raise ConnectionError("no Elasticsearch")

    store = store_of(space_ready=unreachable)
    drop(folder / "b.safetensors", OTHER_SPACE)
    store.poll()
    assert served(store) == A.fingerprint
    assert store.waiting is not None
    (folder / "b.safetensors").unlink()
    store.poll()
    assert store.waiting is None


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


def test_a_copy_of_the_folder_works_elsewhere(folder: Path, store_of: Make, tmp_path: Path) -> None:
    drop(folder / "a.safetensors", A)
    store = store_of()
    drop(folder / "b.safetensors", B)
    store.poll()
    store.rollback()
    shutil.copytree(folder, tmp_path / "copy")
    assert served(store_of(tmp_path / "copy")) == A.fingerprint
