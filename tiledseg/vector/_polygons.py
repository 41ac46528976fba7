"""Class map -> polygons of its components, in bands of rows; only a table of them is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arcs import FINE, Arcs, Faces, Thinning, regularize, simplify, smooth, trace_arcs
from ..components import (
    PIECE_BYTES,
    SCORE_PARTS,
    Components,
    MapFacts,
    find_components,
    rows_of,
)
from ..errors import ConfigError
from ..grid import Grid
from ..io import Ledger, Source
from ..labels import ClassSchema, schema_of_map
from ._across import cut_across
from ._features import Features, PolygonSpec, choose, joined_at_corners
from ._formats import PARQUET, check_polygon_format
from ._hilbert import along_curve
from ._place import Place
from ._stream import Batch, Layer, write_stream

#: Samples of a band, if it has as many rows: of lower ones, more pieces are held.
_BAND, _ROWS = 1 << 19, 64
#: Corners of the features that are made at a time.
_BATCH = 1 << 18
#: Share of the work after which components are found, and arcs traced.
_FOUND, _TRACED = 0.25, 0.4
#: Bytes whatever the map: a band in the making, features in the making, pyarrow.
_FIXED = 250 << 20
#: Bytes per sample of a band and per corner of a batch that is worked on besides, about.
_PER_SAMPLE, _PER_CORNER = 30, 100
#: Bytes of a component: its row in tables, its borders, its fields; about.
_COMPONENT = 500
#: And what its borders take where there are right angles.
_WALLED = 250
#: Components that a map may have however small it is.
_SOME = 1 << 15
OnShare = Callable[[float], None]
Ints = NDArray[np.int64]


def polygons_need(samples: int) -> int:
    """Return the bytes `write_polygons` usually needs for a class map of ``samples``.

    It is that of the table and borders of components, of a thousand samples each, in small maps of
    one. A large map of pure noise, every other sample a polygon, needs 500 times as much for it.
    """
    return _FIXED + _COMPONENT * max(samples // 1000, min(samples, _SOME))


def write_polygons(
    source: Source,
    path: Path,
    spec: PolygonSpec,
    *,
    grid: Grid | None = None,
    schema: ClassSchema | None = None,
    scores: Source | None = None,
    room: int | None = None,
    ledger: Ledger | None = None,
    on_share: OnShare | None = None,
) -> int:
    """Write the objects of a class map as polygons; background and nodata get none.

    An object is a connected component of a class. Its id is that of `component_table`, and its area
    that of its samples, exactly, whatever is done to its outline; the perimeter is that of the
    outline. Polygons follow one another by id, in GeoParquet along a Hilbert curve, so that a
    reader who wants a part of the map skips most groups of rows by their boxes (a FlatGeobuf is
    sorted so by GDAL); classes follow one another by their own id.
    Neighbours share every vertex of their border, and rings run as GeoJSON and OGC want. In QGIS a
    GeoPackage of a map that has colours opens in them.

    Args:
        source: Class map of any tool: a scene, one channel of whole numbers of 0 to 65535.
        path: .gpkg, .fgb, .parquet, .geojson (in longitude and latitude, as RFC 7946 wants) or
            .pmtiles: vector tiles for viewers in a browser, in Web Mercator, made by GDAL down to
            the zoom level that shows single samples; there outlines are cut at tiles, and at small
            zoom levels simplified and left out where a tile would have more than 500 kB. Polygons
            around a pole are in neither of these two.
        spec: Which polygons are wanted.
        grid: Where the samples lie, if elsewhere than the source says.
        schema: Names, colours and background; labels it does not know, and all without one, are
            called by their number, with the colour of the palette if there is one, and 0 is
            background unless it is nodata.
        scores: A score of 0 to 1 per sample, on the map's grid; objects get their mean.
        room: Bytes that this may take; None: as many as it needs.
        ledger: What does the steps, several at a time and again after a kill; those in it must be
            of the same map, place and wishes. None: one by one, in a file without a name.
        on_share: Told the share that is done, 0 to 1.

    Returns:
        The number of features.

    Raises:
        ConfigError: The source is no class map, or has no such class; or tiles are wanted of what
            has no place on the earth, or of nothing, or longitudes of what has none.
        UnknownFormat: The suffix is none of these.
        BudgetExceeded: There are more components than there is room for.
        DamagedInput: The map cannot be read.
        OutputFailed: The file cannot be written.
    """
    along = check_polygon_format(path) == PARQUET and not spec.dissolve
    place, tell = Place.of(grid or source.grid, path), on_share or _ignore
    columns = source.grid.shape[1]
    block = rows_of(source, max(_BAND, _ROWS * columns))
    with ExitStack() as stack:
        if ledger is None:
            ledger = stack.enter_context(Ledger(path.parent))
        found = find_components(
            source,
            4,
            block=block,
            measures=place.areas,
            scores=scores,
            room=None if room is None else _pieces_room(room, ledger.workers, prod(block), spec),
            extents=along,
            ledger=ledger,
            on_share=lambda share: tell(_FOUND * share),
        )
        facts = _facts(source, schema, found)
        wanted = np.isin(found.table.labels, facts.ids(tuple(spec.classes or ())))
        chosen = np.zeros(len(wanted), np.bool_)
        if spec.regularize:
            chosen = wanted & np.isin(found.table.labels, facts.ids(tuple(spec.regularize)))
        arcs, place = _shaped(_traced(found, wanted, ledger, tell), place, spec, chosen)
        count = len(wanted)
        objects, ids = np.arange(count), np.arange(1, count + 1)
        if spec.connectivity == 8:
            objects = joined_at_corners(found.table.labels, arcs)
            again = find_components(source, 8, block=block, extents=False, ledger=ledger)
            ids = np.searchsorted(again.table.keys, found.table.keys) + 1
        features = choose(found, objects, wanted, spec)
        if place.zooms is not None and not len(features):
            raise ConfigError(
                f"{source.uri} holds nothing to outline, of which no tiles are made; write .gpkg"
            )
        if along:
            features = along_curve(features, found.table)
        fields = _fields(features, found, facts, ids, scores is not None)
        layer = _layer(place, spec, fields)
        if schema is not None or source.palette is not None:
            there = set(fields["class_id"].tolist())
            layer = replace(layer, classes=tuple(c for c in facts.schema.unique if c.id in there))
        batches = _batches(Faces(arcs, count), features, fields, (place, layer), ledger)
        write_stream(path, layer, _told(batches, len(features), tell))
    return len(features)


def _pieces_room(room: int, workers: int, samples: int, spec: PolygonSpec) -> int:
    """Return the bytes that are left for pieces and their borders.

    Args:
        room: Bytes for everything.
        workers: Steps that are done at the same time.
        samples: Of a band.
        spec: What is done to borders.
    """
    each = _PER_SAMPLE * samples + _PER_CORNER * _BATCH
    component = _COMPONENT + (_WALLED if spec.regularize else 0)
    return max(0, room - _FIXED - (workers - 1) * each) * PIECE_BYTES // component


def _traced(found: Components, wanted: NDArray[np.bool_], ledger: Ledger, tell: OnShare) -> Arcs:
    """Return the arcs around the components that are wanted."""
    values = np.where(wanted, np.arange(len(wanted)), -1).astype(np.int32)
    lines = [*(box.start[0] for box in found.boxes), found.source.grid.shape[0]]

    def framed(band: int) -> NDArray[np.int32]:
        return found.framed(band, values)

    def on_band(band: int) -> None:
        tell(_FOUND + (_TRACED - _FOUND) * (band + 1) / len(lines))

    return trace_arcs(framed, lines, ledger, on_band)


def _shaped(
    arcs: Arcs, place: Place, spec: PolygonSpec, chosen: NDArray[np.bool_]
) -> tuple[Arcs, Place]:
    """Return arcs as they are wanted, and the place of their corners.

    Args:
        arcs: As they were traced.
        place: Of their corners.
        spec: What is wanted.
        chosen: Which components are to have right angles.
    """
    if spec.smooth:
        arcs, place = smooth(arcs), replace(place, parts=2)
    if spec.simplify > 0:
        thinning = Thinning(place.plane, spec.simplify, spec.method == "visvalingam")
        arcs = simplify(arcs, thinning)
    if spec.regularize:
        arcs = regularize(arcs, place.parts, chosen, place.metrics, place.grid.shape[1])
        place = replace(place, parts=FINE)
    return arcs, place


def _facts(source: Source, schema: ClassSchema | None, found: Components) -> MapFacts:
    """Return the classes of a map, those that it does not name called by their number."""
    held = set(np.unique(found.table.labels).tolist())
    if schema is not None:
        held.discard(schema.nodata)
    named = schema_of_map(schema, held, source.nodata, source.palette)
    return MapFacts(named, "m2", source.uri)


def _told(batches: Iterator[Batch], count: int, tell: OnShare) -> Iterator[Batch]:
    """Yield batches of a number of features, and tell how far they are."""
    done = 0
    for batch in batches:
        yield batch
        done += len(batch.shapes)
        tell(_TRACED + (1 - _TRACED) * done / count)


def _fields(
    features: Features, found: Components, facts: MapFacts, ids: Ints, scored: bool
) -> dict[str, NDArray[Any]]:
    """Return what is known of features before their outlines are there."""
    table, first = found.table, features.faces[features.firsts[:-1]]
    names = {c.id: c.name for c in facts.schema.unique}
    labels = table.labels[first]
    fields: dict[str, NDArray[Any]] = {
        "class_id": labels,
        "class_name": np.array([names[i] for i in labels.tolist()], dtype=object),
        "area": features.summed(table.amounts) * found.unit,
    }
    if not features.dissolved:
        fields = {"object_id": ids[first], **fields}
    if scored:
        fields["score"] = features.summed(table.scores) / (
            float(SCORE_PARTS) * features.summed(table.sizes)
        )
    return fields


def _layer(place: Place, spec: PolygonSpec, fields: dict[str, NDArray[Any]]) -> Layer:
    """Return what all features have in common; the fields of sizes get the names of their unit."""
    kinds = {name: values.dtype for name, values in fields.items()}
    kinds["perimeter"] = np.dtype(np.float64)
    told = {"area": place.area_field, "perimeter": place.perimeter_field}
    multi = spec.dissolve or spec.connectivity == 8
    return Layer(
        "MultiPolygon" if multi else "Polygon",
        place.crs,
        {told.get(name, name): kind for name, kind in kinds.items()},
        zooms=place.zooms,
    )


def _batches(
    faces: Faces,
    features: Features,
    fields: dict[str, NDArray[Any]],
    common: tuple[Place, Layer],
    ledger: Ledger,
) -> Iterator[Batch]:
    """Yield the features, some thousands at a time."""
    place, layer = common
    sizes = features.summed(faces.sizes(np.arange(faces.count)))
    cuts = np.flatnonzero(np.diff(np.cumsum(sizes) // _BATCH)) + 1
    ends = np.unique([0, *cuts.tolist(), len(features)]).tolist()

    def step(span: tuple[int, int]) -> Batch:
        low, high = span
        parts = features.firsts[low : high + 1]
        outlines = faces.outlines(features.faces[parts[0] : parts[-1]])
        shapes, perimeters = place.shapes(outlines, parts - parts[0], layer.kind)
        values = [*(own[low:high] for own in fields.values()), perimeters]
        batch = Batch(shapes, dict(zip(layer.fields, values, strict=True)))
        return batch if place.zooms is None else cut_across(batch)

    return ledger.passing(step, pairwise(ends))


def _ignore(share: float) -> None:
    """Take no notice."""
