"""What the tensors of a weights file must be: names, types, shapes; then values.

The first is decided from the header alone, before any tensor is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from sidecar.contract.errors import WeightsError
from sidecar.contract.schema import Metadata

Arrays = Mapping[str, np.ndarray[Any, Any]]

GOLDEN = ("golden.products", "golden.events", "golden.ages", "golden.lengths", "golden.users")
#: Golden histories are computed with each load; a few dozen are plenty.
MAX_GOLDEN = 1024
#: How far from 1 the length of a vector may be that should be a unit vector.
UNIT_TOLERANCE = 1e-3


class Described(Protocol):
    """Anything with a type and a shape: an array, or a header's entry."""

    @property
    def dtype(self) -> Any: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def check_layout(path: str, metadata: Metadata, tensors: Mapping[str, Described]) -> None:
    """Every tensor that should be there, and no other, of the right type and shape.

    Raises
    ------
    WeightsError
    """
    expected = expected_layout(metadata, tensors)
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise WeightsError(path, f"missing tensors: {', '.join(missing)}")
    surplus = sorted(tensors.keys() - expected.keys())
    if surplus:
        names = ", ".join(surplus)
        raise WeightsError(path, f"tensors that the format does not know: {names:.200}")
    for name, (dtype, shape) in expected.items():
        found = tensors[name]
        if found.dtype != dtype:
            raise WeightsError(path, f"tensor {name} is of type {found.dtype}: expected {dtype}")
        if found.shape != shape:
            raise WeightsError(path, f"tensor {name} has shape {found.shape}: expected {shape}")
    if len(tensors["golden.users"].shape) and tensors["golden.users"].shape[0] > MAX_GOLDEN:
        found_golden = tensors["golden.users"].shape[0]
        raise WeightsError(path, f"{found_golden} golden histories: expected at most {MAX_GOLDEN}")


def expected_layout(
    metadata: Metadata, tensors: Mapping[str, Described]
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name to (type, shape). Counts that the file chooses (G, N) come from the file."""
    d, length = metadata.architecture.dimension, metadata.limits.max_interactions
    shapes = metadata.architecture.shapes(len(metadata.vocabulary.weights))
    expected = {name: ("float32", shape) for name, shape in shapes.items()}

    def first(name: str) -> int:
        shape = tensors[name].shape if name in tensors else ()
        return max(shape[0], 1) if shape else 1

    g = first("golden.users")
    expected |= {
        "golden.products": ("float32", (g, length, d)),
        "golden.events": ("int32", (g, length)),
        "golden.ages": ("float32", (g, length)),
        "golden.lengths": ("int32", (g,)),
        "golden.users": ("float32", (g, d)),
    }
    if metadata.product_tower != "none":
        expected["A"] = ("float32", (d, d))
    if metadata.product_tower == "linear+id":
        n = first("delta")
        expected |= {
            "delta": ("float32", (n, d)),
            "product_ids.bytes": ("uint8", (first("product_ids.bytes"),)),
            "product_ids.ends": ("int64", (n,)),
        }
    return expected


def check_values(path: str, metadata: Metadata, tensors: Arrays) -> None:
    """Finite everywhere, and within what each tensor means.

    Raises
    ------
    WeightsError
    """
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise WeightsError(path, f"tensor {name} holds NaN or infinity: expected finite values")
    if not (tensors["g"] > 0).all():
        raise WeightsError(path, "tensor g holds a weight that is not above 0")
    for name in ("lambda_age", "lambda_rank"):
        if tensors[name] < 0:
            raise WeightsError(path, f"tensor {name} is {tensors[name]}: expected 0 or above")
    _check_golden(path, metadata, tensors)


def _check_golden(path: str, metadata: Metadata, tensors: Arrays) -> None:
    events, lengths, ages = (tensors[f"golden.{k}"] for k in ("events", "lengths", "ages"))
    types = len(metadata.vocabulary.weights)
    if events.min() < 0 or events.max() >= types:
        raise WeightsError(path, f"golden.events: expected event types from 0 to {types - 1}")
    limit = metadata.limits.max_interactions
    if lengths.min() < 1 or lengths.max() > limit:
        raise WeightsError(path, f"golden.lengths: expected lengths from 1 to {limit}")
    if ages.min() < 0:
        raise WeightsError(path, "golden.ages: expected hours of 0 or above")
    used = np.arange(limit) < lengths[:, None]
    # Vectors of length 0 would be reproduced by any tower, and so prove nothing.
    for name, rows in (
        ("golden.products", tensors["golden.products"][used]),
        ("golden.users", tensors["golden.users"]),
    ):
        norms = np.linalg.norm(rows.astype(np.float64), axis=-1)
        if not (np.abs(norms - 1) <= UNIT_TOLERANCE).all():
            raise WeightsError(path, f"{name}: expected unit vectors")


def checksum(metadata: Mapping[str, str], tensors: Arrays) -> str:
    """SHA-256, in hex, of all metadata but ``checksum`` itself and of all tensors.

    Golden vectors prove the user tower; this proves the rest, the product tower before all.
    Independent of the order in which a file holds its tensors.
    """
    digest = hashlib.sha256()
    for key in sorted(metadata.keys() - {"checksum"}):
        digest.update(f"{key}\0{metadata[key]}\0".encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        shape = ",".join(map(str, tensor.shape))
        digest.update(f"{name}\0{tensor.dtype.name}\0{shape}\0".encode())
        little = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False)
        digest.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
