"""The simulated experiment: a blind model, real rankings, a report on what came of it."""

from __future__ import annotations

import inspect
import json
import random
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sidecar.cli import main
from sidecar.contract.schema import Metadata
from sidecar.contract.weights import write_weights
from sidecar.demo import behaviour
from sidecar.demo.behaviour import deeds, looks_at
from sidecar.demo.simulate import PAGE, SEARCHES, searches
from sidecar.embedded.catalogue import Purchase, load_products
from sidecar.embedded.visits import Visit, load_visits
from sidecar.search.holdout import is_held_out
from sidecar.search.settings import SearchSettings
from sidecar.tower.prior import prior_weights

SIDECAR = str(Path(sys.executable).parent / "sidecar")
PRODUCTS = st.lists(st.sampled_from("abcdefghij"), unique=True)


def clicks(shown: str, wanted: str, times: int = 4000) -> list[float]:
    """How often each rank is clicked."""
    counts = Counter[int]()
    for seed in range(times):
        found = deeds(shown, wanted, set(), random.Random(seed))
        counts.update(one.position for one in found if one.event == "product_clicked")
    return [counts[rank] / times for rank in range(len(shown))]


@given(shown=PRODUCTS, wanted=st.sets(st.sampled_from("abcdefghij")), seed=st.integers())
def test_events_follow_from_each_other(shown: list[str], wanted: set[str], seed: int) -> None:
    done: set[str] = set()
    found = deeds(shown, wanted, done, random.Random(seed))
    by_product: dict[str, list[str]] = {}
    for one in found:
        assert shown[one.position] == one.product_id
        by_product.setdefault(one.product_id, []).append(one.event)
    order = ["product_clicked", "product_added_to_cart", "product_purchased"]
    assert all(events == order[: len(events)] for events in by_product.values())
    assert by_product.keys() == done
    # The same list again: what was clicked is not clicked again.
    again = deeds(shown, wanted, done, random.Random(seed))
    assert not {one.product_id for one in again} & by_product.keys()


def test_the_further_down_the_less_is_clicked() -> None:
    found = clicks("abcd", "abcd")
    expected = [behaviour.WANTED.click * looks_at(rank) for rank in range(4)]
    assert found == pytest.approx(expected, abs=0.03)


def test_what_is_wanted_is_clicked_wherever_it_stands_and_others_hardly() -> None:
    first, second = clicks("ab", "b")
    assert first == pytest.approx(behaviour.OTHERS.click, abs=0.02)
    assert second == pytest.approx(behaviour.WANTED.click / 2, abs=0.03)


def test_the_model_is_told_nothing_of_groups() -> None:
    assert list(inspect.signature(deeds).parameters) == ["product_ids", "wanted", "done", "rng"]
    source = inspect.getsource(behaviour)
    assert "import" in source
    assert not re.search(r"import.*(holdout|search|shop)", source)


def test_visits_are_drawn_by_the_seed_and_look_ahead_of_nothing() -> None:
    known = {one["product_id"] for one in load_products()}
    one, same, other = (load_visits(30, known, seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other
    assert len({visit.customer_id for visit in one}) == 30
    for visit in one:
        assert 1 <= len(visit.before) <= 20
        assert visit.later
        times = [purchase.at for purchase in visit.before]
        assert times == sorted(times)
        assert times[-1] - times[0] < 2 * 86_400
        assert {*visit.later, *(p.product_id for p in visit.before)} <= known


def test_a_shopper_asks_for_the_kinds_that_are_wanted() -> None:
    kinds = {"a": "tea", "b": "tea", "c": "lamps", "d": "shoes", "e": "books"}
    asked = list(searches(Visit("c", (Purchase("a", 0.0),), tuple("abcde")), kinds))
    assert len(asked) == 1 + SEARCHES
    assert all(body["size"] == PAGE for body in asked)
    queries = [body["query"]["function_score"]["query"] for body in asked]
    assert queries[0] == {"match_all": {}}
    assert [one["multi_match"]["query"] for one in queries[1:]] == ["tea", "lamps", "shoes"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nowhere/e.jsonl", "--shoppers", "5"), "FILE"),
        (("e.jsonl", "--shoppers", "100000"), "households fit"),
        (("e.jsonl", "--percent", "100"), "percent"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["experiment", "simulate", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.mark.servers
def test_from_simulated_shoppers_to_the_report(tmp_path: Path) -> None:
    file, shoppers = tmp_path / "events.jsonl", 24
    command = [SIDECAR, "experiment", "simulate", str(file), "--shoppers", str(shoppers)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    settings = SearchSettings(holdout_percent=50, holdout_salt="demo")
    events = [json.loads(line) for line in file.read_text().splitlines()]
    held_out = {one["customer_id"]: is_held_out(one["customer_id"], settings) for one in events}
    assert len(held_out) == shoppers
    assert 0 < sum(held_out.values()) < shoppers
    # The proxy did what the group says, for every search: nothing was bypassed or fell back.
    counts = {name: int(n) for n, name in re.findall(r"(\d+) (holdout|rewritten)", done.stdout)}
    total = int(re.search(r"(\d+) searches", done.stdout)[1])  # type: ignore[index]
    assert counts.keys() == {"holdout", "rewritten"}
    assert sum(counts.values()) == total
    assert shoppers < total <= shoppers * (1 + SEARCHES)
    # Each came through the queue once, and nobody buys what was not clicked.
    assert len({one["event_id"] for one in events}) == len(events)
    began = [one for one in events if one["event_name"] == "product_viewed"]
    assert len(began) == shoppers
    (line,) = re.findall(r"sidecar experiment report .*", done.stdout)
    report = subprocess.run(
        [SIDECAR, *shlex.split(line)[1:]], capture_output=True, text=True, cwd=tmp_path
    )
    assert report.returncode == 0, report.stderr
    sizes = f"{shoppers - sum(held_out.values())} shoppers personalised, {sum(held_out.values())}"
    assert sizes in report.stdout
    clicked = [one for one in events if one["event_name"] == "product_clicked"]
    assert clicked
    said = re.search(r"clicked: (\d+) and (\d+) times", report.stdout)
    assert said is not None
    by_group = Counter(held_out[one["customer_id"]] for one in clicked)
    assert (int(said[1]), int(said[2])) == (by_group[False], by_group[True])
    assert (tmp_path / "report.svg").read_text().startswith("<svg")


@pytest.mark.servers
def test_weights_that_do_not_fit_the_vectors_are_told(tmp_path: Path) -> None:
    weights = tmp_path / "w.safetensors"
    write_weights(weights, prior_weights(Metadata(embedding_model="another model")))
    arguments = ["--shoppers", "4", "--weights", str(weights)]
    done = subprocess.run(
        [SIDECAR, "experiment", "simulate", "e.jsonl", *arguments],
        capture_output=True, text=True, timeout=300, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "do weights and vectors fit?" in done.stdout
    assert "rewritten" not in done.stdout
