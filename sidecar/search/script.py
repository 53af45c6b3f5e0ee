"""The two scripts. Their sources never change, so Elasticsearch compiles each once; everything
that varies is a parameter.

``.empty`` and no ``Double.isNaN``: the embedded server knows the first and not the second; both
hold on the real one, where an indexed cosine vector is never zero.
"""

from __future__ import annotations

from functools import lru_cache

from sidecar.contract.weights import F32


@lru_cache(maxsize=8)
def blend_source(field: str) -> str:
    """Factor of the score: 1 + a u, u the calibrated cosine in [0, 1]."""
    return (
        f"if (!doc.containsKey('{field}') || doc['{field}'].empty) return params.neutral; "
        f"double c = cosineSimilarity(params.v, '{field}'); "
        "return 1.0 + params.a * "
        "Math.max(0.0, Math.min(1.0, (c - params.lo) / (params.hi - params.lo)));"
    )


@lru_cache(maxsize=8)
def cosine_source(field: str) -> str:
    """The score itself: cosine + 1; a product without a vector is neither near nor far."""
    return (
        f"if (!doc.containsKey('{field}') || doc['{field}'].empty) return 1.0; "
        f"return cosineSimilarity(params.user_vector, '{field}') + 1.0;"
    )


def encode_vector(vector: F32) -> str:
    """JSON of a vector, shape (D,): nine digits bring every float32 back exactly."""
    values = vector.tolist()
    return "[" + ",".join(["%.9g"] * len(values)) % tuple(values) + "]"
