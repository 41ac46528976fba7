"""Whether a class map that is there is what a run would make: a batch then goes on to the next."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..config import RunConfig
from ..models import ModelCard
from ..report import ClassMeasure, InputRow
from ._after import settled
from ._frame import find_frame
from ._grids import orient, place
from ._image import open_image
from ._inputs import Input
from ._names import report_folder
from ._origin import made_from
from ._roi import open_roi


def kept(one: Input, config: RunConfig, card: ModelCard) -> InputRow | None:
    """Return what an earlier run made of an input, or None where it is to be run.

    Raises:
        ConfigError: Image and model do not fit together.
        DamagedInput: The image is not what it claims to be.
    """
    stored, config = _stored(one.out), settled(config, card)
    output = config.output
    made = [one.out, output.scores, output.polygons, output.surfaces]
    if stored is None or not all(Path(path).exists() for path in made if path is not None):
        return None
    with open_image(config, one.image, card) as opened:
        source, _ = orient(opened, card)
        roi = None
        if config.input.roi is not None:
            frame = find_frame(source, card)
            grids = place(config, card, opened, lambda _: card.normalization, frame)
            roi = open_roi(config.input.roi, grids)
        try:
            if made_from(config, card, source, roi) != stored.get("made_from"):
                return None
        finally:
            if roi is not None:
                roi.close()
    try:
        return _row(one, stored)
    except (KeyError, TypeError, ValueError):  # of another version: made once more
        return None


def _stored(out: Path) -> dict[str, Any] | None:
    """Return the report of a class map that has no holes."""
    try:
        values = json.loads((report_folder(out) / "report.json").read_text(encoding="utf-8"))
        whole = not values["ran"]["tiles_lost"] and values["made_from"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return values if whole else None


def _row(one: Input, stored: dict[str, Any]) -> InputRow:
    ran = stored["ran"]
    return InputRow(
        name=one.name,
        image=one.image,
        out=one.out,
        state="kept",
        seconds=float(ran["seconds"]),
        windows=int(ran["windows_evaluated"]) + int(ran["windows_skipped"]),
        classes=tuple(
            ClassMeasure(**{**measure, "color": tuple(measure["color"])})
            for measure in stored["classes"]
        ),
    )
