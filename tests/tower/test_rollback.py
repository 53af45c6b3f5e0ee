"""Going back, and weights of another product space."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from sidecar.contract.errors import WeightsError
from tower.stores import OTHER_SPACE, A, B, C, Make, drop, served, until

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
    back = second.rollback()
    assert back.weights.fingerprint == A.fingerprint
    # Read from the copy that was kept, and known by the name that somebody gave it.
    for tower in (back, store_of().current):
        assert tower.path == str(folder / "a.safetensors")


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
