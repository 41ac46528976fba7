"""A finished class map -> polygons or surfaces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..budget import format_bytes, parse_bytes
from ..components import require_class_map
from ..engine import machine
from ..errors import BudgetExceeded, ConfigError
from ..io import Source, open_source, read_schema
from ..labels import ClassSchema
from ._names import Output, check_outputs, output_path, spare_inputs

OnShare = Callable[[float], None]


def vectorize(
    class_map: str | Path,
    out: str | Path,
    surface_format: Literal["stl", "ply"] = "stl",
    budget: str | None = None,
    *,
    scores: str | Path | None = None,
    on_share: OnShare | None = None,
    **settings: Any,
) -> list[Path]:
    """Turn the classes of a class map into polygons (2-D) or surfaces (3-D).

    Polygons are made band by band, whatever the size of the map; see `tiledseg.vector` for what
    they hold to. A volume is held in memory.

    Args:
        class_map: Class map of any tool: one channel of labels. Names and colours are taken from it
            where tiledseg wrote it, else classes are named by their label and 0 is background.
        out: Vector file for polygons (.gpkg, .fgb, .parquet, .geojson), folder for surfaces.
        surface_format: For surfaces.
        budget: Host memory of the process for surfaces, like ``6GB``; None takes half of what is
            free.
        scores: A score of 0 to 1 per sample, on the map's grid; polygons get their mean.
        on_share: Told the share that is done, 0 to 1; of polygons only.
        settings: Those of `PolygonSpec`: ``classes``, ``connectivity``, ``min_area``, ``dissolve``.

    Returns:
        The files made.

    Raises:
        ConfigError: The image is not a class map, or a setting does not fit it.
        UnknownFormat: No vector file has the suffix of ``out``.
        BudgetExceeded: A volume and its surfaces do not fit into memory.
        DamagedInput: The map cannot be read.
        OutputFailed: The result cannot be written.
    """
    target = output_path("out", str(out))
    with open_source(class_map) as source:
        outputs = [Output("out", target, "folder" if source.grid.ndim == 3 else "file")]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        require_class_map(source)
        if source.grid.ndim == 3:
            if settings or scores is not None:
                raise ConfigError(
                    f"{class_map} is a volume: classes, areas and the like are for polygons of a "
                    "scene; leave them out"
                )
            return _surfaces(source, target, surface_format, budget)
        spec, schema = _spec(settings), read_schema(class_map)
        with ExitStack() as stack:
            scored = None if scores is None else stack.enter_context(open_source(scores))
            if scored is not None:
                spare_inputs(outputs, scored.files())
            vector.write_polygons(
                source, target, spec, schema=schema, scores=scored, on_share=on_share
            )
        return [target]


def _spec(settings: dict[str, Any]) -> Any:
    """Return the settings of polygons, checked.

    Raises:
        ConfigError: There is no such setting, or its value is none.
    """
    unknown = set(settings) - set(vector.PolygonSpec.__dataclass_fields__)
    if unknown:
        raise ConfigError(f"vectorize has no setting {min(unknown)!r:.40}")
    return vector.PolygonSpec(**settings)


def _surfaces(
    source: Source, folder: Path, surface_format: Literal["stl", "ply"], budget: str | None
) -> list[Path]:
    _require_room(source, budget)
    labels = source.read(source.grid.box)[0]
    valid = source.valid(source.grid.box)
    schema = read_schema(source.uri) or _bare_schema(labels[valid])
    labels = np.where(valid, labels, schema.nodata).astype(schema.dtype)
    made: list[Path] = vector.write_surfaces(labels, source.grid, schema, folder, surface_format)
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
    need += machine.resident() + samples * (source.dtype.itemsize + 2)
    limit = parse_bytes(budget) if budget else machine.resident() + machine.available() // 2
    if need > limit:
        raise BudgetExceeded(
            f"surfaces of {source.grid.shape} samples need {format_bytes(need)}, budget is "
            f"{format_bytes(limit)}: the class map must fit into memory; raise the budget or "
            "crop the class map"
        )
