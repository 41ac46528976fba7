"""Polygons of a process that was killed, or had no room, are gone on with: the same file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyogrio
import pytest

from tests.runs import sha, small_disk
from tiledseg.box import Box
from tiledseg.cli import run
from tiledseg.errors import ConfigError, GridMismatch, OutputFailed, PlanChanged, UnknownFormat
from tiledseg.grid import Grid
from tiledseg.io import Ledger, SinkSpec, create_sink
from tiledseg.labels import ClassSchema
from tiledseg.pipeline import vectorize
from tiledseg.vector import _polygons

#: Small bands and batches, so that there is much to go on with.
BAND, BATCH = 1 << 14, 1 << 12
#: Dies once an entry has been written that many times, in the middle of the next one; or once that
#: many batches are in the file.
DYING = """
import os, signal, sys
from tiledseg.io import Ledger, Scratch
from tiledseg.pipeline import vectorize
from tiledseg.vector import _polygons, _stream

def counted(owner, name, left):
    act = getattr(owner, name)
    def dying(*args):
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*args)
    setattr(owner, name, dying)

_polygons._BAND, _polygons._ROWS, _polygons._BATCH = {band}, 1, {batch}
counted(*{dying})
vectorize(sys.argv[1], sys.argv[2], simplify=1.5, workers=2)
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a class map of patches, 512 x 400."""
    labels = np.random.default_rng(3).integers(0, 4, (256, 200), np.uint8)
    labels = labels.repeat(2, 0).repeat(2, 1)
    return written(tmp_path_factory.mktemp("scene") / "map.tif", labels)


def written(path: Path, labels: np.ndarray) -> Path:
    """Write a class map."""
    sink = create_sink(path, SinkSpec(Grid.local(labels.shape), labels.dtype, ("class",), 255))
    sink.prepare()
    sink.write(Box.of_shape(labels.shape), labels[np.newaxis])
    sink.commit()
    return path


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_polygons, "_BAND", BAND)
    monkeypatch.setattr(_polygons, "_ROWS", 1)
    monkeypatch.setattr(_polygons, "_BATCH", BATCH)


def resumed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return what is told of every ledger from now on: entries that were there."""
    found: list[int] = []

    class Noted(Ledger):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            found.append(self.resumed)

    monkeypatch.setattr("tiledseg.pipeline._unfinished.Ledger", Noted)
    return found


def test_killed_and_gone_on_with(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole" / "a.fgb", tmp_path / "a.fgb"
    whole.parent.mkdir()
    vectorize(scene, whole, simplify=1.5)
    assert sorted(whole.parent.iterdir()) == [whole]
    sizes = [0]
    for dying in ("(Scratch, 'append', [180])", "(_stream, '_columns', [3])"):
        code = DYING.format(band=BAND, batch=BATCH, dying=dying)
        died = subprocess.run([sys.executable, "-c", code, str(scene), str(out)], check=False)
        assert died.returncode == -9
        assert not out.exists()
        sizes.append((tmp_path / "a.fgb.work" / "steps").stat().st_size)
    assert sizes == sorted(set(sizes))
    found = resumed(monkeypatch)
    with pytest.raises(PlanChanged, match=r"simplify was 1.5, is 2.0; .*--fresh"):
        vectorize(scene, out, simplify=2.0)
    with monkeypatch.context() as patch:
        names = ClassSchema.of_names(["a", "b", "c", "d"])
        patch.setattr("tiledseg.pipeline._vectorize.read_schema", lambda _: names)
        with pytest.raises(PlanChanged, match="legend was"):
            vectorize(scene, out, simplify=1.5)
    other = written(tmp_path / "map.tif", np.ones((512, 400), np.uint8))
    with pytest.raises(PlanChanged, match="map was"):
        vectorize(other, out, simplify=1.5)
    with pytest.raises(PlanChanged, match="scores was None"):
        vectorize(scene, out, simplify=1.5, scores=other)
    other.unlink()
    vectorize(scene, out, simplify=1.5)
    assert found[-1] > 20
    assert sha(out) == sha(whole)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.fgb", "whole"]


@pytest.mark.parametrize("suffix", [".tif", ".zarr"])
def test_scores_as_a_run_writes_them(tmp_path: Path, suffix: str) -> None:
    """Integers with a scale, a channel per class: those of each sample's class, or one for all."""
    names, classes = ("b", "rest", "a"), ClassSchema.of_names(["rest", "a", "b"], background=0)
    labels = np.arange(3, dtype=np.uint8).repeat(10)[np.newaxis].repeat(20, 0)
    stored = np.random.default_rng(5).integers(0, 251, (3, 20, 30)).astype(np.uint8)
    scene, scores = tmp_path / "map.tif", tmp_path / f"s{suffix}"
    one = SinkSpec(Grid.local(labels.shape), labels.dtype, ("class",), 255, classes)
    many = SinkSpec(one.grid, stored.dtype, names, 255, scale=0.004)
    for path, spec, values in ((scene, one, labels[np.newaxis]), (scores, many, stored)):
        sink = create_sink(path, spec)
        sink.prepare()
        sink.write(spec.grid.box, values)
        sink.commit()
    for given, own in ((str(scores), {1: 2, 2: 0}), (f"{scores}:a", {1: 2, 2: 2})):
        vectorize(scene, tmp_path / "a.fgb", scores=given)
        table = pyogrio.raw.read(tmp_path / "a.fgb", columns=["class_id", "score"])[3]
        found = dict(zip(*(column.tolist() for column in table), strict=True))
        expected = {k: stored[place][labels == k].mean() * 0.004 for k, place in own.items()}
        assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ConfigError, match="does not name its classes: name one channel"):
        vectorize(written(tmp_path / "bare.tif", labels), tmp_path / "b.fgb", scores=scores)


def test_a_full_disk_is_told_and_gone_on_from(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for the steps, then none for the file beside them, then there is."""
    whole = tmp_path / "a.gpkg"
    vectorize(scene, whole)
    with small_disk(tmp_path / "disk", "2m") as disk:
        out, found = disk / "a.gpkg", resumed(monkeypatch)
        for size in ("7m", "20m"):
            with pytest.raises(
                OutputFailed,
                match=r"cannot write .*: No space left on device; mend that and run the same",
            ):
                vectorize(scene, out)
            assert [p.name for p in disk.iterdir()] == ["a.gpkg.work"]
            subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
        vectorize(scene, out)
        assert found == sorted(set(found))
        assert [p.name for p in disk.iterdir()] == ["a.gpkg"]
        assert abs(out.stat().st_size - whole.stat().st_size) < 4096


def test_unfinished_work_of_others(tmp_path: Path, scene: Path) -> None:
    """A setting that does not fit leaves none; what cannot be read is discarded on demand."""
    out = tmp_path / "a.fgb"
    with pytest.raises(ConfigError, match="has no class 'sea'"):
        vectorize(scene, out, classes="sea")
    with pytest.raises(ConfigError, match="workers must be 1 to 4096, found 0"):
        vectorize(scene, out, workers=0)
    with pytest.raises(ConfigError, match="workers must be 1 to 4096, found '2'"):
        vectorize(scene, out, workers="2")
    with pytest.raises(UnknownFormat, match="known are"):
        vectorize(scene, tmp_path / "a.shp")
    with TemporaryDirectory() as folder:
        scores = written(Path(folder) / "scores.tif", np.zeros((8, 8), np.uint8))
        with pytest.raises(GridMismatch, match="must lie on the grid"):
            vectorize(scene, out, scores=scores)
    assert list(tmp_path.iterdir()) == []
    work = tmp_path / "a.fgb.work"
    work.mkdir()
    (work / "plan.json").write_text("[1")
    (work / "mine.txt").write_text("kept")
    with pytest.raises(PlanChanged, match="cannot be read; discard it with --fresh"):
        vectorize(scene, out)
    assert run(["vectorize", str(scene), "-o", str(out), "--fresh", "--workers", "2", "-q"]) == 0
    assert [p.name for p in work.iterdir()] == ["mine.txt"]
    before = sha(out)
    vectorize(scene, out, classes={np.int64(1), "class 2", 3})
    assert sha(out) == before


def test_steps_without_their_plan_are_nobodys(
    tmp_path: Path, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a kill leaves while work is discarded, no other map is made of its steps."""
    out, whole, other = tmp_path / "a.fgb", tmp_path / "whole" / "a.fgb", tmp_path / "other.tif"
    whole.parent.mkdir()
    written(other, np.random.default_rng(4).integers(0, 4, (512, 400), np.uint8))
    vectorize(other, whole)
    work = tmp_path / "a.fgb.work"
    for left in ("while it is discarded", "its plan is lost"):
        with monkeypatch.context() as patch:
            patch.setattr(_polygons, "write_stream", _die)
            with pytest.raises(KeyboardInterrupt):
                vectorize(scene, out, fresh=True)
        steps = (work / "steps").read_bytes()
        assert len(steps) > 1 << 16
        if left == "its plan is lost":
            (work / "plan.json").unlink()
        else:
            with monkeypatch.context() as patch:
                _one_removal(patch)
                with pytest.raises(KeyboardInterrupt):
                    vectorize(other, out, fresh=True)
        with pytest.raises(PlanChanged, match="--fresh"):
            vectorize(other, out)
    assert (work / "steps").read_bytes() == steps
    vectorize(other, out, fresh=True)
    assert sha(out) == sha(whole)


def test_a_link_in_the_place_of_steps_is_not_followed(tmp_path: Path, scene: Path) -> None:
    work, kept = tmp_path / "a.fgb.work", tmp_path / "kept.txt"
    work.mkdir()
    kept.write_text("kept")
    (work / "steps").symlink_to(kept)
    with pytest.raises(PlanChanged, match="cannot be read"):
        vectorize(scene, tmp_path / "a.fgb")
    with pytest.raises(OutputFailed, match="symbolic links"):
        Ledger(work, "steps")
    assert kept.read_text() == "kept"


def _die(*args: Any) -> None:
    raise KeyboardInterrupt


def _one_removal(patch: pytest.MonkeyPatch) -> None:
    """Die once a part of unfinished work has been removed."""
    unlink, removed = Path.unlink, []

    def dying(path: Path, missing_ok: bool = False) -> None:
        if removed and path.name in ("plan.json", "steps"):
            raise KeyboardInterrupt
        unlink(path, missing_ok)
        removed.extend([path] * (path.name in ("plan.json", "steps")))

    patch.setattr(Path, "unlink", dying)
