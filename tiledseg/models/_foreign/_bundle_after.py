"""How a MONAI bundle cuts windows, and what it makes of the network's output, as a card says it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...document import brief
from ...errors import ConfigError
from ._bundle_config import Part
from ._bundle_expression import NeedsCode

#: Padding of images smaller than a window, in MONAI's words and in ours.
_PADDING = {"constant": "zero", "replicate": "edge", "reflect": "reflect"}
_TAPERS = {"constant": "flat", "gaussian": "monai"}
#: The inferer that sees a whole image at once. No card can say how large that is.
WHOLE = "SimpleInferer"
#: Arguments of the inferer that say where and how fast, not what.
_IDLE = {
    *("sw_batch_size", "device", "sw_device", "progress", "cache_roi_weight_map", "cpu_thresh"),
    *("buffer_steps", "buffer_dim", "with_coord"),
}
#: Transforms that leave labels as they are, and those that are told of but not done.
_IDLE_AFTER = ("EnsureTyped", "ToTensord", "ToDeviced", "SaveImaged", "CastToTyped")
_LEFT_OUT = ("KeepLargestConnectedComponentd", "FillHolesd", "RemoveSmallObjectsd")


@dataclass
class After:
    """What becomes of the network's output.

    Args:
        activation: What turns it into scores.
        threshold: Whether a score above 0.5 decides, rather than the highest.
        labels_go_back: Whether the image's grid is reached by the nearest labels, rather than by
            interpolated scores.
        notes: What should be known.
    """

    activation: str = "none"
    threshold: bool = False
    labels_go_back: bool = False
    notes: list[str] = field(default_factory=list)


def understand_inferer(part: Any, dims: int) -> tuple[tuple[int, ...], dict[str, Any]]:
    """Return the window and the card's ``tiling`` of an inferer.

    Args:
        part: The inferer.
        dims: Spatial axes, where one number stands for all.

    Raises:
        ConfigError: It is not known, or asks for what tiledseg does not.
    """
    if not isinstance(part, Part):
        raise ConfigError(f"inferer: expected SlidingWindowInferer, found {brief(part)}")
    if part.name not in ("SlidingWindowInferer", "SlidingWindowInfererAdapt"):
        kind = NeedsCode if part.name == WHOLE else ConfigError
        raise kind(
            f"{part.place}: {part.target!r} is not known: tiledseg cuts windows as "
            "SlidingWindowInferer does"
        )
    known = {"roi_size", "overlap", "mode", "sigma_scale", "padding_mode", "cval"} | _IDLE
    for name in part.names:
        if name not in known:
            raise ConfigError(f"{part.place}: argument {name} of {part.name} is not known")
    if part.get("sigma_scale", 0.125) != 0.125 or part.get("cval", 0) != 0:
        raise ConfigError(f"{part.place}: sigma_scale other than 0.125, or cval, is not known")
    window = part.get("roi_size")
    window = [window] * dims if isinstance(window, int) else window
    if (
        not isinstance(window, list | tuple)
        or len(window) not in (2, 3)
        or not all(isinstance(n, int) and n > 0 for n in window)
    ):
        raise ConfigError(
            f"{part.place}: roi_size must be 2 or 3 positive numbers, found {brief(window)}: the "
            "extents of an image as a window are not known"
        )
    dims = len(window)
    overlap = _each(part, "overlap", dims, 0.25)
    if not all(isinstance(o, int | float) and 0 <= o < 1 for o in overlap):
        raise ConfigError(f"{part.place}: overlap must be 0 to 1, found {brief(overlap)}")
    # monai.inferers.utils._get_scan_interval
    stride = [max(1, int(n * (1 - o))) for n, o in zip(window, overlap, strict=True)]
    tiling = {
        "stride": stride,
        "margin": 0,
        "taper": _known(part, "mode", "constant", _TAPERS),
        "lattice": "clamped",
        "padding": _known(part, "padding_mode", "constant", _PADDING),
        "blend": "logits",
    }
    return tuple(window), tiling


def understand_after(transforms: list[Any], image: str | None) -> After:
    """Return what transforms do to the network's output.

    Raises:
        NeedsCode: One is not known, or does what tiledseg does not.
    """
    found = After()
    decided = back = False
    for part in transforms:
        if not isinstance(part, Part):
            raise NeedsCode(f"postprocessing: expected transforms, found {brief(part)}")
        if part.disabled or part.name in _IDLE_AFTER:
            continue
        if part.name == "Activationsd":
            _activate(part, found, decided)
        elif part.name == "AsDiscreted":
            _decide(part, found)
            decided = True
        elif part.name == "Invertd":
            _invert(part, found, decided, image)
            back = True
        elif part.name in _LEFT_OUT:
            found.notes.append(f"{part.name} is not done: labels are as the network gives them")
        else:
            raise NeedsCode(
                f"{part.place}: transform {part.target!r} is not known; known are Activationsd, "
                f"AsDiscreted, Invertd, {', '.join((*_LEFT_OUT, *_IDLE_AFTER))}"
            )
    if not decided:
        found.notes.append("the bundle keeps scores; labels are those of the highest")
    if not back:
        found.labels_go_back = True
        found.notes.append(
            "the bundle has no Invertd; labels go back to the image's grid all the same"
        )
    return found


def _activate(part: Part, found: After, decided: bool) -> None:
    asked = [name for name in ("softmax", "sigmoid") if part.get(name, False)]
    others = [name for name in ("other", "kwargs") if part.get(name) is not None]
    if len(asked) > 1 or others or decided or found.activation != "none":
        raise NeedsCode(
            f"{part.place}: expected softmax or sigmoid once, before AsDiscreted, found "
            f"{', '.join((*asked, *others)) or 'another order'}"
        )
    found.activation = asked[0] if asked else "none"


def _decide(part: Part, found: After) -> None:
    threshold = part.get("threshold")
    threshold = threshold[0] if isinstance(threshold, list) and threshold else threshold
    argmax = part.get("argmax", False)
    argmax = any(argmax) if isinstance(argmax, list | tuple) else argmax
    if argmax and threshold is None:
        # One-hot of the labels: the same, told in more channels.
        return
    if not argmax and threshold == 0.5 and found.activation == "sigmoid":
        found.threshold = True
        return
    raise NeedsCode(
        f"{part.place}: AsDiscreted is known with argmax, or with threshold 0.5 after a sigmoid; "
        f"found argmax {brief(argmax)}, threshold {brief(threshold)}"
    )


def _invert(part: Part, found: After, decided: bool, image: str | None) -> None:
    nearest = part.get("nearest_interp", True)
    nearest = nearest[0] if isinstance(nearest, list | tuple) and nearest else nearest
    of = part.get("orig_keys", image)
    if of not in (image, [image]):
        raise NeedsCode(f"{part.place}: Invertd of {brief(of)} is not that of the image")
    found.labels_go_back = decided or bool(nearest)
    if decided and not nearest:
        found.notes.append(
            "the bundle interpolates between the numbers of labels (Invertd after AsDiscreted with "
            "nearest_interp false), which means nothing; here labels go back as the nearest"
        )


def _each(part: Part, name: str, dims: int, default: Any = None) -> list[Any]:
    """Return an argument's value for every axis."""
    value = part.get(name, default)
    values = list(value) if isinstance(value, list | tuple) else [value] * dims
    if len(values) != dims:
        raise ConfigError(f"{part.place}: {name} must be {dims} numbers, found {brief(value)}")
    return values


def _known(part: Part, name: str, default: str, words: dict[str, str]) -> str:
    value = part.get(name, default)
    if value not in words:
        raise ConfigError(
            f"{part.place}: {name} {brief(value)} is not known, only {', '.join(words)}"
        )
    return words[value]
