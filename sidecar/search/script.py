"""The two scripts. Their sources never change, so Elasticsearch compiles each once; everything
that varies is a parameter.

``.empty`` and no ``Double.isNaN``: the embedded server knows the first and not the second; both
hold on the real one, where an indexed cosine vector is never zero.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from sidecar.contract.weights import F32

#: Names the space of a product's vector (docs/contracts.md). Vectors that somebody else wrote carry
#: no name: they are of the plain model's space.
SPACE_FIELD = "embedding_model"
# A vector of another space than the shopper's is as good as none: so it is while `trainer
# vectorize` exchanges them.
_OTHER_SPACE = (
    f"doc.containsKey('{SPACE_FIELD}') && !doc['{SPACE_FIELD}'].empty "
    f"? !doc['{SPACE_FIELD}'].value.equals(params.space) : !params.plain"
)


@lru_cache(maxsize=8)
def blend_source(field: str) -> str:
    """Factor of the score: 1 + a u, u the calibrated cosine in [0, 1]."""
    return (
        f"if (!doc.containsKey('{field}') || doc['{field}'].empty) return params.neutral; "
        f"if ({_OTHER_SPACE}) return params.neutral; "
        f"double c = cosineSimilarity(params.v, '{field}'); "
        "return 1.0 + params.a * "
        "Math.max(0.0, Math.min(1.0, (c - params.lo) / (params.hi - params.lo)));"
    )


@lru_cache(maxsize=8)
def cosine_source(field: str) -> str:
    """The score itself: cosine + 1; a product without a vector is neither near nor far."""
    return (
        f"if (!doc.containsKey('{field}') || doc['{field}'].empty) return 1.0; "
        f"if ({_OTHER_SPACE}) return 1.0; "
        f"return cosineSimilarity(params.user_vector, '{field}') + 1.0;"
    )


def is_plain(space: str) -> bool:
    """Whether it is an embedding model's own space, without a product tower."""
    return "+" not in space


def in_space(space: str) -> dict[str, Any]:
    """Query for the products whose vectors are of this space."""
    named: dict[str, Any] = {"term": {SPACE_FIELD: space}}
    if not is_plain(space):
        return named
    unnamed = {"bool": {"must_not": {"exists": {"field": SPACE_FIELD}}}}
    return {"bool": {"should": [named, unnamed]}}


def encode_vector(vector: F32) -> str:
    """JSON of a vector, shape (D,): nine digits bring every float32 back exactly."""
    values = vector.tolist()
    return "[" + ",".join(["%.9g"] * len(values)) % tuple(values) + "]"
