"""One file of polygons, whatever tiles a run has and whoever computes them, in whatever order.

On a real scene: in one process, in threads, on Dask workers, and by drivers that are killed.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import re
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyogrio
import pytest
import rasterio

import tiledseg
from tests.pipeline.test_distributed import address_of, write_mosaic, write_scene
from tests.runs import started
from tiledseg import cli
from tiledseg.engine import Runner, SerialRunner, Tally, ThreadRunner, TileDone
from tiledseg.engine._dask import DaskRunner, local_workers
from tiledseg.pipeline import vectorize
from tiledseg.pipeline._outputs import write_vectors
from tiledseg.pipeline._run import Run
from tiledseg.vector import _polygons, _stream

MakeModel = Callable[..., Path]
pytestmark = [pytest.mark.slow, pytest.mark.data]
SHAPE = (165, 205)
#: The whole scene, squares, whole rows, whole columns, and what leaves remainders everywhere.
CORES = (SHAPE, (64, 64), (32, 205), (165, 48), (40, 104), (96, 32))
SUFFIXES = (".parquet", ".fgb", ".geojson", ".gpkg")
#: As `tests.runs` starts them.
PROCESSES = multiprocessing.get_context("forkserver")
#: Tiles that are done when a driver dies.
SOME = 3


@dataclass(frozen=True)
class Subject:
    """A real scene, a model for it, and digests of what a run in one go writes."""

    image: Path
    model: Path
    expected: dict[str, str] = field(default_factory=dict)

    def run(
        self, folder: Path, core: tuple[int, int], order: random.Random, runner: Runner, **how: Any
    ) -> dict[str, str]:
        """Segment tile by tile in an order of chance; return digests of all files by name."""
        folder.mkdir()
        out = folder / "map.tif"
        first = str(folder / f"p{SUFFIXES[0]}")
        with tiledseg.plan(
            self.image,
            self.model,
            out,
            tiling={"core": core, "window": (64, 64)},
            runtime={"threads": 1, "runtime": "torch", **how},
            output={"scores": str(folder / "s.tif"), "polygons": first, "report": False},
            budget={"memory": "4GB"},
        ) as job:
            with Run(job, out, False, lambda event: None) as run:
                units = list(run.units())
                order.shuffle(units)
                runner.run(units)
                assert not run.finish().ran.lost
            for suffix in SUFFIXES[1:]:
                other = replace(job.config.output, polygons=str(folder / f"p{suffix}"))
                config = job.config.model_copy(update={"output": other})
                write_vectors(replace(job, config=config), out, job.grid, job.card.schema)
        return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    """Return digests of what a run has written, and of polygons of it with their mean scores."""
    vectorize(folder / "map.tif", folder / "scored.fgb", scores=folder / "s.tif", workers=2)
    return {path.name: digest(path) for path in folder.iterdir() if path.is_file()}


def digest(path: Path) -> str:
    """Return the digest of a file; GDAL stamps a GeoPackage with the time of its making."""
    found = path.read_bytes()
    if path.suffix == ".gpkg":
        found = re.sub(rb"\d{4}-\d\d-\d\dT[\d:.]{12}Z", b"", found)
    return sha256(found).hexdigest()


def in_bands(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Have polygons made in bands of so many rows."""
    patch.setattr(_polygons, "_BAND", rows * SHAPE[1])
    patch.setattr(_polygons, "_ROWS", 1)


@pytest.fixture(scope="module")
def scene(data: Path, make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("scene")
    with rasterio.open(write_mosaic(data, folder / "all.tif")) as file:
        pixels = file.read()[:, 100 : 100 + SHAPE[0], 200 : 200 + SHAPE[1]]
    bare = Subject(write_scene(pixels, folder / "dubai.tif"), make_model())
    whole = folder / "whole"
    found = bare.run(whole, CORES[0], random.Random(0), SerialRunner())
    assert set(found) >= {f"p{suffix}" for suffix in SUFFIXES} | {"map.tif", "s.tif", "scored.fgb"}
    scores = [
        pyogrio.raw.read(whole / name, columns=["score"])[3][0] for name in ("p.fgb", "scored.fgb")
    ]
    assert scores[0].tolist() == scores[1].tolist()
    assert len(scores[0]) > 1000
    assert len(set(scores[0])) > 100
    return replace(bare, expected=found)


@pytest.fixture(scope="module")
def cluster(scene: Subject) -> Iterator[DaskRunner]:
    """Return two workers, which outlive the runs; what was imported for the scene, they have."""
    with local_workers(2, 0, lambda line: None) as runner:
        yield runner


@pytest.mark.parametrize("core", CORES[1:], ids=str)
def test_polygons_are_those_of_a_run_in_one_go(
    scene: Subject,
    cluster: DaskRunner,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    core: tuple[int, int],
) -> None:
    in_bands(monkeypatch, core[0])
    order = random.Random(sum(core))
    ways: list[tuple[Runner, dict[str, Any]]] = [
        (SerialRunner(), {}),
        (ThreadRunner(2), {"workers": 2}),
        (cluster, {"scheduler": address_of(cluster)}),
    ]
    for number, (runner, how) in enumerate(ways):
        assert scene.run(tmp_path / str(number), core, order, runner, **how) == scene.expected, how


def command(scene: Subject, folder: Path, suffix: str, *more: str) -> list[str]:
    """Return the arguments of a run that makes polygons."""
    return [
        *("segment", str(scene.image), "-m", str(scene.model), "-o", str(folder / "map.tif")),
        *("--scores", str(folder / "s.tif"), "--polygons", str(folder / f"p{suffix}")),
        *("--threads", "1", "--memory", "4GB", "--runtime", "torch", "--window", "64,64"),
        *("--set", "tiling.core=[40,104]", "--set", "output.report=false", "-q", *more),
    ]


def dying(arguments: list[str], among: str) -> None:
    """Run a command line until some tiles are done, or a batch of polygons is to be written."""
    owner, name, left = {
        "tiles": (Tally, "__call__", SOME),
        "polygons": (_stream, "_columns", 0),
    }[among]
    act, calls = getattr(owner, name), [left]

    def dies(*given: Any) -> Any:
        calls[0] -= among == "polygons" or isinstance(given[1], TileDone)
        if calls[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return act(*given)

    setattr(owner, name, dies)
    sys.exit(cli.run(arguments))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_drivers_are_killed_among_tiles_and_polygons_and_others_go_on(
    scene: Subject, cluster: DaskRunner, tmp_path: Path, suffix: str
) -> None:
    """On workers, then in one process, then in threads."""
    out, polygons = tmp_path / "map.tif", tmp_path / f"p{suffix}"
    receipts = tmp_path / "map.tif.work" / "receipts"
    spread, threads = ["--scheduler", address_of(cluster)], ["--workers", "2"]
    for more, among in ((spread, "tiles"), ([], "polygons")):
        arguments = command(scene, tmp_path, suffix, *more)
        process = PROCESSES.Process(target=dying, args=(arguments, among))
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert not polygons.exists()
        assert len(list(receipts.glob("*.json"))) >= SOME
        assert out.exists() == (among == "polygons")
    last = started(command(scene, tmp_path, suffix, *threads))
    last.join()
    assert last.exitcode == 0
    found = digests(tmp_path)
    assert found == {name: scene.expected[name] for name in found}
    assert polygons.name in found
