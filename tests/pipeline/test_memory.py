"""Measured peak memory: within the budget, whatever the size of the scene."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tiledseg.box import Box
from tiledseg.budget import parse_bytes
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import SinkSpec, create_sink, open_source
from tiledseg.labels import ClassSchema

MakeModel = Callable[..., Path]


def _peak(scene: Path, model: Path, out: Path, memory: str, *more: str) -> int:
    """Segment in a process of its own and return the peak it measured."""
    command = [
        *(sys.executable, "-m", "tiledseg", "segment", str(scene), "-m", str(model)),
        *("-o", str(out), "--memory", memory, "--threads", "1", "--quiet", "--json"),
        *("--runtime", "torch", *more),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(json.loads(ended.stdout)["ran"]["peak_memory"])


def _scene(path: Path, size: int, grid: Grid | None = None) -> Path:
    rng = np.random.default_rng(0)
    spec = SinkSpec(grid or Grid.local((size, size)), np.dtype(np.uint8), ("c0", "c1", "c2"), None)
    sink = create_sink(path, spec, "gtiff")
    sink.prepare()
    height, width = spec.grid.shape
    for row in range(0, height, 512):
        box = spec.grid.box.along(0, row, min(row + 512, height))
        coarse = rng.integers(0, 255, (3, box.shape[0] // 8 + 1, width // 8 + 1), np.uint8)
        sink.write(box, coarse.repeat(8, 1).repeat(8, 2)[:, : box.shape[0], :width])
    sink.commit()
    return path


@pytest.mark.slow
def test_peak_stays_within_the_budget(tmp_path: Path, make_model: MakeModel) -> None:
    model = make_model(window=(256, 256))
    memory = "1.1GB"
    peaks = []
    for size in (2048, 8192):
        scene = _scene(tmp_path / f"{size}.tif", size)
        peaks.append(
            _peak(
                scene,
                model,
                tmp_path / f"{size}.map.tif",
                memory,
                "--set",
                "tiling.core=[1024,1024]",
            )
        )
    assert max(peaks) <= parse_bytes(memory)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "method"), [(5.0, "cubic"), (19.0, "area")])
def test_resampled_peak_stays_within_the_budget(
    tmp_path: Path, make_model: MakeModel, step: float, method: str
) -> None:
    """Finer and coarser than the model's 10 m; the core is chosen to fit."""
    from rasterio.crs import CRS

    from tiledseg.resampling import Resampling

    size = round(1536 * 10 / step)
    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    matrix = [[step, 0, 5e5], [0, -step, 5.4e6], [0, 0, 1]]
    scene = _scene(tmp_path / "scene.tif", size, Grid.from_matrix((size, size), matrix, space))
    model = make_model(
        classes=8, window=(256, 256), spacing=(10.0, 10.0), resampling=Resampling(method)
    )
    more = ("--scores", str(tmp_path / "scores.tif"))
    assert _peak(scene, model, tmp_path / "map.tif", "1.1GB", *more) <= parse_bytes("1.1GB")


@pytest.mark.slow
def test_a_batch_stays_within_the_budget(tmp_path: Path, make_model: MakeModel) -> None:
    """Tiles of two inputs are in flight between them, and finished ones leave nothing behind."""
    model = make_model(classes=24, window=(256, 256))
    for i, size in enumerate((1024, 2048, 1024, 1536)):
        _scene(tmp_path / f"{i}.tif", size)
    command = [
        *(sys.executable, "-m", "tiledseg", "segment", str(tmp_path / "?.tif"), "-m", str(model)),
        *("-o", str(tmp_path / "{name}.map.tif"), "--memory", "1.1GB", "--threads", "1"),
        *("--workers", "2", "--runtime", "torch", "--quiet", "--json"),
        *("--scores", str(tmp_path / "{name}.scores.tif")),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(ended.stdout)
    assert [row["state"] for row in told["inputs"]] == ["done"] * 4
    assert told["peak_memory"] <= parse_bytes("1.1GB")


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "scores"), [("1GB", False), ("1.4GB", True)])
def test_the_core_is_chosen_to_fit(
    tmp_path: Path, make_model: MakeModel, memory: str, scores: bool
) -> None:
    """The least holds little more than torch and MONAI with all that it finds to import.

    Rows cost no memory, so there are few.
    """
    scene = _scene(tmp_path / "scene.tif", 4096, Grid.local((1536, 4096)))
    model = make_model(classes=24, window=(256, 256))
    more = ("--scores", str(tmp_path / "scores.tif")) if scores else ()
    assert _peak(scene, model, tmp_path / "map.tif", memory, *more) <= parse_bytes(memory)


@pytest.mark.slow
def test_a_label_map_larger_than_the_room_for_it(tmp_path: Path, make_model: MakeModel) -> None:
    """221 MB, mostly air; the budget leaves less beside the program, and all samples are there."""
    grid = Grid.from_centers((1500, 384, 384), (0, 0, 0), (1, 1, 1), None, PATIENT)
    spec = SinkSpec(grid, np.dtype(np.uint8), ("ct",), None)
    sink = create_sink(tmp_path / "volume.nii", spec)
    sink.prepare()  # nothing is written: the file is all hole, and so air
    box = Box.of_shape((32, 32, 32), (500, 300, 200))
    sink.write(box, np.random.default_rng(0).integers(1, 255, (1, *box.shape), np.uint8))
    sink.commit()
    out = tmp_path / "labels.nii.gz"
    more = ("--set", "input.skip_below=1", "--set", "output.report=false")
    schema = ClassSchema.of_names(["air", "fat", "muscle", "bone"], background=0)
    model = make_model(dims=3, channels=1, schema=schema, window=(64, 64, 64))
    assert _peak(tmp_path / "volume.nii", model, out, "1.1GB", *more) <= parse_bytes("1.1GB")
    with open_source(out) as labels:
        assert labels.grid.like(grid)
        assert labels.read(box).any()
        assert not labels.read(box.along(0, 700, 732)).any()


@pytest.mark.slow
@pytest.mark.data
def test_memory_does_not_follow_the_size_of_a_real_scene(
    data: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    """Promise: under 1.5 GB, and within 10 % of the peak of a quarter of the scene.

    Parts of a world of 648 megapixels; `benchmarks/RESULTS.md` has the whole of it.
    """
    import rasterio
    from rasterio.windows import Window

    def part(name: str, height: int, width: int) -> Path:
        with rasterio.open(data / "geo/rio-tiler/cog_world.tif") as source:
            profile = {**source.profile, "driver": "GTiff", "height": height, "width": width}
            with rasterio.open(tmp_path / name, "w", **profile) as crop:
                for row in range(0, height, 512):
                    rows = min(512, height - row)
                    samples = source.read(1, window=Window(9000, 4500 + row, width, rows))
                    crop.write(samples, 1, window=Window(0, row, width, rows))
        return tmp_path / name

    model = make_model(channels=1, window=(512, 512))
    more = ("--set", "tiling.core=[2048,2048]")
    quarter, whole = part("quarter.tif", 4500, 9000), part("whole.tif", 9000, 18000)
    small = _peak(quarter, model, tmp_path / "q.tif", "1.5GB", *more)
    large = _peak(whole, model, tmp_path / "w.tif", "1.5GB", *more)
    assert large < 1.5e9
    assert large <= 1.1 * small
