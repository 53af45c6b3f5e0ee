"""Where a catalogue keeps what our texts are made of: said once, in a setting, or for one run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

import click

from sidecar.contract.errors import ConfigError
from sidecar.contract.product_text import DEFAULT_FIELDS, look_up, product_fields
from trainer.errors import DataError

#: The sidecar's own setting: what was said once holds for every run.
SETTING = "SIDECAR_PRODUCT_FIELDS"
ID = "product_id"


@dataclass(frozen=True)
class Fields:
    """Our names to the catalogue's.

    Parameters
    ----------
    paths : Mapping[str, str]
        Each of ``product_text.DEFAULT_FIELDS`` to a column or a field, dots for fields of objects.
    product_id : str
        The column of the id, in files; in an index it is the ``_id``.
    named : frozenset[str]
        What was said for this run: it must be there.
    """

    paths: Mapping[str, str] = field(default_factory=lambda: DEFAULT_FIELDS)
    product_id: str = ID
    named: frozenset[str] = frozenset()

    def columns(self, there: Sequence[str]) -> dict[str, str]:
        """Our names to paths in a table with these columns.

        What only the setting says is passed over in a table without such a column: it speaks of
        the index, and a file may have our own columns.

        Raises
        ------
        ConfigError
            When a column that was named for this run is missing.
        """
        found = {}
        for name, path in self.paths.items():
            if path in there or path.partition(".")[0] in there:
                found[name] = path
            elif name in self.named:
                columns = ", ".join(there)
                raise ConfigError(f"--field {name}", path, f"one of the columns {columns}")
            elif name in there:
                found[name] = name
        return found


def fields_of(options: Sequence[str]) -> Fields:
    """From ``--field OURS=PATH`` options, before the setting in the environment.

    Raises
    ------
    ConfigError, click.UsageError
    """
    setting = os.environ.get(SETTING, "").strip()
    try:
        given = json.loads(setting) if setting else {}
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ConfigError(SETTING, setting, 'a JSON object, e.g. {"name": "title"}')
    paths = product_fields(given, SETTING)
    product_id, named = ID, set()
    for one in options:
        ours, equals, path = one.partition("=")
        if ours not in (*DEFAULT_FIELDS, ID) or not equals or not path.strip():
            known = ", ".join((*DEFAULT_FIELDS, ID))
            raise click.UsageError(f"--field {one}: expected OURS=PATH, with one of {known}")
        named.add(ours)
        if ours == ID:
            product_id = path.strip()
        else:
            paths[ours] = path.strip()
    return Fields(paths, product_id, frozenset(named))


def require_values(
    rows: Sequence[Mapping[str, Any]], paths: Mapping[str, str], names: AbstractSet[str], where: str
) -> set[str]:
    """Our names that any product has a value for.

    Parameters
    ----------
    rows : Sequence[Mapping[str, Any]]
        As :func:`read` returns them.
    paths : Mapping[str, str]
    names : AbstractSet[str]
        Of these at least one product must have a value.
    where : str
        The file or the index, for messages.

    Raises
    ------
    DataError
    """
    there = {name for row in rows for name, value in row.items() if _says(value)}
    for name in sorted(names - there):
        raise DataError(
            f"field {name}={paths.get(name, name)}",
            f"no product of {where} has a value there (fields of objects: brand.name)",
        )
    return there


def _says(value: object) -> bool:
    return not isinstance(value, Mapping) and value not in ("", [])


def read(source: Mapping[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """What a document says about itself, under our names; what says nothing is left out.

    Parameters
    ----------
    source : Mapping[str, Any]
    paths : Mapping[str, str]
    """
    found: dict[str, Any] = {}
    for name, path in paths.items():
        value = look_up(source, path)
        if isinstance(value, list):
            value = [one for one in value if not isinstance(one, Mapping)]
            # A field with several values is a list here; only labels are more than one thing.
            value = value if name == "labels" else ", ".join(map(str, value))
        if value is not None:
            found[name] = value
    return found
