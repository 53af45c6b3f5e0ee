"""Every setting of the sidecar, in one table; the environment is read once, at start.

Only ``cli.py`` and what it composes read this module; everything below is handed values.
``docs/settings.md`` is checked against the table.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from sidecar import resources
from sidecar.contract.errors import ConfigError
from sidecar.search.settings import SearchSettings
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
    listen: str = "127.0.0.1:9201"
    workers: int = 1
    threads: int = 16
    api_key: str = ""
    weights: str = field(default_factory=lambda: str(resources.shipped_weights()))
    sqs_queue_url: str = ""
    event_aliases: Mapping[str, str | None] = field(default_factory=dict)
    product_cache_mb: float = 64.0
    product_cache_s: float = 300.0
    log_format: str = "human"
    log_level: str = "INFO"

    def __post_init__(self) -> None:
        listen_address(self.listen)
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


def _text(text: str) -> str:
    return text.strip()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _yes_no(text: str) -> bool:
    if text.strip().lower() in ("1", "true", "yes", "on"):
        return True
    if text.strip().lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("yes or no")


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise ValueError("a JSON object")
    return value


def _optional(text: str) -> str | None:
    return text.strip() or None


_GROUPS: Mapping[str, type] = {
    "service": ServiceSettings,
    "search": SearchSettings,
    "updates": UpdateSettings,
}

# fmt: off
SETTINGS: tuple[Setting, ...] = (
    Setting("service", "elasticsearch_url", _text, "Address of the cluster, `http(s)://host:port`."),
    Setting("service", "elasticsearch_api_key", _text, "Encoded API key for the sidecar's own reads and writes. Searches are forwarded with the caller's credentials, never with this.", secret=True),
    Setting("service", "elasticsearch_ca_certs", _text, "File of the authority that signed the cluster's certificate."),
    Setting("service", "elasticsearch_timeout_s", _number, "Seconds for one of the sidecar's own requests."),
    Setting("search", "product_indices", _names, "Indices of products: names, aliases, wildcards, separated by commas. Searches on them are personalised."),
    Setting("service", "users_index", _text, "Index of shoppers."),
    Setting("service", "listen", _text, "`host:port` that the sidecar listens on. On anything but loopback the routes under `/_sidecar/` want `SIDECAR_API_KEY`."),
    Setting("service", "workers", _whole, "Serving processes."),
    Setting("service", "threads", _whole, "Requests at a time in one process."),
    Setting("service", "api_key", _text, "Key for the routes under `/_sidecar/`, sent as `X-API-Key`.", secret=True),
    Setting("service", "weights", _text, "Weights file, or a folder of them. Default: the file that comes with the release."),
    Setting("service", "sqs_queue_url", _text, "Queue of the shop's events. Region, credentials and `AWS_ENDPOINT_URL_SQS` are boto3's own."),
    Setting("service", "event_aliases", _object, "JSON object: the shop's own event names to canonical ones, or to `null` to ignore them."),
    Setting("service", "product_cache_mb", _number, "Megabytes (10^6 bytes) that product vectors may take in a consumer's memory."),
    Setting("service", "product_cache_s", _number, "Seconds after which a product's vector is read again."),
    Setting("service", "log_format", _text, "`human` or `json`."),
    Setting("service", "log_level", _text, "`DEBUG`, `INFO`, `WARNING` or `ERROR`."),
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
        text = environment.get(setting.name)
        if text is None or not text.strip():
            continue
        try:
            values[setting.group][setting.attribute] = setting.parse(text)
        except ValueError as error:
            shown = "***" if setting.secret else text
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


def listen_address(text: str) -> tuple[str, int]:
    """``host:port`` in its parts.

    Raises
    ------
    ConfigError
    """
    host, colon, port = text.strip().rpartition(":")
    if not colon or not host or not port.isdecimal() or not int(port) < 65_536:
        raise ConfigError("listen", text, "host:port, e.g. 127.0.0.1:9201")
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
