"""The datasets that configs name, on the real files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tiledseg import read_dataset
from tiledseg.datasets import Dataset, take_census

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"


@pytest.fixture(scope="module")
def dubai(data: Path) -> Iterator[Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILEDSEG_DATA", str(data))
        yield read_dataset(CONFIGS / "dubai.yaml")


@pytest.fixture(scope="module")
def hippocampus(data: Path) -> Iterator[Dataset]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILEDSEG_DATA", str(data))
        yield read_dataset(CONFIGS / "hippocampus.yaml")


@pytest.mark.data
def test_dubai(dubai: Dataset) -> None:
    """45 parts of 5 scenes, some masks RGB, some with a palette; every colour is in the legend."""
    assert len(dubai.labelled) == 45
    assert len({c.group for c in dubai.cases}) == 5
    census = take_census(dubai)
    assert all(not c.strange for c in census.cases.values())
    assert all(c.moments.count.min() > 0 for c in census.cases.values())
    assert census.totals.min() > 0
    black = census.missing / (census.missing + census.totals.sum())
    assert 0 < black < 0.1


@pytest.mark.data
def test_hippocampus(hippocampus: Dataset) -> None:
    assert len(hippocampus.labelled) == 200
    some = hippocampus.of([c.name for c in hippocampus.cases[:20]])
    census = take_census(some)
    assert all(not c.strange for c in census.cases.values())
    assert census.missing == 0
    assert census.shares.sum() == pytest.approx(1)
    assert 0.02 < census.shares[1] < 0.1
    assert all(c.facts["spacing"] == [1, 1, 1] for c in census.cases.values())
