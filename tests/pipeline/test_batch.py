"""Many inputs in one pool of tiles."""

from __future__ import annotations

import csv
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import tiledseg
from tests.runs import noise, sha, started, write_pixels
from tiledseg.engine import TileDone, TileKept, TileStarted
from tiledseg.pipeline import BatchResult, InputEnded, InputPlanned, _batch, _network

MakeModel = Callable[..., Path]
#: One runtime and several tiles an image.
SETTINGS: dict[str, Any] = {
    "tiling": {"core": (128, 128)},
    "runtime": {"threads": 1, "runtime": "torch"},
}


def write_scene(path: Path, shape: tuple[int, int] = (200, 260), seed: int = 0) -> Path:
    """Write a three-band GeoTIFF of blocky noise."""
    return write_pixels(path, noise(shape, seed))


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """Return three scenes of different sizes in one folder."""
    shapes = {"a": (200, 260), "b": (150, 300), "c": (260, 140)}
    return [
        write_scene(tmp_path / "scenes" / f"{name}.tif", shape, seed)
        for seed, (name, shape) in enumerate(shapes.items())
    ]


def states(result: BatchResult) -> dict[str, str]:
    """Return how every input ended, by name."""
    return {row.name: row.state for row in result.rows}


def test_a_damaged_input_does_not_stop_the_others(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel
) -> None:
    """The others are what single runs write, byte for byte."""
    model = make_model()
    scenes[1].write_bytes(scenes[1].read_bytes()[:300])
    pattern = str(tmp_path / "scenes" / "*.tif")
    result = tiledseg.segment_many(pattern, model, tmp_path / "maps" / "{name}.tif", **SETTINGS)
    assert states(result) == {"a": "done", "b": "failed", "c": "done"}
    assert "b.tif" in result.rows[1].problem
    assert not list((tmp_path / "maps").glob("b.*"))
    for name in ("a", "c"):
        alone = tmp_path / f"{name}.alone.tif"
        tiledseg.segment(tmp_path / "scenes" / f"{name}.tif", model, alone, **SETTINGS)
        assert sha(tmp_path / "maps" / f"{name}.tif") == sha(alone)
        assert (tmp_path / "maps" / f"{name}.report" / "report.html").is_file()


def test_the_report_of_a_batch(scenes: list[Path], tmp_path: Path, make_model: MakeModel) -> None:
    scenes[1].write_bytes(b"II*\0 is not enough")
    out = tmp_path / "maps" / "{name}.tif"
    result = tiledseg.segment_many(scenes, make_model(), out, **SETTINGS)
    folder = tmp_path / "maps" / "batch.report"
    assert [path.name for path in result.report] == ["report.html", "report.json", "report.csv"]
    rows = list(csv.DictReader((folder / "report.csv").read_text().splitlines()))
    assert [(row["name"], row["state"]) for row in rows] == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "done"),
    ]
    assert rows[1]["problem"] == result.rows[1].problem
    assert sum(float(rows[0][f"class class {i}"]) for i in range(4)) == 200 * 260
    told = json.loads((folder / "report.json").read_text())
    assert (
        told["inputs"][0]["classes"]
        == json.loads((tmp_path / "maps" / "a.report" / "report.json").read_text())["classes"]
    )
    page = (folder / "report.html").read_text()
    assert '<a href="../a.report/report.html">a</a>' in page
    assert "../b.report" not in page
    assert result.rows[1].problem[:40] in page.replace("&#39;", "'")


def test_one_pool_of_tiles(scenes: list[Path], tmp_path: Path, make_model: MakeModel) -> None:
    """The second input's tiles begin while the first one's last tile is computed."""
    told: list[tuple[str, type]] = []
    held = threading.Event()

    def listen(name: str, event: object) -> None:
        told.append((name, type(event)))
        if (name, type(event)) == ("b", TileStarted):
            held.set()

    settings = {**SETTINGS, "runtime": {**SETTINGS["runtime"], "workers": 2}}
    out = tmp_path / "{name}.tif"
    with pytest.MonkeyPatch.context() as patch:
        hold_last_tile(patch, (200, 260), held)
        result = tiledseg.segment_many(scenes, make_model(), out, on_event=listen, **settings)
    assert states(result) == dict.fromkeys("abc", "done")
    last_of_a = len(told) - 1 - told[::-1].index(("a", TileDone))
    assert told.index(("b", TileStarted)) < last_of_a < told.index(("a", InputEnded))
    same_as_alone(tmp_path, make_model())


def same_as_alone(folder: Path, model: Path) -> None:
    """Compare the class maps in a folder with those of single runs."""
    for name in "abc":
        alone = folder / f"{name}.alone.tif"
        tiledseg.segment(folder / "scenes" / f"{name}.tif", model, alone, **SETTINGS)
        assert sha(folder / f"{name}.tif") == sha(alone)


def hold_last_tile(
    patch: pytest.MonkeyPatch, shape: tuple[int, int], until: threading.Event
) -> None:
    """Make an input's last tile wait until told, at most half a minute."""
    from tiledseg.engine import TileTask

    computed = TileTask.__call__

    def slow(self: TileTask, tile: Any, on_windows: Any) -> Any:
        if self.plan.grid.shape == shape and tile.index == len(self.plan) - 1:
            assert until.wait(30)
        return computed(self, tile, on_windows)

    patch.setattr(TileTask, "__call__", slow)


class Told:
    """Remembers what a batch tells, and that something was told."""

    def __init__(self, *waited_for: tuple[str, type]) -> None:
        self.events: list[tuple[str, type]] = []
        self.seen = {one: threading.Event() for one in waited_for}

    def __call__(self, name: str, event: object) -> None:
        self.events.append((name, type(event)))
        if self.events[-1] in self.seen:
            self.seen[self.events[-1]].set()

    def count(self, name: str, kind: type) -> int:
        """Return how often it was told."""
        return self.events.count((name, kind))


def test_tiles_go_on_while_an_input_is_finished(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one worker: a's file waits for a tile of b, and b's last tile for the end of a."""
    from tiledseg.io._rasterio import RasterSink

    begun, ended = ("b", TileDone), ("a", InputEnded)
    told, commit = Told(begun, ended), RasterSink.commit

    def slow(self: RasterSink) -> list[Path]:
        if self.path.name == "a.tif":
            assert told.seen[begun].wait(30)
        return commit(self)

    with monkeypatch.context() as patch:
        patch.setattr(RasterSink, "commit", slow)
        hold_last_tile(patch, (150, 300), told.seen[ended])
        out = tmp_path / "{name}.tif"
        result = tiledseg.segment_many(scenes, make_model(), out, on_event=told, **SETTINGS)
    assert states(result) == dict.fromkeys("abc", "done")
    assert [row.name for row in result.rows] == ["a", "b", "c"]
    ends = [name for name, kind in told.events if kind is InputEnded]
    assert ends == ["a", "b", "c"]
    same_as_alone(tmp_path, make_model())


def test_a_finish_that_fails_takes_its_input_only(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel
) -> None:
    """Its tiles are kept, so that the next run only puts them together."""
    told, out = Told(), tmp_path / "{name}.tif"

    def in_the_way(name: str, event: object) -> None:
        told(name, event)
        if name == "b" and isinstance(event, TileDone):
            (tmp_path / "b.tif").mkdir(exist_ok=True)

    result = tiledseg.segment_many(scenes, make_model(), out, on_event=in_the_way, **SETTINGS)
    assert states(result) == {"a": "done", "b": "failed", "c": "done"}
    assert "b.tif: Is a directory" in result.rows[1].problem
    assert not list(tmp_path.glob(".partial*"))
    (tmp_path / "b.tif").rmdir()
    again = Told()
    result = tiledseg.segment_many(scenes, make_model(), out, on_event=again, **SETTINGS)
    assert states(result) == {"a": "kept", "b": "done", "c": "kept"}
    assert again.count("b", TileKept) == told.count("b", TileDone) > 0 == again.count("b", TileDone)
    same_as_alone(tmp_path, make_model())


def test_an_interrupt_while_an_input_is_finished(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finish is given up between two parts; nothing half-made stays, and no tile is lost."""
    from tiledseg.io._rasterio import RasterSink

    begun = ("b", TileDone)
    told, write, out = Told(begun), RasterSink.write, tmp_path / "{name}.tif"

    def slow(self: RasterSink, *args: Any) -> None:
        assert told.seen[begun].wait(30)
        time.sleep(1)  # by when the interrupt has gone up to the batch
        write(self, *args)

    def interrupted(name: str, event: object) -> None:
        told(name, event)
        if told.events[-1] == begun:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RasterSink, "write", slow)
        with pytest.raises(KeyboardInterrupt):
            tiledseg.segment_many(scenes, make_model(), out, on_event=interrupted, **SETTINGS)
    assert not (tmp_path / "a.tif").exists()
    assert not list(tmp_path.glob(".partial*"))
    again = Told()
    result = tiledseg.segment_many(scenes, make_model(), out, on_event=again, **SETTINGS)
    assert states(result) == dict.fromkeys("abc", "done")
    assert again.count("a", TileKept) == told.count("a", TileDone) > 0 == again.count("a", TileDone)
    same_as_alone(tmp_path, make_model())


def test_an_input_without_room_beside_others_waits_for_them(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is in progress counts for the budget; nothing is refused because of it."""
    held: list[int] = []
    prepare = _batch.prepare

    def spying(*args: Any) -> Any:
        held.append(args[-1].held)
        return prepare(*args)

    def no_room(running: object, new: object) -> None:
        raise tiledseg.BudgetExceeded("no room")

    monkeypatch.setattr(_batch, "prepare", spying)
    model = make_model()
    settings = {**SETTINGS, "runtime": {**SETTINGS["runtime"], "workers": 2}}
    begun = threading.Event()

    def listen(name: str, event: object) -> None:
        if (name, type(event)) == ("b", TileStarted):
            begun.set()

    with monkeypatch.context() as patch:
        hold_last_tile(patch, (200, 260), begun)
        out = tmp_path / "two" / "{name}.tif"
        tiledseg.segment_many(scenes, model, out, on_event=listen, **settings)
    assert held[0] == 0
    assert held[1] > 200 * 260
    monkeypatch.setattr(_batch, "_require_room", no_room)
    for workers in (1, 2):  # the one before is being finished, or has tiles
        told, out = Told(), tmp_path / f"{workers}" / "{name}.tif"
        settings["runtime"]["workers"] = workers
        result = tiledseg.segment_many(scenes, model, out, on_event=told, **settings)
        assert states(result) == dict.fromkeys("abc", "done")
        turns = [one for one in told.events if one[1] in (InputPlanned, InputEnded)]
        assert turns == [(name, kind) for name in "abc" for kind in (InputPlanned, InputEnded)]


def test_the_model_is_loaded_once(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    load, calls = _network.load_model, []

    def counted(*args: Any, **named: Any) -> Any:
        calls.append(args)
        return load(*args, **named)

    monkeypatch.setattr(_network, "load_model", counted)
    tiledseg.segment_many(scenes, make_model(), tmp_path / "{name}.tif", **SETTINGS)
    assert len(calls) == 1
    loaded = tiledseg.load_model(make_model(), threads=1)
    result = tiledseg.segment_many(scenes, loaded, tmp_path / "l-{name}.tif", **SETTINGS)
    assert len(calls) == 1
    assert states(result) == dict.fromkeys("abc", "done")
    assert sha(tmp_path / "l-c.tif") == sha(tmp_path / "c.tif")


def test_a_file_damaged_in_its_middle_loses_only_its_input(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error while tiles are computed ends that input; its work is kept and the others go on."""
    from tiledseg.engine import TileTask

    computed = TileTask.__call__

    def broken(self: TileTask, tile: Any, on_windows: Any) -> Any:
        if self.plan.grid.shape == (150, 300) and tile.index == 2:
            raise tiledseg.DamagedInput("b.tif is cut")
        return computed(self, tile, on_windows)

    monkeypatch.setattr(TileTask, "__call__", broken)
    for workers in (1, 2):
        out = tmp_path / str(workers) / "{name}.tif"
        settings = {**SETTINGS, "runtime": {**SETTINGS["runtime"], "workers": workers}}
        result = tiledseg.segment_many(scenes, make_model(), out, **settings)
        assert states(result) == {"a": "done", "b": "failed", "c": "done"}
        assert result.rows[1].problem == "b.tif is cut"
        assert (tmp_path / str(workers) / "b.tif.work" / "receipts").is_dir()
        assert not (tmp_path / str(workers) / "b.tif").exists()


def test_lost_tiles_are_told(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiledseg.engine import TileTask

    computed = TileTask.__call__

    def sick(self: TileTask, tile: Any, on_windows: Any) -> Any:
        if self.plan.grid.shape == (150, 300) and tile.index == 1:
            raise ArithmeticError("cosmic ray")
        return computed(self, tile, on_windows)

    with monkeypatch.context() as patch:
        patch.setattr(TileTask, "__call__", sick)
        result = tiledseg.segment_many(scenes, make_model(), tmp_path / "{name}.tif", **SETTINGS)
    assert states(result) == {"a": "done", "b": "partly", "c": "done"}
    assert "1 of 6 tiles failed and are nodata; tile 1: ArithmeticError: cosmic ray" in (
        result.rows[1].problem
    )
    mended = tiledseg.segment_many(scenes, make_model(), tmp_path / "{name}.tif", **SETTINGS)
    assert states(mended) == {"a": "kept", "b": "done", "c": "kept"}


def batch_command(folder: Path, model: Path, *more: str) -> list[str]:
    """Return the arguments of a batch over the folder's scenes."""
    return [
        *("segment", str(folder / "scenes" / "*.tif")),
        *("-m", str(model), "-o", str(folder / "maps" / "{name}.tif"), "--threads", "1"),
        *("--runtime", "torch", "--set", "tiling.core=[128,128]", *more),
    ]


def test_a_killed_batch_goes_on(tmp_path: Path, make_model: MakeModel) -> None:
    """What is finished is kept, what is begun is finished, and nothing is computed twice."""
    for seed, (name, shape) in enumerate({"a": (70, 80), "b": (400, 500), "c": (70, 80)}.items()):
        write_scene(tmp_path / "scenes" / f"{name}.tif", shape, seed)
    model, maps = make_model(), tmp_path / "maps"
    process = started(batch_command(tmp_path, model, "-q"))
    receipts = maps / "b.tif.work" / "receipts"
    while len(list(receipts.glob("*.json"))) < 3 or (maps / "a.tif.work").exists():
        assert process.is_alive(), "the batch ended before it could be killed"
        time.sleep(0.002)
    process.kill()
    process.join()
    assert (maps / "a.tif").exists()
    assert not (maps / "b.tif").exists()
    before = sha(maps / "a.tif"), (maps / "a.tif").stat().st_mtime_ns
    told: list[tuple[str, object]] = []
    result = tiledseg.segment_many(
        str(tmp_path / "scenes" / "*.tif"),
        model,
        maps / "{name}.tif",
        on_event=lambda name, event: told.append((name, event)),
        **SETTINGS,
    )
    assert states(result) == {"a": "kept", "b": "done", "c": "done"}
    assert (sha(maps / "a.tif"), (maps / "a.tif").stat().st_mtime_ns) == before
    assert not any(name == "a" and isinstance(e, TileDone | InputPlanned) for name, e in told)
    kept = [e.receipt.tile for name, e in told if name == "b" and isinstance(e, TileKept)]
    done = [e.receipt.tile for name, e in told if name == "b" and isinstance(e, TileDone)]
    assert len(kept) >= 3
    assert sorted(kept + done) == list(range(16))
    assert sum(measure.samples for measure in result.rows[0].classes) == 70 * 80
    assert result.rows[0].windows == result.rows[2].windows > 0
    for name in "bc":
        alone = tmp_path / f"{name}.alone.tif"
        tiledseg.segment(tmp_path / "scenes" / f"{name}.tif", model, alone, **SETTINGS)
        assert sha(maps / f"{name}.tif") == sha(alone)


def test_what_is_kept(tmp_path: Path, make_model: MakeModel) -> None:
    """Only what was made from the same image, model and settings, and is all there."""
    scenes = [write_scene(tmp_path / f"{name}.tif", (70, 80)) for name in ("a", "b")]
    out, model = tmp_path / "{name}.map.tif", make_model()

    def again(with_model: Path = model, **changes: Any) -> str:
        fresh = bool(changes.pop("fresh", False))
        settings = {**SETTINGS, **changes}
        result = tiledseg.segment_many(scenes, with_model, out, fresh=fresh, **settings)
        return " ".join(states(result).values())

    assert again() == "done done"
    assert again(budget={"memory": "20GB"}) == "kept kept"
    assert again(fresh=True) == "done done"
    assert again(tiling={"taper": "hann"}) == "done done"
    assert again(make_model(classes=5)) == "done done"
    tiledseg.segment(scenes[0], model, tmp_path / "a.map.tif", fresh=True, **SETTINGS)
    assert again() == "kept done"
    (tmp_path / "a.map.tif").unlink()
    assert again() == "done kept"
    write_scene(scenes[1], (70, 80), seed=9)
    assert again() == "kept done"
    scenes[0].unlink()
    assert again() == "failed kept"
