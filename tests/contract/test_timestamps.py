"""Every unit that pipelines send, against known moments."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.contract.timestamps import to_iso, to_microseconds

MOMENT = 1_700_000_000_123_456


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1_700_000_000, 1_700_000_000_000_000),
        (1_700_000_000.5, 1_700_000_000_500_000),
        (1_700_000_000_123, 1_700_000_000_123_000),
        (MOMENT, MOMENT),
        ("1700000000", 1_700_000_000_000_000),
        ("1612111612345", 1_612_111_612_345_000),  # Python alone reads a date in it
        (str(MOMENT), MOMENT),
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000),
        ("2023-11-14T23:13:20.123456+01:00", MOMENT),
        ("2023-11-14 22:13:20", 1_700_000_000_000_000),
        ("20231114", 1_699_920_000_000_000),
        ("2023-11-14", 1_699_920_000_000_000),
        (0, 0),
    ],
)
def test_known_moments(value: object, expected: int) -> None:
    assert to_microseconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [None, True, "", "soon", "nan", float("inf"), -5, "-5", 10**18, "1969-01-01", [], "1" * 99],
)
def test_anything_else_is_refused_and_says_what_was_expected(value: object) -> None:
    with pytest.raises(ValueError, match="expected"):
        to_microseconds(value)


@given(st.integers(10**14, 253_402_300_799_000_000))
def test_iso_and_back(micros: int) -> None:
    assert to_microseconds(to_iso(micros)) == micros
