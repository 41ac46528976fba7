"""Polygons of a class map in a GeoPackage: tiledseg, band by band, against peers in memory.

    python -m benchmarks.vectorize --size 8192

The map is that of `benchmarks.components`, in a GeoTIFF in blocks. Each contender runs in a
process of its own, in turns, and does the whole job: it opens the map, and a GeoPackage with a
spatial index, the class and the area of every polygon comes out. The peers' is what people write:
rasterio's `shapes`, shapely, pyogrio. Processor seconds are told beside those on the wall: on a
machine that others use, too, only they can be compared.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import SinkSpec, create_sink

from .components import make_map

_CONTENDERS = ("peers", "tiledseg")


def _write_map(path: Path, size: int, smooth: float) -> None:
    from pyproj import CRS

    matrix = np.array([[10.0, 0, 500_000], [0, -10.0, 5_000_000], [0, 0, 1]])
    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    grid = Grid.from_matrix((size, size), matrix, space)
    sink = create_sink(path, SinkSpec(grid, np.dtype(np.uint8), ("class",), 255))
    sink.prepare()
    sink.write(grid.box, make_map(size, smooth)[np.newaxis])
    sink.commit()


def peers(class_map: Path, out: Path) -> int:
    """Do it as a script of a few lines does."""
    import pyogrio
    import rasterio
    import shapely
    from rasterio.features import shapes

    with rasterio.open(class_map) as file:
        labels, transform, crs = file.read(1), file.transform, file.crs.to_wkt()
    found = shapes(labels, mask=labels > 0, connectivity=4, transform=transform)
    outlines, values = [], []
    for outline, value in found:
        outlines.append(shapely.geometry.shape(outline))
        values.append(int(value))
    polygons = np.array(outlines, dtype=object)
    pyogrio.raw.write(
        str(out),
        shapely.to_wkb(polygons),
        [np.array(values, np.int32), shapely.area(polygons)],
        ["class_id", "area_m2"],
        geometry_type="Polygon",
        crs=crs,
        driver="GPKG",
    )
    return len(polygons)


def tiledseg(class_map: Path, out: Path) -> int:
    """Do it with tiledseg."""
    from tiledseg.io import open_source
    from tiledseg.vector import PolygonSpec, write_polygons

    with open_source(class_map) as source:
        return int(write_polygons(source, out, PolygonSpec()))


def _run(name: str, class_map: Path, out: Path) -> None:
    """Print seconds on the wall and of the processor, peak memory in MB, and polygons."""
    began, busy = time.perf_counter(), time.process_time()
    count = {"peers": peers, "tiledseg": tiledseg}[name](class_map, out)
    took, used = time.perf_counter() - began, time.process_time() - busy
    status = Path("/proc/self/status").read_text()  # ru_maxrss is at least that of the parent
    peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
    print(took, used, peak, count)


def main() -> None:
    """Print a row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--smooth", type=float, default=6.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--only", nargs=3, metavar=("NAME", "MAP", "OUT"))
    options = parser.parse_args()
    if options.only:
        _run(options.only[0], Path(options.only[1]), Path(options.only[2]))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_map(folder / "map.tif", options.size, options.smooth)
        command = [sys.executable, "-m", "benchmarks.vectorize", "--only"]
        rows: dict[str, list[list[float]]] = {name: [] for name in _CONTENDERS}
        for _ in range(options.turns):
            for name in _CONTENDERS:
                out = folder / f"{name}.gpkg"
                out.unlink(missing_ok=True)
                told = subprocess.run(
                    [*command, name, str(folder / "map.tif"), str(out)],
                    capture_output=True,
                    text=True,
                    check=True,
                )
                rows[name].append([float(word) for word in told.stdout.split()])
    theirs, ours = (np.median(rows[name], axis=0) for name in _CONTENDERS)
    assert theirs[3] == ours[3]
    pairs = " | ".join(
        f"{theirs[i]:.1f} | {ours[i]:.1f} | {ours[i] / theirs[i]:.2f}" for i in range(3)
    )
    print(f"| {options.size}^2, {int(ours[3]):,} | {pairs} |")


if __name__ == "__main__":
    main()
