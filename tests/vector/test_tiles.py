"""Vector tiles of a map: where its samples lie, down to single ones, and nothing left behind."""

from __future__ import annotations

import resource
import signal
from pathlib import Path

import numpy as np
import pyogrio
import pytest
from rasterio.features import rasterize
from rasterio.transform import Affine

from tests.vector.test_polygon_wishes import MATRIX, noise, scene
from tiledseg.errors import ConfigError, OutputFailed, UnknownFormat
from tiledseg.grid import Grid
from tiledseg.io import MemorySource
from tiledseg.vector import (
    PolygonSpec,
    check_point_format,
    stored_polygons,
    write_polygons,
)
from tiledseg.vector._tiles import zoom_levels


def test_tiles_show_every_sample_in_its_class(tmp_path: Path) -> None:
    """Samples of 10 m at 45 degrees north are 14 m in Web Mercator: level 14 has 9.6 m."""
    labels, path = noise(), tmp_path / "a.pmtiles"
    source = scene(labels, 9)
    count = write_polygons(source, path, PolygonSpec())
    assert path.read_bytes()[:8] == b"PMTiles\x03"  # github.com/protomaps/PMTiles, version 3
    info = pyogrio.read_info(path, layer="a")
    assert info["crs"] == "EPSG:3857"
    told = info["dataset_metadata"]
    assert (told["minzoom"], told["maxzoom"]) == ("14", "14")
    assert {"object_id", "class_id", "class_name", "area_m2", "perimeter_m"} <= set(info["fields"])
    *_, fields = pyogrio.raw.read(path, layer="a", columns=["object_id"])
    assert len(np.unique(fields[0])) == count
    burnt = np.zeros(labels.shape, np.uint8)
    for shapes, classes in stored_polygons(path, source.grid.space):
        pairs = list(zip(shapes, classes.tolist(), strict=True))
        rasterize(pairs, out=burnt, transform=Affine(*MATRIX[:2].ravel()))
    np.testing.assert_array_equal(burnt, np.where(labels == 9, 0, labels))
    again = tmp_path / "b" / "a.pmtiles"
    again.parent.mkdir()
    write_polygons(source, again, PolygonSpec())
    assert again.read_bytes() == path.read_bytes()


def test_levels_are_those_of_the_map() -> None:
    def levels(size: int, side: float) -> tuple[int, int]:
        matrix = np.array([[side, 0, 5e5], [0, -side, 5e6], [0, 0, 1]])
        return zoom_levels(Grid.from_matrix((size, size), matrix, scene(noise()).grid.space))

    assert levels(256, 10.0) == (14, 14)
    assert levels(257, 10.0) == (13, 14)
    assert levels(32768, 10.0) == (7, 14)
    assert levels(256, 0.1) == (21, 21)
    assert levels(256, 0.001) == (22, 22)  # GDAL's last


def test_a_map_without_a_place_is_refused(tmp_path: Path) -> None:
    source = MemorySource(noise()[np.newaxis], Grid.from_matrix((40, 40), np.diag([1.0, -1, 1])))
    with pytest.raises(ConfigError, match=r"no CRS that says where; write \.gpkg"):
        write_polygons(source, tmp_path / "a.pmtiles", PolygonSpec())
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UnknownFormat, match="cannot write points"):
        check_point_format(tmp_path / "a.pmtiles")


@pytest.mark.parametrize("size", [4_000, 40_000])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, size: int) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        with pytest.raises(OutputFailed, match="cannot write"):
            write_polygons(scene(noise(150), 9), tmp_path / "a.pmtiles", PolygonSpec())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_tiles_of_nothing_are_refused(tmp_path: Path) -> None:
    labels = np.zeros((5, 4), np.uint8)
    with pytest.raises(ConfigError, match="nothing to outline"):
        write_polygons(scene(labels), tmp_path / "a.pmtiles", PolygonSpec())
    assert list(tmp_path.iterdir()) == []
