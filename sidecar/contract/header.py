"""The header of a safetensors file, checked before a byte of its data is read.

A file claims what it holds in its first bytes. Nothing is allocated on such a claim before it has
been compared with the size that the file really has. The format is safetensors' own
(https://github.com/huggingface/safetensors#format); every defect has its own error here, because
"invalid header" does not tell an operator what happened to the copy.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn

from sidecar.contract.errors import WeightsError

#: More than any weights file needs, and little enough to read at once.
MAX_HEADER_BYTES = 16 * 2**20
#: 2.7 million products with an offset each.
MAX_FILE_BYTES = 4 * 2**30

#: safetensors' types: their size in bytes, and numpy's name where the format of weights uses one.
_TYPES: Mapping[str, tuple[int, str | None]] = {
    "F32": (4, "float32"),
    "I32": (4, "int32"),
    "I64": (8, "int64"),
    "U8": (1, "uint8"),
    "F64": (8, "float64"),
    "F16": (2, "float16"),
    "BF16": (2, None),
    "F8_E4M3": (1, None),
    "F8_E5M2": (1, None),
    "BOOL": (1, "bool"),
    "I8": (1, "int8"),
    "I16": (2, "int16"),
    "U16": (2, "uint16"),
    "U32": (4, "uint32"),
    "U64": (8, "uint64"),
}


class Entry(NamedTuple):
    """What the header says of one tensor."""

    dtype: str  # numpy's name where it has one, else safetensors'
    shape: tuple[int, ...]
    begin: int  # bytes from the start of the data
    end: int


class Header(NamedTuple):
    """A header that fits its file: tensors one after the other, from the first byte to the last."""

    metadata: dict[str, str]
    tensors: dict[str, Entry]
    data_start: int  # bytes from the start of the file


@contextmanager
def open_regular(path: str) -> Iterator[tuple[BufferedReader, int]]:
    """An open file and its size in bytes.

    Raises
    ------
    WeightsError
        If it is not there, not readable, not a regular file, or larger than any weights file.
    """
    try:
        # Without O_NONBLOCK a named pipe of that name would hang the process.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    except FileNotFoundError:
        raise WeightsError(path, "no such file: expected a .safetensors weights file") from None
    except (OSError, ValueError) as error:
        raise WeightsError(path, f"cannot be opened ({error})") from None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise WeightsError(path, "not a regular file: expected a .safetensors weights file")
    with os.fdopen(descriptor, "rb") as file:
        if status.st_size > MAX_FILE_BYTES:
            raise WeightsError(
                path, f"{status.st_size} bytes long: expected at most {MAX_FILE_BYTES}"
            )
        yield file, status.st_size


def read_header(path: str, file: BufferedReader, size: int) -> Header:
    """The header at the start of an open file of ``size`` bytes.

    Raises
    ------
    WeightsError
        With one clear reason.
    """
    start = file.read(8)
    _refuse_other_formats(path, start)
    if len(start) < 8:
        raise WeightsError(path, f"{size} bytes long: expected a header's length in the first 8")
    length = int.from_bytes(start, "little")
    if length > size - 8:
        raise WeightsError(
            path,
            f"its header claims {length} bytes, but the file ends after {size}: "
            "truncated, or not a safetensors file",
        )
    if length > MAX_HEADER_BYTES:
        raise WeightsError(
            path, f"its header claims {length} bytes: expected at most {MAX_HEADER_BYTES}"
        )
    raw = file.read(length)
    if len(raw) != length:
        raise WeightsError(path, "the file shrank while it was read")
    return _parse(path, raw, size - 8 - length)


def _refuse_other_formats(path: str, start: bytes) -> None:
    if start[:4] == b"PK\x03\x04":
        what = "a zip archive (a PyTorch checkpoint, or .npz)"
    elif start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        what = "a Python pickle"
    elif start[:6] == b"\x93NUMPY":
        what = "a .npy file"
    elif start[:7] == b"version":
        what = "a git-lfs pointer (run `git lfs pull`)"
    else:
        return
    # A pickle can run any code: there is no switch that would load one.
    raise WeightsError(path, f"{what}: expected a safetensors file, and nothing else is loaded")


def _parse(path: str, raw: bytes, data_size: int) -> Header:
    if not raw.startswith(b"{"):
        raise WeightsError(path, "its header is not a JSON object: not a safetensors file")
    try:
        members = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_no_repeats, parse_constant=_no_constants
        )
    except UnicodeDecodeError:
        raise WeightsError(path, "its header is not UTF-8") from None
    except _RepeatedKeyError as error:
        raise WeightsError(path, f"its header names {error.args[0]!r:.80} twice") from None
    except (ValueError, RecursionError) as error:
        raise WeightsError(path, f"its header is not JSON ({error})") from None
    metadata = _metadata(path, members.pop("__metadata__", {}))
    tensors = {name: _entry(path, name, value, data_size) for name, value in members.items()}
    _check_cover(path, tensors, data_size)
    return Header(metadata, tensors, 8 + len(raw))


def _metadata(path: str, found: object) -> dict[str, str]:
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise WeightsError(path, "__metadata__: expected an object of texts")
    for key, value in found.items():
        try:
            f"{key}{value}".encode()
        except UnicodeEncodeError:
            raise WeightsError(path, f"__metadata__.{key!r:.80}: expected valid Unicode") from None
    return found


def _entry(path: str, name: str, found: object, data_size: int) -> Entry:
    label = f"tensor {name!r:.80}"
    if not isinstance(found, dict) or found.keys() != {"dtype", "shape", "data_offsets"}:
        raise WeightsError(path, f"{label}: expected dtype, shape and data_offsets")
    dtype, shape, offsets = found["dtype"], found["shape"], found["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _TYPES:
        raise WeightsError(path, f"{label}: {dtype!r:.80} is not a type of safetensors")
    if not _are_sizes(shape) or len(shape) > 8:
        raise WeightsError(path, f"{label}: shape {shape!r:.80}: expected up to 8 sizes")
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise WeightsError(path, f"{label}: data_offsets {offsets!r:.80}: expected two offsets")
    begin, end = offsets
    if begin > end or end > data_size:
        raise WeightsError(
            path,
            f"{label} claims bytes {begin} to {end} of the data, "
            f"but the file holds {data_size}: out of range, or truncated",
        )
    width, known = _TYPES[dtype]
    needed = width * math.prod(shape)
    if end - begin != needed:
        raise WeightsError(
            path,
            f"{label}: shape {shape!r:.80} of type {dtype} takes {needed} bytes, "
            f"but its data_offsets span {end - begin}",
        )
    return Entry(known or dtype, tuple(shape), begin, end)


def _are_sizes(found: Any) -> bool:
    # bool is an int in Python, and not one in the format; 2**53 is where JSON's numbers end.
    return isinstance(found, list) and all(type(n) is int and 0 <= n < 2**53 for n in found)


def _check_cover(path: str, tensors: Mapping[str, Entry], data_size: int) -> None:
    """Every byte of the data belongs to exactly one tensor."""
    placed = sorted(tensors.items(), key=lambda item: (item[1].begin, item[1].end))
    first = ("the start of the data", Entry("", (), 0, 0))
    for (before, left), (name, right) in pairwise([first, *placed]):
        if right.begin < left.end:
            raise WeightsError(path, f"tensors {before!r:.80} and {name!r:.80} overlap")
        if right.begin > left.end:
            raise WeightsError(
                path, f"{right.begin - left.end} bytes before tensor {name!r:.80} belong to none"
            )
    end = placed[-1][1].end if placed else 0
    if end != data_size:
        raise WeightsError(path, f"{data_size - end} bytes after the last tensor belong to none")


class _RepeatedKeyError(Exception):
    """JSON parsers disagree on which of two equal keys counts."""


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise _RepeatedKeyError(key)
        members[key] = value
    return members


def _no_constants(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
