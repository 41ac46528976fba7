"""Bundles like those of MONAI's model zoo, with generated weights, and MONAI's own run of them.

Their configs have the words and the order of the zoo's `spleen_ct_segmentation` and
`wholeBody_ct_segmentation`; networks, windows and images are small.
"""

from __future__ import annotations

import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from PIL import Image

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import monai.bundle
    import monai.networks.nets

LOAD = [{"_target_": "LoadImaged", "keys": "image"}]
FIRST = {"_target_": "EnsureChannelFirstd", "keys": "image"}
ORIENT = {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"}
TYPED = {"_target_": "EnsureTyped", "keys": "image"}
SOFTMAX = {"_target_": "Activationsd", "keys": "pred", "softmax": True}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
SAVE = {
    "_target_": "SaveImaged",
    "keys": "pred",
    "output_dir": "@output_dir",
    "output_ext": "@output_ext",
    "output_dtype": "@output_dtype",
    "output_postfix": "@output_postfix",
    "separate_folder": "@separate_folder",
}


def spacing(pixdim: Any) -> dict[str, Any]:
    """Return the transform that resamples."""
    return {"_target_": "Spacingd", "keys": "image", "pixdim": pixdim, "mode": "bilinear"}


def invert(nearest: bool) -> dict[str, Any]:
    """Return the transform that leads back to the image's grid."""
    return {
        "_target_": "Invertd",
        "keys": "pred",
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": nearest,
        "to_tensor": True,
    }


def spleen(pixdim: tuple[float, ...] = (1.5, 1.5, 2.0), **changes: Any) -> dict[str, Any]:
    """Return the config of a bundle like `spleen_ct_segmentation`: scores go back, linearly."""
    window = {
        "_target_": "ScaleIntensityRanged",
        "keys": "image",
        "a_min": -57,
        "a_max": 164,
        "b_min": 0,
        "b_max": 1,
        "clip": True,
    }
    network = {
        "_target_": "UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "channels": [4, 8, 16],
        "strides": [2, 2],
        "num_res_units": 2,
        "norm": "batch",
    }
    return {
        **_common(["$import glob", "$import os"], network),
        "preprocessing": compose([*LOAD, FIRST, ORIENT, spacing(list(pixdim)), window, TYPED]),
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [24, 24, 24],
            "sw_batch_size": 2,
            "overlap": 0.5,
        },
        "postprocessing": compose([SOFTMAX, invert(False), ARGMAX, SAVE]),
        **changes,
    }


def whole_body(pixdim: float = 1.5, classes: int = 7, **changes: Any) -> dict[str, Any]:
    """Return the config of one like `wholeBody_ct_segmentation`: labels go back, the nearest."""
    network = {
        "_target_": "SegResNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": classes,
        "init_filters": 8,
        "blocks_down": [1, 1],
        "blocks_up": [1],
        "dropout_prob": 0.2,
    }
    normalize = [
        {"_target_": "NormalizeIntensityd", "keys": "@image_key", "nonzero": True},
        {"_target_": "ScaleIntensityd", "keys": "@image_key", "minv": -1.0, "maxv": 1.0},
    ]
    return {
        "displayable_configs": {"highres": True, "sw_overlap": 0.25, "sw_batch_size": 2},
        **_common(["$import glob", "$import numpy", "$import os"], network),
        "image_key": "image",
        "pixdim": f"$[{pixdim}] * 3 if @displayable_configs#highres else [3.0, 3.0, 3.0]",
        "modelname": "$'model.pt' if @displayable_configs#highres else 'model_lowres.pt'",
        "preprocessing": compose([*LOAD, TYPED, FIRST, ORIENT, spacing("@pixdim"), *normalize]),
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [24, 24, 24],
            "sw_batch_size": "@displayable_configs#sw_batch_size",
            "overlap": "@displayable_configs#sw_overlap",
            "padding_mode": "replicate",
            "mode": "gaussian",
            "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        },
        "postprocessing": compose([SOFTMAX, ARGMAX, invert(True), SAVE]),
        "checkpointloader": _loader("$@bundle_root + '/models/' + @modelname"),
        **changes,
    }


#: Small networks of other kinds, and windows that they take.
NETWORKS: dict[str, tuple[dict[str, Any], list[int]]] = {
    "DynUNet": (
        {
            "kernel_size": [3, [3, 3, 1], 3],
            "strides": [1, [2, 2, 1], 2],
            "upsample_kernel_size": [[2, 2, 1], 2],
            "filters": [4, 8, 16],
            "norm_name": "instance",
            "res_block": True,
        },
        [24, 24, 16],
    ),
    "UNETR": (
        {
            "img_size": [32, 32, 32],
            "feature_size": 4,
            "hidden_size": 24,
            "mlp_dim": 48,
            "num_heads": 2,
        },
        [32, 32, 32],
    ),
    "SwinUNETR": (
        {"feature_size": 12, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 2, 2]},
        [64, 64, 32],
    ),
}


def of_network(name: str) -> dict[str, Any]:
    """Return the config of a bundle like `spleen` with another network of MONAI's."""
    arguments, window = NETWORKS[name]
    sizes = {"spatial_dims": 3, "in_channels": 1, "out_channels": 3}
    config = spleen(network_def={"_target_": name, **sizes, **arguments})
    config["inferer"].update(roi_size=window, overlap=0.25, mode="gaussian")
    return config


def write_bundle(root: Path, config: dict[str, Any], seed: int = 0) -> Path:
    """Write a bundle with generated weights and return its folder."""
    network = dict(config["network_def"])
    build = getattr(monai.networks.nets, network.pop("_target_"))
    torch.manual_seed(seed)
    made = build(**network).eval()
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=1.6 / parameter[0].numel() ** 0.5)
    _balance(made, network["in_channels"], config["inferer"]["roi_size"])
    for folder in ("configs", "models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    torch.save(made.state_dict(), root / "models" / "model.pt")
    (root / "configs" / "inference.json").write_text(json.dumps(config, indent=4))
    names = {str(k): f"organ {k}" if k else "background" for k in range(network["out_channels"])}
    image = {"num_channels": network["in_channels"], "channel_def": {"0": "image"}}
    metadata = {
        "version": "0.1.0",
        "authors": "Nobody",
        "copyright": "Copyright (c) Nobody",
        "task": "tests",
        "network_data_format": {
            "inputs": {"image": image},
            "outputs": {"pred": {"num_channels": len(names), "channel_def": names}},
        },
    }
    (root / "configs" / "metadata.json").write_text(json.dumps(metadata))
    return root


def write_volume(
    path: Path, shape: tuple[int, ...], affine: Any, zeros: bool = True, seed: int = 1
) -> Path:
    """Write a volume of smooth blobs and noise in Hounsfield units, some regions of it 0."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn((1, 1, *(max(3, n // 5) for n in shape)), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, shape, mode="trilinear")[0, 0].numpy()
    noise = torch.randn(shape, generator=generator).numpy()
    values = np.round(120 * smooth + 10 * noise + 40).astype(np.int16)
    if zeros:
        values[smooth < -0.9] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, np.asarray(affine, np.float64)), path)
    return path


def affine(spacing: tuple[float, ...], degrees: float = 0.0, flips: str = "") -> Any:
    """Return the affine of a volume (RAS): spacings, a turn about an oblique axis, flipped axes."""
    axis = np.array([0.3, -0.5, 0.8]) / np.linalg.norm([0.3, -0.5, 0.8])
    cross = np.cross(np.eye(3), axis)
    turn = np.radians(degrees)
    rotation = np.eye(3) + np.sin(turn) * cross + (1 - np.cos(turn)) * cross @ cross
    signs = [-1 if "xyz"[i] in flips else 1 for i in range(3)]
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag(np.array(spacing) * signs)
    matrix[:3, 3] = (-31.5, 12.25, 7.75)
    return matrix


def run_monai(bundle: Path, image: Path) -> Any:
    """Return the labels that ``python -m monai.bundle run`` writes for an image, (x, y, z).

    Those of a .png are (y, x), as stored.
    """
    out = bundle / "eval"
    with warnings.catch_warnings(), own_modules(bundle):
        warnings.simplefilter("ignore")
        monai.bundle.run(
            config_file=str(bundle / "configs" / "inference.json"),
            meta_file=str(bundle / "configs" / "metadata.json"),
            bundle_root=str(bundle),
            dataset_dir=str(image.parent),
            datalist=[str(image)],
            output_dir=str(out),
        )
    if image.suffix == ".png":
        return np.asarray(Image.open(*out.rglob(f"{image.stem}_trans.png")))
    (written,) = out.rglob(f"{image.name.removesuffix('.nii.gz')}_trans.nii.gz")
    return np.asarray(nib.load(written).dataobj)


@contextmanager
def own_modules(bundle: Path) -> Iterator[None]:
    """Let MONAI find a bundle's modules, as PYTHONPATH does, and forget them."""
    sys.path.insert(0, str(bundle))
    try:
        yield
    finally:
        sys.path[:] = [place for place in sys.path if place != str(bundle)]
        for name in [name for name in sys.modules if name.split(".")[0] == "scripts"]:
            del sys.modules[name]
        shutil.rmtree(bundle / "scripts/__pycache__", ignore_errors=True)


def _common(imports: list[str], network: dict[str, Any]) -> dict[str, Any]:
    """Return the parts of a config that are the same in all of the zoo."""
    return {
        "imports": imports,
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "output_ext": ".nii.gz",
        "output_dtype": "$numpy.float32",
        "output_postfix": "trans",
        "separate_folder": True,
        "dataset_dir": "/workspace/data",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/imagesTs/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": network,
        "network": "$@network_def.to(@device)",
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "handlers": [{"_target_": "StatsHandler", "iteration_log": False}],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": True,
        },
        "checkpointloader": _loader("$@bundle_root + '/models/model.pt'"),
        "initialize": [
            "$monai.utils.set_determinism(seed=123)",
            "$@checkpointloader(@evaluator)",
        ],
        "run": ["$@evaluator.run()"],
    }


def compose(transforms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": transforms}


def _loader(path: str) -> dict[str, Any]:
    return {
        "_target_": "CheckpointLoader",
        "load_path": path,
        "load_dict": {"model": "@network"},
    }


def _balance(network: torch.nn.Module, channels: int, window: list[int]) -> None:
    """Shift the last bias so that every class wins somewhere."""
    biased = [m for m in network.modules() if getattr(m, "bias", None) is not None]
    last = [m for m in biased if isinstance(m, torch.nn.modules.conv._ConvNd)][-1]
    with torch.inference_mode():
        raw = network(torch.rand(1, channels, *window))
    with torch.no_grad():
        last.bias -= raw.flatten(2).mean((0, 2))


def write_picture_bundle(folder: Path, scaled: dict[str, Any]) -> tuple[Path, Path]:
    """Write a bundle for pictures, whose preprocessing ends with ``scaled``, and a picture."""
    config = spleen(output_ext=".png", output_dtype="uint8")
    config["network_def"].update(spatial_dims=2, in_channels=3, out_channels=3)
    config["preprocessing"] = compose([*LOAD, FIRST, scaled])
    config["inferer"].update(roi_size=[48, 32], overlap=0.25)
    config["postprocessing"] = compose([SOFTMAX, ARGMAX, SAVE])
    coarse = np.random.default_rng(0).integers(0, 255, (15, 20, 3), np.uint8)
    Image.fromarray(coarse.repeat(7, 0).repeat(5, 1)).save(folder / "x.png")
    return write_bundle(folder / "b", config), folder / "x.png"
