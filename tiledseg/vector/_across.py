"""Polygons across the date line, cut there: GDAL draws them in vector tiles around the world."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import shapely

from ._stream import Batch
from ._wkb import Shapes

_WORLD, _TURN = (-180.0, -90.0, 180.0, 90.0), 360.0


def cut_across(batch: Batch) -> Batch:
    """Return a batch in longitude and latitude whose polygons lie from -180 to 180 degrees.

    A feature across the date line becomes several with the same fields, after all others.
    """
    boxes = batch.shapes.boxes
    across = (boxes[:, 0] < _WORLD[0]) | (boxes[:, 2] > _WORLD[2])
    if not across.any():
        return batch
    raw, ends = batch.shapes.data.tobytes(), batch.shapes.offsets.tolist()
    every = np.array([raw[low:high] for low, high in pairwise(ends)], object)
    kept, owners = [every[~across]], [np.flatnonzero(~across)]
    extents = [boxes[~across]]
    whole = shapely.from_wkb(every[across])
    for turn in (-_TURN, 0.0, _TURN):
        step = np.array([turn, 0.0])
        moved = shapely.transform(whole, lambda places, step=step: places + step)
        parts, own = shapely.get_parts(shapely.clip_by_rect(moved, *_WORLD), return_index=True)
        there = (shapely.get_type_id(parts) == shapely.GeometryType.POLYGON) & (
            shapely.area(parts) > 0
        )
        kept.append(shapely.to_wkb(parts[there], byte_order=1))
        owners.append(np.flatnonzero(across)[own[there]])
        extents.append(shapely.bounds(parts[there]).reshape(-1, 4))
    told = np.concatenate(kept).tolist()
    offsets = np.cumsum([0, *map(len, told)]).astype(np.int32)
    data = np.frombuffer(b"".join(told), np.uint8)
    place = np.concatenate(owners)
    fields = {name: values[place] for name, values in batch.fields.items()}
    return Batch(Shapes(data, offsets, np.concatenate(extents)), fields)
