"""Networks from MONAI: the only door to it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from inspect import signature
from math import prod
from typing import Any

from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns about optional packages while it is imported
    from monai.networks.nets import UNETR, BasicUNet, DynUNet, SegResNet, SwinUNETR, UNet

from ..errors import ConfigError

_CLASSES: dict[str, Callable[..., nn.Module]] = {
    "unet": UNet,
    "basic_unet": BasicUNet,
    "segresnet": SegResNet,
    "dynunet": DynUNet,
    "swin_unetr": SwinUNETR,
    "unetr": UNETR,
}
#: Taken where none of what MONAI needs is named; where it is, everything left out is as MONAI has
#: it, and cards go on to mean the same. Batch norm, so that tiled can equal whole.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "unet": {
        "features": (32, 64, 128, 256, 512),
        "strides": (2, 2, 2, 2),
        "num_res_units": 2,
        "norm": "batch",
    },
    "dynunet": {
        "kernel_size": (3, 3, 3, 3, 3),
        "strides": (1, 2, 2, 2, 2),
        "upsample_kernel_size": (2, 2, 2, 2),
        "norm_name": "batch",
    },
    "unetr": {"img_size": 96},
}
_NEEDED = {
    "unet": {"features", "strides"},
    "dynunet": {"kernel_size", "strides", "upsample_kernel_size"},
    "unetr": {"img_size"},
}
#: What `build` is given by other names.
_OURS = ("spatial_dims", "in_channels", "out_channels")


def defaults(name: str) -> dict[str, Any]:
    """Return what an architecture takes, with the defaults.

    ``features`` are what MONAI's U-Net calls channels.
    """
    known = {p.name: p.default for p in signature(_CLASSES[name]).parameters.values()}
    if name == "unet":
        known = {"features": known.pop("channels"), **known}
    return {k: v for k, v in {**known, **_DEFAULTS.get(name, {})}.items() if k not in _OURS}


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of, per axis."""
    given = _completed(name, arguments)
    if name in ("unet", "dynunet"):
        used = given["strides"][: len(given["features"]) - 1 if name == "unet" else None]
        steps = [_per_axis(step, dims) for step in used]
        return tuple(prod(axis) for axis in zip(*steps, strict=True))
    if name == "swin_unetr":
        return (given.get("patch_size", 2) ** 5,) * dims  # four mergings after the patches
    levels = {"basic_unet": 4, "unetr": 4}  # their depth is fixed
    return (2 ** levels.get(name, len(given.get("blocks_down", range(4))) - 1),) * dims


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network; arguments that MONAI refuses break it in places of its own.

    Raises:
        ConfigError: Of arguments that go together only some are given.
    """
    given = _completed(name, arguments)
    needed = _NEEDED.get(name, set())
    if needed - given.keys():
        raise ConfigError(
            f"architecture {name!r} needs {', '.join(sorted(needed))} together, found only "
            f"{', '.join(sorted(needed & given.keys()))}: give all of them, or none"
        )
    if name == "unet":
        given["channels"] = given.pop("features")
    return _CLASSES[name](spatial_dims=dims, in_channels=channels, out_channels=classes, **given)


def _completed(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments with the defaults for those MONAI has none for."""
    named = _NEEDED.get(name, set()) & {*arguments}
    return {**arguments} if named else {**_DEFAULTS.get(name, {}), **arguments}


def _per_axis(step: Any, dims: int) -> tuple[int, ...]:
    return (step,) * dims if isinstance(step, int) else tuple(step)
