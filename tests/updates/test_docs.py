"""What the update path can say or count stands in docs/updates.md."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from sidecar.contract.messages import REASONS
from sidecar.tracing import TRACEPARENT
from sidecar.updates.envelopes import DETAIL, MESSAGE_ID, REASON, SENT_AT
from sidecar.updates.metrics import UpdateMetrics

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "updates.md").read_text()


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    UpdateMetrics(registry)
    for family in registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert f"`{name}" in PAGE, name


@pytest.mark.parametrize("word", [*REASONS, REASON, DETAIL, MESSAGE_ID, SENT_AT, TRACEPARENT])
def test_every_reason_and_attribute_is_documented(word: str) -> None:
    assert f"`{word}`" in PAGE
