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
    documents : int
        How many they hold together.
    """

    indices: tuple[str, ...]
    fits: bool
    documents: int


class Resolver:
    """Looks index expressions up.

    Parameters
    ----------
    client : Elasticsearch
    field : str
        The vector field; dots for fields of objects.
    dimension : int
        D.
    """

    def __init__(self, client: Elasticsearch, field: str, dimension: int) -> None:
        self._client = client
        self._field = field
        self._dimension = dimension

    def __call__(self, expression: str, timeout_s: float) -> Resolved:
        """What names, aliases and wildcards, separated by commas, stand for.

        Parameters
        ----------
        expression : str
        timeout_s : float
            Seconds to wait for the answer.

        Raises
        ------
        UnreachableError, RefusedError
        """
        with errors(f"resolving {expression}"):
            try:
                # filter_path leaves out indices without the field: the script knows what to
                # do with their documents, so nothing needs to be asked about them.
                client = self._client.options(request_timeout=timeout_s)
                answer = client.indices.get_mapping(
                    index=expression, filter_path=_paths(self._field)
                )
                documents = int(client.count(index=expression)["count"])
            except NotFoundError:
                return Resolved((), False, 0)
        found = {index: _field(one, self._field) for index, one in answer.body.items()}
        mapped = [one for one in found.values() if one is not None]
        fits = bool(mapped) and all(
            one.get("type") == "dense_vector" and one.get("dims") == self._dimension
            for one in mapped
        )
        return Resolved(tuple(sorted(found)), fits, documents if fits else 0)


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
