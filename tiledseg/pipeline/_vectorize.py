"""A finished class map -> polygons or surfaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..budget import format_bytes, parse_bytes
from ..engine import machine
from ..errors import BudgetExceeded, ConfigError
from ..io import Source, open_source, read_schema
from ..labels import ClassSchema
from ._names import Output, check_outputs, output_path, spare_inputs


def vectorize(
    class_map: str | Path,
    out: str | Path,
    surface_format: Literal["stl", "ply"] = "stl",
    budget: str | None = None,
) -> list[Path]:
    """Turn the classes of a class map into polygons (2-D) or surfaces (3-D).

    Args:
        class_map: Single-channel image with integer labels; names and colours are taken from it
            where tiledseg wrote it, else classes are named by their label and 0 is background.
        out: Vector file for polygons, folder for surfaces.
        surface_format: For surfaces.
        budget: Host memory of the process, like ``6GB``; None takes half of what is free.

    Returns:
        The files made.

    Raises:
        ConfigError: The image is not a class map.
        BudgetExceeded: The class map and its vectors do not fit into memory.
    """
    target = output_path("out", str(out))
    with open_source(class_map) as source:
        outputs = [Output("out", target, "folder" if source.grid.ndim == 3 else "file")]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        if len(source.channels) != 1 or source.dtype.kind not in "iu":
            raise ConfigError(
                f"{class_map} is not a class map: it has {len(source.channels)} channels of "
                f"{source.dtype}, expected one channel of integers"
            )
        _require_room(source, budget)
        labels = source.read(source.grid.box)[0]
        valid = source.valid(source.grid.box)
        schema = read_schema(class_map) or _bare_schema(labels[valid])
        labels = np.where(valid, labels, schema.nodata).astype(schema.dtype)
        if source.grid.ndim == 2:
            vector.write_polygons(labels, source.grid, schema, target)
            return [target]
        made: list[Path] = vector.write_surfaces(
            labels, source.grid, schema, target, surface_format
        )
        return made


def _bare_schema(labels: NDArray[Any]) -> ClassSchema:
    """Name classes by their label; 0 is background, as in every label map without a legend."""
    ids = sorted({0, *np.unique(labels).tolist()})
    return ClassSchema.from_dict(
        {"classes": [{"id": i, "name": f"class {i}"} for i in ids], "background": 0}
    )


def _require_room(source: Source, budget: str | None) -> None:
    samples = source.grid.box.size
    need = vector.surfaces_need(source.grid.shape)
    if source.grid.ndim == 2:
        need = vector.polygons_need(samples)
    need += machine.resident() + samples * (source.dtype.itemsize + 2)
    limit = parse_bytes(budget) if budget else machine.resident() + machine.available() // 2
    if need > limit:
        raise BudgetExceeded(
            f"vectors of {source.grid.shape} samples need {format_bytes(need)}, budget is "
            f"{format_bytes(limit)}: the class map must fit into memory; raise the budget or "
            "crop the class map"
        )
