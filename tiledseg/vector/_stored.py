"""Polygons of a file as they were written, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray

from ..errors import DamagedInput, TiledsegError
from ..grid import Space
from ..io import silenced
from ._area import into_space, to_lonlat
from ._formats import PARQUET, check_polygon_format

#: Polygons that are read at a time.
_BATCH = 4096
_CLASS = "class_id"


def stored_polygons(path: Path, space: Space) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """Read the polygons of a file that `write_polygons` made.

    Args:
        path: The file.
        space: Where their places are wanted: that of the map.

    Yields:
        Polygons or multipolygons, (n,), and their class ids, (n,).

    Raises:
        DamagedInput: It cannot be read.
    """
    try:
        with _opened(path) as (crs, batches):
            for batch in batches:
                shapes = shapely.from_wkb(batch.column(0).to_numpy(zero_copy_only=False))
                labels = batch.column(1).to_numpy(zero_copy_only=False).astype(np.int64)
                yield _moved(shapes, crs, space), labels
    except TiledsegError:
        raise
    except Exception as error:  # OGR's and pyarrow's errors have no common base
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} cannot be read again ({told}); make it once more") from error


@contextmanager
def _opened(path: Path) -> Iterator[tuple[str | None, Iterator[Any]]]:
    """Give the CRS of a file that says so itself, and batches of geometries and class ids."""
    if check_polygon_format(path) == PARQUET:
        with pq.ParquetFile(path) as file:
            yield None, file.iter_batches(_BATCH, columns=["geometry", _CLASS])
        return
    with (
        silenced(),
        pyogrio.raw.open_arrow(
            str(path),
            layer=path.stem,
            columns=[_CLASS],
            batch_size=_BATCH,
            use_pyarrow=True,
        ) as (meta, reader),
    ):
        names = [meta["geometry_name"] or "wkb_geometry", _CLASS]
        yield meta["crs"], (batch.select(names) for batch in reader)


def _moved(shapes: NDArray[Any], crs: str | None, space: Space) -> NDArray[Any]:
    """Return shapes in a space; those of no CRS, and of a place of their own, are there."""
    if crs is None or to_lonlat(space) is None:
        return shapes

    def move(places: NDArray[np.float64]) -> NDArray[np.float64]:
        return into_space(places, str(crs), space)

    moved: NDArray[Any] = shapely.transform(shapes, move)
    return moved
