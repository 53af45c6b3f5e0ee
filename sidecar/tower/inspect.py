"""What is in a weights file, and whether it would be accepted: for ``sidecar check-weights``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sidecar.contract.errors import WeightsError
from sidecar.contract.header import open_regular, read_header
from sidecar.contract.schema import dump_metadata
from sidecar.contract.weights import Weights, read_weights
from sidecar.tower.folder import leaves
from sidecar.tower.load import GOLDEN_TOLERANCE, check_tower, golden_error
from sidecar.tower.served import fold


class Row(NamedTuple):
    """One tensor; the range is empty where the file was refused before tensors were read."""

    name: str
    dtype: str
    shape: str
    range: str


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Parameters
    ----------
    path : str
    rows : Sequence[Row]
        As much as could be read, also of a refused file.
    facts : Sequence[tuple[str, str]]
        Metadata, fingerprint, golden error and the like: label and value.
    reason : str
        Why the file is refused; empty if it would be accepted.
    """

    path: str
    rows: Sequence[Row]
    facts: Sequence[tuple[str, str]]
    reason: str = ""

    @property
    def accepted(self) -> bool:
        """Whether a running sidecar would take it."""
        return not self.reason

    def lines(self) -> Iterator[str]:
        """The whole as plain text, a table first."""
        if self.rows:
            table = [Row("tensor", "type", "shape", "range"), *self.rows]
            widths = [max(len(row[column]) for row in table) for column in range(4)]
            for row in table:
                yield "  ".join(f"{row[c]:<{widths[c]}}" for c in range(4)).rstrip()
            yield ""
        width = max((len(label) for label, _ in self.facts), default=0)
        for label, value in self.facts:
            yield f"{label:<{width}}  {value}"
        if self.facts:
            yield ""
        yield f"{self.path}: " + (f"refused: {self.reason}" if self.reason else "accepted")


def inspect_weights(path: str | Path) -> Inspection:
    """Look at a file as closely as a running sidecar would. Never raises for what is in it.

    Parameters
    ----------
    path : str or Path
    """
    name = str(path)
    rows: list[Row] = []
    facts: list[tuple[str, str]] = []
    try:
        with open_regular(name) as (file, size):
            header = read_header(name, file, size)
        rows = [
            Row(key, entry.dtype, _shape(entry.shape), "") for key, entry in header.tensors.items()
        ]
        facts = sorted(header.metadata.items())
        weights = read_weights(name)
        rows = _rows(weights)
        facts = _facts(weights)
        if (target := leaves(Path(path))) is not None:
            facts.append(("link", f"to {target}: copy the file itself into a weights folder, "
                          "which refuses links that leave it"))  # fmt: skip
        check_tower(weights, name)
    except WeightsError as error:
        return Inspection(name, rows, _short(facts), error.reason)
    return Inspection(name, rows, _short(facts))


def _rows(weights: Weights) -> list[Row]:
    return [
        Row(key, tensor.dtype.name, _shape(tensor.shape), _range(tensor))
        for key, tensor in weights.tensors().items()
    ]


def _facts(weights: Weights) -> list[tuple[str, str]]:
    error = golden_error(fold(weights), weights.golden)
    return [
        *sorted(dump_metadata(weights.metadata).items()),
        ("checksum", weights.checksum),
        ("fingerprint", weights.fingerprint),
        ("product space", weights.product_space),
        ("golden histories", str(len(weights.golden.lengths))),
        ("golden error", f"{error:.2g} (at most {GOLDEN_TOLERANCE:g})"),
    ]


def _short(facts: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(key, value if len(value) <= 300 else f"{value[:297]}...") for key, value in facts]


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "scalar"


def _range(tensor: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> str:
    low, high = tensor.min(), tensor.max()
    if tensor.dtype.kind == "f":
        return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"
    return f"{low}" if low == high else f"{low} to {high}"
