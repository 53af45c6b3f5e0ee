"""The two commands about weights, as an operator runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.cli import main
from sidecar.contract.weights import write_weights
from sidecar.tower.store import WeightsStore
from tower import cases

A, B = cases.random_weights(1), cases.random_weights(2)


def test_check_weights(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_weights(path, A)
    done = CliRunner().invoke(main, ["check-weights", str(path)])
    assert done.exit_code == 0, done.output
    assert "golden.users" in done.output
    assert done.output.rstrip().endswith(": accepted")
    path.write_bytes(path.read_bytes()[:-9])
    done = CliRunner().invoke(main, ["check-weights", str(path)])
    assert done.exit_code == 1
    assert "truncated" in done.output


def test_rollback_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDECAR_WEIGHTS", str(tmp_path))
    write_weights(tmp_path / "w.safetensors", A)
    running = WeightsStore(tmp_path, watch=False)
    write_weights(tmp_path / "w.safetensors", B)
    running.poll()
    assert running.current.weights.fingerprint == B.fingerprint
    done = CliRunner().invoke(main, ["rollback-weights"])
    assert done.exit_code == 0, done.output
    assert f"from weights {B.fingerprint} to {A.fingerprint}" in done.output
    running.poll()
    assert running.current.weights.fingerprint == A.fingerprint
    done = CliRunner().invoke(main, ["rollback-weights"])
    assert done.exit_code == 2
    assert "no earlier weights" in done.output
