"""Weights files assembled byte by byte, as the specification says: so that they can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sidecar.contract.errors import WeightsError
from sidecar.contract.schema import dump_metadata
from sidecar.contract.tensors import checksum
from sidecar.contract.weights import Weights
from sidecar.tower.load import load_tower

DTYPES = {"float32": "F32", "int32": "I32", "int64": "I64", "uint8": "U8",
          "float64": "F64", "float16": "F16"}  # fmt: skip


class Parts:
    """The parts of a file, each open to tampering before :meth:`blob` joins them."""

    def __init__(self, weights: Weights) -> None:
        golden = weights.golden
        self.metadata = dump_metadata(weights.metadata)
        self.tensors: dict[str, np.ndarray[Any, Any]] = {
            **{name: tensor.copy() for name, tensor in weights.tower.items()},
            "golden.products": golden.products.copy(),
            "golden.events": golden.events.copy(),
            "golden.ages": golden.ages.copy(),
            "golden.lengths": golden.lengths.copy(),
            "golden.users": golden.users.copy(),
        }
        if weights.product_tower is not None:
            self.tensors["A"] = weights.product_tower.A.copy()

    def header(self) -> dict[str, Any]:
        """The header as an object, with a checksum that fits and offsets that do."""
        metadata = {**self.metadata, "checksum": checksum(self.metadata, self.tensors)}
        header: dict[str, Any] = {"__metadata__": metadata}
        end = 0
        for name, tensor in self.tensors.items():
            header[name] = {
                "dtype": DTYPES[tensor.dtype.name],
                "shape": list(tensor.shape),
                "data_offsets": [end, end + tensor.nbytes],
            }
            end += tensor.nbytes
        return header

    def data(self) -> bytes:
        return b"".join(tensor.tobytes() for tensor in self.tensors.values())

    def blob(self, header: dict[str, Any] | None = None, data: bytes | None = None) -> bytes:
        return join(json.dumps(header or self.header()).encode(), self.data() if data is None
                    else data)  # fmt: skip


def join(header: bytes, data: bytes) -> bytes:
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data


def write(path: Path, blob: bytes) -> Path:
    path.write_bytes(blob)
    return path


def refused(path: Path) -> str:
    """The reason, as one line that names the file."""
    with pytest.raises(WeightsError) as caught:
        load_tower(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 700
    return caught.value.reason
