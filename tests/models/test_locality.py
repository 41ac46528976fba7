"""How far a network looks, found by trying."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from monai.networks.nets import UNet
from torch import nn

from tiledseg.errors import ConfigError
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.models import Model, ModelCard, Reach, Runtime, load_model, measure_reach
from tiledseg.models._torch import TorchModel

CARDS = Path(__file__).parents[2] / "configs/models"
_KINDS = {2: nn.Conv2d, 3: nn.Conv3d}


def card(dims: int = 2, multiple: int = 1, any_size: bool = True, extent: int = 64) -> ModelCard:
    """Return the card of a network of 2 channels and 3 classes."""
    classes = tuple(ClassInfo(i, f"class {i}", (i, i, i)) for i in range(3))
    return ModelCard(
        name="net",
        format="tiledseg",
        weights="net.safetensors",
        dims=dims,
        channels=("a", "b"),
        schema=ClassSchema(classes),
        window=(extent,) * dims,
        multiple=multiple,
        any_size=any_size,
    )


def of(network: nn.Module, known: ModelCard | None = None) -> Model:
    return TorchModel(known or card(), network, torch.device("cpu"), Runtime("torch"))


def stack(dilations: tuple[int, ...], dims: int = 2) -> nn.Sequential:
    """Return convolutions of extent 3, one per dilation."""
    torch.manual_seed(0)
    kind, last = _KINDS[dims], len(dilations) - 1
    return nn.Sequential(
        *(
            kind(8 if i else 2, 8 if i < last else 3, 3, padding=d, dilation=d)
            for i, d in enumerate(dilations)
        )
    )


def unet(levels: int, norm: str, dims: int = 2) -> UNet:
    torch.manual_seed(0)
    return UNet(dims, 2, 3, [8, 16, 32, 32][: levels + 1], [2] * levels, norm=norm)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_a_stack_of_convolutions_reaches_its_depth(depth: int) -> None:
    found = measure_reach(of(stack((1,) * depth)))
    assert (found.locality, found.radius, found.multiple) == ("local", depth, 1)


def test_dilations_add_up() -> None:
    assert measure_reach(of(stack((1, 2, 8)))).radius == 11


def test_a_volume_is_measured_along_all_axes() -> None:
    network = nn.Conv3d(2, 3, (1, 1, 7), padding=(0, 0, 3))
    assert measure_reach(of(network, card(3))).radius == 3


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_every_pooling_doubles_the_multiple(dims: int, levels: int) -> None:
    found = measure_reach(of(unet(levels, "batch", dims), card(dims)))
    assert (found.locality, found.multiple) == ("local", 2**levels)


@pytest.mark.parametrize("multiple", [16, 32, 64])
def test_the_multiple_is_never_less_than_the_cards(multiple: int) -> None:
    found = measure_reach(of(stack((1,)), card(multiple=multiple)))
    assert (found.locality, found.radius, found.multiple) == ("local", 1, multiple)


@pytest.mark.parametrize("cell", [2, 16, 32, 64])
def test_a_change_reaches_through_the_cell_it_starts_in(cell: int) -> None:
    """At one of the starts only one sample of the cell is changed, and all others follow."""
    pooled = nn.Sequential(nn.AvgPool2d(cell), nn.Conv2d(2, 3, 1), nn.Upsample(scale_factor=cell))
    found = measure_reach(of(pooled))
    assert (found.locality, found.radius, found.multiple) == ("local", cell - 1, cell)


def test_a_finer_tolerance_finds_a_larger_radius() -> None:
    network = of(unet(3, "batch"))
    assert measure_reach(network, 1e-5).radius > measure_reach(network, 1e-2).radius


class Excitation(nn.Module):
    """Squeeze and excitation: every channel is weighted by its mean over the window."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.pool = nn.Conv2d(2, 3, 3, padding=1), nn.AdaptiveAvgPool2d(1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        return x * self.pool(x).sigmoid()


@pytest.mark.parametrize(
    ("network", "named"),
    [
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.InstanceNorm2d(3)), ("1", "InstanceNorm2d")),
        (nn.Sequential(nn.Conv2d(2, 3, 1), nn.GroupNorm(3, 3)), ("1", "GroupNorm")),
        (Excitation(), ("pool", "AdaptiveAvgPool2d")),
    ],
)
def test_the_layers_that_make_a_network_global_are_named(
    network: nn.Module, named: tuple[str, str]
) -> None:
    found = measure_reach(of(network))
    assert (found.locality, found.radius, found.global_layers) == ("global", 0, (named,))


def test_batch_norm_is_not_global() -> None:
    found = measure_reach(of(nn.Sequential(stack((1, 1)), nn.BatchNorm2d(3))))
    assert (found.locality, found.global_layers) == ("local", ())


@pytest.mark.parametrize("multiple", [1, 8, 16])
def test_a_fixed_window_is_measured_inside_itself(multiple: int) -> None:
    found = measure_reach(of(stack((1, 2)), card(multiple=multiple, any_size=False)))
    assert (found.locality, found.radius, found.multiple) == ("local", 3, multiple)


def test_a_fixed_window_without_room_for_every_start_shows_no_radius() -> None:
    found = measure_reach(of(stack((1, 2)), card(multiple=64, any_size=False)))
    assert (found.locality, found.radius) == ("global", 0)


def test_what_reaches_through_all_of_a_fixed_window_is_global() -> None:
    network = stack((1, 8, 16))
    assert measure_reach(of(network, card(any_size=False, extent=32))).locality == "global"


class Neighbours(nn.Module):
    """A network in which the windows of a call mix."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x[:, :1]], dim=1) * x.std()


def test_a_model_whose_windows_mix_is_not_batch_invariant() -> None:
    found = measure_reach(of(Neighbours()))
    assert not found.batch_invariant
    assert found.microbatch_change > 1e-3


class Logarithm(nn.Module):
    """A network for inputs above zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([x, x[:, :1]], dim=1).log()


def test_a_model_that_gives_nan_is_not_measured() -> None:
    with pytest.raises(ConfigError, match="'net' gives NaN or infinity for noise"):
        measure_reach(of(Logarithm()))


def test_a_sound_model_is_batch_invariant() -> None:
    found = measure_reach(of(stack((1,))))
    assert found.batch_invariant
    assert found.microbatch_change < 1e-5


@pytest.mark.parametrize("levels", [1, 2])
def test_the_radius_is_the_context_a_sample_needs(levels: int) -> None:
    """A crop with the radius around it has the whole image's scores; one without it has not."""
    model, tolerance = of(unet(levels, "batch")), 1e-4
    reach = measure_reach(model, tolerance)
    image = torch.randn((1, 2, 192, 192), generator=torch.Generator().manual_seed(1))

    def error(context: int) -> float:
        low = 64 - math.ceil(context / reach.multiple) * reach.multiple
        high = 128 + math.ceil(context / reach.multiple) * reach.multiple
        whole = model(image).softmax(1)[..., 64:128, 64:128].clone()
        crop = model(image[..., low:high, low:high]).softmax(1)
        return float((crop[..., 64 - low : 128 - low, 64 - low : 128 - low] - whole).abs().max())

    assert error(reach.radius) <= tolerance < error(0)


@pytest.mark.data
@pytest.mark.parametrize("name", ["cloud_unet", "dynamicworld", "brainchop_tissue"])
def test_real_weights_reach_no_further_than_their_card_says(data: Path, name: str) -> None:
    """Their cards' margins are exact radii; at a tolerance most of it is found."""
    model = load_model(CARDS / f"{name}.yaml")
    found = measure_reach(model, 1e-4)
    assert (found.locality, found.multiple) == ("local", model.card.multiple)
    assert model.card.margin / 3 <= found.radius <= model.card.margin


def test_onnx_is_measured_like_torch(make_model: Callable[..., Path]) -> None:
    path = make_model()
    plain = measure_reach(load_model(path))
    exported = measure_reach(load_model(path, runtime=Runtime("onnxruntime")))
    assert (plain.locality, plain.radius) == (exported.locality, exported.radius)
    assert isinstance(exported, Reach)
