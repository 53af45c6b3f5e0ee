"""Every way in which a weights file can be wrong, each refused with its own clear reason."""

from __future__ import annotations

import json
import os
import pickle
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tower import cases

from hostile.files import Parts, join, refused, write
from sidecar.contract.errors import WeightsError
from sidecar.tower.load import load_tower

GIB = 2**30


def test_the_untampered_file_is_accepted(parts: Parts, tmp_path: Path) -> None:
    tower = load_tower(write(tmp_path / "w.safetensors", parts.blob()))
    assert tower.weights.fingerprint == cases.random_weights(1).fingerprint


# --- Not this kind of file -----------------------------------------------------------------------


class Exploit:
    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, ("pwned",)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_is_not_loaded(
    protocol: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path / "w.safetensors", pickle.dumps(Exploit(), protocol=protocol))
    reason = refused(path)
    assert ("pickle" in reason) or (protocol == 0 and "not a safetensors file" in reason)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("blob", "reason"),
    [
        (b"", "0 bytes long"),
        (b"\x10\0\0", "3 bytes long"),
        (b"PK\x03\x04" + bytes(100), "PyTorch checkpoint"),
        (b"\x93NUMPY\x01\x00" + bytes(100), ".npy"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>404</html>", "not a safetensors file"),
        (join(b"[1, 2]", b""), "not a JSON object"),
        (join(b"hello", b""), "not a JSON object"),
        (join(b'{"a": ', b""), "not JSON"),
        (join(b'{"\xff\xfe": 1}', b""), "not UTF-8"),
        (join(b"{}", b""), "metadata.format"),
        (join(b'{"a":' * 5000 + b"1" + b"}" * 5000, b""), "not JSON"),
        (join(b'{"__metadata__": {"a": 1}}', b""), "object of texts"),
        (join(b'{"__metadata__": []}', b""), "object of texts"),
        (join(b'{"__metadata__": {"a": "\\ud800"}}', b""), "valid Unicode"),
        (join(b'{"a": NaN}', b""), "not JSON"),
        (join(b'{"a": 1}', b""), "expected dtype, shape and data_offsets"),
    ],
)
def test_other_files(blob: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(write(tmp_path / "w.safetensors", blob))


def test_a_missing_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "w.safetensors")


def test_a_folder(tmp_path: Path) -> None:
    assert "not a regular file" in refused(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.safetensors")
    assert "not a regular file" in refused(tmp_path / "w.safetensors")


def test_a_path_with_a_null_byte() -> None:
    with pytest.raises(WeightsError, match="cannot be opened"):
        load_tower("w\0.safetensors")


# --- The header against the file -----------------------------------------------------------------


def test_a_truncated_header(parts: Parts, tmp_path: Path) -> None:
    blob = parts.blob()
    assert "truncated" in refused(write(tmp_path / "w.safetensors", blob[:100]))


@pytest.mark.parametrize("length", [GIB, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file(length: int, parts: Parts, tmp_path: Path) -> None:
    blob = length.to_bytes(8, "little") + parts.blob()[8:]
    reason = refused(write(tmp_path / "w.safetensors", blob))
    assert f"claims {length} bytes" in reason


def test_truncated_data(parts: Parts, tmp_path: Path) -> None:
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()[:-1]))
    assert "golden.users" in reason
    assert "truncated" in reason


def test_surplus_data(parts: Parts, tmp_path: Path) -> None:
    reason = refused(write(tmp_path / "w.safetensors", parts.blob() + b"x"))
    assert "1 bytes after the last tensor belong to none" in reason


def test_ten_gigabytes_in_a_kilobyte(parts: Parts, tmp_path: Path) -> None:
    """Refused by arithmetic: nothing near what it claims is ever allocated."""
    count = 10 * GIB // 4
    header = {"W_in": {"dtype": "F32", "shape": [count], "data_offsets": [0, 10 * GIB]}}
    blob = join(json.dumps(header).encode(), bytes(800))
    assert len(blob) < 1024
    path = write(tmp_path / "w.safetensors", blob)
    tracemalloc.start()
    reason = refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "out of range" in reason
    assert str(10 * GIB) in reason
    assert peak < 4 * 2**20


def test_shapes_whose_product_overflows_64_bits(parts: Parts, tmp_path: Path) -> None:
    header = parts.header()
    header["W_in"]["shape"] = [2**32, 2**32, 4]
    assert "takes" in refused(write(tmp_path / "w.safetensors", parts.blob(header)))


def test_a_sparse_file_that_is_really_huge(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with path.open("wb") as file:
        file.truncate(10 * GIB)
    assert "expected at most" in refused(path)


def test_overlapping_tensors(parts: Parts, tmp_path: Path) -> None:
    header = parts.header()
    header["b_k"]["data_offsets"] = header["b_q"]["data_offsets"]
    reason = refused(write(tmp_path / "w.safetensors", parts.blob(header)))
    assert "'b_q' and 'b_k' overlap" in reason


def test_a_hole_between_tensors(parts: Parts, tmp_path: Path) -> None:
    header = parts.header()
    del header["b_k"]
    reason = refused(write(tmp_path / "w.safetensors", parts.blob(header)))
    assert "belong to none" in reason


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("data_offsets", [-4, 0], "two offsets"),
        ("data_offsets", [8, 0], "out of range"),
        ("data_offsets", [0], "two offsets"),
        ("data_offsets", [0, 0.5], "two offsets"),
        ("data_offsets", [0, 10**30], "two offsets"),
        ("data_offsets", [0, 10**15], "out of range"),
        ("data_offsets", None, "two offsets"),
        ("shape", [-1], "up to 8 sizes"),
        ("shape", [True], "up to 8 sizes"),
        ("shape", "15", "up to 8 sizes"),
        ("shape", [1] * 9, "up to 8 sizes"),
        ("shape", [14], "takes 56 bytes"),
        ("dtype", "F128", "not a type of safetensors"),
        ("dtype", ["F32"], "not a type of safetensors"),
        ("dtype", "F64", "takes 120 bytes"),
    ],
)
def test_malformed_entries(
    field: str, value: object, reason: str, parts: Parts, tmp_path: Path
) -> None:
    header = parts.header()
    header["b_q"][field] = value
    found = refused(write(tmp_path / "w.safetensors", parts.blob(header)))
    assert reason in found
    assert "b_q" in found


def test_a_name_that_stands_twice(parts: Parts, tmp_path: Path) -> None:
    header = json.dumps(parts.header())
    twice = header[:-1] + ', "b_q": ' + json.dumps(parts.header()["b_q"]) + "}"
    blob = join(twice.encode(), parts.data())
    assert "'b_q' twice" in refused(write(tmp_path / "w.safetensors", blob))


def test_metadata_that_stands_twice(parts: Parts, tmp_path: Path) -> None:
    inner = json.dumps(parts.header()["__metadata__"])
    twice = inner[:-1] + ', "format_version": "2"}'
    text = json.dumps({k: v for k, v in parts.header().items() if k != "__metadata__"})
    blob = join((text[:-1] + f', "__metadata__": {twice}}}').encode(), parts.data())
    assert "'format_version' twice" in refused(write(tmp_path / "w.safetensors", blob))


# --- Tensors -------------------------------------------------------------------------------------


def test_missing_tensors(parts: Parts, tmp_path: Path) -> None:
    del parts.tensors["W_q"], parts.tensors["s"]
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert reason == "missing tensors: W_q, s"


def test_surplus_tensors(parts: Parts, tmp_path: Path) -> None:
    parts.tensors["layer_norm.weight"] = np.ones(3, np.float32)
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert reason == "tensors that the format does not know: layer_norm.weight"


def test_a_product_tower_that_the_metadata_does_not_name(tmp_path: Path) -> None:
    parts = Parts(cases.random_weights(1, product_tower="linear"))
    parts.metadata["product_tower"] = "none"
    assert "does not know: A" in refused(write(tmp_path / "w.safetensors", parts.blob()))


@pytest.mark.parametrize("name", ["W_in", "lambda_age", "golden.users", "golden.ages"])
def test_a_wrong_shape(name: str, parts: Parts, tmp_path: Path) -> None:
    parts.tensors[name] = parts.tensors[name][..., None]
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert f"tensor {name} has shape" in reason


def test_a_transposed_matrix(parts: Parts, tmp_path: Path) -> None:
    parts.tensors["W_q"] = np.ascontiguousarray(parts.tensors["W_q"].T)
    assert "expected (15, 12)" in refused(write(tmp_path / "w.safetensors", parts.blob()))


@pytest.mark.parametrize("dtype", ["float16", "float64", "int32"])
def test_a_wrong_type(dtype: str, parts: Parts, tmp_path: Path) -> None:
    parts.tensors["W_q"] = parts.tensors["W_q"].astype(dtype)
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert reason == f"tensor W_q is of type {dtype}: expected float32"


def test_bfloat16(parts: Parts, tmp_path: Path) -> None:
    parts.tensors["W_q"] = parts.tensors["W_q"].astype(np.float16)
    header = parts.header()
    header["W_q"]["dtype"] = "BF16"
    reason = refused(write(tmp_path / "w.safetensors", parts.blob(header)))
    assert reason == "tensor W_q is of type BF16: expected float32"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["W_in", "b_out", "g", "golden.users", "A"])
def test_values_that_are_not_finite(value: float, name: str, tmp_path: Path) -> None:
    parts = Parts(cases.random_weights(1, product_tower="linear"))
    parts.tensors[name].reshape(-1)[-1] = value
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert reason == f"tensor {name} holds NaN or infinity: expected finite values"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("g", 0.0, "not above 0"),
        ("g", -1.0, "not above 0"),
        ("lambda_age", -0.1, "0 or above"),
        ("lambda_rank", -0.1, "0 or above"),
        ("golden.events", 7, "event types from 0 to 6"),
        ("golden.events", -1, "event types from 0 to 6"),
        ("golden.lengths", 0, "lengths from 1 to 20"),
        ("golden.lengths", 21, "lengths from 1 to 20"),
        ("golden.ages", -1.0, "hours of 0 or above"),
        ("golden.users", 0.0, "golden.users: expected unit vectors"),
        ("golden.products", 0.0, "golden.products: expected unit vectors"),
        ("W_in", 3e38, "overflow float32"),
    ],
)
def test_values_out_of_range(
    name: str, value: float, reason: str, parts: Parts, tmp_path: Path
) -> None:
    parts.tensors[name][...] = value
    assert reason in refused(write(tmp_path / "w.safetensors", parts.blob()))
