"""A server as a child process: stopped by its parent, or, where that was killed, by the next."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from sidecar.contract.errors import ConfigError, UnreachableError

STOP_S = 10.0


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kept_port(note: Path) -> int:
    """The port that a server had the last time, or a free one if that is taken now.

    Parameters
    ----------
    note : Path
        File that remembers it.
    """
    text = note.read_text().strip() if note.exists() else ""
    port = int(text) if text.isdecimal() else 0
    if not 1024 <= port < 65_536 or listening(port):
        port = free_port()
    note.write_text(str(port))
    return port


def packaged_binary(package: str, name: str) -> str:
    """Path of a binary inside a Python package: its console script would be a process in between,
    which a signal ends without ending the server.

    Raises
    ------
    ConfigError
        Says which extra to install.
    """
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0]) / name if folders else None
    if path is None or not path.is_file():
        raise ConfigError(
            "program", name, "it to be installed: pip install '.[embedded]' in a clone"
        )
    if not os.access(path, os.X_OK):
        path.chmod(0o755)
    return str(path)


def program(name: str, extra: str) -> str:
    """Path of a program that a Python package brought along.

    Raises
    ------
    ConfigError
        Says which extra to install.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ConfigError(
            "program", name, f"it to be installed: pip install '.[{extra}]' in a clone"
        )
    return str(path)


class Child:
    """One running server.

    Parameters
    ----------
    name : str
        For messages.
    command : Sequence[str]
    environment : Mapping[str, str]
        Added to this process's own.
    log : Path
        Takes what the server prints.

    Raises
    ------
    UnreachableError
        If the program cannot be started.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> None:
        self.name = name
        self.command = command[0]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            try:
                self._process = subprocess.Popen(
                    command,
                    env={**os.environ, **environment},
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    # Ctrl-C in a terminal reaches a whole process group; the order in which
                    # servers stop is ours.
                    start_new_session=True,
                )
            except OSError as error:
                raise UnreachableError(
                    f"{name}: {command[0]} cannot be started ({error})"
                ) from None

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def wait_until(self, ready: Callable[[], bool], seconds: float = 30.0) -> None:
        """Wait for the server to answer.

        Raises
        ------
        UnreachableError
            If it ended, or was not ready in time; with the end of its log.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.alive():
                raise UnreachableError(f"{self.name} ended at once: {self._last_words()}")
            if time.monotonic() > deadline:
                self.stop()
                raise UnreachableError(
                    f"{self.name} was not ready after {seconds:.0f} s: {self._last_words()}"
                )
            time.sleep(0.02)

    def stop(self) -> None:
        """End the process: politely, then not. Doing it twice is harmless."""
        if self.alive():
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return f"{lines[-1] if lines else 'it printed nothing'} (see {self.log})"


def end_orphans(record: Path) -> None:
    """End servers that a killed process left behind, as far as they are what they were.

    Parameters
    ----------
    record : Path
        Lines of ``pid program``, as :func:`note_child` writes them.
    """
    lines = record.read_text().splitlines() if record.exists() else []
    for line in lines:
        pid, _, command = line.partition(" ")
        shown = subprocess.run(
            ["ps", "-o", "command=", "-p", pid], capture_output=True, text=True, check=False
        )
        # The id may have gone to somebody else's process since.
        if Path(command).name in shown.stdout:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGTERM)
    record.unlink(missing_ok=True)
    if lines:
        time.sleep(0.5)


def note_child(record: Path, child: Child) -> None:
    """Remember a child, for :func:`end_orphans`."""
    with record.open("a") as file:
        file.write(f"{child.pid} {child.command}\n")


def listening(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
