"""What is documented is what there is."""

from __future__ import annotations

import re
from pathlib import Path

from sidecar.metrics import LogMetrics, SearchMetrics
from sidecar.search.decision import (
    ACTION_HEADER,
    EXPLAIN_HEADER,
    QUERY_ID_HEADER,
    REASON_HEADER,
    REASONS,
)
from sidecar.search.instructions import _KEYS
from sidecar.tracing import REQUEST_ID_HEADER

from .rows import ROWS

DOCS = Path(__file__).parents[2] / "docs"


def test_every_reason_is_documented_as_it_is() -> None:
    text = (DOCS / "rewriting.md").read_text().partition("\n## Reasons\n")[2]
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| (.+) \|$", text, re.MULTILINE))
    assert rows == dict(REASONS)


def test_every_metric_is_documented() -> None:
    text = (DOCS / "api.md").read_text()
    documented = set(re.findall(r"^\| `(sidecar_\w+)` \|", text, re.MULTILINE))
    found = set()
    for metrics in (SearchMetrics(), LogMetrics()):
        for family in metrics.registry.collect():
            found.add(family.name + "_total" * (family.type == "counter"))
    assert documented == found


def test_the_headers_are_documented() -> None:
    text = (DOCS / "api.md").read_text()
    for name in (
        ACTION_HEADER,
        REASON_HEADER,
        QUERY_ID_HEADER,
        EXPLAIN_HEADER,
        REQUEST_ID_HEADER,
        "X-Customer-Id",
        "X-Sidecar-Impact",
        "X-Sidecar-Token",
    ):
        assert name in text


def test_every_instruction_is_documented() -> None:
    text = (DOCS / "api.md").read_text()
    documented = set(re.findall(r"^\|[^|]*\| `(\w+)` \| ", text, re.MULTILINE))
    assert documented >= _KEYS


def test_every_outcome_of_an_explanation_is_documented() -> None:
    text = (DOCS / "api.md").read_text().partition("`X-Sidecar-Explain` says")[2].partition("\n")[0]
    code = (DOCS.parent / "sidecar/search/explained.py").read_text()
    told = set(re.findall(r'return None, "(\w+)"', code)) | {"done", "key", "host", "origin"}
    assert len(told) == 8
    assert all(f"`{word}`" in text for word in told), told


def test_every_reason_that_a_request_alone_decides_has_a_row() -> None:
    decided_elsewhere = {
        # by the shopper, the server, the settings or the transport: tested where they are decided
        "multi", "no_vector", "expired", "no_shopper", "other_space", "holdout", "disabled",
        "impact_zero", "deadline", "lookup_failed", "no_weights", "breaker_open", "rewrite_failed",
        "fault", "page_one", "nearest", "catalogue_size", "mapping", "unresolved", "not_json", "body_too_large", "unparsable",
        "duplicate_key", "bad_instruction", "template", "scroll_page",
    }  # fmt: skip
    assert {row.reason for row in ROWS} | decided_elsewhere == set(REASONS)
