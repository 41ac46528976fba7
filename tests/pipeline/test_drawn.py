"""Polygons of real maps, read from their file again, show what the map shows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyogrio
import pytest
import rasterio
from PIL import Image
from rasterio.windows import Window

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import OutputFailed

#: Parts of real maps with a palette, (first column, first row, columns, rows).
PARTS = {
    "cog_cmap": Window(2500, 3000, 1500, 1100),
    "landcover_polygon_1m": Window(2700, 1000, 1250, 1400),
}


def part(data: Path, folder: Path, name: str) -> Path:
    """Return a part of a real map as a file with its palette."""
    path = folder / f"{name}.tif"
    with rasterio.open(next(data.rglob(f"{name}.tif"))) as file:
        window = PARTS[name]
        profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "crs": file.crs}
        profile |= {"width": window.width, "height": window.height, "nodata": file.nodata}
        profile |= {
            "transform": file.transform @ rasterio.Affine.translation(*window.flatten()[:2])
        }
        with rasterio.open(path, "w", **profile) as new:
            new.write(file.read(1, window=window), 1)
            new.write_colormap(1, file.colormap(1))
    return path


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("cog_cmap", ".gpkg"),
        ("landcover_polygon_1m", ".gpkg"),
        ("landcover_polygon_1m", ".parquet"),
        ("cog_cmap", ".geojson"),
    ],
)
def test_every_sample_is_drawn_in_its_class(
    data: Path, tmp_path: Path, name: str, suffix: str
) -> None:
    path, target = part(data, tmp_path, name), tmp_path / f"{name}{suffix}"
    made = tiledseg.vectorize(path, target, with_report=True).outputs
    folder = tmp_path / f"{name}.report"
    assert made[:3] == [target, folder / "report.html", folder / "report.json"]
    told = json.loads((folder / "report.json").read_text())
    with rasterio.open(path) as file:
        shown = file.read(1)[1::2, 1::2]  # more than 1024 samples a side: every second
        colors = np.array([file.colormap(1)[i][:3] for i in range(256)])
        known = file.nodata != shown
    assert told["ran"]["samples_drawn"] == told["ran"]["samples_alike"] == f"{known.sum():,}"
    if suffix == ".gpkg":
        count = pyogrio.read_info(target, layer=name)["features"]
        assert told["ran"]["polygons"] == f"{count:,}"
    image = np.asarray(Image.open(folder / "picture.png").convert("RGB")).reshape(-1, 3)
    for label in np.unique(shown[known & (shown > 0)]):
        if (shown == label).mean() > 0.01:  # the picture is smaller than what was drawn
            assert (image == colors[label]).all(axis=1).sum() > 100


@pytest.mark.data
def test_simplified_polygons_are_drawn_as_they_are(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = part(data, tmp_path, "cog_cmap")
    asked = ["vectorize", str(path), "-o", str(tmp_path / "a.fgb"), "--report"]
    assert run([*asked, "--simplify", "4", "--classes", "3,6"]) == 0
    assert str(tmp_path / "a.report" / "picture.png") in capsys.readouterr().out
    told = json.loads((tmp_path / "a.report" / "report.json").read_text())
    drawn, alike = (
        int(told["ran"][f"samples_{word}"].replace(",", "")) for word in ("drawn", "alike")
    )
    with rasterio.open(path) as file:
        wanted = np.isin(file.read(1)[1::2, 1::2], (3, 6)).sum()
    assert 0.97 * wanted < alike < wanted < drawn
    assert "simplify: 4.0" in told["config"]


@pytest.mark.data
def test_a_report_spares_what_is_there(tmp_path: Path, data: Path) -> None:
    path = part(data, tmp_path, "cog_cmap")
    (tmp_path / "a.report").write_text("mine")
    with pytest.raises(OutputFailed, match=r"a\.report"):
        tiledseg.vectorize(path, tmp_path / "a.gpkg", with_report=True)
    assert (tmp_path / "a.report").read_text() == "mine"
    assert not (tmp_path / "a.gpkg").exists()
