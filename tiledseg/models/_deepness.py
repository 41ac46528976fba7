"""What the QGIS plugin Deepness writes into an ONNX file (`metadata_props`) -> keys of a card.

Facts of the plugin (docs/source/creators/creators_add_metadata_to_model.rst; model_base.py): values
are JSON texts. A pixel of 0 to 255 is divided by 255, then ``standardization_mean`` is taken off
and ``standardization_std`` divides. A segmentor gives scores from 0 to 1: one channel for one class
against the rest, or one channel for every class. ``resolution`` is in centimetres.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import ConfigError

#: Names of metadata any of which shows that the plugin, or its users, wrote them.
_KNOWN = ("model_type", "class_names", "tiles_size", "tile_size", "tiles_overlap", "seg_thresh")
#: The class that a single class is told from.
_REST = "background"
#: Beyond which a number is a slip.
_LARGEST = 1e30


def written_by_deepness(metadata: Mapping[str, str]) -> bool:
    """Return whether a file holds metadata of Deepness."""
    return any(name in metadata for name in _KNOWN)


def require_segmentor(where: str, metadata: Mapping[str, str]) -> None:
    """Refuse a model of Deepness that makes no class map.

    Raises:
        ConfigError: It is one, or a value cannot be read.
    """
    kind = str(_value(where, metadata, "model_type") or "Segmentor")
    if kind.lower() != "segmentor":
        raise ConfigError(
            f"{where} is a {kind} of Deepness, which gives no scores of classes: tiledseg makes "
            "class maps; write a card that names classes if it is a segmentation all the same"
        )


def deepness_values(
    where: str, metadata: Mapping[str, str], channels: int, output: int = 0
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what metadata of Deepness says, as keys of a card, and notes on what is left out.

    Args:
        where: What to call the file in messages.
        metadata: Texts by name.
        channels: Number of channels of the input.
        output: Number of the output that holds the scores.

    Raises:
        ConfigError: A value cannot be read.
    """
    values: dict[str, Any] = {
        "activation": "none",
        "normalization": [_steps(where, metadata, channels)],
        **_classes(where, metadata, output),
        **_window(where, metadata),
    }
    if channels == 3:
        values["channels"] = ["red", "green", "blue"]
    resolution = _number(where, metadata, "resolution")
    if resolution is not None:
        values["spacing"] = [resolution / 100] * 2
    return values, tuple(_left_out(where, metadata))


def _steps(where: str, metadata: Mapping[str, str], channels: int) -> dict[str, Any]:
    """Return ``(x / 255 - mean) / std`` as one linear step."""
    mean = _floats(where, metadata, "standardization_mean") or [0.0] * channels
    std = _floats(where, metadata, "standardization_std") or [1.0] * channels
    if len(mean) != channels or len(std) != channels or not all(std):
        raise ConfigError(
            f"{where}: standardization_mean and standardization_std must be {channels} numbers "
            f"each, the second not 0; found {mean} and {std}"
        )
    if not any(mean) and std == [1.0] * channels:
        return {"kind": "linear", "scale": [1 / 255], "offset": [0.0]}
    scale = [1 / (255 * s) for s in std]
    offset = [-m / s for m, s in zip(mean, std, strict=True)]
    return {"kind": "linear", "scale": scale, "offset": offset}


def _classes(where: str, metadata: Mapping[str, str], output: int) -> dict[str, Any]:
    name = "class_names" if "class_names" in metadata else "names"
    given = _value(where, metadata, name)
    if given is None:
        return {}
    heads = given if isinstance(given, list) else [given]
    head = heads[min(output, len(heads) - 1)] if heads else None
    if not isinstance(head, dict) or sorted(map(str, head)) != sorted(map(str, range(len(head)))):
        raise ConfigError(f"{where}: {name} must name classes from 0 on, found {given!r:.80}")
    names = [str(head[key]) for key in sorted(head, key=lambda key: int(key))]
    if len(names) == 1:
        names = [_REST, *names]
    return {"classes": [{"name": n} for n in names], "single_output": len(head) == 1}


def _window(where: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    name = "tiles_size" if "tiles_size" in metadata else "tile_size"
    size = _number(where, metadata, name)
    overlap = _number(where, metadata, "tiles_overlap")
    values: dict[str, Any] = {} if size is None else {"window": [int(size)] * 2}
    if overlap is not None and 0 <= overlap < 100:
        values["overlap"] = overlap / 100
    return values


def _left_out(where: str, metadata: Mapping[str, str]) -> Sequence[str]:
    notes = []
    threshold = _number(where, metadata, "seg_thresh")
    if threshold not in (None, 0.5):
        notes.append(
            f"seg_thresh {threshold:g} is left out: a single class is where its score exceeds 0.5, "
            "of several the best is taken"
        )
    if metadata.get("seg_small_segment") not in (None, "0"):
        notes.append("seg_small_segment is left out: nothing is smoothed")
    return notes


def _floats(where: str, metadata: Mapping[str, str], name: str) -> list[float] | None:
    value = _value(where, metadata, name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(map(_is_number, value)):
        raise ConfigError(f"{where}: {name} must be numbers, found {value!r:.80}")
    return [float(v) for v in value]


def _number(where: str, metadata: Mapping[str, str], name: str) -> float | None:
    value = _value(where, metadata, name)
    if value is None:
        return None
    if not _is_number(value) or value < 0:
        raise ConfigError(f"{where}: {name} must be a number, found {value!r:.80}")
    return float(value)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _value(where: str, metadata: Mapping[str, str], name: str) -> Any:
    """Return the value of a text: JSON, or a dictionary as Python prints it."""
    text = metadata.get(name)
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text[:100_000])
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        if name == "model_type":  # written without quotes
            return text
        raise ConfigError(f"{where}: {name} cannot be read, found {text!r:.80}") from None
