"""What a file is: image, model, class map or report, as plain values."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..document import require_plain
from ..errors import ConfigError
from ..io import Source, open_source, read_schema
from ..models import describe_model, find_probe, is_model


def describe(path: str | Path, series: str | None = None) -> dict[str, Any]:
    """Return what there is to know of an image, a model, a class map or a report.

    Args:
        path: The file or folder.
        series: For a DICOM folder with several series, which one.

    Raises:
        ConfigError: There is nothing at ``path``.
        DamagedInput: It is not what it claims to be.
    """
    place = Path(path)
    require_plain(place)
    if is_model(place):
        return _model(place)
    if place.name == "report.json" or os.path.isfile(place / "report.json"):
        return {"kind": "report", **_report(place)}
    with open_source(path, series=series) as source:
        return _image(path, source)


def _model(place: Path) -> dict[str, Any]:
    told = {"kind": "model", **describe_model(place)}
    probe = None if told["sha256"] is None else find_probe(place, told["sha256"])
    return told if probe is None else {**told, "probe": probe.to_dict()}


def _report(place: Path) -> dict[str, Any]:
    file = place / "report.json" if place.is_dir() else place
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"report {file} cannot be read: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"report {file} is not a report of tiledseg")
    return values


def _image(path: str | Path, source: Source) -> dict[str, Any]:
    grid, schema = source.grid, read_schema(path)
    return {
        "kind": "image" if schema is None else "class map",
        "shape": list(grid.shape),
        "channels": list(source.channels),
        "dtype": str(source.dtype),
        "nodata": source.nodata,
        "blocks": list(source.blocks),
        "space": str(grid.space.kind),
        "crs": grid.space.crs,
        "spacing": list(grid.spacing),
        "orientation": grid.orientation,
        "bounds": [list(pair) for pair in grid.bounds],
        "control_points": len(grid.control),
        "classes": None if schema is None else schema.to_dict()["classes"],
    }
