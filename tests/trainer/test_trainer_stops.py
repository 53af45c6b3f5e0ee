"""A full disk, Ctrl-C, a signal: one line, and what was paid for is kept."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from checkerboard import Files, trained
from safetensors import safe_open

from sidecar.contract.vectors import read_vectors
from sidecar.tower.load import load_tower

TRAINER = (sys.executable, "-W", "ignore", "-m", "trainer.cli")


def run(
    arguments: list[str], before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*TRAINER, *arguments],
        capture_output=True, text=True, preexec_fn=before, env=environment, timeout=300,
    )  # fmt: skip


def full_disk() -> None:
    """No file may grow beyond 1,000 bytes from here on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize("command", ["vectorize", "dataset", "report", "export", "train"])
def test_a_full_disk_is_one_line_and_costs_nothing(
    command: str, weights: Path, files: Files, tmp_path: Path
) -> None:
    data = ["--products", str(files.products), "--events", str(files.events)]
    vectors = ["--vectors", str(files.vectors)]
    standing = tmp_path / "there.safetensors"
    standing.write_bytes(b"what stood there before")
    checkpoint = weights.with_name("user_tower.checkpoint")
    arguments = {
        "vectorize": ["vectorize", "--products", str(files.products), "--out", str(standing),
                      "--cache", str(files.vectors)],
        "dataset": ["dataset", *data, "--out", str(tmp_path)],
        "report": ["report", *data, *vectors, "--weights", str(weights), "--out", str(standing)],
        "export": ["export", *data, *vectors, "--checkpoint", str(checkpoint), "--out",
                   str(standing)],
        "train": trained(files, standing),
    }[command]  # fmt: skip
    done = run(arguments, full_disk)
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert last.startswith(f"trainer: {tmp_path}")
    assert "File too large" in last
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == [standing.name]
    assert standing.read_bytes() == b"what stood there before"


def test_ctrl_c_keeps_the_last_epoch_and_the_same_command_goes_on(
    files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "user_tower.safetensors"
    checkpoint = tmp_path / "user_tower.checkpoint"
    arguments = trained(
        files, out, "--epochs", "400", "--patience", "400", "--examples-per-epoch", "900"
    )

    def epochs() -> int:
        if not checkpoint.exists():
            return 0
        with safe_open(str(checkpoint), framework="numpy") as file:
            return len(json.loads(file.metadata()["progress"])["curve"]) - 1

    with subprocess.Popen(
        [*TRAINER, *arguments], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while epochs() < 2 and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].startswith("trainer: stopped; what was done so far is kept")
    assert "Traceback" not in said
    kept = epochs()
    assert 2 <= kept < 400
    assert not out.exists()
    with subprocess.Popen(
        [*TRAINER, *arguments], stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        deadline = time.monotonic() + 120
        while epochs() <= kept and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert epochs() > kept
    first = [line for line in said.splitlines() if line.startswith("epoch")]
    assert first[0].startswith("epoch  0:")
    assert first[kept].startswith(f"epoch {kept:2}:")


SLOW = """
import sys, time
import numpy as np
from trainer.vectors import cache

def slow(texts):
    time.sleep(0.2)
    return np.eye(len(texts), 384, dtype=np.float32) + 0.1

cache.load_encoder = lambda model: slow
cache.SAVE_EVERY = 0.3
from trainer.cli import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_vectors_that_were_made_are_kept(number: signal.Signals, tmp_path: Path) -> None:
    products = tmp_path / "products.csv"
    products.write_text("product_id,name\n" + "".join(f"{i},n{i}\n" for i in range(20_000)))
    out, cache = tmp_path / "p.safetensors", tmp_path / "p.texts.safetensors"
    arguments = ["vectorize", "--products", str(products), "--out", str(out)]
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SLOW, *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not cache.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130), said
    assert "Traceback" not in said
    assert 512 <= len(read_vectors(cache).product_ids) < 20_000
    assert not out.exists()


def test_a_loss_that_is_not_a_number_keeps_the_weights_that_are_there(
    weights: Path, files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "user_tower.safetensors"
    out.write_bytes(weights.read_bytes())
    done = run(trained(files, out, "--learning-rate", "1e30", "--force"))
    assert done.returncode == 2
    assert "the loss is nan in epoch 1" in done.stderr.splitlines()[-1]
    assert load_tower(out).weights.fingerprint == load_tower(weights).weights.fingerprint
