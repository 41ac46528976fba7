"""What a MONAI bundle does to an image before the network sees it, in the words of a card.

The transforms known are those of MONAI's zoo that move or scale samples one by one; every argument
that is not looked at is refused, because it might mean something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...document import brief
from ._bundle_config import Part
from ._bundle_expression import NeedsCode

#: Arguments that change nothing here, of any transform.
_IDLE = {"keys", "allow_missing_keys", "lazy", "dtype", "meta_keys", "meta_key_postfix"}
_FLOATS = ("float", "float16", "float32", "float64", "half", None)


@dataclass
class Before:
    """What is done to the image.

    Args:
        image: Key of the image.
        orientation: Anatomical letters of the array axes, or None.
        spacing: Of samples per array axis, in mm, or None.
        method: How the image is interpolated.
        steps: Normalisation steps, as in a card.
        notes: What should be known.
    """

    image: str | None = None
    orientation: str | None = None
    spacing: tuple[float, ...] | None = None
    method: str = "linear"
    steps: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def understand_before(transforms: list[Any], dims: int, channels: int) -> Before:
    """Return what transforms do to the image, which is the key that is loaded.

    Raises:
        NeedsCode: One is not known, or does what tiledseg does not.
    """
    found = Before()
    for part in transforms:
        if not isinstance(part, Part):
            raise NeedsCode(f"preprocessing: expected transforms, found {brief(part)}")
        if part.disabled:
            continue
        if part.name not in _KNOWN:
            raise NeedsCode(
                f"{part.place}: transform {part.target!r} is not known; known are "
                f"{', '.join(_KNOWN)}"
            )
        names, act = _KNOWN[part.name]
        _check_names(part, names)
        keys = part.get("keys")
        keys = [keys] if isinstance(keys, str) else list(keys or ())
        if part.name == "LoadImaged":
            if len(keys) != 1:
                raise NeedsCode(
                    f"{part.place}: one image a case can be read, found keys {brief(keys)}"
                )
            found.image = keys[0]
        if found.image in keys:
            act(part, found, (dims, channels))
    return found


def _check_names(part: Part, known: set[str]) -> None:
    """Refuse arguments that are not looked at."""
    for name in part.names:
        if name not in known | _IDLE:
            raise NeedsCode(
                f"{part.place}: argument {name} of {part.name} is not known to tiledseg; leave it "
                "out if its default will do"
            )


def _nothing(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    """Types, devices and orders of axes that are the same here anyway."""


def _typed(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    wanted = part.get("dtype")
    wanted = wanted[0] if isinstance(wanted, list | tuple) and wanted else wanted
    if wanted not in _FLOATS:
        raise NeedsCode(
            f"{part.place}: {part.name} to {brief(wanted)} would round intensities; only types of "
            "floating point are known"
        )


def _oriented(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    codes = "RAS" if part.get("as_closest_canonical") else part.get("axcodes")
    codes = "".join(codes) if isinstance(codes, list | tuple) else codes
    if not isinstance(codes, str) or sizes[0] != 3:
        raise NeedsCode(f"{part.place}: axcodes {brief(codes)} are not those of a volume")
    if part.get("labels") not in (None, [list(pair) for pair in ("LR", "PA", "IS")]):
        raise NeedsCode(f"{part.place}: Orientationd with labels of its own is not known")
    if found.spacing is not None:
        raise NeedsCode(f"{part.place}: Orientationd after Spacingd is not known")
    found.orientation = codes.upper()


def _spaced(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    given = part.get("pixdim")
    values = [given] if isinstance(given, int | float) else list(given or ())
    values = (values + values[-1:] * sizes[0])[: sizes[0]]  # the last goes on, as in MONAI
    if not values or not all(isinstance(v, int | float) and v > 0 for v in values):
        raise NeedsCode(f"{part.place}: pixdim must be positive numbers, found {brief(given)}")
    mode = part.get("mode", "bilinear")
    mode = mode[0] if isinstance(mode, list | tuple) and mode else mode
    methods = {"bilinear": "linear", "linear": "linear", "nearest": "nearest"}
    if mode not in methods:
        raise NeedsCode(f"{part.place}: mode {brief(mode)} is not known, only bilinear, nearest")
    usual = {
        "diagonal": (False,),
        "align_corners": (False, None),
        "scale_extent": (False,),
        "padding_mode": ("border",),
    }
    for name, values_known in usual.items():
        value = part.get(name, values_known[0])
        if value not in values_known:
            raise NeedsCode(f"{part.place}: {name} {brief(value)} of Spacingd is not known")
    if found.steps and any(step["kind"] != "linear" for step in found.steps):
        raise NeedsCode(
            f"{part.place}: Spacingd after intensities were clipped or scaled by statistics is "
            "not known"
        )
    found.spacing, found.method = tuple(map(float, values)), methods[mode]


def _ranged(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    """ScaleIntensityRange: a_min to b_min and a_max to b_max, clipped if asked for."""
    low, high = _number(part, "a_min"), _number(part, "a_max")
    to_low, to_high = part.get("b_min"), part.get("b_max")
    if low == high or (to_low is None) != (to_high is None):
        raise NeedsCode(f"{part.place}: ScaleIntensityRanged needs a_min below a_max, and both b")
    scaled = to_low is not None
    start, stop = (_number(part, "b_min"), _number(part, "b_max")) if scaled else (0.0, 1.0)
    scale = (stop - start) / (high - low)
    found.steps.append(_linear(scale, start - low * scale))
    if part.get("clip", False) and scaled:
        found.steps.append({"kind": "clip", "low": [start], "high": [stop]})


def _scaled(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    """ScaleIntensity: the image's minimum and maximum to minv and maxv, or a factor."""
    low, high = part.get("minv", 0.0), part.get("maxv", 1.0)
    if low is None and high is None:
        factor = part.get("factor")
        found.steps.append(_linear(1.0 + (0.0 if factor is None else _number(part, "factor")), 0.0))
        return
    together = not part.get("channel_wise", False)
    found.steps.append({"kind": "scene_range", "together": together, "exact": True})
    if low is not None and high is not None:
        found.steps.append(_linear(high - low, float(low)))


def _normalized(part: Part, found: Before, sizes: tuple[int, int]) -> None:
    """NormalizeIntensity: by what is given, or by the image's own mean and deviation."""
    by, over = part.get("subtrahend"), part.get("divisor")
    nonzero = bool(part.get("nonzero", False))
    if by is None and over is None:
        together = not part.get("channel_wise", False)
        step = {"kind": "scene_score", "nonzero": nonzero, "together": together, "exact": True}
        found.steps.append(step)
        return
    if by is None or over is None:
        raise NeedsCode(f"{part.place}: subtrahend without divisor, or the other way, is unknown")
    means, stds = _numbers(part, "subtrahend", sizes[1]), _numbers(part, "divisor", sizes[1])
    scales = [1.0 if s == 0 else 1 / s for s in stds]
    offsets = [-m * s for m, s in zip(means, scales, strict=True)]
    step = {"kind": "linear", "scale": scales, "offset": offsets, "nonzero": nonzero}
    found.steps.append(step)


def _linear(scale: float, offset: float) -> dict[str, Any]:
    return {"kind": "linear", "scale": [float(scale)], "offset": [float(offset)]}


def _number(part: Part, name: str) -> float:
    value = part.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NeedsCode(f"{part.place}: {name} must be a number, found {brief(value)}")
    return float(value)


def _numbers(part: Part, name: str, channels: int) -> list[float]:
    """Return one number for all channels, or one each."""
    value = part.get(name)
    values = list(value) if isinstance(value, list | tuple) else [value]
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    if not plain or len(values) not in (1, channels):
        raise NeedsCode(
            f"{part.place}: {name} must be 1 or {channels} numbers, found {brief(value)}"
        )
    return [float(v) for v in (values * channels)[:channels]]


_Act = Callable[[Part, Before, tuple[int, int]], None]
#: Transforms, the arguments that are looked at or do not matter, and what they mean.
_KNOWN: dict[str, tuple[set[str], _Act]] = {
    "LoadImaged": (
        {"reader", "image_only", "ensure_channel_first", "simple_keys", "prune_meta_pattern"},
        _typed,
    ),
    "EnsureChannelFirstd": ({"channel_dim", "strict_check"}, _nothing),
    "EnsureTyped": ({"data_type", "device", "track_meta", "wrap_sequence"}, _typed),
    "CastToTyped": (set(), _typed),
    "ToTensord": ({"device", "track_meta", "wrap_sequence"}, _typed),
    "ToDeviced": ({"device", "non_blocking"}, _nothing),
    "Orientationd": ({"axcodes", "as_closest_canonical", "labels"}, _oriented),
    "Spacingd": (
        {"pixdim", "diagonal", "mode", "padding_mode", "align_corners", "scale_extent"}
        | {"recompute_affine", "ensure_same_shape"},
        _spaced,
    ),
    "ScaleIntensityRanged": ({"a_min", "a_max", "b_min", "b_max", "clip"}, _ranged),
    "ScaleIntensityd": ({"minv", "maxv", "factor", "channel_wise"}, _scaled),
    "NormalizeIntensityd": ({"subtrahend", "divisor", "nonzero", "channel_wise"}, _normalized),
}
