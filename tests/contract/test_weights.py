"""What is written is what is read, by us, by safetensors' own reader, and by a second writer."""

from __future__ import annotations

import os
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hostile.files import Parts
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import load_file
from tower import cases

from sidecar.contract.errors import WeightsError
from sidecar.contract.history import HistoryLimits
from sidecar.contract.schema import Calibration, Metadata, dump_metadata, parse_metadata
from sidecar.contract.tensors import checksum
from sidecar.contract.weights import ProductTower, Weights, read_weights, write_weights
from sidecar.tower.load import load_tower


def assert_same(found: Weights, expected: Weights) -> None:
    assert found.metadata == expected.metadata
    assert found.fingerprint == expected.fingerprint
    assert found.product_space == expected.product_space
    assert found.tower.keys() == expected.tower.keys()
    for name, tensor in expected.tower.items():
        assert found.tower[name].dtype == np.float32
        np.testing.assert_array_equal(found.tower[name], tensor)
    for name in ("products", "events", "ages", "lengths", "users"):
        np.testing.assert_array_equal(getattr(found.golden, name), getattr(expected.golden, name))
    if expected.product_tower is None:
        assert found.product_tower is None
        return
    assert found.product_tower is not None
    np.testing.assert_array_equal(found.product_tower.A, expected.product_tower.A)
    assert tuple(found.product_tower.product_ids) == tuple(expected.product_tower.product_ids)
    if expected.product_tower.delta is None:
        assert found.product_tower.delta is None
    else:
        np.testing.assert_array_equal(found.product_tower.delta, expected.product_tower.delta)


@pytest.mark.parametrize("product_tower", ["none", "linear", "linear+id"])
def test_round_trip(product_tower: str, tmp_path: Path) -> None:
    weights = cases.random_weights(1, product_tower=product_tower)
    path = tmp_path / "new" / "w.safetensors"
    write_weights(path, weights)
    assert_same(read_weights(path), weights)
    assert load_tower(path).path == str(path)
    assert [p.name for p in path.parent.iterdir()] == ["w.safetensors"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@settings(max_examples=25, deadline=None)
@given(metadata=cases.metadatas(), seed=st.integers(0, 99), longest=st.integers(1, 30))
def test_any_architecture_round_trips(
    metadata: Metadata, seed: int, longest: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    weights = cases.random_weights(seed, metadata.architecture, limits=HistoryLimits(longest, 3.5))
    path = tmp_path_factory.mktemp("w") / "w.safetensors"
    write_weights(path, weights)
    assert_same(load_tower(path).weights, weights)


def test_safetensors_own_reader_agrees(tmp_path: Path) -> None:
    weights = cases.random_weights(1, product_tower="linear+id")
    path = tmp_path / "w.safetensors"
    write_weights(path, weights)
    tensors = load_file(path)
    for name, tensor in weights.tower.items():
        np.testing.assert_array_equal(tensors[name], tensor)
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata["checksum"] == checksum(metadata, tensors)
    assert parse_metadata(metadata) == weights.metadata


def test_a_second_writer_is_read(tmp_path: Path) -> None:
    """Tensors in another order, the header laid out by another library."""
    weights = cases.random_weights(1, product_tower="linear")
    parts = Parts(weights)
    parts.tensors = dict(reversed(parts.tensors.items()))
    path = tmp_path / "w.safetensors"
    path.write_bytes(parts.blob())
    assert_same(load_tower(path).weights, weights)


def test_unknown_metadata_is_left_alone(tmp_path: Path) -> None:
    parts = Parts(cases.random_weights(1))
    parts.metadata["note"] = "made on a Tuesday"
    path = tmp_path / "w.safetensors"
    path.write_bytes(parts.blob())
    assert load_tower(path).weights.fingerprint == cases.random_weights(1).fingerprint


def test_the_shipped_sizes_are_small(tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", cases.random_weights(1, cases.SHIPPED))
    assert (tmp_path / "w.safetensors").stat().st_size < 2**21


def test_what_would_be_refused_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    good = cases.random_weights(1)
    write_weights(path, good)
    bad = cases.random_weights(2)
    bad.tower["W_q"][0, 0] = np.nan
    shapeless = replace(good, tower={**good.tower, "b_q": np.zeros(3, np.float32)})
    ids = ProductTower(np.zeros((24, 24), np.float32), np.zeros((2, 24), np.float32), ["a", "a"])
    repeated = replace(
        good, metadata=replace(good.metadata, product_tower="linear+id"), product_tower=ids
    )
    for weights in (bad, shapeless, repeated):
        with pytest.raises(WeightsError):
            write_weights(path, weights)
    assert_same(read_weights(path), good)
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_readers_see_the_old_file_or_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    versions = [cases.random_weights(seed) for seed in (1, 2)]
    fingerprints = {weights.fingerprint for weights in versions}
    write_weights(path, versions[0])
    seen: set[str] = set()
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                seen.add(read_weights(path).fingerprint)
            except Exception as error:
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        write_weights(path, versions[turn % 2])
    done.set()
    reader.join(timeout=30)
    assert not failures
    assert seen <= fingerprints


def test_a_failed_write_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, cases.random_weights(1))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_weights(path, cases.random_weights(2))
    monkeypatch.undo()
    assert_same(read_weights(path), cases.random_weights(1))
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_fingerprint_changes_when_user_vectors_would() -> None:
    weights = cases.random_weights(1)
    tower = {name: tensor.copy() for name, tensor in weights.tower.items()}
    tower["g"][0] += 0.5
    assert replace(weights, tower=tower).fingerprint != weights.fingerprint
    limits = replace(weights.metadata, limits=HistoryLimits(10))
    assert replace(weights, metadata=limits).fingerprint != weights.fingerprint
    # What only describes, or maps scores, changes no user vector.
    described = replace(
        weights.metadata, calibration=Calibration(0.1, 0.6), metrics={"ndcg@10": 1.0}, created_at=""
    )
    assert replace(weights, metadata=described).fingerprint == weights.fingerprint


def test_product_space_follows_the_product_tower() -> None:
    plain = cases.random_weights(1)
    assert plain.product_space == plain.metadata.embedding_model
    linear, other, with_ids = (
        cases.random_weights(1, product_tower="linear"),
        cases.random_weights(2, product_tower="linear"),
        cases.random_weights(1, product_tower="linear+id"),
    )
    spaces = {w.product_space for w in (plain, linear, other, with_ids)}
    assert len(spaces) == 4


@settings(max_examples=50, deadline=None)
@given(
    metadata=cases.metadatas(),
    tiers=st.dictionaries(st.text(max_size=5), st.just((1.0, 2.5, 3.0)), max_size=3),
    name=st.text(max_size=8),
)
def test_metadata_round_trips(
    metadata: Metadata, tiers: dict[str, tuple[float, float, float]], name: str
) -> None:
    full = replace(metadata, price_tiers=tiers, training={"data": name, "seed": 3})
    raw = dump_metadata(full)
    found = parse_metadata(raw)
    assert dump_metadata(found) == raw
    assert found.vocabulary.names == metadata.vocabulary.names
