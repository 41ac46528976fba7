"""Points with fields."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from ..errors import ConfigError, DamagedInput, TiledsegError
from ..grid import Grid, Space, SpaceKind
from ..io import remove, silenced, temporary_beside, to_disk, writing
from ._area import into_space, to_lonlat
from ._formats import check_point_format, layer_options


@dataclass(frozen=True)
class Points:
    """Points and what is known of each.

    Args:
        places: World (x, y), (n, 2).
        fields: Name -> one value per point; None or NaN where a value is missing.
    """

    places: NDArray[np.float64]
    fields: dict[str, NDArray[Any]]


def write_points(path: Path, points: Points, space: Space) -> None:
    """Write points whole or not at all.

    Args:
        path: .gpkg, .geojson (in longitude and latitude, as RFC 7946 wants) or .fgb.
        points: What to write; None in a field of texts is an empty field to be filled in.
        space: Where their places are.

    Raises:
        UnknownFormat: The suffix is none of these.
        OutputFailed: The file cannot be written.
    """
    try:
        put_points(path, points, space)
        with writing(path):
            temporary_beside(path).replace(path)
    finally:
        remove(temporary_beside(path))


def put_points(path: Path, points: Points, space: Space) -> None:
    """Write points as `write_points` does, but leave them under the temporary name beside it.

    Raises:
        UnknownFormat: The suffix is none that is known.
        OutputFailed: The file cannot be written.
    """
    driver = check_point_format(path)
    places, crs = points.places, space.crs
    lonlat = to_lonlat(space) if driver == "GeoJSON" else None
    if lonlat is not None:
        places, crs = np.stack(lonlat(places[:, 0], places[:, 1]), axis=-1), "EPSG:4326"
    options = layer_options(driver, crs)
    partial = temporary_beside(path)
    with writing(path), silenced("'crs' was not provided|No SRS"):  # an image may have none
        partial.unlink(missing_ok=True)
        pyogrio.raw.write(
            str(partial),
            shapely.to_wkb(shapely.points(places)),
            list(points.fields.values()),
            list(points.fields),
            geometry_type="Point",
            crs=crs,
            driver=driver,
            layer=path.stem,
            layer_options=options,
        )
        to_disk(partial)


def turned_to(places: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """Return (n, 2) places of a map, those with a longitude beyond it turned to where it lies.

    GeoJSON counts from -180 to 180 degrees, global maps often from 0 to 360.
    """
    low, high = grid.bounds[0]
    lon = places[:, 0]
    beyond = (lon < low) | (lon > high)
    if grid.space.kind is not SpaceKind.GEOGRAPHIC or not beyond.any():
        return places
    turned = lon + 360 * np.ceil((low - lon) / 360)
    return np.stack([np.where(beyond, turned, lon), places[:, 1]], axis=-1)


def read_points(path: Path, space: Space) -> Points:
    """Read the points of a vector file's first layer.

    Args:
        path: Anything OGR reads.
        space: The space wanted; points in another CRS are brought there.

    Raises:
        ConfigError: There is no such file, it holds no points, or there is no way to the space.
        DamagedInput: It is not what it claims to be.
    """
    if not path.exists():
        raise ConfigError(f"there is no file {path}")
    try:
        with silenced():
            meta, _, wkb, columns = pyogrio.raw.read(str(path), force_2d=True)
        shapes = np.array([] if wkb is None else shapely.from_wkb(wkb))
    except TiledsegError:
        raise
    except Exception as error:  # OGR's errors have no common base
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} cannot be read as points ({told}); export it again") from error
    if not len(shapes) or (shapely.get_type_id(shapes) != shapely.GeometryType.POINT).any():
        raise ConfigError(
            f"{path} must hold points only, one or more; give the file that tiledseg sample wrote"
        )
    places = shapely.get_coordinates(shapes)
    if meta["crs"] is not None and space.crs is not None:
        places = into_space(places, meta["crs"], space)
    return Points(places, dict(zip(meta["fields"].tolist(), columns, strict=True)))
