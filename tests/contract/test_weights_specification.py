"""weights/README.md is enough to read a file: a second reader, of the standard library alone."""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path

import pytest
from tower import cases

from sidecar.contract.schema import Architecture, Metadata, dump_metadata
from sidecar.contract.weights import Weights, write_weights

SPECIFICATION = Path(__file__).parents[2] / "weights" / "README.md"
TYPES = {"F32": "float32", "I32": "int32", "I64": "int64", "U8": "uint8"}


@pytest.fixture(params=["none", "linear", "linear+id"])
def weights(request: pytest.FixtureRequest) -> Weights:
    return cases.random_weights(5, product_tower=request.param)


def test_a_second_reader(weights: Weights, tmp_path: Path) -> None:
    write_weights(tmp_path / "w.safetensors", weights)
    blob = (tmp_path / "w.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__")

    def data(name: str) -> bytes:
        begin, end = header[name]["data_offsets"]
        return blob[8 + length + begin : 8 + length + end]

    digest = hashlib.sha256()
    for key in sorted(metadata.keys() - {"checksum"}):
        digest.update(f"{key}\0{metadata[key]}\0".encode())
    for name in sorted(header):
        shape = ",".join(map(str, header[name]["shape"]))
        digest.update(f"{name}\0{TYPES[header[name]['dtype']]}\0{shape}\0".encode() + data(name))
    assert metadata["checksum"] == digest.hexdigest()

    digest = hashlib.sha256()
    for key in ("format_version", "architecture", "events", "history"):
        digest.update(metadata[key].encode())
    for name in sorted(weights.tower):
        digest.update(name.encode() + data(name))
    assert weights.fingerprint == digest.hexdigest()[:16]

    space = metadata["embedding_model"]
    if metadata["product_tower"] != "none":
        digest = hashlib.sha256(data("A"))
        if metadata["product_tower"] == "linear+id":
            ends = struct.unpack(
                f"<{len(data('product_ids.ends')) // 8}q", data("product_ids.ends")
            )
            ids = [data("product_ids.bytes")[a:b] for a, b in zip((0, *ends), ends, strict=False)]
            digest.update(data("delta") + b"\0".join(ids))
        space += "+" + digest.hexdigest()[:16]
    assert weights.product_space == space


def test_every_tensor_and_every_key_is_specified() -> None:
    text = SPECIFICATION.read_text()
    weights = cases.random_weights(1, product_tower="linear+id")
    sizes = Architecture.__dataclass_fields__
    for name in (*weights.tensors(), *dump_metadata(Metadata()), *sizes, "checksum"):
        assert f"`{name}`" in text or f"`.{name}`" in text, name
