"""The commands as a person calls them: results, refusals in one line, nothing paid for lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from checkerboard import Files, trained
from click.testing import CliRunner
from safetensors import safe_open

from sidecar.contract.product_text import text_hash
from sidecar.contract.schema import EMBEDDING_MODEL
from sidecar.contract.vectors import VectorFile, read_vectors, write_vectors
from sidecar.resources import shipped_weights
from sidecar.tower.folder import WeightsFolder
from sidecar.tower.load import load_tower
from trainer.cli import COMMANDS, cli, main


def data(files: Files) -> list[str]:
    return [
        "--products", str(files.products), "--events", str(files.events),
        "--vectors", str(files.vectors),
    ]  # fmt: skip


def outcome(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    capsys.readouterr()
    try:
        main(arguments)
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    assert f"Example: trainer {name}" in result.output


def test_training_writes_what_the_sidecar_loads(weights: Path) -> None:
    found = load_tower(weights).weights.metadata
    assert found.product_tower == "linear+id"
    (figures,) = found.metrics.values()
    assert figures["gate"]["passed"] is True
    assert figures["results"]["tower"]["ndcg@10"] > figures["results"]["mean"]["ndcg@10"]
    assert found.training["event_types_seen"] == ["product_clicked"]
    assert -1 <= found.calibration.lo < found.calibration.hi <= 1
    assert weights.with_name("user_tower.checkpoint").exists()


def test_a_watched_folder_takes_nothing_else_of_the_trainer_for_weights(weights: Path) -> None:
    candidates, refused = WeightsFolder(weights.parent).files()
    assert len(list(weights.parent.iterdir())) > 1
    assert [one.name for one in candidates] == [weights.name]
    assert not refused


def test_the_same_seed_makes_the_same_file(
    weights: Path, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    main(trained(files, tmp_path / "again.safetensors"))
    assert (tmp_path / "again.safetensors").read_bytes() == weights.read_bytes()


def test_evaluate_says_the_same_as_training(
    weights: Path, files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = outcome(["evaluate", "--weights", str(weights), *data(files), "--json"], capsys)
    assert code == 0
    found = json.loads(out)
    (stored,) = load_tower(weights).weights.metadata.metrics.values()
    tower = found["results"]["tower"]
    assert tower["ndcg@10"] == pytest.approx(stored["results"]["tower"]["ndcg@10"], abs=1e-4)
    assert tower["ndcg@10_low"] <= tower["ndcg@10"] <= tower["ndcg@10_high"]
    assert {"item-kNN", "item-kNN tuned", "popularity", "last product"} <= set(found["results"])
    assert found["passes_gate"] is True
    assert found["slices"]


def test_the_gate_refuses_and_export_can_be_forced(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "user_tower.safetensors"
    # Content says nothing here, and a frozen tower without a shift has nothing else.
    code, _, err = outcome(trained(files, out, "--product-tower", "none", "--no-shift"), capsys)
    assert code == 2
    assert err.splitlines()[-1].startswith("trainer: refused: NDCG@10 is")
    assert not out.exists()
    checkpoint = tmp_path / "user_tower.checkpoint"
    export = ["export", "--checkpoint", str(checkpoint), "--out", str(out), *data(files)]
    assert outcome(export, capsys)[0] == 2
    assert outcome([*export, "--force"], capsys)[0] == 0
    (stored,) = load_tower(out).weights.metadata.metrics.values()
    assert stored["gate"]["forced"] is True


def test_vectorize_applies_the_product_tower(weights: Path, files: Files, tmp_path: Path) -> None:
    out = tmp_path / "products.safetensors"
    main(
        ["vectorize", "--products", str(files.products), "--out", str(out),
         "--weights", str(weights), "--cache", str(files.vectors)]
    )  # fmt: skip
    made = read_vectors(out)
    tower = load_tower(weights).weights
    assert made.product_space == tower.product_space
    assert np.allclose(np.linalg.norm(made.vectors, axis=1), 1, atol=1e-5)
    plain = read_vectors(files.vectors)
    p = plain.unit()[3]
    assert tower.product_tower is not None
    q = p + tower.product_tower.A @ p
    known = list(tower.product_tower.product_ids)
    if plain.product_ids[3] in known and tower.product_tower.delta is not None:
        q = q + tower.product_tower.delta[known.index(plain.product_ids[3])]
    assert np.allclose(made.vectors[3], q / np.linalg.norm(q), atol=1e-5)


def test_dataset_writes_files_that_train_reads(
    files: Files, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    read = ["dataset", "--products", str(files.products), "--events", str(files.events), "--json"]
    code, out, _ = outcome([*read, "--out", str(tmp_path)], capsys)
    assert code == 0
    found = json.loads(out)
    assert found["products"] == 40
    assert found["shoppers"] == 300
    assert found["events"] == 1800
    again = ["dataset", "--json", "--products", str(tmp_path / "products.parquet")]
    code, out, _ = outcome([*again, "--events", str(tmp_path / "events.parquet")], capsys)
    assert code == 0
    second = json.loads(out)
    assert second["examples_train"] == found["examples_train"]
    assert second["examples_test"] == found["examples_test"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate", "--weights", "none.safetensors"], "no such file"),
        (["train", "--out", "x.safetensors", "--epochs", "0"], "epochs=0: expected 1 or more"),
        (["train", "--out", "x.safetensors", "--loss", "hinge"], "Invalid value for '--loss'"),
        (["export", "--checkpoint", "none", "--out", "x"], "none: no such checkpoint"),
    ],
)
def test_refusals_are_one_line(
    files: Files,
    arguments: list[str],
    line: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = outcome([*arguments, *data(files)], capsys)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert line in err


def test_a_checkpoint_says_what_it_belongs_to(weights: Path) -> None:
    path = weights.with_name("user_tower.checkpoint")
    with safe_open(str(path), framework="numpy") as file:
        progress = json.loads(file.metadata()["progress"])
    assert progress["settings"]["epochs"] == 1
    assert len(progress["curve"]) == 2


def test_report_is_one_page_without_anything_from_outside(
    weights: Path, files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    main(["report", "--weights", str(weights), "--out", str(out), *data(files)])
    page = out.read_text()
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    for part in (
        "What this is", "Learning curve", "Against the baselines", "Event weights and decay",
        "Calibration", "Slices", "Labels", "Shoppers",
    ):  # fmt: skip
        assert f"<h2>{part}" in page
    assert page.count("<svg") == page.count("</svg>") == 5
    found = load_tower(weights).weights.metadata
    for mark in ("lo", "hi"):
        assert f">{mark} {getattr(found.calibration, mark):.3f}<" in page
    assert "gate</dt><dd>passes: NDCG@10 is" in page
    assert "Weights are parts of the largest." in page
    assert ">-0</text>" not in page
    # Training starts at the best of several decays, so that 0.8 a step is not "the start".
    assert ">untrained</text>" in page
    assert page.count("thing number") > 60
    assert page.count("what came next is number ") == 12
    # Nobody is named, and products are.
    assert "customer" not in page


def test_the_untrained_weights_that_are_shipped_have_a_report_too(
    files: Files, tmp_path: Path
) -> None:
    out = tmp_path / "report.html"
    shipped = shipped_weights()
    main(["report", "--weights", str(shipped), "--out", str(out), *data(files)])
    page = out.read_text()
    assert "nothing: the weighted recency mean" in page
    assert "None: these weights were not trained." in page


def test_a_product_s_name_is_text_in_the_report(
    weights: Path, files: Files, tmp_path: Path
) -> None:
    hostile = "<script>alert('no')</script> & " + "long " * 40
    ids = [f"p{i:02}" for i in range(40)]
    products = tmp_path / "products.parquet"
    pq.write_table(pa.table({"product_id": ids, "name": [hostile] * 40}), products)
    out = tmp_path / "report.html"
    vectors = tmp_path / "vectors.safetensors"
    row = np.ones((1, 384), np.float32)
    text = " ".join(hostile.split())
    write_vectors(vectors, VectorFile(["p00"], row, [text_hash(text)], EMBEDDING_MODEL))
    arguments = ["--products", str(products), "--events", str(files.events)]
    main(
        [
            "report",
            "--weights",
            str(weights),
            "--out",
            str(out),
            *arguments,
            "--vectors",
            str(vectors),
        ]
    )
    assert "<script>" not in out.read_text()
    assert "&lt;script&gt;alert(&#x27;no&#x27;)&lt;/script&gt; &amp; long" in out.read_text()
