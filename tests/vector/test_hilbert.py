"""GeoParquet is sorted along a Hilbert curve, and a reader finds a part of the map by boxes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import shapely
from pyproj import CRS

from tests.vector.test_polygon_wishes import MATRIX, noise, scene
from tiledseg.vector import PolygonSpec, _polygons, write_polygons
from tiledseg.vector._hilbert import hilbert


def test_neighbours_on_the_curve_are_neighbours_in_the_square() -> None:
    """And every point has a place of its own: that is what makes it a Hilbert curve."""
    for bits in (1, 2, 5):
        y, x = np.indices((2**bits, 2**bits)).reshape(2, -1)
        place = hilbert(x, y, bits)
        assert sorted(place.tolist()) == list(range(4**bits))
        order = np.argsort(place)
        steps = np.abs(np.diff(x[order])) + np.abs(np.diff(y[order]))
        assert (steps == 1).all()
        assert (x[order[0]], y[order[0]]) == (0, 0)
        quarters = (x[order] >> (bits - 1)) * 2 + (y[order] >> (bits - 1))
        assert (np.diff(quarters) != 0).sum() == 3  # it does not come back to a quarter


def middles(shapes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return twice the middle of every shape's box, in samples."""
    left, low, right, high = shapely.bounds(shapes).T
    x, y = (left + right - 2 * MATRIX[0, 2]) / 10, (2 * MATRIX[1, 2] - low - high) / 10
    return np.rint(x).astype(np.int64), np.rint(y).astype(np.int64)


@pytest.mark.parametrize("connectivity", [4, 8])
def test_rows_follow_the_curve_whatever_is_read_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connectivity: int
) -> None:
    path, found, labels = tmp_path / "a.parquet", set(), noise()
    for label, wide in ((5, 4), (6, 2), (7, 0)):  # one within the other
        labels[20 - wide : 21 + wide, 20 - wide : 21 + wide] = label
    monkeypatch.setattr(_polygons, "_ROWS", 1)
    for rows in (40, 1, 7):
        monkeypatch.setattr(_polygons, "_BAND", 40 * rows)
        spec = PolygonSpec(connectivity=connectivity)
        write_polygons(scene(labels, 9), path, spec)
        found.add(path.read_bytes())
    assert len(found) == 1
    table = pq.read_table(path)
    shapes = shapely.from_wkb(table["geometry"].to_numpy())
    assert shapely.is_valid(shapes).all()
    place = hilbert(*middles(shapes), 7)  # 80 half samples
    ids = table["object_id"].to_numpy()
    order = np.lexsort((ids, place))
    assert order.tolist() == list(range(len(ids)))
    assert (np.diff(place) == 0).sum() >= 2  # where middles are the same, ids ascend


def groups(path: Path) -> np.ndarray:
    """Return the box of every group of rows, as its statistics tell it, (n, 4)."""
    data = pq.ParquetFile(path).metadata
    names = {data.schema.column(i).path: i for i in range(data.num_columns)}
    boxes = []
    for number in range(data.num_row_groups):
        group = data.row_group(number)
        told = {n: group.column(names[f"bbox.{n}"]).statistics for n in ("xmin", "ymin")}
        told |= {n: group.column(names[f"bbox.{n}"]).statistics for n in ("xmax", "ymax")}
        boxes.append([told["xmin"].min, told["ymin"].min, told["xmax"].max, told["ymax"].max])
    return np.array(boxes)


def test_a_reader_skips_groups_by_their_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = noise(150)
    labels[labels == 0] = 4  # no background that is everywhere
    monkeypatch.setattr(_polygons, "_BATCH", 1500)
    path, plain = tmp_path / "a.parquet", tmp_path / "b.parquet"
    write_polygons(scene(labels, 9), path, PolygonSpec())
    monkeypatch.setattr(_polygons, "along_curve", lambda features, table: features)
    write_polygons(scene(labels, 9), plain, PolygonSpec())
    left, top = MATRIX[:2, 2]
    met = {path: 0, plain: 0}
    for x, y in np.ndindex(10, 10):
        window = shapely.box(
            left + 150 * x, top - 150 * y - 150, left + 150 * x + 150, top - 150 * y
        )
        for file in met:
            met[file] += int(shapely.intersects(shapely.box(*groups(file).T), window).sum())
    assert len(groups(path)) > 20
    assert met[path] < 0.6 * met[plain]
    window = shapely.box(left + 300, top - 600, left + 450, top - 400)
    west, south, east, north = window.bounds
    asked = (pc.field("bbox", "xmax") >= west) & (pc.field("bbox", "xmin") <= east)
    asked &= (pc.field("bbox", "ymax") >= south) & (pc.field("bbox", "ymin") <= north)
    whole = pq.read_table(path)
    boxes = shapely.bounds(shapely.from_wkb(whole["geometry"].to_numpy()))
    wanted = shapely.intersects(shapely.box(*boxes.T), window)
    part = pq.read_table(path, filters=asked)
    assert part["object_id"].to_pylist() == whole["object_id"].to_numpy()[wanted].tolist()


def test_metadata_is_what_geoparquet_asks_for(tmp_path: Path) -> None:
    """What is required, and what the format says of it (geoparquet.org/releases/v1.1.0)."""
    path = tmp_path / "a.parquet"
    write_polygons(scene(noise(), 9), path, PolygonSpec())
    file = pq.ParquetFile(path)
    geo = json.loads(file.metadata.metadata[b"geo"])
    assert set(geo) == {"version", "primary_column", "columns"}
    column = geo["columns"][geo["primary_column"]]
    assert {"encoding", "geometry_types"} <= set(column)
    known = {"encoding", "geometry_types", "crs", "edges", "orientation", "bbox", "epoch"}
    assert set(column) <= known | {"covering"}
    assert (column["encoding"], column["orientation"]) == ("WKB", "counterclockwise")
    assert CRS.from_json_dict(column["crs"]) == CRS.from_epsg(32633)
    covering = column["covering"]["bbox"]
    assert covering == {name: ["bbox", name] for name in ("xmin", "ymin", "xmax", "ymax")}
    box = file.schema_arrow.field("bbox").type
    assert [(part.name, str(part.type)) for part in box] == [(n, "double") for n in covering]
    assert str(file.schema_arrow.field("geometry").type) == "binary"
