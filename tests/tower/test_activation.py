"""Decisions about active weights, without any file."""

from __future__ import annotations

import pytest

from sidecar.tower.activation import (
    KEPT,
    REMEMBERED,
    Activation,
    Drop,
    Record,
    activated,
    dump_record,
    is_settled,
    parse_record,
    rolled_back,
)


def activation(digit: str) -> Activation:
    return Activation(digit * 64, f"fp-{digit}", "space", f"{digit}.safetensors", "2026-01-01")


def drop(digit: str, mtime_ns: int = 1) -> Drop:
    return Drop(digit * 64, mtime_ns)


def test_the_newest_activation_is_active_and_the_others_are_the_way_back() -> None:
    record = activated(Record(), activation("a"), [drop("a")])
    record = activated(record, activation("b"), [drop("b"), drop("a")])
    assert record.active == activation("b")
    back = rolled_back(record, activation("a"))
    assert back.active == activation("a")
    assert back.history == (activation("a"),)
    assert drop("b") in back.seen, "what was rolled back must not come up again by itself"


def test_activating_again_moves_to_the_front() -> None:
    record = Record()
    for digit in "aba":
        record = activated(record, activation(digit), [drop(digit)])
    assert [one.file for one in record.history] == ["a.safetensors", "b.safetensors"]


def test_the_record_stays_small() -> None:
    record = Record()
    for number in range(REMEMBERED + 50):
        one = activation(f"{number % 16:x}")
        record = activated(record, one, [drop("c", number)])
    assert len(record.history) == KEPT
    assert len(record.seen) <= REMEMBERED + 1
    assert drop("c", REMEMBERED + 49) in record.seen


def test_the_record_round_trips() -> None:
    record = activated(Record(), activation("a"), [drop("a"), drop("b", 7)])
    assert parse_record(dump_record(record)) == record
    assert parse_record(dump_record(Record())) == Record()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": "sidecar-weights", "version": 2, "history": [], "seen": []}',
        '{"format": "sidecar-weights", "version": 1, "history": [{}], "seen": []}',
        '{"format": "sidecar-weights", "version": 1, "history": 1, "seen": []}',
        '{"format": "sidecar-weights", "version": 1, "history": [], "seen": [1]}',
        "[" * 100_000,
        dump_record(Record((activation("a"),), frozenset([drop("a")]))).replace(" 1\n", " 1e400\n"),
        dump_record(Record((activation("a"),))).replace(f'"{"a" * 64}"', "-1"),
        dump_record(Record((activation("a"),))).replace('"fp-a"', "{}"),
        dump_record(Record((activation("a"),))).replace("a" * 64, "../../etc/passwd"),
    ],
)
def test_a_record_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the message is whatever was found
        parse_record(text)


def test_a_file_is_wrong_only_after_it_has_stopped_changing() -> None:
    assert not is_settled(0.0, 5.0)
    assert not is_settled(4.9, 5.0)
    assert is_settled(5.0, 5.0)
