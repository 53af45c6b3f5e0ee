"""What an operator is shown of a weights file before it is dropped in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hostile.files import Parts

from sidecar.contract.weights import write_weights
from sidecar.tower.inspect import inspect_weights
from tower import cases


@pytest.mark.parametrize("product_tower", ["none", "linear", "linear+id"])
def test_an_accepted_file(product_tower: str, tmp_path: Path) -> None:
    weights = cases.random_weights(1, product_tower=product_tower)
    path = tmp_path / "w.safetensors"
    write_weights(path, weights)
    found = inspect_weights(path)
    assert found.accepted
    rows = {row.name: row for row in found.rows}
    assert rows.keys() == weights.tensors().keys()
    assert rows["W_in"].shape == "12 x 28"
    assert rows["lambda_age"].shape == "scalar"
    assert rows["golden.lengths"].range == "1 to 20"
    facts = dict(found.facts)
    assert facts["fingerprint"] == weights.fingerprint
    assert facts["product space"] == weights.product_space
    assert float(facts["golden error"].split()[0]) <= 1e-5
    text = list(found.lines())
    assert text[0].split() == ["tensor", "type", "shape", "range"]
    assert text[-1] == f"{path}: accepted"


def test_a_refused_file_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    parts = Parts(cases.random_weights(1))
    parts.tensors["W_q"] = parts.tensors["W_q"].astype(np.float16)
    path = tmp_path / "w.safetensors"
    path.write_bytes(parts.blob())
    found = inspect_weights(path)
    assert not found.accepted
    assert {row.name: row.dtype for row in found.rows}["W_q"] == "float16"
    assert dict(found.facts)["format"] == "user_tower"
    assert list(found.lines())[-1].startswith(f"{path}: refused: tensor W_q is of type float16")


def test_golden_vectors_that_do_not_reproduce_are_measured(tmp_path: Path) -> None:
    parts = Parts(cases.random_weights(1))
    parts.tensors["golden.users"] = np.roll(parts.tensors["golden.users"], 1, axis=1)
    path = tmp_path / "w.safetensors"
    path.write_bytes(parts.blob())
    found = inspect_weights(path)
    assert "golden vectors" in found.reason
    assert float(dict(found.facts)["golden error"].split()[0]) > 0.01


def test_no_weights_at_all(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"\x80\x04.")
    found = inspect_weights(tmp_path / "w.safetensors")
    assert not found.rows
    assert "pickle" in found.reason
    assert "no such file" in inspect_weights(tmp_path / "missing").reason


def test_a_link_is_shown_as_what_a_folder_makes_of_it(tmp_path: Path) -> None:
    write_weights(tmp_path / "made" / "w.safetensors", cases.random_weights(1))
    inside, outside = tmp_path / "inside.safetensors", tmp_path / "made" / "outside.safetensors"
    inside.symlink_to("made/w.safetensors")
    outside.symlink_to("../inside.safetensors")
    assert "link" not in dict(inspect_weights(inside).facts)
    assert "link" not in dict(inspect_weights(outside).facts), "it comes back into its folder"
    (tmp_path / "other").mkdir()
    elsewhere = tmp_path / "other" / "w.safetensors"
    elsewhere.symlink_to("../made/w.safetensors")
    assert "refuses links that leave it" in dict(inspect_weights(elsewhere).facts)["link"]
