"""What a weights file must hold: names, shapes and types of tensors and metadata.

The format in words, to the byte: ``weights/README.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NoReturn

from sidecar.contract.errors import ConfigError
from sidecar.contract.events import EventVocabulary
from sidecar.contract.history import HistoryLimits
from sidecar.contract.product_text import PriceTiers

FORMAT = "user_tower"
FORMAT_VERSION = 1
EMBEDDING_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
DIMENSION = 384
PRODUCT_TOWERS = ("none", "linear", "linear+id")
#: Below this length a sum of vectors has no direction, and there is no user vector.
NORM_EPS = 1e-12


@dataclass(frozen=True)
class Architecture:
    """Sizes of the user tower.

    Parameters
    ----------
    dimension : int
        D, the size of product and user vectors.
    event_dimension : int
        E, the size of an event type's embedding.
    width : int
        m, the size of x and y.
    heads : int
        H.
    head_dimension : int
        A, the size of one head's queries, keys and values.

    Raises
    ------
    ConfigError
    """

    dimension: int = DIMENSION
    event_dimension: int = 16
    width: int = 128
    heads: int = 4
    head_dimension: int = 128

    def __post_init__(self) -> None:
        for name, size in asdict(self).items():
            if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= 8192:
                raise ConfigError(f"architecture.{name}", size, "a whole number from 1 to 8192")

    @property
    def attention_scale(self) -> float:
        """What queries times keys are multiplied with: 1/sqrt(A)."""
        return float(self.head_dimension**-0.5)

    def shapes(self, event_types: int) -> dict[str, tuple[int, ...]]:
        """Name and shape of each float32 tensor of the user tower, for T event types."""
        d, e, m, h = self.dimension, self.event_dimension, self.width, self.heads
        ha = h * self.head_dimension
        return {
            "E": (event_types, e),
            "W_in": (m, d + e),
            "b_in": (m,),
            "W_q": (ha, m),
            "b_q": (ha,),
            "W_k": (ha, m),
            "b_k": (ha,),
            "W_v": (ha, m),
            "b_v": (ha,),
            "W_o": (m, ha),
            "b_o": (m,),
            "g": (event_types,),
            "lambda_age": (),
            "lambda_rank": (),
            "s": (h,),
            "W_out": (d, m),
            "b_out": (d,),
        }


@dataclass(frozen=True)
class Calibration:
    """Cosines between which a product's personal score rises from 0 to 1.

    Raises
    ------
    ConfigError
    """

    lo: float = 0.0
    hi: float = 1.0

    def __post_init__(self) -> None:
        if not -1.0 <= self.lo < self.hi <= 1.0:
            raise ConfigError("calibration", [self.lo, self.hi], "-1 <= lo < hi <= 1")


@dataclass(frozen=True)
class Metadata:
    """Everything in a weights file that is not a tensor.

    Parameters
    ----------
    architecture : Architecture
    vocabulary : EventVocabulary
        Only names and business weights are stored; aliases belong to the operator.
    limits : HistoryLimits
    calibration : Calibration
    product_tower : str
        One of ``none``, ``linear``, ``linear+id``.
    embedding_model : str
    price_tiers : Mapping[str, tuple[float, float, float]]
        See :class:`sidecar.contract.product_text.PriceTiers`.
    training : Mapping
        Name and fingerprint of the training data, settings, seed; free form.
    metrics : Mapping
        Figures of the test part and of the baselines; free form.
    created_at : str
        ISO 8601.
    """

    architecture: Architecture = field(default_factory=Architecture)
    vocabulary: EventVocabulary = field(default_factory=EventVocabulary)
    limits: HistoryLimits = field(default_factory=HistoryLimits)
    calibration: Calibration = field(default_factory=Calibration)
    product_tower: str = "none"
    embedding_model: str = EMBEDDING_MODEL
    price_tiers: Mapping[str, tuple[float, float, float]] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    created_at: str = ""

    def __post_init__(self) -> None:
        if self.product_tower not in PRODUCT_TOWERS:
            raise ConfigError("product_tower", self.product_tower, f"one of {PRODUCT_TOWERS}")
        if not self.embedding_model:
            raise ConfigError("embedding_model", self.embedding_model, "the name of a model")
        PriceTiers(self.price_tiers)


def dump_metadata(metadata: Metadata) -> dict[str, str]:
    """The ``__metadata__`` of a weights file: keys in plain text, structured values as JSON."""
    architecture = {
        **asdict(metadata.architecture),
        "attention_scale": metadata.architecture.attention_scale,
        "normalize_eps": NORM_EPS,
        "layer_norm": "none",
        "pooling": "softmax(log g - lambda_age * age_hours - lambda_rank * rank)",
    }
    events = [{"name": n, "weight": w} for n, w in metadata.vocabulary.weights.items()]
    return {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "architecture": _dump(architecture),
        "events": _dump(events),
        "history": _dump(asdict(metadata.limits)),
        "calibration": _dump(asdict(metadata.calibration)),
        "product_tower": metadata.product_tower,
        "embedding_model": metadata.embedding_model,
        "price_tiers": _dump({k: list(v) for k, v in metadata.price_tiers.items()}),
        "training": _dump(metadata.training),
        "metrics": _dump(metadata.metrics),
        "created_at": metadata.created_at,
    }


def parse_metadata(raw: Mapping[str, str]) -> Metadata:
    """The inverse of :func:`dump_metadata`.

    Raises
    ------
    ConfigError
        Names the key, the value and what was expected.
    """
    if raw.get("format") != FORMAT:
        raise ConfigError("metadata.format", raw.get("format"), repr(FORMAT))
    if raw.get("format_version") != str(FORMAT_VERSION):
        found = raw.get("format_version")
        raise ConfigError(
            "metadata.format_version",
            found,
            f"{FORMAT_VERSION}: made for another release of the sidecar",
        )
    architecture = _load(raw, "architecture", dict)
    sizes = {name: architecture.get(name) for name in Architecture.__dataclass_fields__}
    parsed = Architecture(**sizes)
    _same(architecture, "attention_scale", parsed.attention_scale)
    _same(architecture, "normalize_eps", NORM_EPS)
    _same(architecture, "layer_norm", "none")
    return Metadata(
        architecture=parsed,
        vocabulary=_vocabulary(_load(raw, "events", list)),
        limits=_limits(_load(raw, "history", dict)),
        calibration=_calibration(_load(raw, "calibration", dict)),
        product_tower=raw.get("product_tower", ""),
        embedding_model=raw.get("embedding_model", ""),
        price_tiers=_price_tiers(_load(raw, "price_tiers", dict)),
        training=_load(raw, "training", dict),
        metrics=_load(raw, "metrics", dict),
        created_at=raw.get("created_at", ""),
    )


def _vocabulary(found: list[Any]) -> EventVocabulary:
    entries = [e for e in found if isinstance(e, dict) and isinstance(e.get("name"), str)]
    weights = {e["name"]: _number("events", e.get("weight")) for e in entries}
    if len(weights) != len(found):
        raise ConfigError("metadata.events", list(weights), "distinct names, each with a weight")
    known = EventVocabulary().aliases.items()
    return EventVocabulary(weights, {alias: name for alias, name in known if name in weights})


def _limits(found: dict[str, Any]) -> HistoryLimits:
    most = found.get("max_interactions")
    if type(most) is not int:
        raise ConfigError("metadata.history.max_interactions", most, "a whole number")
    hours = _number("history.window_hours", found.get("window_hours"))
    try:
        return HistoryLimits(most, hours)
    except ConfigError as error:
        raise ConfigError(f"metadata.history.{error.key}", error.value, error.expected) from None


def _calibration(found: dict[str, Any]) -> Calibration:
    return Calibration(*(_number(f"calibration.{key}", found.get(key)) for key in ("lo", "hi")))


def _price_tiers(found: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    tiers = {}
    for category, limits in found.items():
        if not isinstance(limits, list) or len(limits) != 3:
            raise ConfigError(f"metadata.price_tiers.{category}", limits, "three ascending prices")
        low, middle, high = (_number(f"price_tiers.{category}", limit) for limit in limits)
        tiers[category] = (low, middle, high)
    return tiers


def _number(key: str, found: object) -> float:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        raise ConfigError(f"metadata.{key}", found, "a number")
    try:
        return float(found)
    except OverflowError:
        raise ConfigError(f"metadata.{key}", "a huge number", "one below 1e308") from None


def _dump(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _load(raw: Mapping[str, str], key: str, kind: type) -> Any:
    try:
        value = json.loads(raw[key], parse_constant=_refuse)
    except KeyError:
        raise ConfigError(f"metadata.{key}", None, "to be present") from None
    except (ValueError, RecursionError):
        raise ConfigError(f"metadata.{key}", raw[key][:80], "JSON") from None
    if not isinstance(value, kind):
        raise ConfigError(f"metadata.{key}", raw[key][:80], f"a JSON {kind.__name__}")
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _same(found: Mapping[str, Any], key: str, expected: object) -> None:
    value = found.get(key)
    if isinstance(value, float) and isinstance(expected, float):
        if abs(value - expected) <= 1e-6 * abs(expected):
            return
    elif value == expected:
        return
    raise ConfigError(f"metadata.architecture.{key}", value, repr(expected))
