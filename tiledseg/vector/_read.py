"""Vector files that are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyogrio
import shapely
from numpy.typing import NDArray

from ..errors import ConfigError, DamagedInput, TiledsegError
from ..io import silenced

Fields = dict[str, NDArray[np.generic]]


def read_polygons(path: Path) -> tuple[list[shapely.Geometry], str | None]:
    """Read the polygons of a vector file.

    Of several layers the first that holds polygons is taken. Heights are dropped, and so are
    features without a geometry.

    Args:
        path: Anything OGR reads: .gpkg, .geojson, .fgb, .shp and so on.

    Returns:
        Polygons and multipolygons, and their CRS as text (``EPSG:32633`` or WKT), or None where
        the file names none. GeoJSON that names none is in EPSG:4326, longitude first (RFC 7946).

    Raises:
        ConfigError: There is no such file, or it holds no polygons, or other geometries too.
        DamagedInput: It is not what it claims to be.
    """
    shapes, _, crs = _read(path)
    return shapes, crs


def read_fields(
    path: Path, *fields: str, optional: bool = False
) -> tuple[list[shapely.Geometry], Fields, str | None]:
    """Read the polygons of a vector file and what it says of each, in the order of the file.

    Args:
        path: As `read_polygons`.
        fields: Names of the fields wanted.
        optional: Whether fields that there are not are left out.

    Returns:
        Polygons and multipolygons, their values by field, their CRS as `read_polygons`.

    Raises:
        ConfigError: As `read_polygons`, or there is no such field.
        DamagedInput: It is not what it claims to be.
    """
    return _read(path, fields, optional)


def _read(
    path: Path, fields: tuple[str, ...] = (), optional: bool = False
) -> tuple[list[shapely.Geometry], Fields, str | None]:
    if not path.exists():
        raise ConfigError(f"there is no file {path}")
    try:
        _check_whole(path)
        with silenced():  # a ring that is not closed: shapely refuses it below
            return _first_polygons(path, fields, optional)
    except TiledsegError:
        raise
    except Exception as error:  # a cut FlatGeobuf comes out as IndexError
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(
            f"{path} cannot be read as polygons ({told}); open it in QGIS and export it again"
        ) from error


def _first_polygons(
    path: Path, fields: tuple[str, ...], optional: bool
) -> tuple[list[shapely.Geometry], Fields, str | None]:
    found: list[str] = []
    for layer, kind in pyogrio.list_layers(str(path)):
        if kind is None or "Point" in kind or "Line" in kind:  # cheap to know: never read
            found.append(str(kind or "table"))
            continue
        columns = _columns(path, layer, fields, optional)
        meta, _, wkb, values = pyogrio.raw.read(
            str(path), layer=layer, columns=columns, force_2d=True
        )
        shapes = np.array([] if wkb is None else shapely.from_wkb(wkb), dtype=object)
        there = ~shapely.is_missing(shapes)
        kinds = sorted({g.geom_type for g in shapes[there]})
        if "Polygon" in kinds or "MultiPolygon" in kinds:
            _require_polygons(path, layer, kinds)
            if not np.isfinite(shapely.get_coordinates(shapes)).all():
                raise ConfigError(
                    f"layer {layer!r} of {path} has vertices that are no finite numbers; mend or "
                    "delete those polygons"
                )
            kept = there & ~shapely.is_empty(shapes)
            named = dict(zip(meta["fields"], values, strict=True))
            return list(shapes[kept]), {c: named[c][kept] for c in columns}, meta["crs"]
        found += kinds or ["nothing"]
    if not found:  # a FlatGeobuf cut within its header
        raise DamagedInput(f"{path} must hold layers, found none; export it again")
    raise ConfigError(
        f"{path} holds no polygons: found {', '.join(found)}; give a file with a layer of polygons"
    )


def _columns(path: Path, layer: str, fields: tuple[str, ...], optional: bool) -> list[str]:
    known = list(pyogrio.read_info(str(path), layer=layer)["fields"]) if fields else []
    for field in fields:
        if field not in known and not optional:
            there = ", ".join(known)[:200] or "none"
            raise ConfigError(f"layer {layer!r} of {path} has no field {field!r}; it has {there}")
    return [field for field in fields if field in known]


def _require_polygons(path: Path, layer: str, kinds: list[str]) -> None:
    others = [kind for kind in kinds if kind not in ("Polygon", "MultiPolygon")]
    if others:
        raise ConfigError(
            f"layer {layer!r} of {path} must hold polygons only, found {', '.join(others)} too; "
            "take those out"
        )


def _check_whole(path: Path) -> None:
    """Refuse a cut shapefile, whose lost features OGR gives as features without a geometry.

    The header holds the length of the file in 16-bit words.
    """
    if path.suffix.lower() != ".shp":
        return
    with path.open("rb") as file:
        header = file.read(28)
    claimed, size = 2 * int.from_bytes(header[24:28], "big"), path.stat().st_size
    if len(header) < 28 or size < claimed:
        raise DamagedInput(
            f"{path} is cut off: {size} bytes of {claimed} are there; copy it again from its source"
        )
