"""Weights are dropped in, looked at, refused and rolled back by HTTP, with a real folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.contract.schema import Metadata
from sidecar.contract.weights import Weights, write_weights
from sidecar.tower.prior import prior_weights
from sidecar.tower.store import WeightsStore
from sidecar.web.app import own_app
from sidecar.web.weights_routes import weights_blueprint
from tests.web_api.http import ask
from tests.web_api.stack import served


def other_weights(seed: int) -> Weights:
    metadata = Metadata()
    events = {name: weight + seed for name, weight in metadata.vocabulary.weights.items()}
    return prior_weights(replace(metadata, vocabulary=replace(metadata.vocabulary, weights=events)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_weights(tmp_path / "a.safetensors", other_weights(0))
    return tmp_path


@pytest.fixture
def url(folder: Path) -> Iterator[str]:
    store = WeightsStore(folder, watch=False, settle_s=0)
    with served(own_app({}, [weights_blueprint(store)]).wsgi_app) as base:
        yield f"{base}/_sidecar/weights"
    store.close()


def test_new_weights_are_served_after_a_reload_and_can_be_taken_back(
    url: str, folder: Path
) -> None:
    first = ask("GET", url).json["fingerprint"]
    write_weights(folder / "b.safetensors", other_weights(1))
    reloaded = ask("POST", f"{url}/reload").json
    assert reloaded["fingerprint"] != first
    assert reloaded["can_roll_back"] is True
    assert ask("POST", f"{url}/rollback").json["fingerprint"] == first
    assert ask("GET", url).json["fingerprint"] == first


def test_a_broken_file_is_named_and_changes_nothing(url: str, folder: Path) -> None:
    before = ask("GET", url).json
    (folder / "broken.safetensors").write_bytes(b"not weights")
    ask("POST", f"{url}/reload")
    after = ask("POST", f"{url}/reload").json
    assert after["fingerprint"] == before["fingerprint"]
    assert [one["file"] for one in after["refused"]] == ["broken.safetensors"]


def test_without_earlier_weights_there_is_no_way_back(url: str) -> None:
    answer = ask("POST", f"{url}/rollback")
    assert answer.status == 409
    assert "no earlier weights" in answer.json["detail"]
