"""Every setting of the sidecar, in one table; the environment is read once, at start.

Only ``cli.py`` and what it composes read this module; everything below is handed values.
``docs/settings.md`` is checked against the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from sidecar import resources
from sidecar.config_text import (
    index,
    json_object,
    key,
    line,
    names,
    number,
    optional,
    other_names,
    text,
    whole,
    yes_no,
)
from sidecar.contract.errors import ConfigError
from sidecar.contract.product_text import product_fields
from sidecar.search.settings import SearchSettings
from sidecar.search.ubi import UbiSettings
from sidecar.updates.settings import UpdateSettings

PREFIX = "SIDECAR_"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1", "[::1]"})


@dataclass(frozen=True)
class ServiceSettings:
    """Where things are, and what this process listens on.

    Raises
    ------
    ConfigError
    """

    elasticsearch_url: str = "http://127.0.0.1:9200"
    elasticsearch_api_key: str = ""
    elasticsearch_ca_certs: str = ""
    elasticsearch_timeout_s: float = 5.0
    users_index: str = "sidecar-users"
    pages_index: str = "sidecar-pages"
    listen: str = "127.0.0.1:9201"
    workers: int = 1
    threads: int = 16
    consumer_listen: str = ""
    access_log: bool = False
    api_key: str = ""
    weights: str = field(default_factory=lambda: str(resources.shipped_weights()))
    sqs_queue_url: str = ""
    event_aliases: Mapping[str, str | None] = field(default_factory=dict)
    product_fields: Mapping[str, str] = field(default_factory=dict)
    product_cache_mb: float = 64.0
    product_cache_s: float = 300.0
    log_format: str = "human"
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        listen_address(self.listen)
        product_fields(self.product_fields, "product_fields")
        if self.consumer_listen:
            listen_address(self.consumer_listen, "consumer_listen")
        if self.pages_index == self.users_index:
            raise ConfigError("pages_index", self.pages_index, "another index than for shoppers")
        if self.log_format not in ("human", "json"):
            raise ConfigError("log_format", self.log_format, "human or json")
        if self.log_level.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
            raise ConfigError("log_level", self.log_level, "DEBUG, INFO, WARNING or ERROR")
        for name, low, high in (
            ("elasticsearch_timeout_s", 0.1, 600),
            ("workers", 1, 256),
            ("threads", 1, 1024),
            ("product_cache_mb", 1, 1e6),
            ("product_cache_s", 1, 86_400),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(name, getattr(self, name), f"a number from {low:g} to {high:g}")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the sidecar."""
        return listen_address(self.listen)[0] in LOOPBACK


@dataclass(frozen=True)
class Config:
    """All settings, by the part that they belong to."""

    service: ServiceSettings = field(default_factory=ServiceSettings)
    search: SearchSettings = field(default_factory=SearchSettings)
    updates: UpdateSettings = field(default_factory=UpdateSettings)
    ubi: UbiSettings = field(default_factory=UbiSettings)


@dataclass(frozen=True)
class Setting:
    """One row of the table.

    Parameters
    ----------
    group, attribute : str
        Which part of :class:`Config`, and which of its fields.
    parse : Callable[[str], Any]
        Text to value; raises ``ValueError`` with what was expected.
    help : str
        In words, with the unit.
    """

    group: str
    attribute: str
    parse: Callable[[str], Any]
    help: str
    rename: str = ""
    secret: bool = False

    @property
    def name(self) -> str:
        """The environment variable."""
        return PREFIX + (self.rename or self.attribute).upper()

    @property
    def default(self) -> Any:
        """What holds when the variable is not set."""
        (one,) = (f for f in fields(_GROUPS[self.group]) if f.name == self.attribute)
        if one.default is not MISSING:
            return one.default
        assert one.default_factory is not MISSING  # noqa: S101 - a field has one or the other
        return one.default_factory()


_GROUPS: Mapping[str, type] = {
    "service": ServiceSettings,
    "search": SearchSettings,
    "updates": UpdateSettings,
    "ubi": UbiSettings,
}

# fmt: off
SETTINGS: tuple[Setting, ...] = (
    Setting("service", "elasticsearch_url", line, "Address of the cluster, `http(s)://host:port`."),
    Setting("service", "elasticsearch_api_key", key, "Encoded API key for the sidecar's own reads and writes. Searches are forwarded with the caller's credentials, never with this.", secret=True),
    Setting("service", "elasticsearch_ca_certs", line, "File of the authority that signed the cluster's certificate."),
    Setting("service", "elasticsearch_timeout_s", number, "Seconds for one of the sidecar's own requests."),
    Setting("search", "product_indices", names, "Indices of products: names, aliases, wildcards, separated by commas. Searches on them are personalised."),
    Setting("service", "users_index", index, "Index of shoppers."),
    Setting("service", "pages_index", index, "Index of what page 1 of a search was ranked by, kept for its page 2; made when it is first needed."),
    Setting("service", "listen", line, "`host:port` that the sidecar listens on. On anything but loopback the routes under `/_sidecar/` want `SIDECAR_API_KEY`."),
    Setting("service", "workers", whole, "Serving processes."),
    Setting("service", "threads", whole, "Requests at a time in one process."),
    Setting("service", "consumer_listen", line, "`host:port` on which `sidecar consume` answers health probes and metrics (the latter with `SIDECAR_API_KEY`, off loopback)."),
    Setting("service", "access_log", yes_no, "Whether each request is logged: API, status, what was done, how long. Never a shopper or a path."),
    Setting("service", "api_key", key, "Key for the routes under `/_sidecar/`, sent as `X-API-Key`.", secret=True),
    Setting("service", "weights", line, "Weights file, or a folder of them. Default: the file that comes with the release."),
    Setting("service", "sqs_queue_url", line, "Queue of the shop's events. Region, credentials and `AWS_ENDPOINT_URL_SQS` are boto3's own."),
    Setting("service", "event_aliases", other_names, "JSON object: the shop's own event names to canonical ones, or to `null` to ignore them."),
    Setting("service", "product_fields", json_object, "JSON object: where the product documents keep a part of the text, by our names, e.g. `{\"name\": \"title\", \"merchant\": \"brand.name\"}`. `trainer vectorize` reads it too."),
    Setting("service", "product_cache_mb", number, "Megabytes (10^6 bytes) that product vectors may take in a consumer's memory."),
    Setting("service", "product_cache_s", number, "Seconds after which a product's vector is read again."),
    Setting("search", "impact", number, "0 to 100: how much the shopper's taste counts. 0 forwards every request as it came."),
    Setting("search", "index_impact", json_object, "JSON object: index name or wildcard to an impact of its own; the first that matches counts."),
    Setting("search", "formula", line, "`blend`: score × (1 + a u). `cosine`: cosine + 1, on browse requests."),
    Setting("search", "max_boost", number, "What impact 100 adds to the score of a perfect match, in multiples of that score."),
    Setting("search", "half_evidence", number, "Sum of event weights (a click is 2, a view 0.1) at which half of the impact counts."),
    Setting("search", "window", whole, "Hits of each shard that a text query re-ranks, 1 to 10000; the same for every page."),
    Setting("search", "fallback_sort", text, "JSON of an Elasticsearch sort for browse requests without a sort of their own, for shoppers without a vector: popularity and recency, say."),
    Setting("search", "fallback_anonymous", yes_no, "Whether requests that name no shopper get it too."),
    Setting("search", "deadline_ms", number, "Milliseconds for looking up, classifying and rewriting; past it the original goes out."),
    Setting("search", "holdout_percent", number, "0 to 100: share of shoppers that are left alone, for comparison."),
    Setting("search", "holdout_salt", line, "Changes who is in the holdout."),
    Setting("search", "diversity", number, "0 to 1: how unlike each other recommendations and similar products are, where the request does not say."),
    Setting("search", "explore", number, "0 to 1: share of their slots for the rest of the shop, where the request does not say."),
    Setting("search", "shopper_source", line, "Where the shopper's id may come from: `any` (header or body), `header`, or `token` (signed, `X-Sidecar-Token`)."),
    Setting("search", "token_secret", line, "Key of the signed tokens, at least 16 characters.", secret=True),
    Setting("search", "shopper_cache_s", number, "Seconds for which a shopper that was looked up is used again."),
    Setting("search", "resolution_cache_s", number, "Seconds for which it is remembered what an alias or a wildcard stands for."),
    Setting("search", "page_ttl_s", number, "Seconds for which page 2 and later use what page 1 used; 0 switches that off."),
    Setting("search", "breaker_s", number, "Seconds for which an index is left alone after a rewritten request failed."),
    Setting("search", "allow_explain", yes_no, "Whether `explain` and `profile` requests are rewritten: their answers show the vector."),
    Setting("search", "max_body_bytes", whole, "Largest search body that is read, in bytes; a larger one passes through."),
    Setting("search", "connect_timeout_s", number, "Seconds to connect to Elasticsearch, for forwarded requests.", rename="upstream_connect_timeout_s"),
    Setting("search", "read_timeout_s", number, "Seconds to wait for Elasticsearch's answer to a forwarded request.", rename="upstream_read_timeout_s"),
    Setting("search", "max_connections", whole, "Idle connections to Elasticsearch that are kept for forwarded requests.", rename="upstream_connections"),
    Setting("search", "public_address", line, "`host:port` that sniffing clients are pointed at. Default: the request's own `Host`."),
    Setting("updates", "receivers", whole, "Threads that poll the queue, 1 to 32."),
    Setting("updates", "wait_s", whole, "Seconds for which a poll waits for messages, 0 to 8.", rename="sqs_wait_s"),
    Setting("updates", "batch_size", whole, "Most messages in one micro-batch, 1 to 1000."),
    Setting("updates", "linger_ms", number, "Milliseconds for which a micro-batch waits for more messages after its first."),
    Setting("updates", "max_in_flight", whole, "Messages that were received and are not finished; at that many, receiving stops."),
    Setting("updates", "max_in_flight_mb", number, "The same in megabytes (10^6 bytes) of message bodies."),
    Setting("updates", "visibility_s", whole, "Seconds for which a received message is hidden from other consumers; extended while it is worked on.", rename="sqs_visibility_s"),
    Setting("updates", "conflict_attempts", whole, "How often a shopper that others write at the same time is read and merged again before a rest."),
    Setting("updates", "backoff_base_ms", number, "Milliseconds of the first pause after a fault; pauses double, with jitter."),
    Setting("updates", "backoff_cap_ms", number, "Milliseconds that a pause grows to at most."),
    Setting("updates", "stop_s", number, "Seconds in which a consumer that is told to stop is done."),
    Setting("updates", "catch_up_s", number, "Seconds between looks for shoppers whose products have got their vectors; 0: never."),
    Setting("updates", "dead_letter_url", optional, "Queue that takes messages which can never be stored, with the reason as an attribute.", rename="sqs_dead_letter_url"),
    Setting("ubi", "log", yes_no, "Whether searches of named shoppers, and their events, are logged in two indices in the form of UBI 1.3.", rename="ubi_log"),
    Setting("ubi", "queries_index", line, "Index of logged searches.", rename="ubi_queries_index"),
    Setting("ubi", "events_index", line, "Index of logged events.", rename="ubi_events_index"),
    Setting("ubi", "client_id", line, "What the log says of the shopper: `customer` (the id as sent), `hash` (HMAC-SHA256 of it) or `none`.", rename="ubi_client_id"),
    Setting("ubi", "client_secret", line, "Key of `hash`, at least 16 characters; the same for `serve`, `consume` and `forget`.", rename="ubi_client_secret", secret=True),
    Setting("ubi", "keep_days", number, "Days after which `sidecar prune` deletes what was logged.", rename="ubi_keep_days"),
    Setting("service", "log_format", line, "`human` or `json`."),
    Setting("service", "log_level", line, "`DEBUG`, `INFO`, `WARNING` or `ERROR`."),
)
# fmt: on


def load(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables.

    Raises
    ------
    ConfigError
        Names the variable, its value and what was expected.
    """
    values: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
    for setting in SETTINGS:
        raw = environment.get(setting.name)
        if raw is None or not raw.strip():
            continue
        shown = "***" if setting.secret else raw
        try:
            raw.encode()
            values[setting.group][setting.attribute] = setting.parse(raw)
        except UnicodeEncodeError:  # bytes that are none become lone surrogates
            raise ConfigError(setting.name, shown, "text in UTF-8") from None
        except ValueError as error:
            raise ConfigError(setting.name, shown, str(error)) from None
    return Config(*(_build(group, values[group]) for group in _GROUPS))


def _build(group: str, values: Mapping[str, Any]) -> Any:
    try:
        return _GROUPS[group](**values)
    except ConfigError as error:
        attribute, dot, rest = error.key.partition(".")
        for setting in SETTINGS:
            if (setting.group, setting.attribute) == (group, attribute):
                raise ConfigError(setting.name + dot + rest, error.value, error.expected) from None
        raise


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """Variables that look like settings and are none: typing errors, most likely."""
    known = {setting.name for setting in SETTINGS}
    return sorted(name for name in environment if name.startswith(PREFIX) and name not in known)


def listen_address(address: str, setting: str = "listen") -> tuple[str, int]:
    """``host:port`` in its parts.

    Raises
    ------
    ConfigError
    """
    host, colon, port = address.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not int(port) < 65_536:
        raise ConfigError(setting, address, "host:port, e.g. 127.0.0.1:9201")
    return host, int(port)


def table_row(setting: Setting) -> str:
    """The setting's row in ``docs/settings.md``."""
    default = setting.default
    if setting.attribute == "weights":
        shown = "the shipped file"
    elif default is None or default == "" or default == {}:
        shown = "–"
    elif isinstance(default, tuple):
        shown = f"`{','.join(default)}`"
    elif isinstance(default, bool):
        shown = "yes" if default else "no"
    else:
        shown = f"`{default:g}`" if isinstance(default, float) else f"`{default}`"
    return f"| `{setting.name}` | {shown} | {setting.help} |"
