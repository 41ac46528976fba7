"""Labels that are polygons: burnt on the image's grid, box by box."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from .. import vector
from ..box import Box
from ..errors import ConfigError
from ..grid import Grid
from ..io import (
    VERTEX_BYTES,
    PlacedPolygons,
    burn_values,
    moved_to,
    raise_touched,
    reproject_owned,
)
from ..labels import ClassSchema
from ._labels import LabelSource
from ._legend import Legend, plain_mark

POLYGON_FILES = (".gpkg", ".geojson", ".fgb", ".shp")
#: Extent of the boxes that polygons are best burnt in: each hands its polygons to GDAL anew.
_BLOCK = 1024
#: Bytes per sample that is burnt: GDAL's raster and the result.
_BURN_BYTES = 4


class MarkedPolygons(NamedTuple):
    """Polygons as a file holds them.

    Args:
        polygons: shapely polygons and multipolygons.
        marks: What the file says of each.
        crs: Their CRS, or None where the file names none.
        path: The file.
    """

    polygons: Sequence[Any]
    marks: Sequence[Any]
    crs: str | None
    path: Path


class BurntLabels(LabelSource):
    """The class of the last polygon that a sample's centre lies in.

    That is GDAL's default rule; with `all_touched`, that of the last polygon that covers any part
    of a sample. Where polygons overlap, the later one in the
    file counts; a FlatGeobuf with an index holds its polygons by place, not as they were drawn. A
    polygon of a mark that the legend does not know burns "no truth".

    Args:
        grid: Grid of the image, 2-D.
        polygons: shapely polygons and multipolygons, in the image's world coordinates.
        ids: Class id of each; the schema's `nodata` for no truth.
        schema: The classes.
        rest: Class id of samples in no polygon; the schema's `nodata` for no truth.
        uri: What to call it.
    """

    all_touched: bool = False

    def __init__(
        self,
        grid: Grid,
        polygons: Sequence[Any],
        ids: Sequence[int],
        schema: ClassSchema,
        rest: int,
        uri: str,
    ) -> None:
        super().__init__(schema)
        if grid.ndim != 2:
            raise ConfigError(
                f"labels {uri} are polygons, which need a 2-D image, and this one is a volume; "
                "give a label volume"
            )
        parts, owners = shapely.get_parts(np.array(polygons, dtype=object), return_index=True)
        kept = shapely.get_type_id(parts) == shapely.GeometryType.POLYGON
        kept &= ~shapely.is_empty(parts)
        self._placed = PlacedPolygons(grid, parts[kept])
        self._ids = np.array(ids, np.uint16)[owners[kept]][self._placed.owners]
        self.uri, self.grid, self._rest = uri, grid, rest
        self.blocks = tuple(min(_BLOCK, n) for n in grid.shape)
        self.working_bytes = VERTEX_BYTES * self._placed.vertices + _BURN_BYTES * prod(self.blocks)
        self._files: list[Path] = []

    def look(self, box: Box) -> tuple[NDArray[Any], Counter[str]]:
        """Return class ids of ``box``; marks not known are those of whole polygons."""
        here = self._placed.near(box)
        polygons, ids = self._placed.polygons[here], self._ids[here]
        frame = (box.shape, moved_to(box))
        burnt: NDArray[Any]
        if self.all_touched:
            numbers = range(1, len(ids) + 1)
            ranks = burn_values(list(polygons), numbers, *frame, 0, np.int32)
            raise_touched(ranks, polygons, box)
            burnt = np.concatenate([[self._rest], ids])[ranks]
        else:
            burnt = burn_values(list(polygons), ids.tolist(), *frame, self._rest)
        return burnt.astype(self.dtype), Counter()

    def fingerprint(self) -> dict[str, Any]:
        """Return the hash of the polygons as they lie on the image's samples, and their ids."""
        digest = hashlib.sha256(self._ids.astype("<u2").tobytes())
        for polygon in self._placed.polygons:
            digest.update(shapely.to_wkb(polygon, byte_order=1))
        return {"labels": "polygons", "rest": self._rest, "sha256": digest.hexdigest()}

    def files(self) -> list[Path]:
        """Return the file of the polygons."""
        return self._files

    @classmethod
    def of_file(
        cls,
        path: Path,
        grid: Grid,
        schema: ClassSchema,
        legend: Legend,
        field: str | None,
        rest: int,
    ) -> BurntLabels:
        """Return the labels of a polygon file.

        Args:
            path: GeoPackage, GeoJSON, FlatGeobuf or Shapefile.
            grid: Grid of the image.
            schema: The classes.
            legend: What the values of the field stand for.
            field: Field that holds the class; None where there is one class besides the background.
            rest: Class id of samples in no polygon.

        Raises:
            ConfigError: There is no such file or field, or no field is named and none is needed.
            DamagedInput: It is not what it claims to be.
        """
        if field is None:
            polygons, crs = vector.read_polygons(path)
            marks: Sequence[Any] = [_only_class(schema, path)] * len(polygons)
        else:
            polygons, values, crs = vector.read_fields(path, field)
            marks = values[field].tolist()
        return cls.of_polygons(
            MarkedPolygons(polygons, marks, crs, path), grid, schema, legend, rest
        )

    @classmethod
    def of_polygons(
        cls, found: MarkedPolygons, grid: Grid, schema: ClassSchema, legend: Legend, rest: int
    ) -> BurntLabels:
        """Return the labels of polygons that were read; see `of_file`.

        Where polygons and image both have a CRS, polygons are brought into the image's; else both
        are taken to have the same.
        """
        polygons, marks = found.polygons, found.marks
        if found.crs is not None and grid.space.crs is not None:
            polygons, owners = reproject_owned(polygons, found.crs, grid.space.crs, grid.bounds)
            marks = [marks[owner] for owner in owners]
        ids, strange = _ids_of(marks, schema, legend)
        burnt = cls(grid, polygons, ids, schema, rest, str(found.path))
        burnt.strange, burnt._files = strange, [found.path]
        return burnt


def _only_class(schema: ClassSchema, path: Path) -> int:
    left = [c.id for c in schema.unique if c.id != schema.background]
    if len(left) != 1:
        raise ConfigError(
            f"labels {path} are polygons of {len(left)} classes; name the field that holds the "
            "class (field: NAME)"
        )
    return left[0]


def _ids_of(
    marks: Sequence[Any], schema: ClassSchema, legend: Legend
) -> tuple[list[int], Counter[str]]:
    """Return the class id of every polygon, and how many polygons have marks not known."""
    known = dict(legend.classes)
    for c in schema.unique:
        known.setdefault(c.name, c.id)
    ids, strange = [], Counter[str]()
    for value in marks:
        mark = plain_mark(value)
        if mark not in known:
            strange[str(value)] += 1
        target = known.get(mark)
        ids.append(schema.nodata if target is None else target)
    return ids, strange
