"""The two embedded servers: noida-db speaks Elasticsearch 8.15, MiniStack speaks SQS."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from sidecar.contract.errors import UnreachableError
from sidecar.embedded.process import (
    Child,
    end_orphans,
    kept_port,
    listening,
    note_child,
    packaged_binary,
    program,
)

#: File of the data folder that names the processes which use it.
CHILDREN = "children"
#: What boto3 needs to be told; the embedded server takes any credentials.
AWS_ENVIRONMENT = MappingProxyType(
    {
        "AWS_ACCESS_KEY_ID": "embedded",
        "AWS_SECRET_ACCESS_KEY": "embedded",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
)


@dataclass(frozen=True)
class Servers:
    """Where the embedded servers listen, and which processes they are."""

    elasticsearch_url: str
    sqs_url: str
    children: tuple[Child, ...]


@contextmanager
def running(data: Path) -> Iterator[Servers]:
    """Both servers on loopback ports of their own, with their data in a folder; stopped at the end.

    Raises
    ------
    ConfigError
        If the programs are not installed.
    UnreachableError
        If one does not start, or another process uses the folder.
    """
    with _locked(data):
        record = data / CHILDREN
        end_orphans(record)
        # The same ports each time: a queue's URL is its identity in MiniStack, messages included.
        elasticsearch_port = kept_port(data / "elasticsearch.port")
        sqs_port = kept_port(data / "sqs.port")
        children: list[Child] = []
        try:
            children.append(start_elasticsearch(data, elasticsearch_port))
            note_child(record, children[-1])
            children.append(start_sqs(data, sqs_port))
            note_child(record, children[-1])
            yield Servers(
                f"http://127.0.0.1:{elasticsearch_port}",
                f"http://127.0.0.1:{sqs_port}",
                tuple(children),
            )
        finally:
            for child in reversed(children):
                child.stop()
            record.unlink(missing_ok=True)


def start_elasticsearch(data: Path, port: int) -> Child:
    """noida-db on a loopback port. It writes a snapshot when it is stopped.

    Raises
    ------
    ConfigError, UnreachableError
    """
    folder = data / "elasticsearch"
    folder.mkdir(parents=True, exist_ok=True)
    command = [packaged_binary("noida_db", "noida-db"), "start", "--only", "elasticsearch"]
    command += ["--elasticsearch-port", str(port), "--data-dir", str(folder)]
    child = Child("embedded Elasticsearch", command, {}, data / "elasticsearch.log")
    child.wait_until(lambda: listening(port))
    return child


def start_sqs(data: Path, port: int) -> Child:
    """MiniStack on a loopback port, with SQS alone.

    Raises
    ------
    ConfigError, UnreachableError
    """
    folder = data / "sqs"
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        "SERVICES": "sqs",
        # Its own default is every interface.
        "BIND_HOST": "127.0.0.1",
        "MINISTACK_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(port),
        "PERSIST_STATE": "1",
        "STATE_DIR": str(folder),
        "LOG_LEVEL": "WARNING",
    }
    child = Child("embedded SQS", [program("ministack", "embedded")], environment, data / "sqs.log")
    child.wait_until(lambda: listening(port))
    return child


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """One user of the folder at a time; a lock that a killed process left does not count."""
    data.mkdir(parents=True, exist_ok=True)
    lock = data / "lock"
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise UnreachableError(
                f"{data} is in use by process {file.read().strip() or '?'}: stop that first, or "
                "name another folder with --data"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
