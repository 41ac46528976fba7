"""Trained models of nnU-Net v2 and images for them, made from seeds: the cases of its oracle.

This module knows neither nnU-Net nor tiledseg, only torch, numpy and SimpleITK. Weights are random
and as a trainer would leave them: a folder with plans.json, dataset.json and a checkpoint per fold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch


@dataclass(frozen=True)
class Case:
    """A model, and an image for it.

    Args:
        name: Short name, also that of the configuration where that matters.
        patch: Patch size, in the model's order.
        shape: Image, array order as stored.
        spacing: Of the image, mm, array order as stored.
        target: Spacing of the plans, in the model's order.
        channels: Names as in dataset.json.
        schemes: Normalisation of every channel, and whether by the mask.
        labels: As in dataset.json.
        regions: ``regions_class_order``, for regions.
        transpose: ``transpose_forward``.
        strides: Of the stages.
        kernels: Of the stages.
        residual: Whether the encoder is residual.
        old: Whether plans are of the old form.
        batch_norm: Whether it was trained by nnUNetTrainerBN.
        mirror: Axes that may be mirrored.
        reader: Name of the reader.
        folds: Folds.
        zero: Whether the image is 0 all over.
        features: Channels of the stages.
        before: Name of the case that is the stage before, of which this one takes the image.
    """

    name: str
    patch: tuple[int, ...]
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    target: tuple[float, ...]
    channels: tuple[str, ...] = ("CT",)
    schemes: tuple[tuple[str, bool], ...] = (("CTNormalization", False),)
    labels: dict[str, Any] = field(default_factory=lambda: {"background": 0, "a": 1, "b": 2})
    regions: tuple[int, ...] | None = None
    transpose: tuple[int, ...] = (0, 1, 2)
    strides: tuple[tuple[int, ...], ...] = ((1, 1, 1), (2, 2, 2), (2, 2, 2))
    kernels: tuple[tuple[int, ...], ...] = ((3, 3, 3), (3, 3, 3), (3, 3, 3))
    residual: bool = False
    old: bool = False
    batch_norm: bool = False
    mirror: tuple[int, ...] = (0, 1, 2)
    reader: str = "SimpleITKIO"
    folds: tuple[str, ...] = ("0", "1")
    zero: bool = False
    features: tuple[int, ...] = (4, 6, 8)
    before: str | None = None

    @property
    def configuration(self) -> str:
        """Name of the configuration."""
        if self.name == "lowres":
            return "3d_lowres"
        if self.before is not None:
            return "3d_cascade_fullres"
        return "2d" if len(self.patch) == 2 else "3d_fullres"

    @property
    def heads(self) -> int:
        """Channels out."""
        if self.regions is not None:
            return len(self.regions)
        return len([name for name in self.labels if name != "ignore"])


_MR = (("ZScoreNormalization", True), ("ZScoreNormalization", False))
_FLAT = {"strides": ((1, 1), (2, 2), (2, 2)), "kernels": ((3, 3),) * 3}

#: Spacings equal: nothing is resampled.
PLAIN = (
    Case("ct", (20, 24, 16), (33, 37, 28), (1.5, 1.5, 1.5), (1.5, 1.5, 1.5)),
    Case(
        "mr_transposed",
        (24, 16, 20),
        (33, 40, 37),
        (1.0, 2.0, 1.5),
        (1.5, 1.0, 2.0),
        channels=("T1", "FLAIR"),
        schemes=_MR,
        transpose=(2, 0, 1),
        mirror=(0, 2),
    ),
    Case(
        "regions",
        (16, 16, 21),
        (30, 36, 33),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        schemes=(("RescaleTo01Normalization", False),),
        labels={"background": 0, "whole": [1, 2, 3], "core": [2, 3], "tip": 3, "ignore": 4},
        regions=(1, 2, 3),
        strides=((1, 1, 1), (2, 2, 1), (2, 2, 1)),
    ),
    Case(
        "slices",
        (32, 24),
        (9, 41, 38),
        (3.0, 1.0, 1.0),
        (1.0, 1.0),
        channels=("T1", "CT"),
        schemes=(("ZScoreNormalization", False), ("CTNormalization", False)),
        mirror=(0, 1),
        **_FLAT,
    ),
    Case(
        "residual",
        (16, 24, 24),
        (31, 37, 33),
        (2.0, 1.0, 1.0),
        (2.0, 1.0, 1.0),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        residual=True,
        reader="NibabelIO",
    ),
    Case(
        "old_plans",
        (24, 24, 24),
        (35, 22, 38),
        (1.5, 1.5, 1.5),
        (1.5, 1.5, 1.5),
        mirror=(),
        old=True,
        folds=("0",),
        reader="SimpleITKIOWithReorient",
    ),
    Case(
        "batch_norm",
        (16, 16, 16),
        (20, 19, 26),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        batch_norm=True,
        folds=("0", "1", "2"),
        mirror=(1,),
        reader="NibabelIOWithReorient",
    ),
    Case(
        "empty",
        (16, 16, 16),
        (18, 20, 17),
        (1.0, 1.0, 1.0),
        (1.0, 1.0, 1.0),
        zero=True,
        folds=("0",),
        mirror=(),
    ),
)


#: Other spacings than the image's: images and logits are resampled.
RESAMPLED = (
    Case("iso", (16, 20, 20), (21, 33, 29), (2.0, 0.8, 0.7), (1.3, 1.1, 1.25), mirror=(2,)),
    Case(
        "apart",
        (20, 12, 24),
        (27, 11, 40),
        (1.2, 5.5, 0.9),
        (1.0, 4.0, 1.3),
        channels=("T1", "CT"),
        schemes=(("ZScoreNormalization", True), ("CTNormalization", False)),
        transpose=(2, 1, 0),
        strides=((1, 1, 1), (2, 1, 2), (2, 2, 2)),
        mirror=(0, 1),
    ),
    Case(
        "coarse_plans",
        (8, 24, 20),
        (23, 31, 37),
        (2.0, 1.0, 1.0),
        (5.0, 1.2, 1.2),
        labels={"background": 0, "whole": [1, 2], "core": 2},
        regions=(1, 2),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        residual=True,
        mirror=(),
    ),
    Case(
        "fine_slices",
        (24, 28),
        (7, 33, 41),
        (2.0, 1.5, 0.75),
        (1.0, 1.5),
        schemes=(("ZScoreNormalization", False),),
        mirror=(1,),
        **_FLAT,
    ),
)


_ORGANS = {"background": 0, "a": 1, "b": 2, "c": 3}
#: Two stages: the labels of the first are channels of the second.
CASCADE = (
    Case(
        *("lowres", (16, 16, 16), (24, 33, 38), (1.5, 1.0, 0.9), (2.5, 2.0, 2.0)),
        labels=_ORGANS,
        folds=("0",),
        mirror=(1,),
    ),
    Case(
        *("fullres", (20, 16, 24), (24, 33, 38), (1.5, 1.0, 0.9), (1.2, 1.0, 1.0)),
        labels=_ORGANS,
        folds=("0",),
        mirror=(0,),
        before="lowres",
    ),
)


def write_model(case: Case, root: Path) -> Path:
    """Write the trained model of a case below ``root`` and return its folder."""
    trainer = "nnUNetTrainerBN" if case.batch_norm else "nnUNetTrainer"
    dataset_name = f"Dataset001_{case.before or case.name}"
    folder = root / dataset_name / f"{trainer}__nnUNetPlans__{case.configuration}"
    folder.mkdir(parents=True)
    (folder / "plans.json").write_text(json.dumps(_plans(case), indent=1))
    dataset = {
        "channel_names": {str(i): name for i, name in enumerate(case.channels)},
        "labels": case.labels,
        "numTraining": 1,
        "file_ending": ".nii.gz",
        **({} if case.regions is None else {"regions_class_order": list(case.regions)}),
    }
    (folder / "dataset.json").write_text(json.dumps(dataset))
    for fold in case.folds:
        place = folder / f"fold_{fold}"
        place.mkdir()
        generator = torch.Generator().manual_seed(sum(map(ord, case.name)) * 7 + int(fold))
        checkpoint = {
            "network_weights": dict(_weights(case, generator)),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "betas": (0.9, 0.9)}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5), np.float32(0.25)], "lrs": [0.1]},
            "_best_ema": np.float64(0.7),
            "current_epoch": 1000,
            "init_args": {"configuration": case.configuration, "fold": int(fold)},
            "trainer_name": trainer,
            "inference_allowed_mirroring_axes": tuple(case.mirror) or None,
        }
        torch.save(checkpoint, place / "checkpoint_final.pth")
    return folder


def write_images(case: Case, folder: Path) -> list[Path]:
    """Write the image of a case, a file per channel on an oblique grid, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(sum(map(ord, case.before or case.name)))
    outside = np.ones(case.shape, bool)
    outside[2:-3, 1:-2, 3:-1] = False  # a border of zeros, to be cropped off
    outside[:, :5, :4] = True
    files = []
    for number, scheme in enumerate(case.schemes):
        values = _blobs(rng, case.shape)
        values = values * 300 + 100 if scheme[0] == "CTNormalization" else values * 90 + 200
        values[outside] = 0
        inner = tuple(slice(n // 2 - 2, n // 2 + 2) for n in case.shape)
        values[inner] = 0  # a hole
        values = np.zeros_like(values) if case.zero else values
        image = sitk.GetImageFromArray(values.round().astype(np.int16))
        image.SetSpacing(case.spacing[::-1])
        image.SetOrigin((-31.5, 12.25, 7.0))
        image.SetDirection(_oblique().flatten().tolist())
        files.append(folder / f"case_{number:04d}.nii.gz")
        sitk.WriteImage(image, str(files[-1]))
    return files


def _oblique() -> np.ndarray:
    """Return direction cosines that are neither axis aligned nor in LPS order."""
    a, b = 0.3, -0.2
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    tilt = np.array([[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]])
    return turn @ tilt @ np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1.0]])


def _blobs(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Return smooth noise of about -1 to 1 with some grain."""
    coarse = rng.normal(size=tuple(n // 5 + 2 for n in shape))
    for axis, n in enumerate(shape):
        at = np.linspace(0, coarse.shape[axis] - 1.001, n)
        low, part = np.floor(at).astype(int), at - np.floor(at)
        part = part.reshape([-1 if a == axis else 1 for a in range(3)])
        coarse = coarse.take(low, axis) * (1 - part) + coarse.take(low + 1, axis) * part
    return coarse + rng.normal(size=shape) * 0.1


# --------------------------------------------------------------------- plans


def _plans(case: Case) -> dict[str, Any]:
    count = len(case.channels)
    statistics = {"mean": 93.5, "std": 171.25, "median": 80.0, "min": -900.0, "max": 900.0}
    statistics |= {"percentile_00_5": -310.0, "percentile_99_5": 480.0}
    resampling = {"is_seg": False, "force_separate_z": None}
    configuration: dict[str, Any] = {
        "data_identifier": f"nnUNetPlans_{case.configuration}",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": list(case.patch),
        "median_image_size_in_voxels": list(map(float, case.shape[-len(case.patch) :])),
        "spacing": list(case.target),
        "normalization_schemes": [scheme for scheme, _ in case.schemes],
        "use_mask_for_norm": [masked for _, masked in case.schemes],
        "resampling_fn_data": "resample_data_or_seg_to_shape",
        "resampling_fn_data_kwargs": {**resampling, "order": 3, "order_z": 0},
        "resampling_fn_seg": "resample_data_or_seg_to_shape",
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True, "order": 1, "order_z": 0},
        "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
        "resampling_fn_probabilities_kwargs": {**resampling, "order": 1, "order_z": 0},
        "batch_dice": True,
        **(_old_network(case) if case.old else {"architecture": _network(case)}),
    }
    # Half of it is inherited, as plans that people adapt have it.
    base = {k: configuration.pop(k) for k in ("patch_size", "spacing", "use_mask_for_norm")}
    configuration["inherits_from"] = "base"
    if case.before is not None:
        configuration["previous_stage"] = "3d_lowres"
    return {
        "dataset_name": f"Dataset001_{case.name}",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": list(case.target),
        "original_median_shape_after_transp": list(case.shape),
        "image_reader_writer": case.reader,
        "transpose_forward": list(case.transpose),
        "transpose_backward": [case.transpose.index(axis) for axis in range(3)],
        "configurations": {"base": base, case.configuration: configuration},
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(i): statistics for i in range(count)},
    }


def _network(case: Case) -> dict[str, Any]:
    dims, stages = len(case.patch), len(case.strides)
    blocks = {"n_blocks_per_stage": [1, 2, 2]} if case.residual else {"n_conv_per_stage": [2, 2, 1]}
    name = "ResidualEncoderUNet" if case.residual else "PlainConvUNet"
    return {
        "network_class_name": f"dynamic_network_architectures.architectures.unet.{name}",
        "arch_kwargs": {
            "n_stages": stages,
            "features_per_stage": list(case.features),
            "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
            "kernel_sizes": [list(k) for k in case.kernels],
            "strides": [list(s) for s in case.strides],
            **blocks,
            "n_conv_per_stage_decoder": [2, 1],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def _old_network(case: Case) -> dict[str, Any]:
    return {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "unet_max_num_features": 6,
        "n_conv_per_stage_encoder": [2, 2, 1],
        "n_conv_per_stage_decoder": [2, 1],
        "num_pool_per_axis": [2, 2, 2],
        "pool_op_kernel_sizes": [list(s) for s in case.strides],
        "conv_kernel_sizes": [list(k) for k in case.kernels],
    }


# --------------------------------------------------------------------- weights


def _weights(case: Case, generator: torch.Generator) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield the weights under every name that nnU-Net stores them under."""
    drawn = dict(_drawn(case, generator))
    for name, values in drawn.items():
        for other in _names(name, case):
            yield other, values
    for name, values in drawn.items():
        if name.startswith("encoder."):
            for other in _names(name, case):
                yield f"decoder.{other}", values


def _names(name: str, case: Case) -> list[str]:
    """Return a weight's names: every layer of a block is also one of ``all_modules``."""
    found = [name]
    for layer, place in ((".conv.", 0), (".norm.", 1)):
        if layer in name:
            found.append(name.replace(layer, f".all_modules.{place}."))
    return found


def _drawn(case: Case, generator: torch.Generator) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield every weight once."""
    dims = len(case.patch)
    features = [4, 6, 6] if case.old else list(case.features)
    into = len(case.channels) + (case.before is not None) * (case.heads - 1)

    def draw(*shape: int, spread: float = 1.0, around: float = 0.0) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * spread + around

    def conv(name: str, a: int, b: int, kernel: tuple[int, ...], bias: bool = True) -> Any:
        spread = (2 / (a * float(np.prod(kernel)))) ** 0.5
        yield f"{name}.weight", draw(b, a, *kernel, spread=spread)
        if bias:
            yield f"{name}.bias", draw(b, spread=0.1)

    def norm(name: str, n: int) -> Any:
        yield f"{name}.weight", draw(n, spread=0.3, around=1)
        yield f"{name}.bias", draw(n, spread=0.3)
        if case.batch_norm:
            yield f"{name}.running_mean", draw(n, spread=0.2)
            yield f"{name}.running_var", draw(n, spread=0.2).abs() + 0.8
            yield f"{name}.num_batches_tracked", torch.tensor(9)

    def block(name: str, a: int, b: int, kernel: tuple[int, ...], bias: bool = True) -> Any:
        yield from conv(f"{name}.conv", a, b, kernel, bias)
        yield from norm(f"{name}.norm", b)

    if case.residual:
        yield from block("encoder.stem.convs.0", into, features[0], case.kernels[0])
        into = features[0]
    for stage, out in enumerate(features):
        kernel = case.kernels[stage]
        if not case.residual:
            for i in range((2, 2, 1)[stage]):
                a = into if i == 0 else out
                yield from block(f"encoder.stages.{stage}.0.convs.{i}", a, out, kernel)
        for i in range((1, 2, 2)[stage] if case.residual else 0):
            name, a = f"encoder.stages.{stage}.blocks.{i}", into if i == 0 else out
            yield from block(f"{name}.conv1", a, out, kernel)
            yield from block(f"{name}.conv2", out, out, kernel)
            if a != out:
                pooled = int(any(s != 1 for s in case.strides[stage]))
                yield from block(f"{name}.skip.{pooled}", a, out, (1,) * dims, bias=False)
        into = out
    for stage in range(len(features) - 1):
        below, side = features[-1 - stage], features[-2 - stage]
        stride, kernel = case.strides[-1 - stage], case.kernels[-2 - stage]
        yield f"decoder.transpconvs.{stage}.weight", draw(below, side, *stride, spread=0.4)
        yield f"decoder.transpconvs.{stage}.bias", draw(side, spread=0.1)
        for i in range((2, 1)[stage]):
            a = 2 * side if i == 0 else side
            yield from block(f"decoder.stages.{stage}.convs.{i}", a, side, kernel)
        weight = draw(case.heads, side, *(1,) * dims, spread=1.0)
        yield f"decoder.seg_layers.{stage}.weight", weight
        # A leaky ReLU of what is normal has a mean of 0.4: with this every label occurs.
        yield f"decoder.seg_layers.{stage}.bias", -0.4 * weight.flatten(1).sum(1)
