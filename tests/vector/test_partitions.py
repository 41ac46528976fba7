"""The same bytes whatever bands a map is read in, however many work on it, in whatever order."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tiledseg.arcs import _batches, _join
from tiledseg.box import Box
from tiledseg.io import Ledger, MemorySource, _ledger, open_source
from tiledseg.vector import PolygonSpec, _polygons, write_polygons

CHECKERS = np.indices((9, 8)).sum(axis=0).astype(np.uint8) % 2 + 1
#: Corners that join with eight neighbours only, and a hole that touches its shell.
CORNERS = np.kron(np.array([[1, 1, 2, 0], [1, 2, 1, 1], [2, 1, 1, 2]]), np.ones((3, 3))).astype(
    "u1"
)
MAPS = arrays(
    np.uint8,
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    elements=st.sampled_from([0, 1, 2, 9]),
)
#: Rows of a band, corners of a batch, and who does it.
WAYS = (
    (99, 1 << 20, "one"),
    (1, 1 << 20, "three"),
    (2, 50, "shuffled"),
    (3, 7, "three"),
    (5, 300, "shuffled"),
    (7, 1, "one"),
)


class Late(Future[Any]):
    """What is done when it, or something that waits with it, is asked for."""

    def __init__(self, executor: Shuffled) -> None:
        super().__init__()
        self.executor = executor

    def result(self, timeout: float | None = None) -> Any:
        self.executor.work()
        return super().result(timeout)


class Shuffled:
    """Does all that waits in an order of chance."""

    chance = random.Random(7)
    moved: ClassVar[int] = 0

    def __init__(self, workers: int, name: str) -> None:
        self.waiting: list[tuple[Late, Callable[[Any], Any], Any]] = []

    def submit(self, step: Callable[[Any], Any], item: Any) -> Late:
        self.waiting.append((Late(self), step, item))
        return self.waiting[-1][0]

    def work(self) -> None:
        order = self.chance.sample(self.waiting, len(self.waiting))
        Shuffled.moved += order != self.waiting
        self.waiting = []
        for future, step, item in order:
            future.set_result(step(item))

    def shutdown(self, cancel_futures: bool) -> None:
        self.waiting = []


def written(path: Path, labels: np.ndarray, spec: PolygonSpec, way: tuple[int, int, str]) -> bytes:
    """Return the bytes of the polygons of a map, made in a way."""
    rows, batch, who = way
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_polygons, "_BAND", rows * labels.shape[1])
        patch.setattr(_polygons, "_ROWS", 1)
        patch.setattr(_batches, "_BATCH", batch)
        patch.setattr(_join, "_BATCH", batch)
        if path.suffix == ".fgb":  # others are laid out batch by batch
            patch.setattr(_polygons, "_BATCH", batch)
        if who == "shuffled":
            patch.setattr(_ledger, "ThreadPoolExecutor", Shuffled)
        source = MemorySource(labels[np.newaxis], nodata=9)
        with Ledger(path.parent, workers=1 if who == "one" else 3) as ledger:
            write_polygons(source, path, spec, ledger=ledger)
    # GDAL stamps a GeoPackage with the time of its making.
    return re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]{12}Z", b"", path.read_bytes())


@settings(deadline=None, max_examples=15)
@given(
    labels=MAPS,
    tolerance=st.sampled_from([0.0, 1.5]),
    connectivity=st.sampled_from([4, 8]),
    dissolve=st.booleans(),
    smooth=st.booleans(),
)
@example(labels=CHECKERS, tolerance=0.0, connectivity=4, dissolve=False, smooth=False)
@example(labels=CORNERS, tolerance=1.5, connectivity=8, dissolve=False, smooth=True)
@example(labels=CORNERS, tolerance=0.0, connectivity=4, dissolve=True, smooth=False)
def test_one_file(
    tmp_path_factory: pytest.TempPathFactory,
    labels: np.ndarray,
    tolerance: float,
    connectivity: int,
    dissolve: bool,
    smooth: bool,
) -> None:
    spec = PolygonSpec((), connectivity, 0.0, dissolve, smooth, tolerance)
    path = tmp_path_factory.getbasetemp() / ("a.fgb" if dissolve else "a.parquet")
    assert len({written(path, labels, spec, way) for way in WAYS}) == 1


@pytest.mark.parametrize("name", ["a.fgb", "a.gpkg"])
def test_one_file_of_a_larger_map(tmp_path: Path, name: str) -> None:
    """In which every way has several bands and batches, and orders differ indeed."""
    labels = np.random.default_rng(2).integers(0, 3, (60, 50), np.uint8).repeat(2, 0)
    labels = np.where(labels == 0, np.roll(labels, 1, 1), labels)
    before = Shuffled.moved
    spec = PolygonSpec(smooth=True, simplify=1.2, regularize=(1,))
    files = {written(tmp_path / name, labels, spec, way) for way in WAYS}
    assert len(files) == 1
    assert len(files.pop()) > 50_000
    assert Shuffled.moved > before + 8


@pytest.mark.data
def test_one_file_of_a_real_map(data: Path, tmp_path: Path) -> None:
    """Land cover, as a GeoPackage and simplified."""
    with open_source(next(data.rglob("cog_cmap.tif"))) as source:
        labels = source.read(Box((3000, 2500), (3200, 2700)))[0]
    spec = PolygonSpec(smooth=True, simplify=1.5)
    ways = [(rows * 13, batch, who) for rows, batch, who in WAYS]
    files = {written(tmp_path / "a.gpkg", labels, spec, way) for way in ways}
    assert len(files) == 1
    assert len(files.pop()) > 50_000
