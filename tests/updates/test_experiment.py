"""The hold-out's report: published intervals, known effects, the same groups as the proxy's."""

from __future__ import annotations

import json
import random
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sidecar.cli import main
from sidecar.search.holdout import is_held_out
from sidecar.search.settings import SearchSettings
from sidecar.updates.experiment import mean, mismatch, newcombe, wilson
from sidecar.updates.experiment_plot import _round_up

SETTINGS = SearchSettings(holdout_percent=50, holdout_salt="autumn")


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["experiment", "report", *arguments])


def write(path: Path, lift: float, shoppers: int = 4000, drop: float = 0.0) -> Path:
    """Every shopper clicks; 20 % of the hold-out buy, and so many more of the others."""
    rng = random.Random(7)
    lines = []
    for number in range(shoppers):
        customer = f"c{number}"
        held_out = is_held_out(customer, SETTINGS)
        if held_out and rng.random() < drop:
            continue
        events = ["product_clicked"]
        if rng.random() < 0.2 + (0 if held_out else lift):
            events.append("purchase")
        for place, name in enumerate(events):
            event = {
                "customer_id": customer,
                "product_id": "p",
                "event_name": name,
                "event_id": f"{customer}-{place}",
                "timestamp": 1_760_000_000 + number,
            }
            lines += [json.dumps(event)] * 2  # delivered twice
    path.write_text("\n".join(lines) + "\nnot an event\n")
    return path


def test_intervals_are_the_published_ones() -> None:
    # Newcombe 1998, "Interval estimation for the difference", table II: 56/70 and 48/80.
    found = newcombe(56, 70, 48, 80)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    # Wilson's for 81 of 263, Newcombe 1998, "Two-sided confidence intervals", table I.
    one = wilson(81, 263)
    assert (one.low, one.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 10).low == 0
    assert wilson(10, 10).high == pytest.approx(1)


def test_how_often_is_a_mean_with_its_interval() -> None:
    # 3, 1, 0, 0: mean 1, variance 2 (n - 1), standard error sqrt(2 / 4).
    found, square = mean([3, 1], 4)
    assert square == pytest.approx(0.5)
    assert found.value == 1
    assert found.high == pytest.approx(1 + 1.959964 * 0.5**0.5)
    assert found.low == 0
    assert mean([], 5) == ((0.0, 0.0, 0.0), 0.0)
    assert mean([2], 1)[1] == 2.0, "one shopper shows no spread: that of rare events"


def test_a_lift_that_is_there_shows(tmp_path: Path) -> None:
    arguments = ("--percent", "50", "--salt", "autumn", "--json")
    found = json.loads(run(str(write(tmp_path / "e.jsonl", 0.08)), *arguments).stdout)
    by_name = {one["outcome"]: one for one in found["outcomes"]}
    bought = by_name["bought"]
    assert bought["share_of_shoppers"]["verdict"] == bought["times_a_shopper"]["verdict"] == "more"
    value, low, high = bought["share_of_shoppers"]["difference"]
    assert low < 0.08 < high
    assert value == pytest.approx(0.08, abs=0.04)
    clicked = by_name["clicked"]
    assert clicked["share_of_shoppers"]["personalised"][0] == 1.0
    assert clicked["times_a_shopper"]["holdout"] == [1.0, 1.0, 1.0], "twice delivered is one event"
    assert sum(clicked["events"].values()) == 4000
    assert found["size_mismatch_p"] > 0.001
    assert sum(found["shoppers"].values()) == 4000


def test_a_lift_that_is_not_there_does_not(tmp_path: Path) -> None:
    result = run(str(write(tmp_path / "e.jsonl", 0.0)), "--percent", "50", "--salt", "autumn")
    assert result.exit_code == 0
    assert "bought" in result.stdout
    assert result.stdout.count("no difference that shows") == 6
    assert "1 lines are no events" in result.stderr
    assert "Do not believe" not in result.stdout


def test_groups_that_do_not_fit_are_not_believed(tmp_path: Path) -> None:
    lost = write(tmp_path / "e.jsonl", 0.0, drop=0.3)
    result = run(str(lost), "--percent", "50", "--salt", "autumn")
    assert "Do not believe the figures above." in " ".join(result.stdout.split())
    assert mismatch(500, 500, 50) == 1.0
    assert mismatch(600, 400, 50) < 1e-9


def test_the_plot_is_a_picture_of_both_groups(tmp_path: Path) -> None:
    svg = tmp_path / "out.svg"
    file = write(tmp_path / "e.jsonl", 0.08)
    arguments = ("--percent", "50", "--salt", "autumn", "--plot", str(svg))
    assert run(str(file), *arguments).exit_code == 0
    root = ElementTree.fromstring(svg.read_text())  # noqa: S314 - our own
    words = " ".join(one.text or "" for one in root.iter() if one.tag.endswith("text"))
    for outcome in ("clicked", "added to the cart", "bought", "hold-out", "points: more"):
        assert outcome in words
    assert "held out; intervals of 95 %" in words
    marks = [one.tag.rpartition("}")[2] for one in root.iter()]
    # Three outcomes: a circle for each group's share and each difference, less the hold-out's
    # squares; and one of each in the legend, on a white ground.
    assert marks.count("circle") == 3 + 3 + 1
    assert marks.count("rect") == 3 + 1 + 1
    nowhere = run(str(file), "--percent", "50", "--plot", str(tmp_path / "none" / "out.svg"))
    assert nowhere.exit_code == 2
    assert "--plot" in nowhere.stderr
    assert "http" not in svg.read_text().replace("http://www.w3.org/2000/svg", "")


@pytest.mark.parametrize(
    ("value", "end"),
    [(0.0, 0.01), (0.01, 0.01), (0.034, 0.05), (0.132, 0.2), (0.5, 0.5), (0.89, 1.0)],
)
def test_scales_end_at_round_numbers(value: float, end: float) -> None:
    assert _round_up(value) == pytest.approx(end)


@pytest.mark.parametrize("percent", ["0", "100", "nan"])
def test_one_group_is_no_experiment(tmp_path: Path, percent: str) -> None:
    result = run(str(write(tmp_path / "e.jsonl", 0.0, shoppers=10)), "--percent", percent)
    assert result.exit_code == 2
    assert result.stderr.strip().count("\n") == 0


def test_a_beginning_leaves_out_what_was_before(tmp_path: Path) -> None:
    file = write(tmp_path / "e.jsonl", 0.0)
    result = run(str(file), "--percent", "50", "--since", "2035-01-01")
    assert result.exit_code == 2
    assert "nothing to say" in result.stderr
    assert run(str(file), "--percent", "50", "--since", "soon").exit_code == 2
