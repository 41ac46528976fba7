"""The work store: receipts are the truth, and damage on disk is noticed."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiledseg
from tests.engine.stores import begun
from tiledseg.budget import chunk_shape
from tiledseg.engine import (
    ScoreCoding,
    SerialRunner,
    TileDone,
    TileTask,
    Unit,
    WorkStore,
    stored,
)
from tiledseg.engine._checksum import Checksum
from tiledseg.engine._sweep import Slab
from tiledseg.grid import Grid
from tiledseg.io import MemorySource, create_array
from tiledseg.models import load_model
from tiledseg.planning import ModelShape, make_plan
from tiledseg.tiling import TilePlan, TilingSpec

Fill = Callable[..., tuple[WorkStore, TileTask]]


@pytest.fixture
def fill(tmp_path: Path, make_model: Callable[..., Path]) -> Fill:
    """Return a function that makes a store with six finished tiles, and the task that did it."""

    def make(scores: bool = False) -> tuple[WorkStore, TileTask]:
        return filled(tmp_path / "w", make_model(), scores)

    return make


@pytest.fixture
def finished(fill: Fill) -> tuple[WorkStore, TileTask]:
    """Return a store with six finished tiles, and the task that filled it."""
    return fill()


def filled(where: Path, path: Path, scores: bool) -> tuple[WorkStore, TileTask]:
    """Fill a store."""
    model = load_model(path)
    source = MemorySource(np.random.default_rng(0).integers(0, 255, (3, 200, 130), np.uint8))
    shape = ModelShape(model.card.window, 2, True, 0)
    plan = make_plan(source.grid, TilingSpec(core=(80, 70)), shape, 1, 1)
    coding = ScoreCoding(np.dtype(np.float32), None, float("nan")) if scores else None
    store, task = begun(where, plan, source, model, coding)
    SerialRunner().run(Unit(task, tile, lambda event: None) for tile in plan)
    return store, task


def test_chunks_never_cross_a_core() -> None:
    grid = Grid.local((1000, 3000))
    shape = ModelShape((64, 64), 2, True, 0)
    for core in [(256, 256), (1000, 700), (333, 512), (100, 3000), (512, 1536)]:
        plan = make_plan(grid, TilingSpec(core=core), shape, 1, 1)
        for axis, chunk in enumerate(chunk_shape(plan)):
            assert core[axis] >= grid.shape[axis] or core[axis] % chunk == 0


def test_all_tiles_have_receipts(finished: tuple[WorkStore, TileTask]) -> None:
    store, _ = finished
    assert sorted(receipt.tile for receipt in store.receipts()) == list(range(6))


def test_a_torn_chunk_voids_its_receipt_only(finished: tuple[WorkStore, TileTask]) -> None:
    store, task = finished
    before = store.labels(task.plan.grid.box)
    tile = task.plan[2]
    store._labels[tile.core.slices] = 3
    left = store.receipts()
    assert sorted(receipt.tile for receipt in left) == [0, 1, 3, 4, 5]
    events: list[object] = []
    SerialRunner().run([Unit(task, tile, events.append)])
    assert isinstance(events[-1], TileDone)
    np.testing.assert_array_equal(store.labels(task.plan.grid.box), before)


def test_half_a_receipt_is_no_receipt(finished: tuple[WorkStore, TileTask]) -> None:
    store, _ = finished
    receipt = Path(store.folder.uri) / "receipts" / "1.json"
    receipt.write_text(receipt.read_text()[:20])
    assert sorted(receipt.tile for receipt in store.receipts()) == [0, 2, 3, 4, 5]


def test_files_of_others_stay_when_a_store_is_removed(
    finished: tuple[WorkStore, TileTask],
) -> None:
    store, _ = finished
    folder = Path(store.folder.uri)
    (folder / "thesis.txt").write_text("mine")
    store.remove()
    assert [p.name for p in folder.iterdir()] == ["thesis.txt"]
    (folder / "thesis.txt").unlink()
    store.remove()
    assert not folder.exists()


def bad_plans(good: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield contents of plan.json that are none."""
    yield "torn", json.dumps(good).encode()[:-7]
    yield "list", b"[]"
    yield "number", b"17"
    yield "nested", b"[" * 100_000
    yield "no text", b"\xff\xfe\x00"
    changes: dict[str, Any] = {
        "unknown key": {"plan": {**good["plan"], "colour": "red"}},
        "no core": {"plan": {k: v for k, v in good["plan"].items() if k != "core"}},
        "words": {"plan": {**good["plan"], "core": ["a", "b"]}},
        "fractions": {"plan": {**good["plan"], "window": [64.5, 64]}},
        "axes": {"plan": {**good["plan"], "stride": [1, 1, 1]}},
        "zero": {"plan": {**good["plan"], "core": [0, 80]}},
        "blend": {"plan": {**good["plan"], "blend": "logit"}},
        "padding": {"plan": {**good["plan"], "padding": "mirror"}},
        "a list": {"plan": [1, 2]},
        "no identity": {"identity": None},
        "no config": {"config": "none"},
        "labels": {"labels": ["colour", 3]},
        "scores": {"scores": ["uint8"]},
        "deep": {"plan": {**good["plan"], "grid": {"shape": {}}}},
    }
    for name, change in changes.items():
        yield name, json.dumps({**good, **change}).encode()


def test_a_plan_that_cannot_be_read_is_refused(finished: tuple[WorkStore, TileTask]) -> None:
    store, _ = finished
    folder = Path(store.folder.uri)
    good = json.loads((folder / "plan.json").read_text())
    for name, content in bad_plans(good):
        (folder / "plan.json").write_bytes(content)
        with pytest.raises(tiledseg.PlanChanged, match=r"discard it with --fresh$") as refused:
            stored(folder)
        assert "\n" not in str(refused.value), name
    (folder / "plan.json").write_text(json.dumps({**good, "version": 1}))
    with pytest.raises(tiledseg.PlanChanged, match="another version"):
        stored(folder)
    (folder / "plan.json").write_text(json.dumps(good))
    found = stored(folder)
    assert found is not None
    assert found.plan == store.plan
    shutil.rmtree(folder)
    assert stored(folder) is None
    with pytest.raises(tiledseg.PlanChanged, match="no unfinished work"):
        WorkStore.open(folder)


@pytest.mark.parametrize("content", [b'{"zarr_fo', b"[]", b"{}", b"[" * 100_000])
def test_a_torn_array_is_refused(finished: tuple[WorkStore, TileTask], content: bytes) -> None:
    folder = Path(finished[0].folder.uri)
    (folder / "labels.zarr" / "zarr.json").write_bytes(content)
    with pytest.raises(tiledseg.PlanChanged, match=r"discard it with --fresh$"):
        WorkStore.open(folder)


def test_an_array_of_another_plan_is_refused(finished: tuple[WorkStore, TileTask]) -> None:
    folder = Path(finished[0].folder.uri)
    shutil.rmtree(folder / "labels.zarr")
    create_array(
        folder / "labels.zarr", shape=(9, 9), chunks=(3, 3), dtype=np.dtype("u1"), fill_value=255
    )
    with pytest.raises(tiledseg.PlanChanged, match=r"labels.zarr is not the array"):
        WorkStore.open(folder)


def test_a_lost_array_is_made_again_and_its_tiles_are_void(
    finished: tuple[WorkStore, TileTask],
) -> None:
    store, task = finished
    shutil.rmtree(Path(store.folder.uri) / "labels.zarr")
    again = WorkStore.open(store.folder.uri)
    assert list(again.receipts()) == []
    SerialRunner().run([Unit(replace(task, store=again), task.plan[0], lambda event: None)])
    assert [receipt.tile for receipt in again.receipts()] == [0]


@pytest.mark.parametrize(
    "change",
    [
        {"tile": "1"},
        {"tile": 2},
        {"samples": 7},
        {"samples": [1.5, 1, 1, 1]},
        {"amounts": ["a"]},
        {"waited": []},
        {"seconds": None},
        {"worker": 4},
        {"colour": "red"},
        {"score_checksum": 5},
    ],
)
def test_a_receipt_of_the_wrong_kind_is_void(
    finished: tuple[WorkStore, TileTask], change: dict[str, Any]
) -> None:
    store, _ = finished
    path = Path(store.folder.uri) / "receipts" / "1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert sorted(receipt.tile for receipt in store.receipts()) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("content", [b"", b"[" * 100_000, b"{}", b"3", b"\xff"])
def test_a_torn_receipt_is_void(finished: tuple[WorkStore, TileTask], content: bytes) -> None:
    store, _ = finished
    for name in ("1", "999", "x"):
        (Path(store.folder.uri) / "receipts" / f"{name}.json").write_bytes(content)
    assert sorted(receipt.tile for receipt in store.receipts()) == [0, 2, 3, 4, 5]


@pytest.mark.parametrize("array", ["labels.zarr", "scores.zarr"])
@pytest.mark.parametrize("harm", ["torn", "lost", "other"])
def test_a_damaged_chunk_voids_its_receipt_and_is_written_again(
    fill: Fill, array: str, harm: str
) -> None:
    store, task = fill(scores=True)
    whole = store.plan.grid.box
    before = store.labels(whole), store.scores(whole)
    paths = sorted((Path(store.folder.uri) / array / "c").rglob("*"))
    chunks = [path for path in paths if path.is_file()]
    if harm == "lost":
        chunks[-1].unlink()
    elif harm == "torn":
        chunks[-1].write_bytes(chunks[-1].read_bytes()[:-5])
    else:
        chunks[-1].write_bytes(chunks[0].read_bytes())
    again = WorkStore.open(store.folder.uri)
    left = {receipt.tile for receipt in again.receipts()}
    assert len(left) == 5
    (void,) = set(range(6)) - left
    if harm == "torn":
        with pytest.raises(tiledseg.DamagedInput, match="run the same command again"):
            again.checksum(store.plan[void].core)
    SerialRunner().run([Unit(replace(task, store=again), store.plan[void], lambda event: None)])
    assert len(list(again.receipts())) == 6
    np.testing.assert_array_equal(again.labels(whole), before[0])
    np.testing.assert_array_equal(again.scores(whole), before[1])


def test_checksums_do_not_depend_on_how_rows_come() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 9, (11, 7), np.uint8)
    scores = rng.random((3, 11, 7), np.float32)
    seen = set()
    for cuts in ([0, 11], [0, 1, 11], [0, 4, 8, 11]):
        checksum = Checksum()
        for a, b in pairwise(cuts):
            checksum.add(labels[a:b], scores[:, a:b])
        seen.add((checksum.labels, checksum.scores))
    assert len(seen) == 1
    swapped = Checksum()
    swapped.add(labels, scores[[1, 0, 2]])
    assert swapped.scores != checksum.scores


def test_of_several_makers_one_makes_the_store(
    finished: tuple[WorkStore, TileTask], tmp_path: Path
) -> None:
    """Plans that differ, at the same moment: everybody gets the plan of one."""
    plan = finished[0].plan
    plans = [replace(plan, core=(80 + 16 * n, 70)) for n in range(8)]
    begin = threading.Barrier(len(plans))

    def make(plan: TilePlan) -> WorkStore:
        begin.wait()
        return WorkStore.create(tmp_path / "new", plan, {}, {}, (np.dtype("u1"), 255), None)

    with ThreadPoolExecutor(len(plans)) as pool:
        made = list(pool.map(make, plans))
    assert len({store.plan.core for store in made}) == 1
    assert made[0].plan in plans


def test_a_late_worker_of_a_discarded_run_writes_nothing(
    finished: tuple[WorkStore, TileTask],
) -> None:
    """It cannot be stopped; another run may have made its store in the same place by then."""
    old, task = finished
    (receipt, *_) = old.receipts()
    place, plan = Path(old.folder.uri), task.plan
    slab = Slab(plan[0].core, old.labels(plan[0].core), None)
    old.remove()
    for act in (lambda: old.keep(receipt), lambda: old.put(slab)):
        with pytest.raises(tiledseg.PlanChanged, match="discarded meanwhile"):
            act()
    assert not place.exists()
    new = WorkStore.create(place, plan, {"model": "another"}, {}, (np.dtype("u1"), 255), None)
    for act in (lambda: old.keep(receipt), lambda: old.put(slab)):
        with pytest.raises(tiledseg.PlanChanged, match="discarded meanwhile"):
            act()
    assert (new.labels(plan.grid.box) == 255).all()


def test_a_receipt_of_another_run_is_none(finished: tuple[WorkStore, TileTask]) -> None:
    store, _ = finished
    path = Path(store.folder.uri) / "receipts" / "1.json"
    assert store.receipt(1) is not None
    path.write_text(json.dumps({**json.loads(path.read_text()), "made_for": "0" * 64}))
    assert store.receipt(1) is None
