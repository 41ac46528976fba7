"""nnU-Net v2's plans and dataset.json in the words of a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError
from ._nnunet_network import architecture_of

#: What is subtracted and divided by is never less (default_normalization_schemes.py).
_LEAST = 1e-8
#: Stands for "no limit" in a step that limits some channels only.
_LARGEST = 3.0e38
#: How the reader's array lies: as stored (z, y, x), or turned to RAS, which is SAR in this order.
_READERS = {
    "SimpleITKIO": None,
    "NibabelIO": None,
    "SimpleITKIOWithReorient": "SAR",
    "NibabelIOWithReorient": "SAR",
}
_WHOLE = {"ZScoreNormalization": "score", "RescaleTo01Normalization": "range"}
_FIXED = ("CTNormalization", "RGBTo01Normalization", "NoNormalization")


def configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration, with what it inherits.

    Raises:
        ConfigError: There is none of that name, or it inherits from itself.
    """
    known = plans.get("configurations")
    found: dict[str, Any] = {}
    chain: list[str] = []
    while True:
        if not isinstance(known, Mapping) or not isinstance(known.get(name), Mapping):
            raise ConfigError(f"its plans have no configuration {name!r}")
        if name in chain:
            raise ConfigError(f"its configuration {chain[0]!r} inherits from itself")
        chain.append(name)
        found = {**known[name], **found}
        if not isinstance(known[name].get("inherits_from"), str):
            return found
        name = known[name]["inherits_from"]


def card_of(
    plans: Mapping[str, Any],
    dataset: Mapping[str, Any],
    chosen: Mapping[str, Any],
    trainer: str,
    mirror: tuple[int, ...],
) -> dict[str, Any]:
    """Return the keys of a card.

    Args:
        plans: ``plans.json``.
        dataset: ``dataset.json``.
        chosen: The configuration.
        trainer: Name of the trainer.
        mirror: Axes of the network's input that may be mirrored.

    Raises:
        ConfigError: Something in it cannot be done here, or is missing.
    """
    _require_known(plans, chosen)
    flat = len(chosen["patch_size"]) == 2  # slices of a volume, one by one
    before = _previous(chosen, dataset)
    channels = _channels(dataset)
    slices = {"slices": True} if flat else {}
    return {
        "dims": 3,
        "channels": [*channels, *(f"previous {i}" for i in before)],
        **_classes(dataset),
        "architecture": {**architecture_of(chosen, trainer), **slices},
        **_seen(plans, chosen),
        "normalization": _normalization(plans, chosen, len(channels)),
        "previous": {"labels": before} if before else None,
        **_tiled([int(n) for n in chosen["patch_size"]]),
        "mirror": [axis + flat for axis in mirror],
        "licence": str(dataset.get("licence", dataset.get("license", ""))),
    }


def _seen(plans: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return how the model sees an image: along which axes, what of it, at which spacing."""
    order = [int(axis) for axis in plans["transpose_forward"]]
    spacing = [float(s) for s in chosen["spacing"]]
    return {
        "orientation": _READERS[plans["image_reader_writer"]],
        "axes": None if order == sorted(order) else order,
        "crop": "nonzero",
        "spacing": [None] * (len(order) - len(spacing)) + spacing,
        "resampling": _resampling(chosen),
    }


def _tiled(patch: list[int]) -> dict[str, Any]:
    """Return how nnU-Net tiles and averages: windows half over one another, one per call."""
    flat = len(patch) == 2
    return {
        "window": [1] * flat + patch,
        "any_size": False,
        "tiling": {
            "stride": [1] * flat + [_half(n) for n in patch],
            "margin": 0,
            "taper": "nnunet",
            "lattice": "even",
            "padding": "zero",
        },
        "average": "blended",
        "microbatch": 1,
    }


def _half(extent: int) -> int | float:
    return extent // 2 if extent % 2 == 0 else extent / 2


def _require_known(plans: Mapping[str, Any], chosen: Mapping[str, Any]) -> None:
    """Refuse plans that ask for code that is not here.

    Raises:
        ConfigError: They do.
    """
    wanted = [
        ("reader", plans.get("image_reader_writer"), tuple(_READERS)),
        ("preprocessor", chosen.get("preprocessor_name"), ("DefaultPreprocessor",)),
        ("label manager", plans.get("label_manager", "LabelManager"), ("LabelManager",)),
        (
            *("resampling", chosen.get("resampling_fn_data")),
            ("resample_data_or_seg_to_shape",),
        ),
        (
            *("resampling", chosen.get("resampling_fn_probabilities")),
            ("resample_data_or_seg_to_shape",),
        ),
        *(
            ("normalisation", scheme, (*_WHOLE, *_FIXED))
            for scheme in chosen["normalization_schemes"]
        ),
    ]
    for what, found, known in wanted:
        if found not in known:
            raise ConfigError(
                f"its plans ask for the {what} {str(found)!r:.80}, and only {', '.join(known)} "
                "can be done here"
            )


def _channels(dataset: Mapping[str, Any]) -> list[str]:
    names = dataset.get("channel_names", dataset.get("modality"))
    if not isinstance(names, Mapping) or not names:
        raise ConfigError("its dataset.json names no channels")
    ordered = sorted(names, key=int)
    plain = [str(names[key]) for key in ordered]
    return (
        plain
        if len(set(plain)) == len(plain)
        else [f"{k}: {n}" for k, n in zip(ordered, plain, strict=True)]
    )


def _classes(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return the classes in the order of the channels out; the ignored label is none."""
    labels = {name: value for name, value in dataset["labels"].items() if name != "ignore"}
    several = any(isinstance(value, list) and len(value) > 1 for value in labels.values())
    if not several:
        ids = {int(v[0] if isinstance(v, list) else v): str(n) for n, v in labels.items()}
        classes = [{"name": ids[value], "id": i} for i, value in enumerate(sorted(ids))]
        return {"classes": classes, "background": 0, "activation": "softmax"}
    regions = [
        name
        for name, value in labels.items()
        if set(value if isinstance(value, list) else [value]) != {0}
    ]
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(regions):
        raise ConfigError(
            f"its dataset.json has {len(regions)} regions and regions_class_order {order}"
        )
    painted = [{"name": str(n), "id": int(i)} for n, i in zip(regions, order, strict=True)]
    return {
        "classes": [{"name": "background", "id": 0}, *painted],
        "background": 0,
        "activation": "sigmoid",
        "painted": True,
    }


def _previous(chosen: Mapping[str, Any], dataset: Mapping[str, Any]) -> list[int]:
    """Return the labels of the stage before that are channels; none without such a stage."""
    if not chosen.get("previous_stage"):
        return []
    labels = [value for name, value in dataset["labels"].items() if name != "ignore"]
    flat = {int(v) for value in labels for v in (value if isinstance(value, list) else [value])}
    return sorted(flat - {0})


def _normalization(
    plans: Mapping[str, Any], chosen: Mapping[str, Any], channels: int
) -> list[dict[str, Any]]:
    """Return the steps of all channels; each does nothing to channels of other schemes."""
    schemes = list(chosen["normalization_schemes"])[:channels]
    masks = list(chosen["use_mask_for_norm"])[:channels]
    known = plans.get(
        "foreground_intensity_properties_per_channel",
        plans.get("foreground_intensity_properties_by_modality"),
    )
    limits, fixed, whole = [], [], []
    for channel, (scheme, masked) in enumerate(zip(schemes, masks, strict=True)):
        ends, numbers, how = (-_LARGEST, _LARGEST), (0.0, 1.0), _WHOLE.get(scheme, "keep")
        if scheme == "CTNormalization":
            found = known[str(channel)]
            ends = (float(found["percentile_00_5"]), float(found["percentile_99_5"]))
            numbers = (float(found["mean"]), max(float(found["std"]), _LEAST))
        elif scheme == "RGBTo01Normalization":
            numbers = (0.0, 255.0)
        limits.append(ends)
        fixed.append(numbers)
        whole.append("score_nonzero" if how == "score" and masked else how)
    steps: list[dict[str, Any]] = []
    if "CTNormalization" in schemes:
        low, high = zip(*limits, strict=True)
        steps.append({"kind": "clip", "low": list(low), "high": list(high)})
    if any(numbers != (0.0, 1.0) for numbers in fixed):
        mean, std = zip(*fixed, strict=True)
        steps.append({"kind": "standard", "mean": list(mean), "std": list(std)})
    if set(whole) != {"keep"}:
        steps.append({"kind": "whole_image", "how": whole})
    return steps


_ORDERS = {0: "nearest", 1: "linear", 3: "cubic"}
#: Factor between spacings from which on nnU-Net resamples slice by slice (ANISO_THRESHOLD).
_ANISOTROPIC = 3


def _resampling(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return how images and logits are resampled.

    Raises:
        ConfigError: By splines of another order, or each in another way.
    """
    image = chosen["resampling_fn_data_kwargs"]
    scores = chosen["resampling_fn_probabilities_kwargs"]
    orders = [parts[name] for parts in (image, scores) for name in ("order", "order_z")]
    apart = image.get("force_separate_z"), scores.get("force_separate_z")
    if set(orders) - set(_ORDERS) or not {orders[2], orders[3]} <= {0, 1} or len(set(apart)) > 1:
        raise ConfigError(
            f"its plans resample images by {image} and probabilities by {scores}: only orders 0, 1 "
            "and 3 (of images), and the same force_separate_z, can be done here"
        )
    threshold = {None: _ANISOTROPIC, True: 1, False: None}[apart[0]]
    return {
        "image": _ORDERS[orders[0]],
        "scores": _ORDERS[orders[2]],
        "logits": True,
        "tolerance": 0,
        "anisotropy": threshold,
        "across": [_ORDERS[orders[1]], _ORDERS[orders[3]]],
        "normalized": True,
        "clip": True,
    }
