"""Shops that are odd, and in order: every command goes through, or says in one line why not."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from checkerboard import QUICK, text_vectors

from sidecar.contract.product_text import text_hash
from sidecar.contract.weights import F32
from sidecar.tower.load import load_tower
from trainer.cli import main
from trainer.vectors import cache

DAY = 86_400
Row = tuple[str, str, str, int]
PLAIN = [f"{i:04}" for i in range(40)]


def walks(
    ids: Sequence[str], shoppers: int, visits: int, gap: int = 3600, prefix: str = "c"
) -> list[Row]:
    """Everybody goes on to one of the next three products, within so many seconds."""
    rng = np.random.default_rng(0)
    rows = []
    for shopper in range(shoppers):
        at, place = 1_600_000_000 + int(rng.integers(0, 60 * DAY)), int(rng.integers(len(ids)))
        for _ in range(visits):
            rows.append((f"{prefix}{shopper}", ids[place], "view_item", at))
            at += int(rng.integers(gap // 2, gap))
            place = (place + int(rng.integers(1, 4))) % len(ids)
    return rows


def write(folder: Path, products: Sequence[str], rows: Sequence[Row], head: str) -> list[str]:
    (folder / "products.csv").write_text("\n".join([head, *products]) + "\n", encoding="utf-8")
    lines = [",".join(map(str, row)) for row in rows]
    head = "customer_id,product_id,event_name,timestamp"
    (folder / "events.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
    return ["--products", str(folder / "products.csv"), "--events", str(folder / "events.csv")]


@pytest.fixture(autouse=True)
def _texts_without_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def encode(texts: Sequence[str]) -> F32:
        return np.asarray(text_vectors(list(texts)), np.float32)

    monkeypatch.setattr(cache, "load_encoder", lambda model: encode)


UNICODE = [f"名-{i}-é☃" for i in range(40)]
SHOPS: dict[str, Callable[[], tuple[list[str], list[Row], str]]] = {
    "one category": lambda: (
        [f"{i},name {i},shoes" for i in PLAIN], walks(PLAIN, 200, 5), "product_id,name,category"
    ),
    "no texts": lambda: (PLAIN, walks(PLAIN, 200, 5), "product_id"),
    "most products without an event": lambda: (
        [f"{i:04},name {i}" for i in range(2000)], walks(PLAIN, 200, 5), "product_id,name"
    ),
    "only baskets": lambda: (
        [f"{i},name {i}" for i in PLAIN],
        [(c, p, "purchase", 1_600_000_000 + int(c[1:]) * 3600)
         for c, p, _, _ in walks(PLAIN, 200, 5)],
        "product_id,name",
    ),
    "most shoppers once": lambda: (
        [f"{i},name {i}" for i in PLAIN],
        [*walks(PLAIN, 2000, 1), *walks(PLAIN, 150, 4, prefix="d")],
        "product_id,name",
    ),
    "names in every script": lambda: (
        [f"{i},名前 {i} 🎉,ش" for i in UNICODE], walks(UNICODE, 200, 5), "product_id,name,category"
    ),
    "one endless shopper": lambda: (
        [f"{i},name {i}" for i in PLAIN], walks(PLAIN, 1, 20_000, gap=60), "product_id,name"
    ),
    "three products": lambda: (
        [f"{i},name {i}" for i in PLAIN[:3]], walks(PLAIN[:3], 200, 3), "product_id,name"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHOPS)
def test_every_command_goes_through(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write(tmp_path, *SHOPS[name]())
    weights, page = tmp_path / "w.safetensors", tmp_path / "report.html"
    main(["dataset", *data, "--json"])
    counts = json.loads(capsys.readouterr().out)
    main(["train", *data, "--out", str(weights), *QUICK, "--force"])
    trained = load_tower(weights).weights.metadata
    capsys.readouterr()
    main(["evaluate", *data, "--weights", str(weights), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == min(20_000, counts["examples_test"]) > 0
    assert trained.training["data"][0]["examples"] == counts["examples_train"]
    for row in found["results"].values():
        assert all(np.isfinite(value) for value in row.values())
        assert 0 <= row["ndcg@10_low"] <= row["ndcg@10"] <= row["ndcg@10_high"] <= 1
    main(["report", *data, "--weights", str(weights), "--out", str(page)])
    assert "NaN" not in page.read_text(encoding="utf-8")


def test_visits_that_are_days_apart_and_the_advice_to_lengthen_the_window(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The classic data sets of reviews: nobody has two events within 48 hours."""
    data = write(
        tmp_path,
        [f"{i},name {i}" for i in PLAIN],
        walks(PLAIN, 200, 6, gap=20 * DAY),
        "product_id,name",
    )
    weights = tmp_path / "w.safetensors"
    for command in (["dataset"], ["train", "--out", str(weights), *QUICK]):
        with pytest.raises(SystemExit):
            main([*command, *data])
        line = capsys.readouterr().err.splitlines()[-1]
        assert "0 examples: expected shoppers with two products within 48 hours" in line
    assert not (tmp_path / "w.vectors").exists()  # nothing was paid for in vain
    hours = line.split("--window-hours ")[1].rstrip(")")
    main(["dataset", *data, "--window-hours", hours, "--json"])
    counts = json.loads(capsys.readouterr().out)
    # Nine tenths of all steps, but for those to a product that the history holds.
    assert counts["examples_train"] > 0.6 * 0.8 * 200 * 5
    main(["train", *data, "--window-hours", hours, "--out", str(weights), *QUICK, "--force"])
    assert load_tower(weights).weights.metadata.limits.window_hours == float(hours)
    # From here on nobody has to say it again: it is in the weights, and in the checkpoint.
    capsys.readouterr()
    main(["evaluate", *data, "--weights", str(weights), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["cases"] == counts["examples_test"]
    again = tmp_path / "again.safetensors"
    checkpoint = tmp_path / "w.checkpoint"
    main(["export", *data, "--checkpoint", str(checkpoint), "--out", str(again), "--force"])
    assert load_tower(again).weights.metadata.limits.window_hours == float(hours)
    main(["report", *data, "--weights", str(weights), "--out", str(tmp_path / "r.html")])
    assert f"20 interactions of {float(hours):g} hours" in (tmp_path / "r.html").read_text()


def test_the_hash_of_a_text_does_not_care_for_the_file(tmp_path: Path) -> None:
    """A price or a name that is a number is one text, whatever the file's types."""
    from trainer.data.load import load_catalogue
    from trainer.data.tables import connect

    csv, lines = tmp_path / "p.csv", tmp_path / "p.jsonl"
    csv.write_text(
        "product_id,name,price\n" + "".join(f"{i},{1900 + i},{i}.5\n" for i in range(20))
    )
    lines.write_text(
        "".join(
            json.dumps({"product_id": i, "name": 1900 + i, "price": i + 0.5}) + "\n"
            for i in range(20)
        )
    )
    one, two = (load_catalogue(connect(), path)[0] for path in (csv, lines))
    assert one.ids == two.ids
    assert [text_hash(t) for t in one.texts] == [text_hash(t) for t in two.texts]
