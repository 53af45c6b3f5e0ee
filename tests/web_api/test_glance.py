"""What the overview says about weights, whatever a trainer noted in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sidecar.contract.errors import UnreachableError, WeightsError
from sidecar.tower.load import Tower
from sidecar.web.ui import glance
from tests.web_api.stack import tower


def noted(training: dict[str, Any], metrics: dict[str, Any]) -> dict[str, str]:
    one = tower()
    metadata = replace(one.weights.metadata, training=training, metrics=metrics)
    return dict(
        glance.weights(lambda: Tower(replace(one.weights, metadata=metadata), one.folded)).rows
    )


def test_data_sets_and_their_test_figures_are_named() -> None:
    rows = noted(
        {"data": [{"name": "retail", "events": 5}, {"name": "fashion"}]},
        {"retail": {"results": {"tower": {"ndcg@10": 0.20451}, "popularity": {"ndcg@10": 0.01}}}},
    )
    assert rows["trained on"] == "retail, fashion"
    assert rows["NDCG@10 on retail"] == "0.205"


@pytest.mark.parametrize("metrics", [{}, {"a": 1}, {"a": {"results": 3}}, {"a": {"results": {}}}])
def test_other_notes_do_no_harm(metrics: dict[str, Any]) -> None:
    assert noted({"data": "none (prior)"}, metrics)["trained on"] == "none (prior)"
    assert noted({}, metrics)["trained on"] == "unknown"


def test_what_is_down_is_one_line() -> None:
    def refused() -> Tower:
        raise WeightsError("w.safetensors", "truncated")

    def down() -> None:
        raise UnreachableError("Elasticsearch is not reachable")

    def crash() -> None:
        raise ZeroDivisionError

    assert glance.weights(refused).error == "w.safetensors: truncated"
    found = glance.health({"a": down, "b": crash, "c": lambda: None, "d": lambda: "one waits"})
    assert found.rows == [
        ("a", "Elasticsearch is not reachable"),
        ("b", "failed unexpectedly: see the log"),
        ("c", "ok"),
        ("d", "ok, but one waits"),
    ]
    assert found.bad == ("a", "b")
