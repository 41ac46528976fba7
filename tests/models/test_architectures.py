"""Every architecture: built, trained, probed, run in tiles, exported; the table is right."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import tiledseg
from tiledseg.labels import ClassSchema
from tiledseg.models import ARCHITECTURES, ModelCard, Runtime, load_model, measure_reach, save_model
from tiledseg.models import _locality as locality
from tiledseg.models._architectures import Architecture, door_of, find_architecture
from tiledseg.models._layers import MEAN, SPREAD
from tiledseg.models._torch import TorchModel

if find_spec("segmentation_models_pytorch") is None:
    pytest.skip("segmentation_models_pytorch is not installed", allow_module_level=True)

CHANNELS, CLASSES = 5, 3
_NARROW = {"encoder_depth": 3, "decoder_channels": (16, 16, 8)}


@dataclass(frozen=True)
class Case:
    """A small network of an architecture.

    Args:
        name: The architecture.
        window: Extents, which say how many axes there are.
        encoder: Its encoder.
        arguments: What makes it small.
        idle: Where layers that smp builds and does not use have their names.
        probed: Whether it is probed; the other number of axes is where it is not.
        across: Extent of the probe's inputs across the measured axis; PAN fails on less than 128.
    """

    name: str
    window: tuple[int, ...]
    encoder: str | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    idle: tuple[str, ...] = ()
    probed: bool = True
    across: int = 32

    def __str__(self) -> str:
        return "-".join([self.name, f"{len(self.window)}d", *self.arguments])

    @property
    def dims(self) -> int:
        return len(self.window)

    @property
    def row(self) -> Architecture:
        return find_architecture(self.name, self.encoder, self.dims)

    @property
    def multiple(self) -> int:
        arguments = {**self.arguments, "encoder": self.encoder}
        steps = door_of(self.row.door).multiple(self.name, self.dims, arguments)
        assert len(set(steps)) == 1
        return steps[0]


R18, FLAT, CUBE = "resnet18", (64, 64), (32, 32, 32)
HALF = ("encoder.layer3.", "encoder.layer4.")
CASES = [
    pytest.param(Case("fcn", FLAT, "resnet50"), marks=pytest.mark.slow),
    Case("unet", FLAT, None, {"features": (8, 8, 8), "strides": (2, 2), "norm": "batch"}),
    Case("unet", CUBE, None, {"features": (4, 4, 8, 8, 8), "strides": (2,) * 4}, probed=False),
    Case("unet", FLAT, R18, _NARROW, HALF),
    Case("unetplusplus", FLAT, R18, _NARROW, HALF),
    Case("segnet", FLAT, "vgg11_bn", {"features": (4, 4, 8, 8, 8)}),
    Case("segnet", CUBE, "vgg11_bn", {"features": (4, 4, 8, 8, 8)}, probed=False),
    Case("pspnet", FLAT, R18, {"psp_out_channels": 16}, HALF),
    Case("deeplabv3", FLAT, R18, {"decoder_channels": 16, "decoder_atrous_rates": (2, 4, 6)}),
    Case("deeplabv3plus", FLAT, R18, {"decoder_channels": 16}),
    Case("fpn", FLAT, R18, {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32}),
    Case("pan", (128, 128), R18, {"decoder_channels": 8}, across=128),
    Case("upernet", FLAT, R18, {"decoder_channels": 16}),
    Case("segformer", FLAT, "mit_b0", {"decoder_segmentation_channels": 16}),
    Case("basic_unet", FLAT, None, {"features": (4, 4, 4, 8, 8, 4)}),
    Case("basic_unet", CUBE, None, {"features": (4, 4, 4, 8, 8, 4)}, probed=False),
    Case("basic_unet", FLAT, None, {"norm": "batch", "features": (4, 4, 4, 8, 8, 4)}),
    Case("dynunet", FLAT, None, {"filters": (4, 4, 8, 8, 8)}),
    Case("dynunet", CUBE, None, {"filters": (4, 4, 8, 8, 8)}, probed=False),
    Case("segresnet", FLAT),
    Case("segresnet", CUBE, probed=False),
    Case("segresnet", FLAT, None, {"norm": "batch", "init_filters": 4}),
    Case("swin_unetr", FLAT, None, {"feature_size": 12}),
    Case("swin_unetr", CUBE, None, {"feature_size": 12, "norm_name": "batch"}, probed=False),
    Case(
        *("unetr", (32, 32), None),
        {"img_size": 32, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4},
    ),
    Case(
        *("unetr", CUBE, None),
        {"img_size": 32, "hidden_size": 24, "mlp_dim": 48, "num_heads": 2, "feature_size": 4},
        probed=False,
    ),
    Case("meshnet", FLAT, None, {"features": 5}),
    Case("meshnet", CUBE, None, {"features": 4, "dilations": (1, 2, 4, 1)}),
    Case("separable_unet", FLAT, None, {"features": (8, 8, 16)}),
    Case("plain_conv_unet", FLAT, None, {"features": (4, 4, 8, 8)}),
    Case("plain_conv_unet", FLAT, None, {"norm": "batch", "features": (4, 4, 8, 8)}),
    Case("plain_conv_unet", CUBE, None, {"features": (4, 4, 8, 8)}, probed=False),
    Case("residual_encoder_unet", FLAT, None, {"features": (4, 4, 8, 8)}),
    Case("residual_encoder_unet", FLAT, None, {"norm": "batch", "features": (4, 4, 8, 8)}),
    Case("residual_encoder_unet", CUBE, None, {"features": (4, 4, 8, 8)}, probed=False),
]


@dataclass
class Made:
    """A network that was trained a little, and where it was saved."""

    case: Case
    network: nn.Module
    losses: list[float]
    idle: list[str]
    card: ModelCard
    folder: Path


@pytest.fixture(scope="module", params=CASES, ids=str)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Build a network, train it for some steps, and keep it as a checkpoint."""
    case: Case = request.param
    torch.manual_seed(1)
    network = tiledseg.create_model(
        case.name, case.encoder, CHANNELS, CLASSES, case.dims, **case.arguments
    )
    losses = train(network, case)
    idle = [k for k, p in network.named_parameters() if p.ndim > 1 and not reached(p)]
    settle(network, case)
    encoder = {} if case.encoder is None else {"encoder": case.encoder}
    card = ModelCard(
        name=case.name,
        format="tiledseg",
        weights="weights.safetensors",
        dims=case.dims,
        channels=tuple("abcde"),
        schema=ClassSchema.of_names(["x", "y", "z"]),
        window=case.window,
        multiple=1 if case.name != "unetr" else case.multiple,
        any_size=case.name != "unetr",
        architecture={"name": case.name, **encoder, **case.arguments},
    )
    folder = tmp_path_factory.mktemp("model")
    save_model(network, card, folder)
    return Made(case, network.eval(), losses, idle, card, folder)


def places(case: Case) -> torch.Tensor:
    """Return two images of two kinds of place, as a probe draws them."""
    generator = torch.Generator().manual_seed(5)
    noise = locality.draw_noise((2, CHANNELS, *case.window), generator)
    return torch.stack([noise[0], MEAN + SPREAD * noise[1]])


def train(network: nn.Module, case: Case) -> list[float]:
    """Fit a network to a label that the first channel decides; return the losses."""
    x = places(case)
    labels = torch.bucketize(x[:, 0].contiguous(), torch.tensor([0.0, 1.0]))
    optimizer = torch.optim.SGD(network.parameters(), 1e-2)
    losses = []
    for _ in range(2):
        torch.manual_seed(2)  # the same dropout every time
        scores = network.train()(x)
        assert scores.shape == (2, CLASSES, *case.window)
        loss = nn.functional.cross_entropy(scores, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def reached(parameter: nn.Parameter) -> bool:
    """Whether a gradient has come to a parameter."""
    return parameter.grad is not None and bool(parameter.grad.any())


def settle(network: nn.Module, case: Case) -> None:
    """Give batch norms the statistics of images, and scores a spread, as long training would.

    In a network fresh from its constructor most layers are so weak that a probe cannot see them.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of what comes now
    with torch.no_grad():
        network.train()(places(case))
        scores = network.eval()(places(case))
        kinds = nn.modules.conv._ConvNd
        last = [m for m in network.modules() if isinstance(m, kinds) and m.out_channels == CLASSES]
        weight, bias = last[-1].weight, last[-1].bias
        assert bias is not None
        by = 3 / float(scores.std())
        weight.mul_(by)
        bias.sub_(scores.transpose(0, 1).flatten(1).mean(1)).mul_(by)  # no class wins everywhere


def test_no_architecture_is_left_out() -> None:
    cases: list[Case] = [getattr(case, "values", (case,))[0] for case in CASES]
    kinds = {(case.name, case.encoder is not None, case.dims) for case in cases}
    assert kinds == {(row.name, bool(row.encoder), n) for row in ARCHITECTURES for n in row.dims}


def test_it_trains(made: Made) -> None:
    assert made.losses[-1] < made.losses[0]
    assert [name for name in made.idle if not name.startswith(made.case.idle or ("-",))] == []


def test_tiles_are_its_windows(made: Made) -> None:
    """Two windows side by side, through everything in between: each is what the network says."""
    window = made.case.window
    shape = (2 * window[0], *window[1:])
    generator = torch.Generator().manual_seed(6)
    image = locality.draw_noise((1, CHANNELS, *shape), generator)
    found = tiledseg.segment(
        image[0].numpy(),
        made.folder,
        tiling={"window": window, "stride": window, "margin": 0},
        runtime={"runtime": "torch", "threads": 1},
    ).array
    with torch.inference_mode():
        wanted = np.empty(shape, np.int64)
        for start in np.ndindex(*(n // w for n, w in zip(shape, window, strict=True))):
            box = tuple(slice(i * w, i * w + w) for i, w in zip(start, window, strict=True))
            wanted[box] = made.network(image[(slice(None), slice(None), *box)])[0].argmax(0)
    assert len(np.unique(wanted)) > 1
    assert (np.asarray(found) == wanted).mean() > 0.9999


@pytest.mark.parametrize("library", ["onnxruntime", "openvino"])
def test_it_is_exported(made: Made, library: Any) -> None:
    model = load_model(made.folder, runtime=Runtime(library), threads=1)
    x = places(made.case)
    with torch.inference_mode():
        wanted = made.network(x)
    assert float((model(x) - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())


def test_a_probe_finds_what_the_table_says(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    case, row = made.case, made.case.row
    if not case.probed:
        pytest.skip("probed in 2-D, where it is quick")
    changed = row.local_with and set(row.local_with.split("=")[:1]) <= case.arguments.keys()
    wanted = "local" if changed else row.locality
    monkeypatch.setattr(locality, "_ACROSS", {2: case.across, 3: case.across})
    monkeypatch.setattr(locality, "_LONGEST", {2: 1024 if wanted == "local" else 256, 3: 64})
    monkeypatch.setattr(locality, "_MULTIPLES", (1, 2, 4, 8, 16, max(32, case.across // 2)))
    model = TorchModel(made.card, made.network, torch.device("cpu"), Runtime("torch"))
    found = measure_reach(model)
    assert found.locality == wanted
    assert found.batch_invariant
    # Not that it merely looks further than was tried: one layer alone carries a change all the way.
    # SegFormer's attention takes no image, so no layer of it can be named.
    assert bool(found.global_layers) == (wanted == "global" and case.name != "segformer")
    if wanted == "local" or row.refuses:
        assert found.multiple == case.multiple
    else:  # it takes any extents, and nothing can be seen to move in a global network
        assert found.multiple <= case.multiple
