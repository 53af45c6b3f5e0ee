"""Options that several commands share."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sidecar.contract.schema import EMBEDDING_MODEL
from trainer.data.load import TIES

#: Whole numbers: seeds and sizes that may be 0, and counts that may not.
WHOLE, COUNT = click.IntRange(min=0), click.IntRange(min=1)


class _Finite(click.FloatRange):
    """0 or more, and a number: NaN is in no range, and infinity in every one."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        found = float(super().convert(value, param, ctx))
        if not math.isfinite(found):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return found


FINITE = _Finite(min=0)
F = TypeVar("F", bound=Callable[..., Any])

FIELD = click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="OURS=PATH",
    help="Where the catalogue keeps a part of the text, e.g. color=attributes.colour. May be "
    "repeated, and counts before SIDECAR_PRODUCT_FIELDS.",
)


def data_options(several: bool = False) -> Callable[[F], F]:
    """--products, --events, --field, --vectors, --model, --ties."""

    def decorate(function: F) -> F:
        again = " May be repeated, once for each shop." if several else ""
        for option in reversed(
            [
                click.option(
                    "--products", required=True, multiple=several,
                    help="Catalogue: Parquet, CSV, JSON Lines, or a GA4 export." + again,
                ),
                click.option(
                    "--events", required=True, multiple=several,
                    help="Events: Parquet, CSV, JSON Lines, or a GA4 export (a pattern is fine)." + again,
                ),
                FIELD,
                click.option(
                    "--vectors", type=click.Path(path_type=Path, dir_okay=False), multiple=several,
                    help="File that keeps the text vectors; made when absent." + again,
                ),
                click.option(
                    "--model", default=EMBEDDING_MODEL, show_default=True,
                    help="sentence-transformers model, by name or folder.",
                ),
                click.option(
                    "--ties", type=click.Choice(TIES), default="file", show_default=True,
                    help="Order of events of one shopper and one moment: as live (event_id, else the "
                    "file's order), or at random.",
                ),
            ]
        ):  # fmt: skip
            function = option(function)
        return function

    return decorate


def vectors_beside(path: Path, vectors: Path | None) -> Path:
    """Where the text vectors are kept: where the option says, else beside the weights.

    Not as ``.safetensors``, although it is such a file: a sidecar that watches the folder would
    take it for weights.
    """
    return vectors or path.with_name(path.stem + ".vectors")
