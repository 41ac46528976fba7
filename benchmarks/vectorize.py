"""Polygons of a class map in a GeoPackage: tiledseg, band by band, against peers in memory.

    python -m benchmarks.vectorize --size 8192
    python -m benchmarks.vectorize --size 32768 --alone 15 --map /data/large.tif

The map is that of `benchmarks.components`, in a GeoTIFF in blocks. Each contender runs in a
process of its own, in turns, and does the whole job: it opens the map, and a GeoPackage with a
spatial index, the class and the area of every polygon comes out. The peers' is what people write:
rasterio's `shapes`, shapely, pyogrio. Processor seconds are told beside those on the wall: on a
machine that others use, too, only they can be compared.

Alone, with a tolerance, a map that is made strip by strip (and kept, if it has a name) goes to a
simplified GeoParquet, by one worker and by two.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import Sink, SinkSpec, create_sink

from .components import make_map

_CONTENDERS = ("peers", "tiledseg", "two workers")
#: Rows of a strip that is made at a time, and of noise that a filter looks at beyond it.
_STRIP, _HALO = 1024, 24


def _sink(path: Path, size: int) -> tuple[Sink, Grid]:
    """Return what a map of 10 m samples in UTM is written to."""
    from pyproj import CRS

    matrix = np.array([[10.0, 0, 500_000], [0, -10.0, 5_000_000], [0, 0, 1]])
    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    grid = Grid.from_matrix((size, size), matrix, space)
    sink = create_sink(path, SinkSpec(grid, np.dtype(np.uint8), ("class",), 255))
    sink.prepare()
    return sink, grid


def _write_map(path: Path, size: int, smooth: float) -> None:
    """Write the map of `benchmarks.components`."""
    sink, grid = _sink(path, size)
    sink.write(grid.box, make_map(size, smooth)[np.newaxis])
    sink.commit()


def _write_large(path: Path, size: int, smooth: float) -> None:
    """Write a map like it strip by strip; it is another one."""
    sink, grid = _sink(path, size)
    limits: Any = None
    strips = [_noise(-1, size), _noise(0, size)]
    for first in range(0, size, _STRIP):
        strips = [*strips[-2:], _noise(first // _STRIP + 1, size)]
        around = np.concatenate([strips[0][-_HALO:], strips[1], strips[2][:_HALO]])
        values = ndimage.gaussian_filter(around, smooth, radius=_HALO)[_HALO:-_HALO]
        if limits is None:
            limits = np.quantile(values[::7, ::7], np.arange(1, 6) / 6).astype(np.float32)
        box = grid.box.along(0, first, min(first + _STRIP, size))
        sink.write(box, np.digitize(values, limits).astype(np.uint8)[np.newaxis, : box.shape[0]])
    sink.commit()


def _noise(strip: int, size: int) -> Any:
    rng = np.random.default_rng([strip + 1, 0])
    return rng.standard_normal((_STRIP, size), dtype=np.float32)


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


def tiledseg(class_map: Path, out: Path, workers: int, simplify: float) -> int:
    """Do it with tiledseg."""
    from tiledseg.io import Ledger, open_source
    from tiledseg.vector import PolygonSpec, write_polygons

    spec = PolygonSpec(simplify=simplify)
    with open_source(class_map) as source, Ledger(out.parent, workers=workers) as ledger:
        return int(write_polygons(source, out, spec, ledger=ledger))


def _run(name: str, class_map: Path, out: Path, simplify: float) -> None:
    """Print seconds on the wall and of the processor, peak memory in MB, and polygons."""
    began, busy = time.perf_counter(), time.process_time()
    if name == "peers":
        count = peers(class_map, out)
    else:
        count = tiledseg(class_map, out, 2 if name == "two workers" else 1, simplify)
    took, used = time.perf_counter() - began, time.process_time() - busy
    status = Path("/proc/self/status").read_text()  # ru_maxrss is at least that of the parent
    peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
    print(took, used, peak, count)


def _measured(name: str, class_map: Path, out: Path, simplify: float = 0.0) -> list[float]:
    """Return what a contender's process of its own prints."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.vectorize", "--alone", str(simplify), "--only"]
    told = subprocess.run(
        [*command, name, str(class_map), str(out)], capture_output=True, text=True, check=True
    )
    return [float(word) for word in told.stdout.split()]


def _compare(folder: Path, size: int, smooth: float, turns: int) -> None:
    """Print a row of the table of contenders."""
    _write_map(folder / "map.tif", size, smooth)
    rows: dict[str, list[list[float]]] = {name: [] for name in _CONTENDERS}
    for _ in range(turns):
        for name in _CONTENDERS:
            rows[name].append(_measured(name, folder / "map.tif", folder / "out.gpkg"))
    theirs, *ours = (np.median(rows[name], axis=0) for name in _CONTENDERS)
    assert all(own[3] == theirs[3] for own in ours)
    parts = [
        " | ".join([f"{theirs[i]:.1f}", *(f"{o[i]:.1f} | {o[i] / theirs[i]:.2f}" for o in ours)])
        for i in range(3)
    ]
    print(f"| {size}^2, {int(theirs[3]):,} | {' | '.join(parts)} |")


def _alone(folder: Path, class_map: Path, size: int, options: argparse.Namespace) -> None:
    """Print a row of the table of simplified maps."""
    if not class_map.exists():
        _write_large(class_map, size, options.smooth)
    for name in _CONTENDERS[1:]:
        out = folder / "out.parquet"
        took, used, peak, count = _measured(name, class_map, out, options.alone)
        figures = f"{took:.1f} | {used:.1f} | {peak:.0f} | {out.stat().st_size / 1e6:.0f}"
        print(f"| {size}^2, {int(count):,} | {name} | {figures} |", flush=True)


def main() -> None:
    """Print a row of a table, or more."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--smooth", type=float, default=6.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--alone", type=float, default=0.0, metavar="TOLERANCE")
    parser.add_argument("--map", type=Path)
    parser.add_argument("--only", nargs=3, metavar=("NAME", "MAP", "OUT"))
    options = parser.parse_args()
    if options.only:
        name, class_map, out = options.only
        _run(name, Path(class_map), Path(out), options.alone)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.alone:
            _alone(folder, options.map or folder / "map.tif", options.size, options)
        else:
            _compare(folder, options.size, options.smooth, options.turns)


if __name__ == "__main__":
    main()
