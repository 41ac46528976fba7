"""What a result was made from, as a digest that its report keeps."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..config import RunConfig
from ..io import Roi, Source
from ..models import ModelCard, card_to_dict

_RUNTIME = ("device", "runtime", "precision", "threads", "microbatch")
_OUTPUT = (
    *("layout", "scores", "score_type", "polygons", "surfaces", "surface_format", "grid"),
    *("thresholds", "postprocess"),
)


def made_from(config: RunConfig, card: ModelCard, source: Source, roi: Roi | None) -> str:
    """Return a digest of the image, the model and the settings that a result depends on."""
    known: list[Any] = [
        source.fingerprint(),
        source.channels,
        None if roi is None else roi.fingerprint(),
        card_to_dict(card),
        config.model_dump(mode="json", include={"input", "tiling", "combine"}),
        [getattr(config.runtime, name) for name in _RUNTIME],
        [getattr(config.output, name) for name in _OUTPUT],
    ]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()
