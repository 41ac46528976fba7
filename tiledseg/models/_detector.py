"""Networks that find objects: a window -> class, score and mask of every one.

They keep the contract of torchvision's detection models: a list of images (c, y, x) in, a list of
dictionaries out, with ``labels`` (n,), ``scores`` (n,) and ``masks`` (n, 1, y, x), 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..errors import ConfigError, DamagedInput
from ._device import exact_device
from ._foreign._state_dict import state_of

#: What of a mask is the object (He et al. 2017, Mask R-CNN, section 3.1).
_INSIDE = 0.5
#: torchvision's own numbers for three channels, of ImageNet; others are taken as they are.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Seen(NamedTuple):
    """An object in a window."""

    label: int
    score: float
    mask: NDArray[np.bool_]


class Detector:
    """A network that finds objects.

    Args:
        network: Keeps the contract of torchvision's detection models.
        device: ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: It is no module, or there is no such device.
    """

    def __init__(self, network: nn.Module, device: str = "cpu") -> None:
        if not isinstance(network, nn.Module):
            raise ConfigError(
                f"the network must be a module of torch, found {type(network).__name__}; weights "
                "of a Mask R-CNN are made one by tiledseg.models.mask_rcnn"
            )
        self._device = exact_device(device)
        self._network = network.to(self._device).eval()

    def find(self, window: NDArray[np.float32], least: float) -> list[Seen]:
        """Return the objects in a window (c, y, x) with at least this score.

        Raises:
            ConfigError: The network fails, or gives something else back.
        """
        told = self._told(window)
        try:
            labels = told["labels"].detach().cpu().numpy()
            scores = told["scores"].detach().float().cpu().numpy()
            if labels.dtype.kind not in "iu" or not (scores <= 1).all():
                raise ValueError(f"labels of {labels.dtype}, scores up to {scores.max():g}")
            seen = []
            for place in np.flatnonzero(scores >= least).tolist():
                mask = told["masks"][place, 0].detach().cpu().numpy() >= _INSIDE
                if mask.shape != window.shape[1:]:
                    raise ValueError(f"a mask of {mask.shape} for a window of {window.shape[1:]}")
                seen.append(Seen(int(labels[place]), float(scores[place]), mask))
        except (KeyError, TypeError, IndexError, ValueError, AttributeError) as error:
            raise ConfigError(
                "the network must give labels, scores and masks (n, 1, y, x) of every window, as "
                f"torchvision's Mask R-CNN does: {type(error).__name__}: {error}"
            ) from None
        return seen

    def _told(self, window: NDArray[np.float32]) -> Any:
        """Return what the network gives of a window."""
        try:
            with torch.inference_mode():
                given = torch.from_numpy(np.ascontiguousarray(window)).to(self._device)
                (told,) = self._network([given])
                return told
        except Exception as error:  # anybody's network: of channels, no memory, a list of two
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(
                f"the network fails on a window of {window.shape} (c, y, x): {reason}; give an "
                "image of its channels, windows that it has room for, and a network that gives "
                "a list of one dictionary"
            ) from error


def mask_rcnn(
    weights: Path, classes: int, channels: int = 3, size: tuple[int, int] = (800, 1333)
) -> nn.Module:
    """Return torchvision's Mask R-CNN (ResNet-50, feature pyramid) with weights of a file.

    Args:
        weights: A .safetensors or .pth file with the state dict; nothing in it is run.
        classes: Of objects; the background is one more.
        channels: Of the image.
        size: Extents that its shorter side is brought to, and that its longer one has at most, as
            in the training.

    Raises:
        MissingBackend: torchvision is not installed.
        ConfigError: It has no compiled operators, there is no such file, or no such network.
        DamagedInput: The file holds other weights.
    """
    if not weights.is_file():
        raise ConfigError(f"weights {weights} are no file: give a .safetensors or .pth file")
    if classes < 1 or channels < 1:
        raise ConfigError(f"a network of {classes} classes and {channels} channels is none")
    if not 0 < size[0] <= size[1]:
        raise ConfigError(
            f"size {size[0]},{size[1]} must be the shorter side and the longer, like 800,1333"
        )
    network = _build(classes + 1, channels, size)
    state = state_of(weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(
            f"{weights} does not hold the weights of a Mask R-CNN of {classes} classes and "
            f"{channels} channels: {told}"
        ) from None
    return network


def _build(classes: int, channels: int, size: Sequence[int]) -> nn.Module:
    from ._smp import detection_models  # the door to torchvision

    means = _MEAN if channels == 3 else (0.0,) * channels
    network: Any = detection_models().maskrcnn_resnet50_fpn(
        weights=None,
        weights_backbone=None,
        num_classes=classes,
        min_size=size[0],
        max_size=size[1],
        image_mean=means,
        image_std=_STD if channels == 3 else (1.0,) * channels,
    )
    if channels != 3:
        old = network.backbone.body.conv1
        network.backbone.body.conv1 = nn.Conv2d(channels, old.out_channels, 7, 2, 3, bias=False)
    made: nn.Module = network
    return made
