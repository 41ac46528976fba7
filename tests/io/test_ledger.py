"""Entries come back in order, in a later process too; what is torn or damaged is done again."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tiledseg.io import Entry, Ledger


def step(item: int) -> tuple[np.ndarray, ...]:
    """Return arrays of every kind, some empty, some long."""
    time.sleep(0.001 * (item % 3))  # later items may be done before
    rng = np.random.default_rng(item)
    return (
        rng.integers(-9, 9, (item, 2), np.int32),
        rng.integers(0, 1 << 40, 3 * (item % 2)),
        rng.random(item + 1) < 0.5,
        rng.random((2, 3)),
        np.zeros((4, 0), np.uint8),
    )


def taken(ledger: Ledger, count: int, done: list[int]) -> Iterator[Entry]:
    """Take entries, and note which items are done."""

    def noted(item: int) -> tuple[np.ndarray, ...]:
        done.append(item)
        return step(item)

    return ledger.steps(noted, range(count))


def check(entry: Entry, item: int, ledger: Ledger) -> None:
    """Compare an entry with what its step gives, at hand and from the file."""
    assert len(entry) == 5
    for number, expected in enumerate(step(item)):
        for found in (entry[number], entry.at_rest()[number]):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
        assert entry.place(number) % 8 == 0
        flat = ledger.read(entry.place(number), expected.size, expected.dtype)
        np.testing.assert_array_equal(flat, expected.reshape(-1))


@pytest.mark.parametrize("workers", [1, 3])
def test_what_is_done_is_not_done_again(tmp_path: Path, workers: int) -> None:
    done: list[int] = []
    with Ledger(tmp_path, "steps", workers) as ledger:
        entries = taken(ledger, 20, done)
        for item in range(8):
            check(next(entries), item, ledger)
        entries.close()
    assert done[:8] == sorted(done[:8]) or workers > 1
    again: list[int] = []
    with Ledger(tmp_path, "steps", workers) as ledger:
        assert ledger.resumed == 8
        for item, entry in enumerate(taken(ledger, 5, again)):
            check(entry, item, ledger)
        assert again == []
        rest = ledger.steps(lambda item: step(item + 5), range(15))
        for item, entry in enumerate(rest):
            check(entry, item + 5, ledger)
        assert list(ledger.passing(lambda item: -item, range(9))) == [-i for i in range(9)]
    with Ledger(tmp_path, "steps") as ledger:
        assert ledger.resumed == 20


def test_what_is_torn_or_damaged_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "steps"
    with Ledger(tmp_path, "steps") as ledger:
        ends = [path.stat().st_size for _ in ledger.steps(step, range(6))]
    whole = path.read_bytes()
    for size in (ends[3] + 1, ends[3] + 40, ends[4] - 1):
        path.write_bytes(whole[:size])
        with Ledger(tmp_path, "steps") as ledger:
            assert ledger.resumed == 4
            for item, entry in enumerate(ledger.steps(step, range(6))):
                check(entry, item, ledger)
        assert path.read_bytes() == whole
    for place in (ends[1], ends[1] + 9, ends[1] + 17, ends[1] + 25, ends[1] + 40, ends[2] - 60):
        hurt = bytearray(whole)
        hurt[place] ^= 64
        path.write_bytes(hurt)
        with Ledger(tmp_path, "steps") as ledger:
            assert ledger.resumed == 2
            assert len(list(ledger.steps(step, range(6)))) == 6
        assert path.read_bytes() == whole


def test_what_goes_wrong_in_a_step_is_told(tmp_path: Path) -> None:
    def bad(item: int) -> tuple[np.ndarray, ...]:
        if item == 3:
            raise ValueError("no")
        return step(item)

    for workers in (1, 2):
        with Ledger(tmp_path, workers=workers) as ledger:
            entries = ledger.steps(bad, range(9))
            with pytest.raises(ValueError, match="no"):
                list(entries)
    assert list(tmp_path.iterdir()) == []
