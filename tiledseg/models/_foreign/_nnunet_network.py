"""The network in nnU-Net v2's plans, in the words of a card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import ConfigError

_NETWORKS = {
    "PlainConvUNet": "plain_conv_unet",
    "ResidualEncoderUNet": "residual_encoder_unet",
}
#: Slopes below 0 where none is given.
_SLOPES = {"LeakyReLU": 0.01, "ReLU": 0.0}
_BLOCKS = ("BasicBlockD", "BottleneckD")


def architecture_of(chosen: Mapping[str, Any], trainer: str) -> dict[str, Any]:
    """Return the architecture of a configuration, of old plans too.

    Args:
        chosen: The configuration.
        trainer: Name of the trainer.

    Raises:
        ConfigError: It is not one of nnU-Net's U-Nets.
    """
    dims = len(chosen["patch_size"])
    kind, values = _named(chosen)
    residual = kind == "ResidualEncoderUNet"
    found = {
        "name": _NETWORKS[kind],
        "features": _stages(values, "features_per_stage"),
        "kernels": _stages(values, "kernel_sizes"),
        "strides": _stages(values, "strides"),
        "convs": values["n_blocks_per_stage" if residual else "n_conv_per_stage"],
        "decoder_convs": values["n_conv_per_stage_decoder"],
        "bias": bool(values.get("conv_bias", False)),
        "slope": _slope(values),
        **_norm(values, trainer, dims),
    }
    if not residual:
        return {**found, "nonlin_first": bool(values.get("nonlin_first", False))}
    found["stem"] = values.get("stem_channels")
    found["bottleneck"] = values.get("bottleneck_channels") if _bottleneck(values) else None
    return found


def _named(chosen: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the class of the network and its arguments.

    Raises:
        ConfigError: It cannot be built here.
    """
    if "architecture" in chosen:
        kind = _last(chosen["architecture"]["network_class_name"])
        values = chosen["architecture"]["arch_kwargs"]
    else:
        kind, values = str(chosen["UNet_class_name"]), _old(chosen)
    if kind not in _NETWORKS:
        raise ConfigError(
            f"its network is {kind!r:.80}, and only {' and '.join(_NETWORKS)} can be built here"
        )
    return kind, values


def _norm(values: Mapping[str, Any], trainer: str, dims: int) -> dict[str, Any]:
    """Return what normalises features, which nnUNetTrainerBN makes batch norm.

    Raises:
        ConfigError: It is not known here.
    """
    norm, about = _last(values.get("norm_op")), values.get("norm_op_kwargs") or {}
    if trainer == "nnUNetTrainerBN":
        norm, about = f"BatchNorm{dims}d", {"eps": 1e-5, "affine": True}
    known = {f"InstanceNorm{dims}d": "instance", f"BatchNorm{dims}d": "batch", "None": "none"}
    if norm not in known:
        raise ConfigError(f"its network has {norm!r:.80}, and only {', '.join(known)} are known")
    return {
        "norm": known[norm],
        "norm_eps": float(about.get("eps", 1e-5)),
        # Batch norm has weights by default, instance norm none.
        "norm_affine": bool(about.get("affine", known[norm] == "batch")),
    }


def _slope(values: Mapping[str, Any]) -> float:
    """Return the slope below 0 of what follows a norm.

    Raises:
        ConfigError: It is no ReLU.
    """
    kind, about = _last(values.get("nonlin")), values.get("nonlin_kwargs") or {}
    if kind not in _SLOPES:
        raise ConfigError(f"its network has {kind!r:.80}, and only {', '.join(_SLOPES)} are known")
    return float(about.get("negative_slope", _SLOPES[kind])) if _SLOPES[kind] else 0.0


def _bottleneck(values: Mapping[str, Any]) -> bool:
    """Return whether residual blocks have a bottleneck.

    Raises:
        ConfigError: They are of another kind.
    """
    block = _last(values.get("block", "BasicBlockD"))
    if block not in _BLOCKS:
        raise ConfigError(f"its network has {block!r:.80}, and only {', '.join(_BLOCKS)} are known")
    return block == "BottleneckD"


def _last(name: Any) -> str:
    """Return the last part of a dotted name."""
    return str(name).rsplit(".", 1)[-1]


def _stages(values: Mapping[str, Any], name: str) -> list[Any]:
    """Return an entry per stage."""
    value = values[name]
    return list(value) if isinstance(value, list | tuple) else [value] * int(values["n_stages"])


def _old(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the network of plans that name a few numbers only (before nnU-Net 2.2)."""
    convs = chosen["n_conv_per_stage_encoder"]
    base, most = chosen["UNet_base_num_features"], chosen["unet_max_num_features"]
    dims = len(chosen["patch_size"])
    return {
        "n_stages": len(convs),
        "features_per_stage": [min(base * 2**i, most) for i in range(len(convs))],
        "kernel_sizes": chosen["conv_kernel_sizes"],
        "strides": chosen["pool_op_kernel_sizes"],
        "n_conv_per_stage": convs,
        "n_blocks_per_stage": convs,
        "n_conv_per_stage_decoder": chosen["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "LeakyReLU",
    }
