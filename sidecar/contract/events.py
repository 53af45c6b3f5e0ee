"""The event vocabulary: canonical names, business weights, accepted aliases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from sidecar.contract.errors import ConfigError

#: Canonical name to business weight: the seed of the pooling weights ``g``, and the ``prior``.
BUSINESS_WEIGHTS: Mapping[str, float] = MappingProxyType(
    {
        "product_viewed": 0.1,
        "product_clicked": 2.0,
        "product_added_to_cart": 5.0,
        "product_favorited": 3.0,
        "product_shared": 4.0,
        "product_checkout_started": 6.0,
        "product_purchased": 8.0,
    }
)

#: Names of Google Analytics 4 / Firebase e-commerce events, to our canonical ones.
GA4_ALIASES: Mapping[str, str] = MappingProxyType(
    {
        "view_item": "product_viewed",
        "select_item": "product_clicked",
        "add_to_cart": "product_added_to_cart",
        "add_to_wishlist": "product_favorited",
        "share": "product_shared",
        "begin_checkout": "product_checkout_started",
        "purchase": "product_purchased",
    }
)

#: Well-known events that say nothing about taste: counted, never an error.
IGNORED: frozenset[str] = frozenset(
    {
        "view_item_list",
        "product_list_viewed",
        "view_promotion",
        "select_promotion",
        "view_cart",
        "remove_from_cart",
        "add_shipping_info",
        "add_payment_info",
        "refund",
    }
)


@dataclass(frozen=True)
class EventVocabulary:
    """Which events exist, in which order (their position is the tower's event type), and what
    other names they go by.

    Parameters
    ----------
    weights : Mapping[str, float]
        Canonical name to business weight (> 0). The order is the order of the event types.
    aliases : Mapping[str, str]
        Other accepted name to canonical name.
    ignored : frozenset[str]
        Names that are accepted and dropped.

    Raises
    ------
    ConfigError
        For a weight that is not positive and finite, or an alias of an unknown event.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: BUSINESS_WEIGHTS)
    aliases: Mapping[str, str] = field(default_factory=lambda: GA4_ALIASES)
    ignored: frozenset[str] = IGNORED

    def __post_init__(self) -> None:
        if not self.weights:
            raise ConfigError("events", dict(self.weights), "at least one event")
        for name, weight in self.weights.items():
            if not 0.0 < weight < 1e6:
                raise ConfigError(f"events.{name}", weight, "a weight above 0 and below 1e6")
        for alias, name in self.aliases.items():
            if name not in self.weights:
                raise ConfigError(f"event alias {alias}", name, f"one of {', '.join(self.names)}")

    @property
    def names(self) -> tuple[str, ...]:
        """Canonical names; the index of a name is its event type."""
        return tuple(self.weights)

    def index(self, name: str) -> int:
        """Event type of a canonical name; ``KeyError`` for any other."""
        return self._types[name]

    @property
    def _types(self) -> dict[str, int]:
        # Derived, but asked for with every interaction: kept beside the frozen fields.
        cached: dict[str, int] | None = self.__dict__.get("_types_cache")
        if cached is None:
            cached = {name: i for i, name in enumerate(self.weights)}
            self.__dict__["_types_cache"] = cached
        return cached

    def canonical(self, name: str) -> str | None:
        """The canonical name, ``None`` for an event that is accepted and dropped.

        Raises
        ------
        KeyError
            For a name that nobody mapped.
        """
        if name in self.weights:
            return name
        if name in self.ignored:
            return None
        return self.aliases[name]

    def with_events(self, weights: Mapping[str, float]) -> EventVocabulary:
        """The same other names, for the events of other weights.

        Names of events that those do not know go; an ignored name that they do know counts.
        """
        if weights == self.weights:
            return self
        aliases = {
            alias: name
            for alias, name in self.aliases.items()
            if name in weights and alias not in weights
        }
        return EventVocabulary(weights, aliases, self.ignored - weights.keys())

    def with_aliases(self, extra: Mapping[str, str | None]) -> EventVocabulary:
        """The same vocabulary with an operator's own names; ``None`` maps a name to nothing.

        Raises
        ------
        ConfigError
            For an alias of an unknown event.
        """
        aliases = dict(self.aliases)
        ignored = set(self.ignored)
        for name, target in extra.items():
            aliases.pop(name, None)
            ignored.discard(name)
            if target is None:
                ignored.add(name)
            else:
                aliases[name] = self.aliases.get(target, target)
        return EventVocabulary(self.weights, aliases, frozenset(ignored))
