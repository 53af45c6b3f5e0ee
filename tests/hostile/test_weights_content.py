"""Files that are well-formed, and wrong in what they say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tower import cases

from hostile.files import Parts, refused, write

# --- Metadata ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format", "pt", "metadata.format='pt'"),
        ("format_version", "2", "made for another release"),
        ("format_version", "", "made for another release"),
        ("architecture", "{}", "architecture.dimension"),
        ("architecture", "nonsense", "JSON"),
        ("architecture", '{"dimension": 1e999}', "architecture.dimension"),
        ("events", "[]", "at least one event"),
        ("events", "{}", "a JSON list"),
        ("events", '[{"name": "a", "weight": 1}, {"name": "a", "weight": 2}]', "distinct"),
        ("events", '["a"]', "distinct"),
        ("events", '[{"name": "a", "weight": NaN}]', "JSON"),
        ("events", '[{"name": "a"}]', "a number"),
        ("events", '[{"name": "a", "weight": true}]', "a number"),
        ("events", f'[{{"name": "a", "weight": 1{"0" * 400}}}]', "huge"),
        ("events", '[{"name": "a", "weight": 0}]', "above 0"),
        ("history", '{"max_interactions": 20}', "window_hours"),
        ("history", '{"max_interactions": 2.5, "window_hours": 48}', "a whole number"),
        ("history", '{"max_interactions": 20, "window_hours": "48"}', "a number"),
        ("history", '{"max_interactions": 20, "window_hours": 1e999}', "ten years"),
        ("history", '{"max_interactions": 100000, "window_hours": 48}', "1 to 1000"),
        ("calibration", '{"lo": 1, "hi": 0}', "lo < hi"),
        ("calibration", '{"lo": "x", "hi": 0}', "a number"),
        ("product_tower", "quadratic", "one of"),
        ("embedding_model", "", "the name of a model"),
        ("price_tiers", '{"": [3, 2, 1]}', "ascending"),
        ("price_tiers", '{"": [1, 2]}', "ascending"),
        ("training", "[" * 100_000, "JSON"),
        ("metrics", None, "to be present"),
    ],
)
def test_metadata(key: str, value: str | None, reason: str, parts: Parts, tmp_path: Path) -> None:
    if value is None:
        del parts.metadata[key]
    else:
        parts.metadata[key] = value
    found = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert reason in found
    assert key in found


@pytest.mark.parametrize(
    ("key", "value"),
    [("attention_scale", 1.0), ("normalize_eps", 1e-6), ("layer_norm", "pre"), ("width", 13)],
)
def test_another_variant_of_the_formula(
    key: str, value: object, parts: Parts, tmp_path: Path
) -> None:
    architecture = json.loads(parts.metadata["architecture"])
    parts.metadata["architecture"] = json.dumps({**architecture, key: value})
    reason = refused(write(tmp_path / "w.safetensors", parts.blob()))
    assert key in reason or "shape" in reason


# --- Right in form, wrong in substance -----------------------------------------------------------


def test_golden_vectors_that_do_not_reproduce(parts: Parts, tmp_path: Path) -> None:
    users = parts.tensors["golden.users"]
    users[0] = np.roll(users[0], 1)
    assert "away from the golden vectors" in refused(
        write(tmp_path / "w.safetensors", parts.blob())
    )


@pytest.mark.parametrize("name", ["E", "W_in", "W_q", "W_k", "W_v", "W_o", "W_out", "s", "g"])
def test_a_tensor_of_other_weights(name: str, parts: Parts, tmp_path: Path) -> None:
    parts.tensors[name] = Parts(cases.random_weights(2)).tensors[name]
    assert "away from the golden vectors" in refused(
        write(tmp_path / "w.safetensors", parts.blob())
    )


def test_a_flipped_bit_in_the_product_tower(tmp_path: Path) -> None:
    """No golden vector passes through it: the checksum sees it."""
    parts = Parts(cases.random_weights(1, product_tower="linear"))
    header = parts.header()
    parts.tensors["A"].view(np.uint32)[3, 3] ^= 1
    reason = refused(write(tmp_path / "w.safetensors", parts.blob(header)))
    assert "checksum" in reason


def test_edited_metadata(parts: Parts, tmp_path: Path) -> None:
    header = parts.header()
    header["__metadata__"]["calibration"] = '{"hi":0.5,"lo":0.0}'
    assert "edited" in refused(write(tmp_path / "w.safetensors", parts.blob(header)))


def test_no_checksum(parts: Parts, tmp_path: Path) -> None:
    header = parts.header()
    del header["__metadata__"]["checksum"]
    assert "checksum is ''" in refused(write(tmp_path / "w.safetensors", parts.blob(header)))
