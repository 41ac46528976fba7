"""Segments as COCO's panoptic JSON: what every id of an id map is.

A PNG holds an id as the colour R + 256 G + 65536 B; a raster or volume as the number. The form is
that of https://cocodataset.org/#format-data, "4. Panoptic Segmentation"; a box is x, y, (z,) width,
height, (depth) in samples, an area is in samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..document import brief, require_plain
from ..errors import DamagedInput
from ..io import temporary_beside, to_disk, writing
from ..labels import ClassSchema
from ._number import LARGEST, Segments

#: Bytes of a JSON beyond which it is not read.
_BYTES = 2**30
#: Segments that are told at a time.
_ROWS = 1 << 13


@dataclass(frozen=True)
class ReadSegments:
    """What a JSON says of an image's ids.

    Args:
        ids: Of the segments, ascending.
        classes: Class of every one.
        crowds: Which stand for many objects at once, that cannot be told apart.
        names: Class id -> name.
        things: Ids of the classes that are things.
    """

    ids: NDArray[np.int64]
    classes: NDArray[np.int64]
    crowds: NDArray[np.bool_]
    names: dict[int, str]
    things: frozenset[int]

    def meanings(self, *, truth: bool) -> dict[int, int]:
        """Return id -> class, in a truth -1 for crowds: in a map they are segments as others."""
        classes = np.where(self.crowds & truth, -1, self.classes)
        return dict(zip(self.ids.tolist(), classes.tolist(), strict=True))


def segments_path(out: Path) -> Path:
    """Return where the segments of an id map are told: ``ids.json`` beside ``ids.nii.gz``."""
    return out.with_name(Path(out.name.removesuffix(".gz")).stem + ".json")


def write_segments(
    path: Path, image: Path, shape: tuple[int, ...], segments: Segments, schema: ClassSchema
) -> None:
    """Write the JSON of one id map under a temporary name beside ``path``; see `temporary_beside`.

    Args:
        path: Where.
        image: The id map; its name is told.
        shape: Of it.
        segments: Its segments.
        schema: The classes, and which are things.

    Raises:
        OutputFailed: It cannot be written.
    """
    partial = temporary_beside(path)
    with writing(path):
        partial.unlink(missing_ok=True)  # a link is not followed
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(_lines(image, shape, segments, schema))
        to_disk(partial)


def _lines(
    image: Path, shape: tuple[int, ...], segments: Segments, schema: ClassSchema
) -> Iterator[str]:
    name = image.name
    about = {"id": 1, "file_name": name, "width": shape[-1], "height": shape[-2]}
    if len(shape) == 3:
        about["depth"] = shape[0]
    categories = [
        {
            "id": c.id,
            "name": c.name,
            "supercategory": c.name,
            "isthing": int(c.id in schema.things),
            "color": list(c.color),
        }
        for c in schema.unique
    ]
    yield f'{{"images": [{json.dumps(about)}],\n"categories": {json.dumps(categories)},\n'
    yield f'"annotations": [{{"image_id": 1, "file_name": {json.dumps(name)}, "segments_info": ['
    for first in range(0, len(segments.table), _ROWS):
        table = segments.table.where(slice(first, first + _ROWS))
        boxes = np.concatenate([table.low[:, ::-1], (table.high - table.low)[:, ::-1]], axis=1)
        rows = zip(table.labels.tolist(), table.sizes.tolist(), boxes.tolist(), strict=True)
        for number, (label, size, box) in enumerate(rows, first + 1):
            info = {"id": number, "category_id": label, "area": size, "bbox": box, "iscrowd": 0}
            yield f"{',' if number > 1 else ''}\n{json.dumps(info)}"
    yield "]}]}\n"


def read_segments(path: Path, image: str) -> ReadSegments | None:
    """Read what a JSON says of an id map; None where it says nothing of it.

    Args:
        path: The JSON.
        image: File name of the id map.

    Raises:
        DamagedInput: It is no JSON of that form.
    """
    require_plain(path)
    if path.stat().st_size > _BYTES:
        raise DamagedInput(f"{path} is larger than {_BYTES} bytes; split it by images")
    try:
        values = json.loads(path.read_bytes())
        if not isinstance(values, dict) or "annotations" not in values:
            return None
        own = [a for a in values["annotations"] if a.get("file_name") == image]
        return _read(own[0], values["categories"], path) if own else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise DamagedInput(
            f"{path} is no panoptic JSON of COCO's ({told}); make it again"
        ) from None


def _read(annotation: dict[str, Any], categories: list[Any], path: Path) -> ReadSegments:
    infos = annotation["segments_info"]
    ids = np.array([s["id"] for s in infos], np.int64)
    classes = np.array([s["category_id"] for s in infos], np.int64)
    crowds = np.array([bool(s.get("iscrowd", 0)) for s in infos], np.bool_)
    names = {int(c["id"]): str(c.get("name", c["id"])) for c in categories}
    strange = sorted({*classes.tolist()} - {*names})
    order = np.argsort(ids)
    doubled = np.flatnonzero(np.diff(ids[order]) == 0)
    if strange:
        raise DamagedInput(f"{path} has no category {strange[0]}, which a segment is of")
    if len(doubled) or ids.min(initial=1) < 1 or ids.max(initial=1) > LARGEST:
        odd = ids[order][doubled[0]] if len(doubled) else brief([ids.min(), ids.max()])
        raise DamagedInput(f"{path}: ids of segments are 1 to {LARGEST}, each once; found {odd}")
    things = frozenset(int(c["id"]) for c in categories if c.get("isthing", 1))
    return ReadSegments(ids[order], classes[order], crowds[order], names, things)
