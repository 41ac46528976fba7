"""2-D networks from segmentation_models_pytorch, torchvision and timm: the only door to them."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from difflib import get_close_matches
from inspect import signature
from typing import Any

import torch
from torch import nn
from torch.nn.functional import interpolate

from ..document import brief
from ..errors import ConfigError, MissingBackend
from ._pretrained import read_encoder, spread
from ._quiet import quiet


def _operators() -> torch.library.Library:
    """Declare the operators that torchvision describes while it is imported.

    A torchvision built for another torch (on some platforms there is no build for the CPU) has not
    loaded its compiled operators, and its import fails with "operator torchvision::nms does not
    exist". Nothing here calls them: that they are declared is enough.
    """
    for name in [n for n in sys.modules if n.partition(".")[0] == "torchvision"]:
        del sys.modules[name]  # half imported
    library = torch.library.Library("torchvision", "FRAGMENT")
    for name in ("nms", "qnms"):
        schema = f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        library.define(schema)
    return library


with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # they warn about optional packages while they are imported
    try:
        try:
            from torchvision.models import segmentation
        except RuntimeError:
            _declared = _operators()  # which last as long as this
            from torchvision.models import segmentation
        import segmentation_models_pytorch as smp
        import timm
    except ImportError as error:
        missing = error.name or "segmentation_models_pytorch"
        raise MissingBackend(missing, "smp", "a network with an encoder") from None

_CLASSES: dict[str, Any] = {
    "unet": smp.Unet,
    "unetplusplus": smp.UnetPlusPlus,
    "pspnet": smp.PSPNet,
    "deeplabv3": smp.DeepLabV3,
    "deeplabv3plus": smp.DeepLabV3Plus,
    "fpn": smp.FPN,
    "pan": smp.PAN,
    "upernet": smp.UPerNet,
    "segformer": smp.Segformer,
}
_FCN = {"resnet50": segmentation.fcn_resnet50, "resnet101": segmentation.fcn_resnet101}
#: What `build` is given by other names, what fetches, and what would not give raw scores.
_OURS = {
    *("self", "kwargs", "encoder_name", "in_channels", "classes"),
    *("encoder_weights", "activation", "aux_params"),
}


def defaults(name: str) -> dict[str, Any]:
    """Return what an architecture takes, with the defaults."""
    known = {} if name == "fcn" else signature(_CLASSES[name].__init__).parameters
    return {**{k: p.default for k, p in known.items() if k not in _OURS}, "encoder_weights": None}


def detection_models() -> Any:
    """Return torchvision's module of networks that find objects.

    Raises:
        ConfigError: This torchvision has no compiled operators, which they call.
    """
    from torchvision.models import detection
    from torchvision.ops import nms

    try:
        nms(torch.zeros((0, 4)), torch.zeros(0), 0.5)
    except (RuntimeError, NotImplementedError):  # as torch says that there is none for the device
        raise ConfigError(
            "networks that find objects need compiled operators that this torchvision has not: "
            f"install the build of torchvision that belongs to torch {torch.__version__}"
        ) from None
    return detection


def multiple(name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what input extents must be multiples of, per axis: the stride of the encoder.

    PAN halves what comes from it three times more, so it fails on less than 128.
    """
    given = {**defaults(name), **arguments}
    stride = given.get("encoder_output_stride", 8 if name == "fcn" else 32)
    stride = min(stride, 2 ** min(given.get("encoder_depth", 5), 5))
    return (8 * stride if name == "pan" else stride,) * dims


def build(
    name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
) -> nn.Module:
    """Return a network; the libraries refuse wrong arguments in their own ways.

    Raises:
        ConfigError: There is no such encoder, or the file does not fit it.
        DamagedInput: The file of ``encoder_weights`` holds no tensors.
    """
    given = {**defaults(name), **arguments}
    encoder, path = given.pop("encoder"), given.pop("encoder_weights")
    if name == "fcn":
        network: Any = Fcn(encoder, channels, classes)
    else:
        encoder = _encoder_name(encoder)
        network = _CLASSES[name](
            encoder, encoder_weights=None, in_channels=channels, classes=classes, **given
        )
    if path is not None:
        state = read_encoder(path)
        try:
            if name == "fcn":
                network.load_encoder(state, channels)
            else:
                state = _adapted(encoder, state, channels, given["encoder_depth"])
                network.encoder.load_state_dict(state)
        except (KeyError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"encoder_weights {path} do not fit {encoder!r}: {reason}") from None
    made: nn.Module = network
    return made


class Fcn(nn.Module):
    """torchvision's FCN: a ResNet of stride 8, one convolution, and bilinear interpolation.

    Names of weights are torchvision's.

    Args:
        encoder: ``resnet50`` or ``resnet101``.
        channels: Input channels.
        classes: Output channels.

    Raises:
        ConfigError: There is no such encoder.
    """

    def __init__(self, encoder: str, channels: int, classes: int) -> None:
        super().__init__()
        if encoder not in _FCN:
            raise ConfigError(
                f"architecture 'fcn' has no encoder {brief(encoder)}: choose one of "
                f"{', '.join(_FCN)}"
            )
        made = _FCN[encoder](weights=None, weights_backbone=None, num_classes=classes)
        self.backbone, self.classifier = made.backbone, made.classifier
        if channels != 3:
            self.backbone.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw scores (n, classes, y, x) for (n, channels, y, x) of any extents."""
        scores = self.classifier(self.backbone(x)["out"])
        return interpolate(scores, size=x.shape[-2:], mode="bilinear", align_corners=False)

    def load_encoder(self, state: dict[str, torch.Tensor], channels: int) -> None:
        """Take over the weights of torchvision's ResNet for three channels."""
        state = {k: v for k, v in state.items() if not k.startswith("fc.")}
        first = spread(state["conv1.weight"], channels)
        self.backbone.load_state_dict({**state, "conv1.weight": first})


def _encoder_name(name: Any) -> str:
    """Return what smp calls an encoder; timm's have ``tu-`` before their names there.

    Raises:
        ConfigError: There is none. Names that stand for places on a hub are among those.
    """
    own = [n for n in smp.encoders.get_encoder_names() if not n.startswith("timm-")]
    if name in own:
        return str(name)
    bare = str(name).removeprefix("tu-")
    others = timm.list_models()
    if bare in others:
        return f"tu-{bare}"
    known = list(dict.fromkeys((*own, *others)))
    close = ", ".join(get_close_matches(bare, known, 5) or own[:5])
    raise ConfigError(
        f"there is no encoder {brief(name)}: choose one of segmentation_models_pytorch or timm, "
        f"like {close}"
    )


def _adapted(
    name: str, state: dict[str, torch.Tensor], channels: int, depth: int
) -> dict[str, torch.Tensor]:
    """Return pretrained weights for three channels as those of an encoder for any number."""
    if name.startswith("tu-"):
        made = _of_timm(name, state, channels, depth)
    else:
        made = smp.encoders.get_encoder(name, 3, depth)
        made.load_state_dict(state)
        made.set_in_channels(channels, pretrained=True)
    adapted: dict[str, torch.Tensor] = made.state_dict()
    return adapted


def _of_timm(name: str, state: dict[str, torch.Tensor], channels: int, depth: int) -> Any:
    """Return an encoder of timm with pretrained weights.

    timm renames those of many sources, and goes on with its own where one is missing, with a
    warning only: what stays the same when all of them are changed has not been there.

    Raises:
        RuntimeError: Some are missing, or called otherwise.
    """

    def make(weights: dict[str, torch.Tensor]) -> Any:
        overlay = {"state_dict": weights}  # in place of what timm would fetch
        # it lists which weights it did not take
        with torch.random.fork_rng(devices=()), quiet("timm.models._builder"):
            torch.default_generator.manual_seed(0)
            return smp.encoders.get_encoder(
                name, channels, depth, weights=True, pretrained_cfg_overlay=overlay
            )

    made = make(state)
    other = make({k: 2 * v.float() + 1 if v.is_floating_point() else v for k, v in state.items()})
    changed = other.model.state_dict()
    learned = {k for k, _ in made.model.named_parameters()}
    for key, value in made.model.state_dict().items():
        wanted = key in learned or "running_" in key
        if wanted and torch.equal(value, changed[key]):
            raise RuntimeError(f"they lack {key}; the first of them is {next(iter(state))}")
    return made
