"""The embedded servers: on loopback, with their data where they were told, gone afterwards."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar.contract.errors import ConfigError, UnreachableError
from sidecar.elastic.client import connect
from sidecar.embedded import process
from sidecar.embedded.process import Child, end_orphans, free_port, listening, note_child
from sidecar.embedded.queue import create_queue
from sidecar.embedded.servers import AWS_ENVIRONMENT, running
from sidecar.updates.envelopes import Outgoing
from sidecar.updates.sqs import Queue

pytestmark = pytest.mark.servers


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in AWS_ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


def test_what_was_stored_is_there_the_next_time(tmp_path: Path) -> None:
    with running(tmp_path) as servers:
        with connect(servers.elasticsearch_url) as client:
            client.index(index="a", id="1", document={"x": 1}, refresh=True)
        Queue(create_queue(servers.sqs_url, "q")).send([Outgoing("hello")])
        pids = [child.pid for child in servers.children]
        ports = [servers.elasticsearch_url.rpartition(":")[2], servers.sqs_url.rpartition(":")[2]]
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not any(listening(int(port)) for port in ports)
    with running(tmp_path) as servers:
        with connect(servers.elasticsearch_url) as client:
            assert client.get(index="a", id="1")["_source"] == {"x": 1}
        queue = Queue(create_queue(servers.sqs_url, "q"))
        (message,) = queue.receive(wait_s=1, visibility_s=30)
        assert message.body == "hello"


def test_nobody_outside_can_reach_them(tmp_path: Path) -> None:
    with running(tmp_path) as servers:
        ports = {int(u.rpartition(":")[2]) for u in (servers.elasticsearch_url, servers.sqs_url)}
        addresses = listened_addresses()
        found = {(host, port) for host, port in addresses if port in ports}
    if not addresses:
        pytest.skip("this system does not tell who listens where in /proc/net/tcp")
    assert found == {("127.0.0.1", port) for port in ports}


def listened_addresses() -> set[tuple[str, int]]:
    table = Path("/proc/net/tcp")
    rows = table.read_text().splitlines()[1:] if table.exists() else []
    found = set()
    for row in rows:
        local, _, state = row.split()[1:4]
        if state == "0A":
            address, port = local.split(":")
            host = ".".join(str(b) for b in reversed(bytes.fromhex(address)))
            found.add((host, int(port, 16)))
    return found


def test_one_folder_has_one_user(tmp_path: Path) -> None:
    with (
        running(tmp_path),
        pytest.raises(UnreachableError, match=rf"process {os.getpid()}.*--data"),
        running(tmp_path),
    ):
        pass


def test_orphans_of_a_killed_process_are_ended_and_strangers_are_not(tmp_path: Path) -> None:
    record = tmp_path / "children"
    sleep = ["/bin/sleep", "60"]
    orphan = Child("orphan", sleep, {}, tmp_path / "a.log")
    note_child(record, orphan)
    with record.open("a") as file:
        file.write(f"{os.getpid()} /usr/bin/some-other-program\n")  # an id that was used again
    end_orphans(record)
    assert not orphan.alive()
    assert not record.exists()
    end_orphans(record)  # nothing to do


def test_a_server_that_ends_at_once_says_its_last_words(tmp_path: Path) -> None:
    child = Child("it", [sys.executable, "-c", "print('no, thanks')"], {}, tmp_path / "log")
    with pytest.raises(UnreachableError, match=r"it ended at once: no, thanks \(see .*log\)"):
        child.wait_until(lambda: False)
    silent = Child("it", ["/bin/sleep", "60"], {}, tmp_path / "log2")
    with pytest.raises(UnreachableError, match="not ready after 0 s: it printed nothing"):
        silent.wait_until(lambda: False, seconds=0)
    assert not silent.alive()


def test_a_program_that_is_missing_names_the_extra(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.\[embedded\]"):
        process.packaged_binary("no_such_package", "noida-db")
    with pytest.raises(ConfigError, match=r"\.\[embedded\]"):
        process.program("no-such-program", "embedded")
    with pytest.raises(UnreachableError, match="cannot be started"):
        Child("it", [str(tmp_path / "nothing")], {}, tmp_path / "log")


def test_a_server_keeps_its_port_unless_it_is_taken(tmp_path: Path) -> None:
    note = tmp_path / "port"
    port = process.kept_port(note)
    assert process.kept_port(note) == port
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert process.kept_port(note) != port
    note.write_text("nonsense")
    assert process.kept_port(note) >= 1024


def test_a_free_port_is_free() -> None:
    port = free_port()
    assert not listening(port)
    with subprocess.Popen(
        [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as server:
        try:
            while not listening(port):
                assert server.poll() is None
        finally:
            server.terminate()
