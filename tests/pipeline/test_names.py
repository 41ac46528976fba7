"""Names: nothing that is read is written over, and what cannot be made is refused early."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import shapely
import zarr
from rasterio.shutil import copy
from rasterio.transform import Affine

from tiledseg.cli import run

MakeModel = Callable[..., Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder, the current one, with an image ``a.tif`` in several disguises."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 255, (3, 70, 80), np.uint8)
    placed = {"crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(
        "a.tif", "w", driver="GTiff", count=3, height=70, width=80, dtype="uint8", **placed
    ) as file:
        file.write(values)
    copy("a.tif", "a.vrt", driver="VRT")
    with rasterio.open(
        "m.tif", "w", driver="GTiff", count=1, height=70, width=80, dtype="uint8", **placed
    ) as file:
        file.write(np.ones((1, 70, 80), np.uint8))
    copy("m.tif", "m.vrt", driver="VRT")
    zarr.create_array(zarr.open_group("data.zarr", mode="w").store, name="img", data=values)
    write_geojson(Path("roi.geojson"))
    shutil.copy("roi.geojson", "other.geojson")
    Path("folder").mkdir()
    Path("file").touch()
    return tmp_path


def write_geojson(path: Path) -> None:
    import json

    shape = shapely.geometry.mapping(shapely.box(500100, 4999400, 500600, 4999900))
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32633"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": [feature]}))


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    before = {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    assert run([str(a) for a in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert before == {p: p.read_bytes() for p in Path().rglob("*") if p.is_file()}
    return line


INPUTS = {
    "the image": ("a.tif", ["-o", "./folder/../a.tif"]),
    "as a URL": ("file://{place}/a.tif", ["-o", "a.tif"]),
    "through a VRT": ("a.vrt", ["-o", "a.tif"]),
    "an array in the folder": ("data.zarr/img", ["-o", "data.zarr"]),
    "inside an array": ("data.zarr/img", ["-o", "data.zarr/img/o.tif"]),
    "the scores": ("a.tif", ["-o", "o.tif", "--scores", "a.tif"]),
    "the roi": ("a.tif", ["-o", "o.tif", "--roi", "roi.geojson", "--polygons", "roi.geojson"]),
    "the grid of the result": ("a.tif", ["-o", "m.tif", "--set", "output.grid=m.tif"]),
    "a mask": ("a.tif", ["-o", "m.tif", "--roi", "m.vrt"]),
}


@pytest.mark.parametrize(("image", "arguments"), INPUTS.values(), ids=INPUTS)
def test_no_input_is_written_over(
    place: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    image: str,
    arguments: list[str],
) -> None:
    image = image.format(place=place)
    line = refused(capsys, "segment", image, "-m", make_model(), *arguments)
    assert "would overwrite the input" in line
    assert "choose another name" in line


OUTPUTS = {
    "one name": (["-o", "o.tif", "--scores", "o.tif"], "would overwrite one another"),
    "inside": (["-o", "o.zarr", "--scores", "o.zarr/s.tif"], "would overwrite one another"),
    "the style": (["-o", "o.tif", "--log", "o.qml"], "which the run writes"),
    "the colours": (["-o", "o.nii.gz", "--log", "folder/../o.ctbl"], "which the run writes"),
    "a log in the report": (
        ["-o", "o.tif", "--log", "o.report/report.json"],
        "which the run writes",
    ),
    "in the work": (["-o", "o.tif", "--polygons", "o.tif.work/p.gpkg"], "overwrite one another"),
    "no name": (["-o", ""], "is empty"),
    "a dot": (["-o", "."], "is a folder"),
    "the root": (["-o", "/"], "is a folder"),
    "a long name": (["-o", "o" * 300 + ".tif"], "File name too long"),
    "no text": (["-o", "gr\udcfcn.tif"], "no UTF-8 text"),
    "no folder": (["-o", "o.tif", "--polygons", "no/p.gpkg"], "there is no folder no"),
    "a folder": (["-o", "o.tif", "--scores", "folder"], "there is a folder of that name"),
    "the report": (["-o", "file.tif", "--set", "output.report=true"], "file.report is a file"),
}


@pytest.mark.parametrize(("arguments", "word"), OUTPUTS.values(), ids=OUTPUTS)
def test_outputs_that_cannot_be_made_are_refused_early(
    place: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    word: str,
) -> None:
    (place / "file.report").touch()
    assert word in refused(capsys, "segment", "a.tif", "-m", make_model(), *arguments)


@pytest.mark.parametrize(("surfaces", "word"), [("file", "is a file"), ("file/s", "is a file")])
def test_a_folder_that_cannot_be(
    place: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    surfaces: str,
    word: str,
) -> None:
    arguments = ["-o", "o.nii.gz", "--surfaces", surfaces]
    assert word in refused(capsys, "segment", "v.nii.gz", "-m", make_model(3, 1), *arguments)


@pytest.mark.parametrize("name", ["model.yaml", "weights.safetensors"])
def test_no_model_is_written_over(
    place: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """A log is appended to whatever it is called."""
    shutil.copytree(make_model(), "model")
    for model in ("model", f"model/{name}"):
        line = refused(
            capsys, "segment", "a.tif", "-m", model, "-o", "o.tif", "--log", f"model/{name}"
        )
        assert "would overwrite the input" in line


PIPES = {
    "the map": ("o.tif", "a.tif", ["-o", "o.tif"]),
    "the volume": ("o.nii.gz", "v.nii.gz", ["-o", "o.nii.gz"]),
    "the scores": ("s.tif", "a.tif", ["-o", "o.tif", "--scores", "s.tif"]),
    "polygons": ("p.gpkg", "a.tif", ["-o", "o.tif", "--polygons", "p.gpkg"]),
    "the style": ("o.qml", "a.tif", ["-o", "o.tif"]),
}


@pytest.mark.parametrize(("pipe", "image", "arguments"), PIPES.values(), ids=PIPES)
def test_a_pipe_is_not_replaced(
    place: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    pipe: str,
    image: str,
    arguments: list[str],
) -> None:
    os.mkfifo(pipe)
    model = make_model() if image == "a.tif" else make_model(3, 1)
    line = refused(capsys, "segment", image, "-m", model, *arguments)
    assert "is a pipe, a socket or a device" in line or "was not written by tiledseg" in line
    assert Path(pipe).is_fifo()


def test_a_link_to_itself_is_replaced(place: Path, make_model: MakeModel) -> None:
    (place / "loop.tif").symlink_to(place / "loop.tif")
    assert run(["segment", "a.tif", "-m", str(make_model()), "-o", "loop.tif", "-q"]) == 0
    assert not (place / "loop.tif").is_symlink()


def test_surfaces_and_map_may_share_a_folder(place: Path, make_model: MakeModel) -> None:
    values: dict[str, Any] = {"out": "folder/o.nii.gz", "output": {"surfaces": "folder"}}
    import tiledseg

    made = tiledseg.segment(np.zeros((20, 20, 20), np.uint8), make_model(3, 1), **values)
    assert made.outputs[0] == Path("folder/o.nii.gz")


def test_a_class_map_is_not_written_over(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy("a.tif", "map.gpkg", driver="GPKG", RASTER_TABLE="map")
    shutil.copy("map.gpkg", "one.gpkg")
    assert "expected one channel" in refused(capsys, "vectorize", "a.tif", "-o", "p.gpkg")
    assert "no folder" in refused(capsys, "vectorize", "a.tif", "-o", "no/p.gpkg")
