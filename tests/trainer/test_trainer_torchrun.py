"""Two processes on one machine make what one makes, and write it once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from checkerboard import Files, trained

from sidecar.contract.weights import read_weights
from sidecar.tower.load import load_tower


def run(program: list[str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "SOURCE_DATE_EPOCH": "1700000000"}
    command = [sys.executable, "-W", "ignore", "-m", *program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


TWO = ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m", "trainer.cli"]


@pytest.mark.parametrize("loss", ["full", "mixed"])
def test_two_processes_make_what_one_makes(files: Files, tmp_path: Path, loss: str) -> None:
    # Noise is drawn by each process for its own examples: without it the result is the same.
    # 1,152 examples in batches of 64: every process has as many of every batch.
    more = ("--loss", loss, "--history-dropout", "0", "--relabel", "0", "--epochs", "2")
    one, two = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
    alone = run(["trainer.cli"], trained(files, one, *more, "--examples-per-epoch", "640"))
    assert alone.returncode == 0, alone.stderr
    together = run(TWO, trained(files, two, *more, "--examples-per-epoch", "640"))
    assert together.returncode == 0, together.stderr
    # Said once, written once.
    for line in ("epoch  1:", "examples to train on", "two.safetensors written"):
        assert together.stderr.count(line) == 1, together.stderr
    assert together.stdout.count("tower against") == alone.stdout.count("tower against") == 3
    ours, theirs = (read_weights(path) for path in (two, one))
    assert load_tower(two).weights.fingerprint == ours.fingerprint
    (found,), (expected,) = (w.metadata.metrics.values() for w in (ours, theirs))
    tower = found["results"]["tower"]["ndcg@10"]
    if loss == "full":
        for name in ours.tower:
            assert np.allclose(ours.tower[name], theirs.tower[name], atol=2e-3), name
        assert tower == pytest.approx(expected["results"]["tower"]["ndcg@10"], abs=0.01)
    assert tower > 0.9 * expected["results"]["tower"]["ndcg@10"]


def test_a_mistake_ends_all_processes(files: Files, tmp_path: Path) -> None:
    arguments = trained(files, tmp_path / "x.safetensors")
    arguments[arguments.index("--events") + 1] = str(files.products)
    done = run(TWO, arguments)
    assert done.returncode != 0
    assert "trainer: " in done.stderr
    assert "column customer_id, event_name, timestamp is missing" in done.stderr
    assert not (tmp_path / "x.safetensors").exists()
