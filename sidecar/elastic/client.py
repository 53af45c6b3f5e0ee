"""A connection to Elasticsearch for the sidecar's own reads and writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import elasticsearch
from elastic_transport import ConnectionError as TransportError
from elastic_transport import ConnectionTimeout, SerializationError, TlsError
from elasticsearch import ApiError, Elasticsearch
from elasticsearch.serializer import OrjsonSerializer

from sidecar.contract.errors import ConfigError, MalformedError, RefusedError, UnreachableError

#: The official client; other layers name it by this, and import it from nowhere else.
Client = Elasticsearch
#: A client that is newer than the server is refused by it.
CLIENT_MAJOR: int = elasticsearch.__version__[0]
#: Answers that say "later", not "no".
RETRYABLE = frozenset({408, 429, 502, 503, 504})


class _Json(OrjsonSerializer):
    """A user vector is read in 7 microseconds, against 75 with json."""

    mimetype = "application/vnd.elasticsearch+json"


class Version(NamedTuple):
    """A server's version, comparable."""

    major: int
    minor: int


#: From here on vectors are left out of ``_source`` unless they are asked for.
HIDES_VECTORS = Version(9, 2)
#: The oldest server that is supported: the first whose dense vectors are indexed by default.
OLDEST = Version(8, 11)


def connect(
    url: str,
    api_key: str | None = None,
    *,
    ca_certs: str | None = None,
    timeout_s: float = 5.0,
    max_connections: int = 16,
) -> Elasticsearch:
    """A client. Does not speak to the server yet.

    Parameters
    ----------
    url : str
        ``http(s)://host:port``, with credentials in it or not.
    api_key : str, optional
        Encoded key of the sidecar's own account.
    ca_certs : str, optional
        File of the authority that signed the server's certificate. Certificates are always
        verified.
    timeout_s : float
        Seconds for one request.
    max_connections : int

    Raises
    ------
    ConfigError
        If the address cannot be one.
    """
    options: dict[str, Any] = {"api_key": api_key} if api_key else {}
    if ca_certs:
        options["ca_certs"] = ca_certs
    try:
        # Retries belong to the callers, who know what may be repeated and when to give up.
        return Elasticsearch(
            _with_port(url),
            request_timeout=timeout_s,
            max_retries=0,
            connections_per_node=max_connections,
            serializers={one.mimetype: one for one in (_Json(), OrjsonSerializer())},
            **options,
        )
    except (ValueError, OSError) as error:
        expected = f"an address such as http://127.0.0.1:9200 ({error})"
        raise ConfigError("SIDECAR_ELASTICSEARCH_URL", redact(url), expected) from None


def server_version(client: Elasticsearch) -> Version:
    """Ask the server which release it is.

    Raises
    ------
    UnreachableError, RefusedError
        Also when the release is too old.
    """
    with errors("asking for the version"):
        number = str(client.info()["version"]["number"])
    found = re.match(r"(\d+)\.(\d+)", number)
    if found is None:
        raise RefusedError(f"Elasticsearch says its version is {number!r}: expected e.g. 8.15.3")
    version = Version(int(found[1]), int(found[2]))
    if version < OLDEST:
        oldest = f"{OLDEST.major}.{OLDEST.minor}"
        raise RefusedError(f"Elasticsearch {number} is too old: expected {oldest} or newer")
    return version


@contextmanager
def errors(doing: str) -> Iterator[None]:
    """Turn the client's exceptions into the project's two families, with one clear line.

    Raises
    ------
    UnreachableError
        No connection, no answer in time, or an answer that says "later".
    RefusedError
        The server said no; MalformedError if to the request itself.
    """
    try:
        yield
    except TlsError as error:
        raise RefusedError(f"{doing}: TLS failed: {error.message}") from None
    except ConnectionTimeout as error:
        raise UnreachableError(f"{doing}: no answer in time ({error.message})") from None
    except TransportError as error:
        raise UnreachableError(
            f"{doing}: Elasticsearch is not reachable ({error.message}): "
            "is it running, and is SIDECAR_ELASTICSEARCH_URL right?"
        ) from None
    except SerializationError as error:
        if error.message.startswith("Unable to serialize"):
            # Its message repeats the whole request: vectors, too.
            detail = "the request holds text or numbers that JSON cannot carry"
            raise MalformedError(f"{doing}: {detail}") from None
        # Cut off, or not Elasticsearch's own: a balancer's page, say.
        raise UnreachableError(f"{doing}: the answer cannot be read ({error.message})") from None
    except ApiError as error:
        status = error.meta.status
        message = f"{doing}: Elasticsearch answered {status}: {reason(error.body)}"
        if status in RETRYABLE:
            raise UnreachableError(message) from None
        raise (MalformedError if status == 400 else RefusedError)(message) from None


def listed(doing: str, body: object, key: str) -> list[Any]:
    """The list in an answer.

    Raises
    ------
    UnreachableError
        If it is not there: somebody between us and Elasticsearch answered.
    """
    found = body.get(key) if isinstance(body, Mapping) else None
    if not isinstance(found, list):
        raise UnreachableError(f"{doing}: the answer is not Elasticsearch's ({str(body)[:80]!r})")
    return found


def reason(body: object) -> str:
    """The reason in an error's body, in one line."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        causes = error.get("root_cause")
        first = causes[0] if isinstance(causes, list) and causes else error
        return f"{first.get('type', '')}: {first.get('reason', '')}"[:300]
    return json.dumps(body, default=str)[:300]


def redact(url: str) -> str:
    """An address without its password."""
    return re.sub(r"//[^/@]*@", "//***@", url)


def _with_port(url: str) -> str:
    """The client insists on a port; people leave it out."""
    match = re.fullmatch(r"(https?)://([^/]+?)(/.*)?", url.strip())
    if match is None:
        raise ValueError("expected http:// or https://")
    scheme, host, path = match[1], match[2], match[3] or ""
    if not re.search(r":\d+$", host):
        host += ":443" if scheme == "https" else ":80"
    return f"{scheme}://{host}{path.rstrip('/')}"
