"""Which indices there are, whether their mappings fit, and what ``sidecar setup`` adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elasticsearch import BadRequestError, Elasticsearch, NotFoundError

from sidecar.contract.errors import MappingConflictError, RefusedError
from sidecar.elastic.client import errors

VECTOR_FIELD = "product_vector"
_Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Step:
    """One thing that setup did, or found done.

    Parameters
    ----------
    index : str
    done : str
        In words.
    changed : bool
    """

    index: str
    done: str
    changed: bool


def concrete_indices(client: Elasticsearch, expressions: Sequence[str]) -> list[str]:
    """The indices behind names, aliases and wildcards, sorted.

    Raises
    ------
    RefusedError
        If there is none: an expression without an index is a mistake in the settings.
    UnreachableError
    """
    with errors(f"resolving {','.join(expressions)}"):
        try:
            # Asked for mappings, every server answers with the indices behind an alias.
            found = client.indices.get_mapping(
                index=",".join(expressions), allow_no_indices=True
            ).body
        except NotFoundError as error:
            raise RefusedError(_missing(expressions)) from error
    if not found:
        raise RefusedError(_missing(expressions))
    return sorted(found)


def _missing(expressions: Sequence[str]) -> str:
    return (
        f"there is no index behind SIDECAR_PRODUCT_INDICES={','.join(expressions)}: expected the "
        "index (or alias) that holds the products; create it first, the sidecar does not own it"
    )


def setup_products(
    client: Elasticsearch, expressions: Sequence[str], body: Mapping[str, Any]
) -> list[Step]:
    """Add the sidecar's fields to the indices of products. Doing it twice changes nothing.

    Parameters
    ----------
    client : Elasticsearch
    expressions : Sequence[str]
        Names, aliases, wildcards.
    body : Mapping
        ``mappings/products.json``.

    Raises
    ------
    MappingConflictError
        If an index maps one of the fields in a way that cannot work; nothing was changed.
    RefusedError, UnreachableError
    """
    wanted: _Properties = body["mappings"]["properties"]
    indices = concrete_indices(client, expressions)
    missing = {}
    for index in indices:
        found = properties(client, index)
        check_fields(index, found, wanted)
        missing[index] = {name: field for name, field in wanted.items() if name not in found}
    steps = []
    for index, fields in missing.items():
        if fields:
            with errors(f"adding fields to {index}"):
                client.indices.put_mapping(index=index, properties=fields)
        done = f"added {', '.join(fields)}" if fields else "has all fields"
        steps.append(Step(index, done, bool(fields)))
    return steps


def setup_users(client: Elasticsearch, index: str, body: Mapping[str, Any]) -> Step:
    """Create the index of shoppers, or see that the one that is there fits.

    Raises
    ------
    MappingConflictError, RefusedError, UnreachableError
    """
    with errors(f"creating {index}"):
        if not client.indices.exists(index=index):
            try:
                client.indices.create(
                    index=index, mappings=body["mappings"], settings=body["settings"]
                )
            except BadRequestError as error:
                # Two replicas that start at the same time both see that it is missing.
                if error.error != "resource_already_exists_exception":
                    raise
            return Step(index, "created", True)
    wanted: _Properties = body["mappings"]["properties"]
    found = properties(client, index)
    check_fields(index, found, wanted)
    absent = {name: field for name, field in wanted.items() if name not in found}
    if absent:
        with errors(f"adding fields to {index}"):
            client.indices.put_mapping(index=index, properties=absent)
        return Step(index, f"added {', '.join(absent)}", True)
    return Step(index, "has all fields", False)


def check_users(client: Elasticsearch, index: str) -> None:
    """See that the index of shoppers is there.

    Raises
    ------
    RefusedError
        Says which command makes it.
    UnreachableError
    """
    with errors(f"looking for {index}"):
        if not client.indices.exists(index=index):
            raise RefusedError(
                f"there is no index {index} (SIDECAR_USERS_INDEX): run sidecar setup"
            )


def properties(client: Elasticsearch, index: str) -> dict[str, Any]:
    """The top-level fields that an index maps.

    Raises
    ------
    RefusedError, UnreachableError
    """
    with errors(f"reading the mapping of {index}"):
        answer = client.indices.get_mapping(index=index).body
    merged: dict[str, Any] = {}
    for one in answer.values():
        merged |= one.get("mappings", {}).get("properties", {})
    return merged


def check_fields(index: str, found: _Properties, wanted: _Properties) -> None:
    """Compare what is mapped with what is needed.

    Raises
    ------
    MappingConflictError
        Names index, field, what was found and what was expected.
    """
    for name, field in wanted.items():
        if name not in found:
            continue
        actual = found[name]
        # An object's type goes without saying in Elasticsearch's answers.
        kind = actual.get("type", "object")
        for key, expected in field.items():
            value = kind if key == "type" else _effective(actual, kind, key)
            if key in _DECISIVE and value != expected:
                raise MappingConflictError(
                    f"index {index} maps {name} with {key}={value!r}: expected {expected!r}. "
                    "A field's mapping cannot be changed in place: reindex without the field, "
                    "or rename it in your documents, then run sidecar setup again"
                )


#: What must agree; other parameters (index options, doc values) are the operator's choice.
_DECISIVE = frozenset({"type", "dims", "similarity", "index", "enabled"})
#: What Elasticsearch leaves out of its answer, being the default.
_DEFAULTS: Mapping[str, Mapping[str, object]] = {
    "dense_vector": {"index": True, "similarity": "cosine"},
    "object": {"enabled": True},
}


def _effective(field: Mapping[str, Any], kind: str, key: str) -> object:
    default = _DEFAULTS.get(kind, {}).get(key, True if key == "index" else None)
    return field.get(key, default)
