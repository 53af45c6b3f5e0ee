"""Product vectors, read by id, and the cache in front of them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from elasticsearch import Elasticsearch

from sidecar.contract.errors import ConfigError
from sidecar.contract.weights import F32
from sidecar.elastic.client import HIDES_VECTORS, Version, errors, listed, server_version
from sidecar.elastic.indices import VECTOR_FIELD, concrete_indices

#: How long the list of indices behind an alias or wildcard is believed.
RESOLVE_EVERY_S = 60.0
#: How long "this product has no vector" is believed: a product that is vectorized in the meantime
#: counts that much later.
ABSENT_FOR_S = 5.0


class ProductVectors:
    """Unit vectors of products, through a bounded cache. Safe to share between threads.

    Parameters
    ----------
    client : Elasticsearch
    expressions : Sequence[str]
        Indices, aliases or wildcards that hold the products.
    dimension : int
        D; vectors of another size are treated as absent.
    cache_mb : float
        Upper bound of what the vectors in the cache may take, in megabytes (10^6 bytes).
    ttl_s : float
        Seconds after which a cached vector is read again.
    clock : Callable[[], float]
        Seconds; for tests.

    Raises
    ------
    ConfigError
    """

    def __init__(
        self,
        client: Elasticsearch,
        expressions: Sequence[str],
        *,
        dimension: int,
        cache_mb: float = 64.0,
        ttl_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if cache_mb < 1:
            raise ConfigError("SIDECAR_PRODUCT_CACHE_MB", cache_mb, "1 or more")
        self._client = client
        self._expressions = list(expressions)
        self._dimension = dimension
        # A vector's own bytes, its array object, the key and the entry: about 400 bytes on top.
        self._capacity = max(1, int(cache_mb * 1e6 / (4 * dimension + 400)))
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._cache: OrderedDict[tuple[str, str], tuple[float, F32 | None]] = OrderedDict()
        self._indices: tuple[float, list[str]] | None = None
        self._version: Version | None = None

    def get(self, product_ids: Iterable[str], space: str) -> dict[str, F32]:
        """The vectors of those products that have one in this space.

        Parameters
        ----------
        product_ids : Iterable[str]
        space : str
            ``Weights.product_space``; vectors of another one are treated as absent, because a
            user vector that mixed two would mean nothing.

        Returns
        -------
        dict[str, float32 array of shape (D,)]

        Raises
        ------
        UnreachableError, RefusedError
        """
        wanted = dict.fromkeys(product_ids)
        found: dict[str, F32] = {}
        unknown: list[str] = []
        now = self._clock()
        with self._lock:
            for product_id in wanted:
                entry = self._cache.get((space, product_id))
                if entry is None or entry[0] <= now:
                    unknown.append(product_id)
                elif entry[1] is not None:
                    found[product_id] = entry[1]
                    self._cache.move_to_end((space, product_id))
        if unknown:
            fetched = self.fetch(unknown, space)
            found |= fetched
            with self._lock:
                for product_id in unknown:
                    vector = fetched.get(product_id)
                    ttl = self._ttl_s if vector is not None else min(ABSENT_FOR_S, self._ttl_s)
                    self._cache[space, product_id] = (now + ttl, vector)
                    self._cache.move_to_end((space, product_id))
                while len(self._cache) > self._capacity:
                    self._cache.popitem(last=False)
        return found

    def fetch(self, product_ids: Sequence[str], space: str) -> dict[str, F32]:
        """The same from Elasticsearch itself, in one request.

        Raises
        ------
        UnreachableError, RefusedError
        """
        docs = [
            {"_index": index, "_id": one, "_source": [VECTOR_FIELD, "embedding_model"]}
            for index in self._concrete()
            for one in product_ids
        ]
        params = {"_source_exclude_vectors": "false"} if self._hides_vectors() else {}
        with errors("reading product vectors"):
            answer = self._client.perform_request(
                "POST",
                "/_mget",
                params=params,
                headers={"accept": "application/json", "content-type": "application/json"},
                body={"docs": docs},
            )
        return self._vectors(listed("reading product vectors", answer.body, "docs"), space)

    def _vectors(self, docs: Iterable[Mapping[str, Any]], space: str) -> dict[str, F32]:
        vectors = {}
        plain = space.partition("+")[0]
        for doc in docs:
            source = doc.get("_source") or {}
            raw = source.get(VECTOR_FIELD)
            # Vectors that somebody else wrote carry no space: they are the plain model's.
            if raw is None or source.get("embedding_model", plain) != space:
                continue
            vector = np.asarray(raw, dtype=np.float32)
            norm = np.linalg.norm(vector)
            if vector.shape == (self._dimension,) and np.isfinite(norm) and norm > 0:
                vector /= norm
                vector.flags.writeable = False
                vectors[doc["_id"]] = vector
        return vectors

    def _concrete(self) -> list[str]:
        now = self._clock()
        if self._indices is None or self._indices[0] <= now:
            resolved = concrete_indices(self._client, self._expressions)
            self._indices = (now + RESOLVE_EVERY_S, resolved)
        return self._indices[1]

    def _hides_vectors(self) -> bool:
        if self._version is None:
            self._version = server_version(self._client)
        return self._version >= HIDES_VECTORS
