"""COCO's JSON -> labels of an image."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from ..document import brief, require_plain
from ..errors import ConfigError, DamagedInput, GridMismatch
from ..grid import Grid
from ..io import burn_values, moved_to, open_source
from ..labels import ClassInfo, ClassSchema, default_colors
from ._align import aligned
from ._burnt import BurntLabels
from ._held import HeldLabels
from ._labels import ImageLabels, LabelSource
from ._legend import Legend
from ._rle import decode_rle, ring_of
from ._table import inside

#: Bytes of a JSON beyond which it is not read: the largest of COCO's own has 450 MB.
_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a JSON: its id, its file, and the annotations that are about it."""

    id: int
    file: str
    annotations: list[dict[str, Any]]


@dataclass(frozen=True)
class CocoFile:
    """What a JSON of COCO's holds.

    Args:
        kind: ``panoptic`` segments are in PNG files; others are in the JSON.
        images: Id -> image.
        schema: The categories; of instances, and a background.
    """

    kind: Literal["panoptic", "stuff", "instances"]
    images: Mapping[int, CocoImage]
    schema: ClassSchema


def read_coco(path: Path) -> CocoFile:
    """Read a JSON; the last few stay in memory, as every case asks anew.

    Raises:
        ConfigError: There is no such file, or it is no JSON of COCO's.
    """
    try:
        require_plain(path)
        state = path.stat()
    except OSError:
        raise ConfigError(f"there is no file {path}") from None
    if state.st_size > _BYTES:
        raise ConfigError(f"{path} is larger than {_BYTES} bytes; split it by images")
    return _read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=4)
def _read(path: Path, *_: int) -> CocoFile:
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} is not JSON ({told}); fetch it again") from None
    images, categories, annotations = (
        _objects(values, key, path) for key in ("images", "categories", "annotations")
    )
    found = {
        _id(image, "id", path): CocoImage(_id(image, "id", path), _file(image, path), [])
        for image in images
    }
    for annotation in annotations:
        image = found.get(_id(annotation, "image_id", path))
        if image is not None:
            image.annotations.append(annotation)
    panoptic = any("segments_info" in a for a in annotations[:1])
    stuff = path.name.startswith("stuff_")
    kind: Literal["panoptic", "stuff", "instances"] = (
        "panoptic" if panoptic else "stuff" if stuff else "instances"
    )
    return CocoFile(kind, found, _schema(categories, kind == "instances", path))


def open_coco(labels: str, grid: Grid, schema: ClassSchema, legend: Legend) -> LabelSource:
    """Open the labels of an image.

    Later annotations lie over earlier ones. Polygons are burnt by the rule of `BurntLabels`, which
    differs from that of COCO's own tool by part of a sample along edges. Crowds count as what they
    are of. Samples in no instance are background; of panoptic and stuff they have no truth.

    Args:
        labels: ``file.json#7``: image 7.
        grid: Grid of the image.
        schema: The classes.
        legend: What categories, by id or name, stand for.

    Raises:
        ConfigError: There is no such file or image.
        DamagedInput: An annotation is none.
        GridMismatch: The annotations are of an image of another size.
    """
    file, _, number = labels.rpartition("#")
    coco = read_coco(Path(file))
    image = coco.images.get(int(number)) if number.isdigit() else None
    if image is None:
        raise ConfigError(f"{file} has no image {number!r:.20}")
    if coco.kind == "panoptic":
        return _segments(Path(file), image, grid, coco, (schema, legend))
    rest = schema.nodata
    if coco.schema.background is not None:
        target = legend.classes.get(coco.schema.background, schema.background)
        rest = schema.nodata if target is None else target
    marks = {c.id: c.name for c in coco.schema.unique}
    drawn = [
        (annotation, _target(annotation, marks, (schema, legend), f"{labels}, annotation {i}"))
        for i, annotation in enumerate(image.annotations, 1)
    ]
    strange = Counter(str(a.get("category_id")) for a, target in drawn if target is None)
    ids = [(a, schema.nodata if target is None else target) for a, target in drawn]
    source = _drawn(ids, grid, schema, rest, labels)
    source.strange = strange
    return source


def _drawn(
    drawn: list[tuple[dict[str, Any], int]], grid: Grid, schema: ClassSchema, rest: int, uri: str
) -> LabelSource:
    """Return annotations drawn over each other: by box where all are polygons."""
    shapes = [a.get("segmentation") for a, _ in drawn]
    ids = [target for _, target in drawn]
    local = Grid.local(grid.shape)
    if not any(isinstance(s, dict) for s in shapes):
        polygons = [_polygons(s, f"{uri}, annotation {i}") for i, s in enumerate(shapes, 1)]
        source: LabelSource = BurntLabels(local, polygons, ids, schema, rest, uri)
        source.grid = grid
        return source
    whole = np.full(grid.shape, rest, schema.dtype)
    for i, (shape, target) in enumerate(zip(shapes, ids, strict=True), 1):
        whole[_mask(shape, grid, f"{uri}, annotation {i}")] = target
    return HeldLabels(whole, grid, schema, uri)


def _mask(shape: Any, grid: Grid, where: str) -> NDArray[np.bool_]:
    """Return the samples of an annotation: run lengths or polygons."""
    if not isinstance(shape, dict):
        polygons = [_polygons(shape, where)]
        parts = [p for p in shapely.get_parts(np.array(polygons, object)) if not p.is_empty]
        burnt: NDArray[Any] = burn_values(
            parts, [1] * len(parts), grid.shape, moved_to(grid.box), 0
        )
        return np.asarray(burnt == 1)
    if list(shape.get("size") or ()) != list(grid.shape):
        raise GridMismatch(
            f"{where}: run lengths must be of the image's size {grid.shape}, found "
            f"{brief(shape.get('size'))}"
        )
    return decode_rle(shape.get("counts"), shape.get("size"), where)


def _polygons(rings: Any, where: str) -> shapely.MultiPolygon:
    """Return the outlines of an annotation; COCO's have no holes."""
    if not isinstance(rings, list):
        raise DamagedInput(f"{where}: segmentation must be polygons, found {brief(rings)}")
    return shapely.MultiPolygon([shapely.Polygon(ring_of(ring, where)) for ring in rings])


def _segments(
    file: Path,
    image: CocoImage,
    grid: Grid,
    coco: CocoFile,
    meaning: tuple[ClassSchema, Legend],
) -> LabelSource:
    """Return the labels of a PNG whose colours are ids of segments: R + 256 G + 65536 B."""
    if not image.annotations:
        raise ConfigError(f"{file} has no segments of image {image.id}")
    annotation = image.annotations[0]
    where = f"{file}, segments of image {image.id}"
    marks = {c.id: c.name for c in coco.schema.unique}
    colors: dict[Any, int | None] = {(0, 0, 0): None}
    for segment in _objects(annotation, "segments_info", Path(where)):
        code = _id(segment, "id", Path(where))
        target = _target(segment, marks, meaning, where)
        colors[(code & 255, code >> 8 & 255, code >> 16 & 255)] = target
    png = str(annotation.get("file_name"))
    folders = (file.parent / file.stem, file.parent.parent / file.stem, file.parent)
    places = [inside(folder, png, file) for folder in folders]
    opened = open_source(str(next((p for p in places if p.is_file()), places[0])), dims=2)
    try:
        return ImageLabels(aligned(opened, grid), meaning[0], Legend(colors))
    except BaseException:
        opened.close()
        raise


def _target(
    entry: dict[str, Any],
    marks: dict[int, str],
    meaning: tuple[ClassSchema, Legend],
    where: str,
) -> int | None:
    """Return the class id of a category, the schema's `nodata` for no truth, None if not known."""
    schema, legend = meaning
    number = _id(entry, "category_id", Path(where))
    for mark in (number, marks.get(number, "")):
        if mark in legend.classes:
            target = legend.classes[mark]
            return schema.nodata if target is None else target
    return None


def _schema(categories: list[dict[str, Any]], background: bool, path: Path) -> ClassSchema:
    named = {_id(c, "id", path): str(c.get("name", c.get("id"))) for c in categories}
    free = next(i for i in range(len(named) + 1) if i not in named) if background else None
    if free is not None:
        named[free] = "background"
    ids = sorted(named)
    colors = default_colors(len(ids), None if free is None else ids.index(free))
    pairs = zip(ids, colors, strict=True)
    try:
        return ClassSchema(tuple(ClassInfo(i, named[i], c) for i, c in pairs), free)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _objects(values: Any, key: str, path: Path) -> list[dict[str, Any]]:
    entries = values.get(key) if isinstance(values, dict) else None
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ConfigError(f"{path} is no JSON of COCO's: {key} must be a list of objects")
    return entries


def _id(entry: dict[str, Any], key: str, path: Path) -> int:
    value = entry.get(key)
    if type(value) is not int or not 0 <= value < 2**63:
        raise ConfigError(f"{path}: {key} must be a number, found {brief(value)}")
    return value


def _file(image: dict[str, Any], path: Path) -> str:
    name = image.get("file_name")
    if not isinstance(name, str) or not name.strip():
        raise ConfigError(f"{path}: file_name must be a path, found {brief(name)}")
    return name
