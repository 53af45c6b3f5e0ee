"""Weights dropped into a folder: started with, activated, refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.contract.errors import WeightsError
from sidecar.tower.notices import Notice
from tower.stores import A, B, Make, drop, served

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
