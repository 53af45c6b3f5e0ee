"""The weights file: its only reader and its only writer.

Reading checks what a file says about itself: header, names, shapes, types, metadata, finiteness,
checksum. Whether the tower reproduces the golden vectors is checked one layer up, in
:mod:`sidecar.tower.load`, because it takes the tower to know.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from sidecar.contract.errors import ConfigError, WeightsError
from sidecar.contract.files import replacing
from sidecar.contract.header import Entry, Header, open_regular, read_header
from sidecar.contract.schema import Metadata, dump_metadata, parse_metadata
from sidecar.contract.tensors import GOLDEN, check_layout, check_values, checksum

F32 = NDArray[np.float32]


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
    checksum : str
        The file's own, once it was found to be right; empty for weights that were never a file.
        Unlike the fingerprint it names the whole content.
    """

    metadata: Metadata
    tower: Mapping[str, F32]
    golden: Golden
    product_tower: ProductTower | None = None
    checksum: str = ""

    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Everything that a file holds, by the names of the format."""
        found: dict[str, np.ndarray[Any, Any]] = dict(self.tower)
        for name in GOLDEN:
            found[name] = getattr(self.golden, name.removeprefix("golden."))
        if self.product_tower is not None:
            found["A"] = self.product_tower.A
            if self.product_tower.delta is not None:
                found["delta"] = self.product_tower.delta
                found.update(pack_ids(self.product_tower.product_ids))
        return {name: np.asarray(tensor, order="C") for name, tensor in found.items()}

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
    tensors = weights.tensors()
    metadata = dump_metadata(weights.metadata)
    # What would be refused when read is refused now, by the same checks.
    _parse_metadata(str(path), metadata)
    check_layout(str(path), weights.metadata, tensors)
    check_values(str(path), weights.metadata, tensors)
    if "product_ids.ends" in tensors:
        unpack_ids(str(path), tensors)
    metadata["checksum"] = checksum(metadata, tensors)
    blob = _ordered(save(tensors, metadata=metadata))
    with replacing(path) as partial:
        partial.write_bytes(blob)


def _ordered(blob: bytes) -> bytes:
    """The same file with the header's keys in order: the writer's own order is another each time,
    and the same weights should be the same bytes."""
    size = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + size])
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + blob[8 + size :]


def read_weights(path: str | Path) -> Weights:
    """Read and check a file.

    The header and all that it claims are checked before any tensor is read, and the file is read
    rather than mapped, so that it may be replaced or cut off meanwhile.

    Raises
    ------
    WeightsError
        One clear reason: not there, not a safetensors file, truncated, wrong or missing or
        surplus tensors, values that are not finite, metadata that is malformed, a checksum that
        does not fit.
    """
    name = str(path)
    with open_regular(name) as (file, size):
        header = read_header(name, file, size)
        metadata = _parse_metadata(name, header.metadata)
        check_layout(name, metadata, header.tensors)
        tensors = {
            key: _read_tensor(name, file, header, entry) for key, entry in header.tensors.items()
        }
    check_values(name, metadata, tensors)
    expected = checksum(header.metadata, tensors)
    found = header.metadata.get("checksum", "")
    if found != expected:
        raise WeightsError(
            name, f"checksum is {found!r:.80}: expected {expected!r} (damaged, or edited)"
        )
    tower_names = metadata.architecture.shapes(len(metadata.vocabulary.weights))
    product_tower = None
    if metadata.product_tower != "none":
        delta = tensors.get("delta")
        ids = () if delta is None else unpack_ids(name, tensors)
        product_tower = ProductTower(tensors["A"], delta, ids)
    return Weights(
        metadata=metadata,
        tower={key: tensors[key] for key in tower_names},
        golden=Golden(*(tensors[key] for key in GOLDEN)),
        product_tower=product_tower,
        checksum=expected,
    )


def read_checksum(path: str | Path) -> str:
    """What a file claims as its checksum, from its header alone: cheap, and proves nothing.

    Raises
    ------
    WeightsError
    """
    name = str(path)
    with open_regular(name) as (file, size):
        return read_header(name, file, size).metadata.get("checksum", "")


def _parse_metadata(path: str, raw: Mapping[str, str]) -> Metadata:
    try:
        return parse_metadata(raw)
    except ConfigError as error:
        raise WeightsError(path, str(error)) from None


def _read_tensor(
    path: str, file: BufferedReader, header: Header, entry: Entry
) -> np.ndarray[Any, Any]:
    stored = np.empty(entry.shape, np.dtype(entry.dtype).newbyteorder("<"))
    file.seek(header.data_start + entry.begin)
    if stored.size and file.readinto(stored.reshape(-1).view(np.uint8).data) != stored.nbytes:
        raise WeightsError(path, "the file shrank while it was read")
    return stored.astype(entry.dtype, copy=False)


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
