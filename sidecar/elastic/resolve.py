"""What an index expression stands for, and whether its vectors can be searched by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from elasticsearch import Elasticsearch, NotFoundError

from sidecar.elastic.client import errors


class Resolved(NamedTuple):
    """An index expression, looked up.

    Parameters
    ----------
    indices : tuple[str, ...]
        Concrete indices, sorted.
    fits : bool
        Whether at least one maps the vector field, and none maps it with another type or size.
    """

    indices: tuple[str, ...]
    fits: bool


def resolve(
    client: Elasticsearch, expression: str, field: str, dimension: int, timeout_s: float
) -> Resolved:
    """Look an index expression up: names, aliases, wildcards, separated by commas.

    Parameters
    ----------
    client : Elasticsearch
    expression : str
    field : str
        The vector field; dots for fields of objects.
    dimension : int
        D.
    timeout_s : float
        Seconds to wait for the answer.

    Raises
    ------
    UnreachableError, RefusedError
    """
    with errors(f"resolving {expression}"):
        try:
            answer = client.options(request_timeout=timeout_s).indices.get_mapping(
                index=expression, filter_path=_paths(field)
            )
        except NotFoundError:
            return Resolved((), False)
    # filter_path leaves indices without the field out: they cost a second question only when
    # that matters, which it does not, since the script answers for documents without a vector.
    found = {index: _field(one, field) for index, one in answer.body.items()}
    mapped = [one for one in found.values() if one is not None]
    fits = bool(mapped) and all(
        one.get("type") == "dense_vector" and one.get("dims") == dimension for one in mapped
    )
    return Resolved(tuple(sorted(found)), fits)


def _paths(field: str) -> str:
    return "*.mappings.properties." + field.replace(".", ".properties.")


def _field(index: Mapping[str, Any], field: str) -> Mapping[str, Any] | None:
    """A field's mapping, ``None`` where it is not mapped."""
    found: Any = index.get("mappings", {})
    for name in field.split("."):
        found = found.get("properties", {}).get(name)
        if found is None:
            return None
    return found if isinstance(found, Mapping) else None
