"""Networks by name: what is refused, whose weights fit, what the table and the shell say."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.labels import ClassSchema
from tiledseg.models import (
    ARCHITECTURE_COLUMNS,
    ARCHITECTURES,
    ModelCard,
    architecture_rows,
    create_network,
)
from tiledseg.models._architectures import door_of

README = Path(__file__).parents[2] / "README.md"
BRAINCHOP: dict[str, dict[str, Any]] = {
    "model5_gw_ae": {"features": 5, "norm": None},
    "model30chan18cls": {"features": 30, "norm": None, "activation": "elu"},
    "mindgrab": {
        "features": 15,
        "norm": "instance",
        "activation": "gelu",
        "dilations": (16, 8, 4, 2, 1) * 5,
    },
}
#: Without the time that torchvision takes to draw a VGG's weights.
BARE: dict[str, dict[str, Any]] = {
    "vgg11_bn": {"init_weights": False},
    "resnet18": {},
    "resnet50": {},
}
needs_smp = pytest.mark.skipif(
    find_spec("segmentation_models_pytorch") is None, reason="needs segmentation_models_pytorch"
)


def test_the_readme_has_the_table() -> None:
    rows = [ARCHITECTURE_COLUMNS, ("---",) * len(ARCHITECTURE_COLUMNS), *architecture_rows()]
    assert "\n".join("| " + " | ".join(row) + " |" for row in rows) in README.read_text()


@needs_smp
def test_multiples_of_the_table_are_those_of_the_default_arguments() -> None:
    for row in ARCHITECTURES:
        for dims in row.dims:
            assert door_of(row.door).multiple(row.name, dims, {}) == (row.multiple,) * dims


def test_the_shell_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines.index("") == 1 + len(ARCHITECTURES)  # the bundled models follow
    assert lines[0].split("  ")[0] == "name"
    assert run(["models", "meshnet"]) == 0
    assert "  dilations: (1, 2, 4, 8, 16, 8, 4, 2, 1)\n" in capsys.readouterr().out
    assert run(["models", "meshnet", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["name"], row["arguments"]["features"]) == ("meshnet", "30")
    assert run(["models", "meshnett"]) == 2
    assert "'meshnett' is not known (like meshnet?)" in capsys.readouterr().err


@needs_smp
@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            {"architecture": "unett"},
            r"'unett' is not known \(like unet, unetr.*\?\); known are fcn",
        ),
        ({"architecture": "unet", "dims": 4}, r"'unet' is not there for 4 axes, only for 2 and 3"),
        (
            {"architecture": "unet", "encoder": "resnet18", "dims": 3},
            "'unet' with an encoder is not there for 3 axes, only for 2: choose one of unet",
        ),
        (
            {"architecture": "segresnet", "encoder": "resnet18"},
            "'segresnet' takes no encoder, found 'resnet18': leave it out, or choose one of fcn",
        ),
        ({"architecture": "unet", "encoder": "resnet81"}, "no encoder 'resnet81': .* resnet18"),
        ({"architecture": "unet", "encoder": "hf-hub:a/b"}, "there is no encoder 'hf-hub:a/b'"),
        (
            {"architecture": "fcn", "encoder": "vgg"},
            "'fcn' has no encoder 'vgg': choose one of res",
        ),
        (
            {"architecture": "segnet", "encoder": 3},
            "'segnet' has no encoder 3: choose one of vgg11",
        ),
        (
            {"architecture": "deeplabv3plus", "rates": 3},
            r"takes no argument 'rates'.*; it takes encoder_depth, .*decoder_atrous_rates",
        ),
        ({"architecture": "fpn", "activation": "sigmoid"}, "takes no argument 'activation'"),
        ({"architecture": "deeplabv3", "encoder_output_stride": 3}, "output stride 8 or 16, got 3"),
        ({"architecture": "meshnet", "channels": 0}, "channels: expected a whole number from 1 up"),
        ({"architecture": "meshnet", "classes": True}, "classes: expected .*, found True"),
        ({"architecture": "fpn", "encoder_weights": "imagenet"}, "no file: .*; nothing is fetched"),
    ],
)
def test_what_there_is_not_is_told_in_a_sentence(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told) as caught:
        tiledseg.create_model(**arguments)
    assert "\n" not in str(caught.value)


def card(window: tuple[int, ...], any_size: bool = True, **architecture: Any) -> ModelCard:
    return ModelCard(
        name="net",
        format="tiledseg",
        weights="w",
        dims=len(window),
        channels=("a",),
        schema=ClassSchema.of_names(["x", "y"]),
        window=window,
        any_size=any_size,
        architecture=architecture,
    )


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (card((100, 128), name="unet"), r"\(100, 128\) must be a multiple of 16, 16.* \[96, 128\]"),
        (card((64, 64), name="unetr"), r"'unetr' takes windows of its img_size only: set any_size"),
        (
            card((64, 64), False, name="unetr", img_size=32),
            r"any_size: false and window: \[32, 32\]",
        ),
        (card((64, 64), name="segnet", encoder_weights="x"), "leave them out of a card"),
    ],
)
def test_a_card_whose_window_does_not_suit_is_refused(wrong: ModelCard, told: str) -> None:
    with pytest.raises(ConfigError, match=f"card 'net': .*{told}"):
        create_network(wrong)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "unet", "channels": [4, 8, 8], "strides": [0, 0]},
        {"name": "unet", "channels": [4, 8, 8], "strides": [1.5, "x"]},
        {"name": "unet", "channels": [4, 8, 8], "strides": [2, 2], "norm": "x" * 5000},
        {"name": "unet", "encoder": "resnet18", "encoder_depth": "5"},
        {"name": "unet", "encoder": "resnet18", "encoder_depth": 10**9},
    ],
    ids=range(5),
)
def test_arguments_that_make_no_sense_are_refused_in_a_sentence(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="card 'net'") as caught:
        create_network(card((64, 64), **arguments))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_strides_of_a_volume_may_differ_by_axis() -> None:
    strides = [1, [1, 2, 2], 2]
    sizes = {"kernel_size": [3] * 3, "upsample_kernel_size": strides[1:], "filters": [4, 4, 4]}
    network = create_network(card((10, 16, 20), name="dynunet", strides=strides, **sizes))
    assert network(torch.zeros(1, 1, 10, 16, 20)).shape == (1, 2, 10, 16, 20)
    with pytest.raises(ConfigError, match="must be a multiple of 2, 4, 4"):
        create_network(card((10, 16, 18), name="dynunet", strides=strides, **sizes))


@needs_smp
@pytest.mark.parametrize(
    ("name", "encoder", "channels"),
    [
        *(("unet", "resnet18", n) for n in (1, 2, 3, 5)),
        *(("unet", "resnet10t", n) for n in (1, 5)),  # of timm, which adapts them itself
        *(("fcn", "resnet50", n) for n in (1, 5)),
        *(("segnet", "vgg11_bn", n) for n in (1, 5)),
    ],
)
def test_pretrained_first_convolutions_are_adapted(
    name: str, encoder: str, channels: int, tmp_path: Path
) -> None:
    """A file stands for weights from elsewhere, with the head that such files have."""
    state = published(encoder)
    save_file(state, tmp_path / "w.safetensors")
    network = tiledseg.create_model(
        name, encoder, channels, encoder_weights=tmp_path / "w.safetensors"
    )
    first, second = [p for p in network.parameters() if p.ndim == 4][:2]
    published_first, published_second = [p for p in state.values() if p.ndim == 4][:2]
    if channels == 1:
        wanted = published_first.sum(1, keepdim=True)
    else:
        wanted = torch.stack([published_first[:, i % 3] for i in range(channels)], 1) * 3 / channels
    assert torch.allclose(first, wanted)
    assert torch.equal(second, published_second)


def published(encoder: str) -> dict[str, torch.Tensor]:
    """Return the state dict of a classifier, as its publishers write it, with a small head."""
    from tiledseg.models import _smp as door

    torch.manual_seed(3)
    if encoder == "resnet10t":
        network = door.timm.create_model(encoder)
    else:
        network = getattr(sys.modules["torchvision"].models, encoder)(weights=None, **BARE[encoder])
    if encoder == "vgg11_bn":
        network.classifier = nn.Sequential(nn.Linear(2, 2))
    return {k: v.clone() for k, v in network.state_dict().items()}


@needs_smp
def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    save_file(published("vgg11_bn"), tmp_path / "w.safetensors")
    (tmp_path / "w.pth").write_bytes(b"\x80\x04cos\nsystem\n")
    for name, encoder in (("unet", "resnet18"), ("fcn", "resnet50"), ("segnet", "vgg16_bn")):
        with pytest.raises(ConfigError, match=r"w\.safetensors do not fit"):
            tiledseg.create_model(name, encoder, encoder_weights=tmp_path / "w.safetensors")
    with pytest.raises(DamagedInput):
        tiledseg.create_model("unet", "resnet18", encoder_weights=tmp_path / "w.pth")


@needs_smp
def test_weights_of_timm_by_other_names_are_refused(tmp_path: Path) -> None:
    """timm alone would go on with random weights."""
    state = published("resnet10t")
    for name, change in (
        ("prefix", {f"model.{k}": v for k, v in state.items()}),
        ("lacks", {k: v for k, v in state.items() if k != "layer2.0.conv1.weight"}),
        ("norm", {k: v for k, v in state.items() if k != "layer2.0.bn1.running_mean"}),
    ):
        save_file(change, tmp_path / f"{name}.safetensors")
    wanted = r"prefix\.safetensors do not fit 'tu-resnet10t': they lack conv1\.0\.weight; the first"
    with pytest.raises(ConfigError, match=wanted):
        tiledseg.create_model("unet", "resnet10t", encoder_weights=tmp_path / "prefix.safetensors")
    for name, told in (("lacks", "conv1.weight"), ("norm", "bn1.running_mean")):
        with pytest.raises(ConfigError, match=f"they lack layer2.0.{told}"):
            tiledseg.create_model(
                "unet", "resnet10t", encoder_weights=tmp_path / f"{name}.safetensors"
            )


@needs_smp
def test_damaged_encoder_weights_are_refused(tmp_path: Path) -> None:
    state = published("resnet10t")
    state["bn1.running_var"][0] = float("inf")
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(DamagedInput, match=r"bn1\.running_var has NaN or infinities in it"):
        tiledseg.create_model("unet", "resnet10t", encoder_weights=tmp_path / "w.safetensors")


@needs_smp
def test_rates_stride_and_the_xception_of_deeplab_can_be_set() -> None:
    network = tiledseg.create_model(
        "deeplabv3plus",
        "xception65",
        channels=4,
        encoder_output_stride=8,
        decoder_atrous_rates=(3, 5, 7),
        decoder_channels=8,
    ).eval()
    modules: Any = network
    dilations = [m.dilation[0] for m in modules.decoder.modules() if isinstance(m, nn.Conv2d)]
    assert [d for d in dilations if d > 1] == [3, 5, 7]
    with torch.inference_mode():
        assert modules.encoder(torch.zeros(1, 4, 64, 64))[-1].shape[2:] == (8, 8)
        assert network(torch.zeros(1, 4, 64, 64)).shape == (1, 2, 64, 64)


@pytest.mark.data
@pytest.mark.parametrize("name", BRAINCHOP)
def test_brainchops_weights_are_those_of_a_meshnet(data: Path, name: str) -> None:
    """Strictly, and the result is that of the layers which its description lists."""
    folder = data / "models/brainchop" / name
    state = torch.load(folder / f"{name}.state_dict.pt", weights_only=True)
    classes = len(list(state.values())[-1])
    network = tiledseg.create_model(
        "meshnet", channels=1, classes=classes, dims=3, **BRAINCHOP[name]
    )
    network.load_state_dict(state, strict=True)
    layers = json.loads((folder / f"{name}.arch.json").read_text())["sequential"]
    listed = nn.Sequential(*map(layer, layers))
    listed.load_state_dict(state, strict=True)
    x = torch.rand(1, 1, 24, 24, 24, generator=torch.Generator().manual_seed(4))
    with torch.inference_mode():
        assert torch.equal(network.eval()(x), listed.eval()(x))


def layer(told: dict[str, Any]) -> nn.Module:
    """Return a layer as its description says."""
    if told["op"] == "Conv3d":
        extents = (told["cin"], told["cout"], told["kernel"])
        return nn.Conv3d(
            *extents, padding=told["padding"], dilation=told["dilation"], bias=told["bias"]
        )
    if told["op"] == "InstanceNorm3d":
        return nn.InstanceNorm3d(told["channels"], told["eps"], affine=told["affine"])
    kind: nn.Module = getattr(nn, told["op"])()
    return kind


def test_unpooling_is_torchs() -> None:
    from tiledseg.models._segnet import _unpool

    x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(5))
    pooled, places = nn.functional.max_pool2d(x, 2, return_indices=True)
    wanted = nn.functional.max_unpool2d(pooled, places, 2, output_size=x.shape[2:])
    assert torch.equal(_unpool(pooled, places, x.shape), wanted)


@needs_smp
def test_half_imported_torchvision_is_mended() -> None:
    """In a process of its own: something else has tried to import it first, and may have failed."""
    code = (
        "import contextlib\n"
        "with contextlib.suppress(RuntimeError):\n"
        "    import torchvision\n"
        "import tiledseg, torch\n"
        "network = tiledseg.create_model('fpn', 'resnet18', channels=1).eval()\n"
        "print(tuple(network(torch.zeros(1, 1, 32, 32)).shape))\n"
        "import torchvision\n"
        "print(torchvision.models.resnet18(weights=None).fc.out_features)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:2] == ["(1, 2, 32, 32)", "1000"]
