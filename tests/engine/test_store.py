"""The work store: receipts are the truth, and damage on disk is noticed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiledseg
from tiledseg.budget import chunk_shape
from tiledseg.engine import Decision, SerialRunner, TileDone, TileTask, Unit, WorkStore
from tiledseg.grid import Grid
from tiledseg.io import MemorySource
from tiledseg.models import load_model
from tiledseg.tiling import ModelShape, TilingSpec, make_plan


@pytest.fixture
def finished(tmp_path: Path, make_model: Callable[..., Path]) -> tuple[WorkStore, TileTask]:
    """Return a store with six finished tiles, and the task that filled it."""
    model = load_model(make_model())
    source = MemorySource(np.random.default_rng(0).integers(0, 255, (3, 200, 130), np.uint8))
    shape = ModelShape(model.card.window, 2, True, 0)
    plan = make_plan(source.grid, TilingSpec(core=(80, 70)), shape, 1, 1)
    schema = model.card.schema
    store = WorkStore.create(tmp_path / "w", plan, {}, (schema.dtype, schema.nodata), None)
    task = TileTask(
        plan,
        source,
        model.card.normalization,
        model,
        Decision(schema.ids, schema.nodata, 0, None),
        store,
        np.ones(plan.grid.shape[0]),
    )
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
    receipt = store.folder / "receipts" / "1.json"
    receipt.write_text(receipt.read_text()[:20])
    assert sorted(receipt.tile for receipt in store.receipts()) == [0, 2, 3, 4, 5]


def test_a_foreign_folder_is_not_replaced(finished: tuple[WorkStore, TileTask]) -> None:
    store, task = finished
    create = (task.plan, {}, (np.dtype("u1"), 255), None)
    WorkStore.create(store.folder, *create)
    (store.folder / "thesis.txt").touch()
    with pytest.raises(tiledseg.OutputFailed, match=r"holds 'thesis\.txt' and was not made by"):
        WorkStore.create(store.folder, *create)
    assert (store.folder / "thesis.txt").exists()


def test_a_plan_that_cannot_be_read_is_refused(finished: tuple[WorkStore, TileTask]) -> None:
    store, _ = finished
    (store.folder / "plan.json").write_text("{")
    with pytest.raises(tiledseg.PlanChanged, match="--fresh"):
        WorkStore.stored_plan(store.folder)
    shutil.rmtree(store.folder)
    assert WorkStore.stored_plan(store.folder) is None
