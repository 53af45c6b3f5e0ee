"""Mutated weights files: never a crash, never accepted unless nothing that counts has changed."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tower import cases

from hostile.files import Parts
from sidecar.contract.errors import WeightsError
from sidecar.tower.load import load_tower

ROUNDS = 150


def flip_bits(blob: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 3, 30])):
        blob[rng.randrange(len(blob))] ^= 1 << rng.randrange(8)


def flip_header_bits(blob: bytearray, rng: random.Random) -> None:
    end = 8 + int.from_bytes(blob[:8], "little")
    for _ in range(rng.choice([1, 2, 5])):
        blob[rng.randrange(end)] ^= 1 << rng.randrange(8)


def change_a_digit(blob: bytearray, rng: random.Random) -> None:
    """JSON stays JSON: sizes, offsets and hyperparameters change."""
    end = 8 + int.from_bytes(blob[:8], "little")
    digits = [i for i in range(8, end) if chr(blob[i]).isdigit()]
    for _ in range(rng.choice([1, 1, 2])):
        blob[rng.choice(digits)] = ord(rng.choice("0123456789"))


def truncate(blob: bytearray, rng: random.Random) -> None:
    del blob[rng.randrange(len(blob)) :]


def cut_out(blob: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(blob))
    del blob[start : start + rng.choice([1, 8, 100, 4096])]


def repeat(blob: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(blob))
    blob[start:start] = blob[start : start + rng.choice([1, 8, 100, 4096])]


def zero_a_page(blob: bytearray, rng: random.Random) -> None:
    start = rng.randrange(len(blob))
    end = min(start + 512, len(blob))
    blob[start:end] = bytes(end - start)


def swap(blob: bytearray, rng: random.Random) -> None:
    a, b = (rng.randrange(len(blob) - 64) for _ in range(2))
    blob[a : a + 64], blob[b : b + 64] = blob[b : b + 64], blob[a : a + 64]


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    flip_bits, flip_header_bits, change_a_digit, truncate, cut_out, repeat, zero_a_page, swap,
]  # fmt: skip


@pytest.mark.parametrize("mutate", MUTATIONS)
@pytest.mark.parametrize("product_tower", ["none", "linear"])
def test_mutated_files(
    mutate: Callable[[bytearray, random.Random], None], product_tower: str, tmp_path: Path
) -> None:
    weights = cases.random_weights(1, product_tower=product_tower)
    whole = Parts(weights).blob()
    path = tmp_path / "w.safetensors"
    accepted = 0
    for round_ in range(ROUNDS):
        blob = bytearray(whole)
        mutate(blob, random.Random(f"{mutate.__name__} {product_tower} {round_}"))
        path.write_bytes(blob)
        try:
            found = load_tower(path).weights
        except WeightsError as error:
            assert "\n" not in str(error), f"round {round_}"
            continue
        # A mutation may change nothing, or blanks; then the file is what it was.
        accepted += 1
        assert found.fingerprint == weights.fingerprint, f"round {round_}"
        assert found.product_space == weights.product_space, f"round {round_}"
    assert accepted < ROUNDS / 2
