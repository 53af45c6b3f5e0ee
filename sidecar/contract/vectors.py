"""A file of product vectors: what ``trainer vectorize --out`` writes and ``sidecar setup`` loads.

A safetensors file: ``vectors`` (N, D) in float16 or float32; ``product_ids.bytes`` and ``.ends``
as in a weights file; ``text_hashes`` (N, 16) uint8; metadata ``format`` = ``product_vectors``,
``format_version`` = ``1``, ``product_space``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sidecar.contract.errors import WeightsError
from sidecar.contract.files import replacing
from sidecar.contract.weights import F32, pack_ids, unpack_ids

FORMAT = "product_vectors"
FORMAT_VERSION = "1"


@dataclass(frozen=True)
class VectorFile:
    """Product vectors with what tells whether they are out of date.

    Parameters
    ----------
    product_ids : Sequence[str]
        N distinct ids.
    vectors : float32 or float16, shape (N, D)
        Unit vectors.
    text_hashes : Sequence[str]
        ``product_text.text_hash`` of each product's text.
    product_space : str
        ``Weights.product_space`` of the weights that they were made with.
    """

    product_ids: Sequence[str]
    vectors: NDArray[np.float32] | NDArray[np.float16]
    text_hashes: Sequence[str]
    product_space: str

    def unit(self) -> F32:
        """The vectors in float32, of length 1 again; shape (N, D)."""
        vectors = self.vectors.astype(np.float32)
        vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
        return vectors


def write_vectors(path: str | Path, file: VectorFile) -> None:
    """Write a file that :func:`read_vectors` accepts, atomically.

    Raises
    ------
    OSError
    """
    hashes = np.frombuffer(b"".join(map(bytes.fromhex, file.text_hashes)), np.uint8)
    tensors = {
        "vectors": np.ascontiguousarray(file.vectors),
        "text_hashes": hashes.reshape(len(file.product_ids), 16),
        **pack_ids(file.product_ids),
    }
    metadata = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "product_space": file.product_space,
    }
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata=metadata)
        except SafetensorError as error:
            # The library's own error, also for a full disk.
            raise OSError(str(error)) from None


def read_vectors(path: str | Path) -> VectorFile:
    """Read and check a file of product vectors.

    Raises
    ------
    WeightsError
        One clear reason.
    """
    name = str(path)
    try:
        with safe_open(name, framework="numpy") as file:
            raw = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise WeightsError(name, "no such file: expected a file of product vectors") from None
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise WeightsError(name, f"not a readable safetensors file ({error})") from None
    if (raw.get("format"), raw.get("format_version")) != (FORMAT, FORMAT_VERSION):
        raise WeightsError(name, f"format is {raw.get('format')!r}: expected {FORMAT!r}, version 1")
    expected = {"vectors", "text_hashes", "product_ids.bytes", "product_ids.ends"}
    if tensors.keys() != expected:
        raise WeightsError(name, f"holds {sorted(tensors)}: expected {sorted(expected)}")
    ids = unpack_ids(name, tensors)
    vectors, hashes = tensors["vectors"], tensors["text_hashes"]
    if vectors.ndim != 2 or len(vectors) != len(ids) or vectors.dtype.kind != "f":
        raise WeightsError(name, f"vectors have shape {vectors.shape}: expected ({len(ids)}, D)")
    if hashes.shape != (len(ids), 16) or hashes.dtype != np.uint8:
        raise WeightsError(
            name, f"text_hashes have shape {hashes.shape}: expected ({len(ids)}, 16)"
        )
    if not np.isfinite(vectors).all():
        raise WeightsError(name, "vectors hold NaN or infinity: expected finite values")
    return VectorFile(ids, vectors, [row.tobytes().hex() for row in hashes], raw["product_space"])
