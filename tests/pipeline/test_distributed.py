"""One map, whoever computes it: on a real scene and a real volume.

In one process, in threads, on Dask workers that are killed, by a driver that is killed, in shards.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import rasterio
import SimpleITK as sitk
from numpy.typing import NDArray
from PIL import Image

import tiledseg
from tests.engine.tasks import Dying, Heavy
from tests.runs import sha, started
from tiledseg import cli
from tiledseg.config import RunConfig
from tiledseg.engine._dask import DaskRunner, local_workers
from tiledseg.errors import ConfigError
from tiledseg.pipeline._run import Run

MakeModel = Callable[..., Path]
pytestmark = [pytest.mark.slow, pytest.mark.data]
#: The first is the whole image.
CORES = {
    "scene": [(966, 1200), (512, 512), (512, 1200), (128, 384), (384, 512)],
    "volume": [(64, 80, 96), (32, 80, 96), (64, 64, 64), (64, 32, 96), (16, 80, 64)],
}
MANY = {"scene": (128, 128), "volume": (16, 32, 16)}


class Subject(NamedTuple):
    """A real image, a model for it, and the bytes of the run in one go."""

    kind: str
    image: Path
    model: Path
    expected: tuple[str, str]

    def settings(self, core: tuple[int, ...], scores: Path, **runtime: Any) -> dict[str, Any]:
        return {
            "tiling": {"core": core, "window": (128, 128) if len(core) == 2 else (32, 32, 32)},
            "runtime": {"threads": 1, "runtime": "torch", **runtime},
            "output": {"scores": str(scores)},
            "budget": {"memory": "4GB"},
        }

    def run(self, folder: Path, core: tuple[int, ...], **runtime: Any) -> tuple[str, str]:
        """Segment and return the sha256 of class map and scores."""
        out, scores = self.outputs(folder)
        result = tiledseg.segment(
            self.image, self.model, out, **self.settings(core, scores, **runtime)
        )
        assert result.ran.evaluated + result.ran.skipped == result.ran.planned
        return sha(out), sha(scores)

    def outputs(self, folder: Path) -> tuple[Path, Path]:
        suffix = ".tif" if self.kind == "scene" else ".nii"
        return folder / f"map{suffix}", folder / f"scores{suffix}"


def write_mosaic(data: Path, out: Path) -> Path:
    """Put the nine parts of a Dubai scene together, and write the middle, (966, 1200)."""
    parts = sorted((data / "geo/dubai_landcover/tile_1/images").glob("*.jpg"))
    rows = [
        np.concatenate([np.asarray(Image.open(p)) for p in parts[i : i + 3]], axis=1)
        for i in (0, 3, 6)
    ]
    return write_scene(np.moveaxis(np.concatenate(rows), -1, 0)[:, 483:1449, 595:1795], out)


def write_scene(pixels: NDArray[np.uint8], out: Path) -> Path:
    """Write bands of 1 m samples as a GeoTIFF."""
    shape = dict(zip(("count", "height", "width"), pixels.shape, strict=True))
    away = rasterio.Affine(1, 0, 3e5, 0, -1, 2.8e6)
    with rasterio.open(
        out, "w", "GTiff", **shape, dtype="uint8", transform=away, crs="EPSG:32640"
    ) as file:
        file.write(pixels)
    return out


def begun(kind: str, image: Path, model: Path, folder: Path) -> Subject:
    """Return a subject with the bytes of a run in one go."""
    bare = Subject(kind, image, model, ("", ""))
    return bare._replace(expected=bare.run(folder, CORES[kind][0]))


@pytest.fixture(scope="module")
def scene(data: Path, make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    folder = tmp_path_factory.mktemp("scene")
    return begun("scene", write_mosaic(data, folder / "dubai.tif"), make_model(2), folder)


@pytest.fixture(scope="module")
def volume(data: Path, make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Subject:
    """A part of a chest, as it lies in the file."""
    folder = tmp_path_factory.mktemp("volume")
    whole = sitk.ReadImage(str(data / "medical/totalsegmentator/example_ct.nii.gz"))
    shape = CORES["volume"][0]
    sitk.WriteImage(whole[: shape[2], : shape[1], : shape[0]], str(folder / "ct.nii"))
    return begun("volume", folder / "ct.nii", make_model(3, channels=1), folder)


@pytest.fixture(params=["scene", "volume"])
def subject(request: pytest.FixtureRequest) -> Subject:
    found: Subject = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def clusters(scene: Subject) -> Iterator[dict[int, DaskRunner]]:
    """Return clusters of one, two and four workers, which outlive the runs.

    The scene comes first: what was imported for it, the workers need not import again.
    """
    with ExitStack() as stack:
        yield {n: stack.enter_context(local_workers(n, 0, lambda line: None)) for n in (1, 2, 4)}


@pytest.fixture
def cluster(clusters: dict[int, DaskRunner]) -> DaskRunner:
    return clusters[2]


def address_of(cluster: DaskRunner) -> str:
    return str(cluster._client.scheduler.address)


@pytest.fixture
def address(cluster: DaskRunner) -> str:
    return address_of(cluster)


@pytest.mark.parametrize("index", range(1, 5))
def test_every_core_in_one_process_in_threads_and_on_workers(
    subject: Subject, clusters: dict[int, DaskRunner], tmp_path: Path, index: int
) -> None:
    core = CORES[subject.kind][index]
    spread = [{"scheduler": address_of(cluster)} for cluster in clusters.values()]
    for runtime in ({}, {"workers": 2}, *spread):
        assert subject.run(tmp_path, core, **runtime) == subject.expected, runtime


def test_workers_of_its_own(scene: Subject, tmp_path: Path) -> None:
    assert scene.run(tmp_path, CORES["scene"][1], workers=2, runner="dask") == scene.expected


def test_a_tenth_of_the_tiles_kill_their_worker_in_shuffled_order(
    subject: Subject, cluster: DaskRunner, address: str, tmp_path: Path
) -> None:
    chance = random.Random(4)
    out, scores = subject.outputs(tmp_path)
    settings = subject.settings(MANY[subject.kind], scores, scheduler=address)
    deaths = tmp_path / "deaths"
    deaths.mkdir()
    with (
        tiledseg.plan(subject.image, subject.model, out, **settings) as job,
        Run(job, out, False, lambda event: None) as run,
    ):
        units = list(run.units())
        doomed = tuple(chance.sample(range(len(units)), max(2, len(units) // 10)))
        chance.shuffle(units)
        cluster.run(u._replace(task=Dying(u.task, str(deaths), doomed)) for u in units)
        result = run.finish()
    assert len(list(deaths.iterdir())) == len(doomed)
    assert not result.ran.lost
    assert result.ran.evaluated + result.ran.skipped == result.ran.planned
    assert (sha(out), sha(scores)) == subject.expected


def test_a_tile_that_its_worker_has_no_memory_for_is_done_in_halves(
    cluster: DaskRunner, address: str, make_model: MakeModel, tmp_path: Path
) -> None:
    """Where the system kills the process that takes too much, instead of refusing it memory."""
    pixels = np.random.default_rng(5).integers(1, 250, (3, 200, 1400), np.uint8)
    image = write_scene(pixels, tmp_path / "scene.tif")
    core = (200, 1024)
    scene = begun("scene", image, make_model(2), tmp_path)
    out, scores = scene.outputs(tmp_path)
    settings = scene.settings(core, scores, scheduler=address)
    with (
        tiledseg.plan(image, scene.model, out, **settings) as job,
        Run(job, out, False, lambda event: None) as run,
    ):
        units, limit = list(run.units()), 200 * 600
        assert prod(units[0].tile.core.shape) > limit
        cluster.run(
            u._replace(task=Heavy(u.task, limit), smaller=Heavy(u.smaller, limit)) for u in units
        )
        result = run.finish()
    assert not result.ran.lost
    assert result.ran.evaluated > result.ran.planned  # windows over the cut, twice
    assert (sha(out), sha(scores)) == scene.expected


def test_a_tile_that_always_kills_is_a_hole_until_it_does_not(
    scene: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = command(scene, tmp_path, "--runner", "dask", "--workers", "2")
    real = Run._task
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_task", lambda run: Dying(real(run), None, (5,)))
        assert cli.run(arguments) == 3
    out, scores = scene.outputs(tmp_path)
    ran = json.loads((tmp_path / "map.report" / "report.json").read_text())["ran"]
    assert list(ran["tiles_lost"]) == ["5"]
    assert "died" in ran["tiles_lost"]["5"]
    with rasterio.open(out) as file:
        hole = file.read(1) == file.nodata
    assert hole[:128, 640:768].all()
    assert hole.sum() == 128 * 128
    assert cli.run(arguments) == 0  # the same command, once the cause is gone
    ran = json.loads((tmp_path / "map.report" / "report.json").read_text())["ran"]
    assert (ran["tiles_lost"], ran["tiles_resumed"]) == ({}, ran["tiles"] - 1)
    assert (sha(out), sha(scores)) == scene.expected


def command(subject: Subject, folder: Path, *more: str) -> list[str]:
    """Return the arguments of a run of many tiles."""
    out, scores = subject.outputs(folder)
    core = MANY[subject.kind]
    return [
        *("segment", str(subject.image), "-m", str(subject.model), "-o", str(out)),
        *("--scores", str(scores), "--threads", "1", "--memory", "4GB", "--runtime", "torch"),
        *("--window", "128,128" if len(core) == 2 else "32,32,32"),
        *("--set", f"tiling.core={list(core)}", "-q", *more),
    ]


def test_a_driver_killed_ten_times(subject: Subject, address: str, tmp_path: Path) -> None:
    out, scores = subject.outputs(tmp_path)
    receipts = out.with_name(f"{out.name}.work") / "receipts"
    chance, kept = random.Random(2), 0
    for _ in range(10):
        process = started(command(subject, tmp_path, "--scheduler", address))
        goal = kept + chance.randrange(2)
        while process.is_alive() and len(list(receipts.glob("*.json"))) < goal:
            time.sleep(0.01)
        time.sleep(chance.random() * 0.03)
        assert process.is_alive(), "the run ended before it was killed ten times"
        process.kill()
        process.join()
        kept = len(list(receipts.glob("*.json")))
        assert not out.exists()
    result = tiledseg.segment(
        subject.image, subject.model, out, **subject.settings(MANY[subject.kind], scores)
    )
    assert result.ran.resumed >= kept
    assert (sha(out), sha(scores)) == subject.expected


def alive(group: int) -> bool:
    """Whether any process of a group is there."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_an_interrupt_is_one_sentence_and_nothing_is_left_over(
    scene: Subject, tmp_path: Path
) -> None:
    """A terminal sends it to the workers, too."""
    told = command(scene, tmp_path, "--runner", "dask", "--workers", "2")
    # As in a terminal, whatever runs the tests: under nohup an interrupt is ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    told = [sys.executable, "-c", f"{heard}; from tiledseg.cli import main; main()", *told]
    process = subprocess.Popen(told, stderr=subprocess.PIPE, text=True, start_new_session=True)
    out, scores = scene.outputs(tmp_path)
    receipts = out.with_name("map.tif.work") / "receipts"
    while process.poll() is None and len(list(receipts.glob("*.json"))) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said == "tiledseg: interrupted; run the same command again to go on\n"
    until = time.monotonic() + 20
    while alive(process.pid) and time.monotonic() < until:  # workers end a little later
        time.sleep(0.1)
    assert not alive(process.pid)
    assert cli.run(command(scene, tmp_path)) == 0
    assert (sha(out), sha(scores)) == scene.expected


def test_shards_at_once(subject: Subject, tmp_path: Path) -> None:
    jobs = [started(command(subject, tmp_path, "--shard", f"{i}/3")) for i in (1, 2, 3)]
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0, 0, 0]
    out, scores = subject.outputs(tmp_path)
    assert not out.exists()
    assert cli.run(command(subject, tmp_path)) == 0
    assert (sha(out), sha(scores)) == subject.expected


def test_workers_that_see_another_image_or_model_say_so(
    scene: Subject, cluster: DaskRunner, address: str, tmp_path: Path
) -> None:
    image, model = tmp_path / "image.tif", tmp_path / "model"
    image.write_bytes(scene.image.read_bytes())
    model.mkdir()
    for file in scene.model.iterdir():
        (model / file.name).write_bytes(file.read_bytes())
    out, scores = scene.outputs(tmp_path)
    settings = scene.settings(MANY["scene"], scores, scheduler=address)

    def attempt(gone: str) -> None:
        with tiledseg.plan(image, model, out, **settings) as job:
            (tmp_path / gone).rename(tmp_path / "elsewhere")
            try:
                with Run(job, out, True, lambda event: None) as run:
                    cluster.run(run.units())
            finally:
                (tmp_path / "elsewhere").rename(tmp_path / gone)

    for gone, said in (("model", "there is no model at"), ("image.tif", "image.tif")):
        with pytest.raises(ConfigError, match=said) as raised:
            attempt(gone)
        assert "worker " in str(raised.value)


def test_relative_names_hold_in_another_folder(
    scene: Subject, address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The workers were started elsewhere."""
    monkeypatch.chdir(tmp_path)
    names = {"dubai.tif": scene.image, "model": scene.model}
    for name, there in names.items():
        (tmp_path / name).symlink_to(there)
    here = scene._replace(image=Path("dubai.tif"), model=Path("model"))
    assert here.run(Path(), CORES["scene"][2], scheduler=address) == scene.expected


def test_a_model_that_was_replaced_is_loaded_anew(
    scene: Subject, address: str, tmp_path: Path, make_model: MakeModel
) -> None:
    """Workers live on, and keep what they loaded."""
    for n, made in enumerate((scene.model, make_model(2, classes=5))):
        folder = tmp_path / str(n)
        folder.mkdir()
        (tmp_path / "model").unlink(missing_ok=True)
        (tmp_path / "model").symlink_to(made)
        there = scene._replace(model=tmp_path / "model")
        alone = there.run(folder, CORES["scene"][2])
        assert there.run(folder, CORES["scene"][2], scheduler=address) == alone


def test_a_batch_on_workers(scene: Subject, address: str, tmp_path: Path) -> None:
    """One pool of tiles, and one image of three that is none."""
    for name in ("a.tif", "c.tif"):
        (tmp_path / name).symlink_to(scene.image)
    (tmp_path / "b.tif").write_text("no image")
    settings = scene.settings(CORES["scene"][2], tmp_path / "{name}.s.tif", scheduler=address)
    images = [str(tmp_path / name) for name in ("a.tif", "b.tif", "c.tif")]
    result = tiledseg.segment_many(images, scene.model, tmp_path / "o" / "{name}.tif", **settings)
    assert [row.state for row in result.rows] == ["done", "failed", "done"]
    for name in ("a", "c"):
        found = (sha(tmp_path / "o" / f"{name}.tif"), sha(tmp_path / f"{name}.s.tif"))
        assert found == scene.expected


def test_an_array_does_not_travel(make_model: MakeModel) -> None:
    with pytest.raises(ConfigError, match="give a path"):
        tiledseg.segment(np.zeros((3, 64, 64), np.uint8), make_model(), runtime={"runner": "dask"})


def test_threads_and_memory_of_unknown_workers_are_asked_for(scene: Subject) -> None:
    runtime = {"scheduler": "tcp://127.0.0.1:1"}
    with pytest.raises(ConfigError, match="--threads"):
        tiledseg.plan(scene.image, scene.model, runtime=runtime)
    with pytest.raises(ConfigError, match="--memory"):
        tiledseg.plan(scene.image, scene.model, runtime={**runtime, "threads": 1})


def test_a_gpu_for_every_worker_or_none(scene: Subject) -> None:
    for device in ("cuda", "cuda:1"):
        with pytest.raises(ConfigError, match=r"a GPU of its own|cannot be used"):
            tiledseg.segment(scene.image, scene.model, runtime={"runner": "dask", "device": device})


def test_a_run_whose_settings_contradict_is_refused() -> None:
    for runtime in (
        {"runner": "threads", "scheduler": "tcp://127.0.0.1:1"},
        {"scheduler": "tcp://127.0.0.1:1", "cluster": "slurm.yaml"},
    ):
        with pytest.raises(ConfigError, match="exclude each other"):
            RunConfig.parse({"image": "a", "model": "b", "runtime": runtime})
