"""The weights file: its only reader and its only writer.

Reading checks what a file says about itself: header, names, shapes, types, finiteness, metadata.
Whether the tower reproduces the golden vectors is checked one layer up, in
:mod:`sidecar.tower.load`, because it takes the tower to know.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sidecar.contract.errors import ConfigError, WeightsError
from sidecar.contract.schema import Metadata, dump_metadata, parse_metadata

F32 = NDArray[np.float32]

_GOLDEN = ("golden.products", "golden.events", "golden.ages", "golden.lengths", "golden.users")


@dataclass(frozen=True)
class Golden:
    """A few histories and the user vectors that the model must make of them.

    Parameters
    ----------
    products : float32, shape (G, L, D)
        Unit product vectors, oldest to newest; zero where padded, at the end.
    events : int32, shape (G, L)
    ages : float32, shape (G, L)
        Hours before the newest interaction.
    lengths : int32, shape (G,)
    users : float32, shape (G, D)
        What the trainer's own model made of them.
    """

    products: F32
    events: NDArray[np.int32]
    ages: F32
    lengths: NDArray[np.int32]
    users: F32


@dataclass(frozen=True)
class ProductTower:
    """q = normalize(p + A p + delta): what is applied when product vectors are written.

    Parameters
    ----------
    A : float32, shape (D, D)
    delta : float32, shape (N, D), optional
        Each known product's own offset.
    product_ids : Sequence[str]
        N ids, in the order of ``delta``.
    """

    A: F32
    delta: F32 | None = None
    product_ids: Sequence[str] = ()


@dataclass(frozen=True)
class Weights:
    """A weights file in memory.

    Parameters
    ----------
    metadata : Metadata
    tower : Mapping[str, float32 array]
        The user tower's tensors, named and shaped as ``Architecture.shapes`` says.
    golden : Golden
    product_tower : ProductTower, optional
    """

    metadata: Metadata
    tower: Mapping[str, F32]
    golden: Golden
    product_tower: ProductTower | None = None

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that change when the user vectors would."""
        described = dump_metadata(self.metadata)
        digest = hashlib.sha256()
        for key in ("format_version", "architecture", "events", "history"):
            digest.update(described[key].encode())
        for name in sorted(self.tower):
            digest.update(name.encode() + self.tower[name].astype("<f4").tobytes())
        return digest.hexdigest()[:16]

    @cached_property
    def product_space(self) -> str:
        """Names the space that product vectors live in: stored with each, as
        ``embedding_model``. User vectors of these weights only fit product vectors of it."""
        if self.product_tower is None:
            return self.metadata.embedding_model
        digest = hashlib.sha256(self.product_tower.A.astype("<f4").tobytes())
        if self.product_tower.delta is not None:
            digest.update(self.product_tower.delta.astype("<f4").tobytes())
            digest.update("\0".join(self.product_tower.product_ids).encode())
        return f"{self.metadata.embedding_model}+{digest.hexdigest()[:16]}"


def write_weights(path: str | Path, weights: Weights) -> None:
    """Write a file that :func:`read_weights` accepts, atomically.

    Raises
    ------
    WeightsError
        If the weights would be refused when read.
    OSError
        If the file cannot be written; what stood there before still does.
    """
    tensors: dict[str, np.ndarray[Any, Any]] = dict(weights.tower)
    for name in _GOLDEN:
        tensors[name] = getattr(weights.golden, name.removeprefix("golden."))
    if weights.product_tower is not None:
        tensors["A"] = weights.product_tower.A
        if weights.product_tower.delta is not None:
            tensors["delta"] = weights.product_tower.delta
            tensors.update(pack_ids(weights.product_tower.product_ids))
    _check(str(path), weights.metadata, tensors)
    blob = save(
        {name: np.asarray(t, order="C") for name, t in tensors.items()},
        metadata=dump_metadata(weights.metadata),
    )
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, partial = tempfile.mkstemp(suffix=".partial", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(blob)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp is private to its owner; a weights file is read by other accounts' services.
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def read_weights(path: str | Path) -> Weights:
    """Read and check a file.

    Raises
    ------
    WeightsError
        One clear reason: not there, not a safetensors file, truncated, wrong or missing or
        surplus tensors, values that are not finite, metadata that is malformed.
    """
    name = str(path)
    try:
        with safe_open(name, framework="numpy") as file:
            raw = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(name, "no such file: expected a .safetensors weights file") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise WeightsError(name, f"not a readable safetensors file ({error})") from None
    try:
        metadata = parse_metadata(raw)
    except ConfigError as error:
        raise WeightsError(name, str(error)) from None
    _check(name, metadata, tensors)
    tower_names = metadata.architecture.shapes(len(metadata.vocabulary.weights))
    product_tower = None
    if metadata.product_tower != "none":
        delta = tensors.get("delta")
        ids = () if delta is None else unpack_ids(name, tensors)
        product_tower = ProductTower(tensors["A"], delta, ids)
    return Weights(
        metadata=metadata,
        tower={key: tensors[key] for key in tower_names},
        golden=Golden(*(tensors[key] for key in _GOLDEN)),
        product_tower=product_tower,
    )


def _check(path: str, metadata: Metadata, tensors: Mapping[str, np.ndarray[Any, Any]]) -> None:
    """Every tensor that should be there, and no other, with its shape, type and finite values."""
    expected = _expected(metadata, tensors)
    missing = sorted(expected.keys() - tensors.keys())
    if missing:
        raise WeightsError(path, f"missing tensors: {', '.join(missing)}")
    surplus = sorted(tensors.keys() - expected.keys())
    if surplus:
        raise WeightsError(path, f"tensors that the format does not know: {', '.join(surplus)}")
    for name, (dtype, shape) in expected.items():
        tensor = tensors[name]
        if tensor.dtype != dtype:
            raise WeightsError(path, f"tensor {name} is of type {tensor.dtype}: expected {dtype}")
        if tensor.shape != shape:
            raise WeightsError(path, f"tensor {name} has shape {tensor.shape}: expected {shape}")
        if not np.isfinite(tensor).all():
            raise WeightsError(path, f"tensor {name} holds NaN or infinity: expected finite values")
    _check_values(path, metadata, tensors)


def _expected(
    metadata: Metadata, tensors: Mapping[str, np.ndarray[Any, Any]]
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Name to (dtype, shape). Counts that the file chooses (G, N) come from the file."""
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


def _check_values(
    path: str, metadata: Metadata, tensors: Mapping[str, np.ndarray[Any, Any]]
) -> None:
    if not (tensors["g"] > 0).all():
        raise WeightsError(path, "tensor g holds a weight that is not above 0")
    for name in ("lambda_age", "lambda_rank"):
        if tensors[name] < 0:
            raise WeightsError(path, f"tensor {name} is {tensors[name]}: expected 0 or above")
    events, lengths = tensors["golden.events"], tensors["golden.lengths"]
    types = len(metadata.vocabulary.weights)
    if events.min() < 0 or events.max() >= types:
        raise WeightsError(path, f"golden.events: expected event types from 0 to {types - 1}")
    limit = metadata.limits.max_interactions
    if lengths.min() < 1 or lengths.max() > limit:
        raise WeightsError(path, f"golden.lengths: expected lengths from 1 to {limit}")


def pack_ids(ids: Sequence[str]) -> dict[str, np.ndarray[Any, Any]]:
    """Ids as two tensors: UTF-8 bytes one after the other, and where each ends."""
    encoded = [one.encode() for one in ids]
    return {
        "product_ids.bytes": np.frombuffer(b"".join(encoded), np.uint8),
        "product_ids.ends": np.cumsum([len(one) for one in encoded], dtype=np.int64),
    }


def unpack_ids(path: str, tensors: Mapping[str, np.ndarray[Any, Any]]) -> tuple[str, ...]:
    """The inverse of :func:`pack_ids`.

    Raises
    ------
    WeightsError
        If the ends do not fit the bytes, or ids repeat or are empty.
    """
    blob = tensors["product_ids.bytes"].tobytes()
    ends = [0, *tensors["product_ids.ends"].tolist()]
    if ends != sorted(ends) or ends[-1] != len(blob):
        raise WeightsError(path, "product_ids.ends: expected ascending ends within the bytes")
    try:
        ids = tuple(blob[a:b].decode() for a, b in pairwise(ends))
    except UnicodeDecodeError:
        raise WeightsError(path, "product_ids.bytes: expected UTF-8") from None
    if len(set(ids)) != len(ids) or "" in ids:
        raise WeightsError(path, "product_ids: expected distinct ids that are not empty")
    return ids
