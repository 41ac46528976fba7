"""Real weights: the stored whole-image results, and the locality their cards claim."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from tiledseg.models import Model, load_model, read_card

CARDS = Path(__file__).parents[2] / "configs/models"
pytestmark = pytest.mark.data
pytest.importorskip("onnxruntime")

Floats = NDArray[np.float32]
#: Extent to probe with, and what inputs and changes keep the outputs from saturating.
PROBES = {
    "cloud_unet": (128, 0.2, 0.1),
    "dynamicworld": (128, 1.0, 2.0),
    "brainchop_tissue": (112, 1.0, 1.0),
}


@pytest.fixture(scope="module", params=PROBES)
def probed(request: pytest.FixtureRequest, data: Path) -> tuple[Model, Floats, float]:
    """A model, an input for it, and a change that its output shows."""
    extent, amplitude, change = PROBES[request.param]
    model = load_model(CARDS / f"{request.param}.yaml", threads=1)
    shape = (1, len(model.card.channels), *(extent,) * model.card.dims)
    x = np.random.default_rng(0).random(shape, dtype=np.float32) * np.float32(amplitude)
    return model, x, change


def run(model: Model, x: Floats) -> Floats:
    out: Floats = model(torch.from_numpy(np.ascontiguousarray(x))).numpy()
    return out


def test_the_margin_is_the_receptive_radius(probed: tuple[Model, Floats, float]) -> None:
    """One changed sample changes outputs out to the margin, and none beyond it."""
    model, x, change = probed
    assert model.card.locality == "local"
    whole = run(model, x)
    reach = []
    for phase in range(model.card.multiple):
        centre = x.shape[-1] // 2 + phase
        changed = x.copy()
        changed[(0, slice(None), *(centre,) * model.card.dims)] += change
        moved = (run(model, changed) != whole).any(axis=(0, 1))
        reach.append(int(np.abs(np.argwhere(moved) - centre).max()))
    assert max(reach) == model.card.margin


def test_windows_may_start_at_multiples_and_only_there(probed: tuple[Model, Floats, float]) -> None:
    """A crop agrees with the whole inside its margin where its start is a multiple."""
    model, x, _ = probed
    card = model.card
    whole = run(model, x)
    for start in range(card.multiple + 1):
        stop = x.shape[-1] - card.multiple + start - start % card.multiple
        stop -= (stop - start) % card.multiple
        crop = run(model, x[(..., *(slice(start, stop),) * card.dims)])
        inner = (..., *(slice(card.margin, stop - start - card.margin),) * card.dims)
        same = whole[(..., *(slice(start + card.margin, stop - card.margin),) * card.dims)]
        apart = np.abs(crop[inner] - same).max()
        assert (apart < 1e-5) == (start % card.multiple == 0), (start, apart)


@pytest.mark.parametrize("scene", ["sentinel2", "landsat7"])
def test_cloud_unet_gives_the_stored_scores(data: Path, scene: str) -> None:
    image = np.load(data / f"geo/cloud_csmask/{scene}.npz")["img"]
    stored = np.load(data / f"models/cloud_unet/expected/rgbiswir_{scene}.npz")
    found = run(load_model(CARDS / "cloud_unet.yaml", threads=1), image.transpose(2, 0, 1)[None])
    clouds = np.unpackbits(stored["mask_gt_0_5"])[: 512 * 512].reshape(512, 512).astype(bool)
    np.testing.assert_array_equal(found[0, 0] > 0.5, clouds)
    half_unit = np.spacing(stored["prob_f16"]).astype(np.float64) / 2
    assert (np.abs(found[0, 0] - stored["prob_f16"].astype(np.float64)) <= 1e-4 + half_unit).all()


def test_dynamic_world_gives_the_logits_of_the_original(data: Path) -> None:
    stored = np.load(data / "models/dynamicworld/io_check_tf.npz")
    model = load_model(CARDS / "dynamicworld.yaml", threads=1)
    found = run(model, stored["x_nhwc"].transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, stored["logits_nhwc"], rtol=0, atol=4.4e-5)


def test_dynamic_world_is_normalised_as_its_authors_do(data: Path) -> None:
    """The card's chain is the published formulas, from digital numbers to model units."""
    told = json.loads((data / "models/dynamicworld/preprocess.json").read_text())
    card = read_card(CARDS / "dynamicworld.yaml")
    assert list(card.channels) == told["bands"]
    assert [c.name for c in card.schema.classes] == told["classes"]
    dn = np.random.default_rng(1).integers(0, 16000, (9, 40, 50)).astype(np.uint16)
    dn[:, 0, :5] = [0, 1, 10000, 28000, 65535]
    a, c = np.array(told["a_c"]).T[:, :, None, None]
    y = np.exp(5 * ((np.log(0.005 * dn + 1) - a) / c) - 1)
    found = card.normalization(dn, np.ones(dn.shape[1:], bool))
    np.testing.assert_allclose(found, y / (y + 1), rtol=0, atol=2e-6)


LAYERS: dict[str, Callable[[dict[str, Any]], nn.Module]] = {
    "Conv3d": lambda told: nn.Conv3d(
        *(told[key] for key in ("cin", "cout", "kernel")),
        **{key: told[key] for key in ("padding", "dilation", "bias")},
    ),
    "InstanceNorm3d": lambda told: nn.InstanceNorm3d(told["channels"], told["eps"]),
}


def test_mindgrab_is_its_torch_network(data: Path, tmp_path: Path) -> None:
    """The graph, with a card that names classes alone, against the layers and weights beside it.

    Its instance norm sees the whole volume: no tiling gives that network's own result.
    """
    name, folder = "mindgrab", data / "models/brainchop/mindgrab"
    shutil.copyfile(folder / f"{name}.onnx", tmp_path / "net.onnx")
    layers = json.loads((folder / f"{name}.arch.json").read_text())["sequential"]
    state = torch.load(folder / f"{name}.state_dict.pt", weights_only=True)
    network = nn.Sequential(
        *(LAYERS.get(t["op"], lambda t: getattr(nn, t["op"])())(t) for t in layers)
    )
    network.load_state_dict(dict(zip(network.state_dict(), state.values(), strict=True)))
    classes = [{"name": f"class {i}"} for i in range(layers[-1]["cout"])]
    (tmp_path / "net.yaml").write_text(yaml.safe_dump({"classes": classes}))
    model = load_model(tmp_path / "net.onnx", threads=1)
    assert (model.card.dims, model.card.channels) == (3, ("channel 1",))
    x = np.random.default_rng(0).random((1, 1, 40, 36, 44), dtype=np.float32)
    with torch.inference_mode():
        expected = network.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_brainchop_gives_the_stored_labels(data: Path) -> None:
    """The whole volume in one call: about 8 s and 1.6 GB."""
    scan = np.asarray(nibabel.load(data / "medical/brainchop_t1/t1_crop.nii.gz").dataobj)
    expected = data / "models/brainchop/model5_gw_ae/expected_t1_crop_labels.nii.gz"
    model = load_model(CARDS / "brainchop_tissue.yaml", threads=1)
    chain = model.card.normalization.fit(scan.reshape(1, -1))
    x = chain(scan[None], np.ones(scan.shape, bool))
    labels = run(model, x[None])[0].argmax(axis=0)
    np.testing.assert_array_equal(labels, np.asarray(nibabel.load(expected).dataobj))


@pytest.mark.parametrize("file", sorted(CARDS.glob("*.yaml")), ids=lambda f: f.stem)
def test_every_card_loads_and_fits_its_weights(data: Path, file: Path) -> None:
    model = load_model(file, threads=1)
    small = (8 * model.card.multiple,) * model.card.dims
    raw = model(torch.zeros(2, len(model.card.channels), *small))
    assert tuple(raw.shape) == (2, model.card.outputs, *small)
    assert model.card.sha256 == read_card(file).sha256
