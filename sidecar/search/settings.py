"""What an operator can say about searches, checked when it is built."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sidecar.contract.errors import ConfigError
from sidecar.contract.schema import DIMENSION

FORMULAS = ("blend", "cosine")
#: Where the shopper's id may come from; ``header`` and ``token`` are for networks where a body
#: could be written by anybody.
SHOPPER_SOURCES = ("any", "header", "token")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ADDRESS = re.compile(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):[0-9]{1,5}")
_PATTERN = re.compile(r"[^\s,/\\?\"<>|#:A-Z]+")


@dataclass(frozen=True)
class SearchSettings:
    """Settings of the search proxy.

    Parameters
    ----------
    product_indices : tuple[str, ...]
        Names, aliases and wildcards of what is personalised; everything else passes through.
    vector_field : str
        Field of the product vectors. It stands in the script's source, so it is checked.
    dimension : int
        D, the size of the vectors.
    impact : float
        0 to 100: how much the shopper's taste counts; 0 forwards every request as it came.
    index_impact : Mapping[str, float]
        Name or wildcard to an impact of its own; the first that matches counts.
    max_boost : float
        What impact 100 adds to the score of a perfect match, in multiples of that score.
    half_evidence : float
        Sum of event weights (a click is 2, a view 0.1) at which half of the impact counts.
    formula : str
        ``blend`` (score x (1 + a u)) or ``cosine`` (cosine + 1 on browse requests).
    window : int
        Hits per shard that a text query re-ranks, 1 to 10000; the same for every page.
    fallback_sort : str
        JSON of an Elasticsearch sort for browse requests of shoppers without a vector; empty
        for none.
    fallback_anonymous : bool
        Whether requests that name no shopper get it too.
    deadline_ms : float
        Milliseconds for lookup, classifying and rewriting; past it the original goes out.
    holdout_percent : float
        0 to 100: share of shoppers that are left alone, for comparison.
    holdout_salt : str
        Changes who is in the holdout.
    diversity, explore : float
        0 to 1, for recommendations and similar products where the request names none: how unlike
        each other they are, and the share of slots for the rest of the shop.
    max_body_bytes : int
        Largest search body that is read; a larger one passes through.
    shopper_source : str
        ``any`` (header or body), ``header``, or ``token`` (signed, ``X-Sidecar-Token``).
    token_secret : str
        Key of the signed tokens, at least 16 characters; needed for ``token``.
    shopper_cache_s : float
        Seconds for which a shopper that was looked up is used again: the searches of one page
        view share one lookup, and a click counts at most this much later.
    resolution_cache_s : float
        Seconds for which it is remembered what an alias or a wildcard stands for.
    page_ttl_s : float
        Seconds for which page 2 and later use what page 1 used; 0 to switch it off.
    breaker_s : float
        Seconds for which an index is left alone after a rewritten request failed.
    allow_explain : bool
        Whether ``explain`` and ``profile`` requests are rewritten: their answers show the vector.
    connect_timeout_s, read_timeout_s : float
        Seconds, towards Elasticsearch.
    max_connections : int
        Idle connections to Elasticsearch that are kept.
    public_address : str
        ``host:port`` that sniffing clients are pointed at; empty: the request's own ``Host``.

    Raises
    ------
    ConfigError
    """

    product_indices: tuple[str, ...] = ("products",)
    vector_field: str = "product_vector"
    dimension: int = DIMENSION
    impact: float = 50.0
    index_impact: Mapping[str, float] = field(default_factory=dict)
    max_boost: float = 2.0
    half_evidence: float = 2.0
    formula: str = "blend"
    window: int = 500
    fallback_sort: str = ""
    fallback_anonymous: bool = True
    deadline_ms: float = 50.0
    holdout_percent: float = 0.0
    holdout_salt: str = ""
    diversity: float = 0.0
    explore: float = 0.0
    max_body_bytes: int = 1 << 20
    shopper_source: str = "any"
    token_secret: str = ""
    shopper_cache_s: float = 0.25
    resolution_cache_s: float = 30.0
    page_ttl_s: float = 900.0
    breaker_s: float = 30.0
    allow_explain: bool = False
    connect_timeout_s: float = 2.0
    read_timeout_s: float = 90.0
    max_connections: int = 32
    public_address: str = ""

    def __post_init__(self) -> None:
        if not self.product_indices:
            raise ConfigError("product_indices", self.product_indices, "at least one name")
        for key in ("product_indices", "index_impact"):
            for pattern in getattr(self, key):
                if not _PATTERN.fullmatch(pattern) or pattern[0] in "-_+" or pattern == "*":
                    raise ConfigError(key, pattern, "a name, an alias or a wildcard")
        if not _FIELD.fullmatch(self.vector_field):
            raise ConfigError("vector_field", self.vector_field, "a field name")
        _number("dimension", self.dimension, 1, 4096)
        _number("impact", self.impact, 0, 100)
        for pattern, impact in self.index_impact.items():
            _number(f"index_impact.{pattern}", impact, 0, 100)
        _number("max_boost", self.max_boost, 0, 1000)
        _number("half_evidence", self.half_evidence, 0, 1e6)
        if self.formula not in FORMULAS:
            raise ConfigError("formula", self.formula, f"one of {', '.join(FORMULAS)}")
        _number("window", self.window, 1, 10_000)
        _number("deadline_ms", self.deadline_ms, 1, 60_000)
        _number("holdout_percent", self.holdout_percent, 0, 100)
        _number("diversity", self.diversity, 0, 1)
        _number("explore", self.explore, 0, 1)
        _number("max_body_bytes", self.max_body_bytes, 1024, 64 << 20)
        _number("shopper_cache_s", self.shopper_cache_s, 0, 60)
        _number("resolution_cache_s", self.resolution_cache_s, 0, 3600)
        _number("page_ttl_s", self.page_ttl_s, 0, 86_400)
        _number("breaker_s", self.breaker_s, 0, 86_400)
        _number("connect_timeout_s", self.connect_timeout_s, 0.01, 600)
        _number("read_timeout_s", self.read_timeout_s, 0.01, 86_400)
        _number("max_connections", self.max_connections, 1, 10_000)
        if self.public_address and not _ADDRESS.fullmatch(self.public_address):
            raise ConfigError("public_address", self.public_address, "host:port")
        self._check_source()
        self._check_sort()

    def _check_source(self) -> None:
        if self.shopper_source not in SHOPPER_SOURCES:
            expected = f"one of {', '.join(SHOPPER_SOURCES)}"
            raise ConfigError("shopper_source", self.shopper_source, expected)
        if self.shopper_source == "token" and len(self.token_secret) < 16:
            raise ConfigError("token_secret", "***", "at least 16 characters")

    def _check_sort(self) -> None:
        if not self.fallback_sort:
            return
        try:
            value = json.loads(self.fallback_sort, parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise ConfigError("fallback_sort", self.fallback_sort, "JSON") from None
        if not value or not _is_sort(value):
            raise ConfigError(
                "fallback_sort", self.fallback_sort, 'a sort such as [{"popularity": "desc"}]'
            )


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_sort(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str | dict) and item for item in value)
    return isinstance(value, str | dict)


def _number(key: str, value: object, low: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(key, value, f"a number from {low:g} to {high:g}")
    if not low <= value <= high:
        raise ConfigError(key, value, f"a number from {low:g} to {high:g}")
