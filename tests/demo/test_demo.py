"""The demo as a person runs it: a process of its own, real servers, real data, nothing left."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from sidecar.demo import show
from sidecar.embedded.process import free_port, listening

pytestmark = pytest.mark.servers
SIDECAR = str(Path(sys.executable).parent / "sidecar")


def start(data: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [SIDECAR, "demo", "--data", str(data), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a person has set for another cluster must not reach the demo.
        env={**os.environ, "SIDECAR_IMPACT": "0", "SIDECAR_API_KEY": "x"},
    )


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """What the process prints, up to the line with that text."""
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return "".join(lines)
    raise AssertionError(f"it ended without {text!r}: {''.join(lines)}")


def left_behind(data: Path) -> list[str]:
    """Processes that still carry the demo's folder."""
    shown = subprocess.run(["ps", "-eo", "pid=,args="], capture_output=True, text=True, check=True)
    return [line for line in shown.stdout.splitlines() if str(data) in line]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_once_shows_a_ranking_changed_for_the_right_reason_and_ends(data: Path) -> None:
    process = start(data, "--once")
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 0, output
    changes = re.findall(r"bought from: (\d+) before, (\d+) after", output)
    assert len(changes) == 2, output
    browse, text = [(int(before), int(after)) for before, after in changes]
    assert browse[1] >= browse[0] + 4, output
    assert text[1] > text[0], output
    assert "rewritten (browse)" in output
    assert "rewritten (scored)" in output
    assert re.search(r"received to vector stored: p50 \d+\.\d ms", output), output
    assert left_behind(data) == []


def test_it_stays_up_until_ctrl_c_and_the_printed_line_works(data: Path) -> None:
    port = free_port()
    with start(data, "--listen", f"127.0.0.1:{port}") as process:
        output = read_until(process, "Ctrl-C")
        assert "are still there" in output, output  # the second run reuses the first one's data
        shell = re.search(r"curl .*?\\\n.*?}'", output, re.S)
        assert shell is not None, output
        pasted = ["/bin/sh", "-c", shell.group()]
        done = subprocess.run(pasted, capture_output=True, text=True, check=True)
        assert "Potato chips" in done.stdout
        ready = f"http://127.0.0.1:{port}/_sidecar/health/ready"
        with urllib.request.urlopen(ready, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=60)
    assert process.returncode == 130, rest
    assert "Traceback" not in rest
    assert left_behind(data) == []


def test_a_killed_demo_does_not_stand_in_the_way_of_the_next(data: Path) -> None:
    port = free_port()
    with start(data, "--listen", f"127.0.0.1:{port}") as process:
        read_until(process, "serves at")
        process.kill()
    assert listening(port)  # its children live on
    with start(data, "--once", "--listen", f"127.0.0.1:{free_port()}") as again:
        output, _ = again.communicate(timeout=240)
    assert again.returncode == 0, output
    deadline = time.monotonic() + 20
    while (left_behind(data) or listening(port)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_behind(data) == []
    assert not listening(port)


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(tmp_path, "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert output.count("\n") == 1, output
    assert "--listen" in output


def test_rank_changes_are_told_in_words() -> None:
    before = ["a", "b", "c"]
    assert show.rank_change("c", 0, before) == "▲ 2"
    assert show.rank_change("a", 2, before) == "▼ 2"
    assert show.rank_change("b", 1, before) == "="
    assert show.rank_change("x", 0, before) == "▲ from below 3"
    assert show.latency_line([]) == "no message was stored"
    assert "p50 2.0 ms, max 9.0 ms (3 messages)" in show.latency_line([1.0, 2.0, 9.0])
