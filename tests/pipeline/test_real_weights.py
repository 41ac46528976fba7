"""Real networks on real images: tiled equals the stored whole-image results."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import yaml

import tiledseg

CONFIGS = Path(__file__).parents[2] / "configs"
pytestmark = pytest.mark.data


@pytest.mark.parametrize("core", [(256, 200), (512, 512)])
@pytest.mark.parametrize("window", [(256, 256), (192, 160)])
@pytest.mark.parametrize("scene", ["sentinel2", "landsat7"])
def test_cloud_unet(
    data: Path, tmp_path: Path, scene: str, window: tuple[int, int], core: tuple[int, int]
) -> None:
    image = np.load(data / f"geo/cloud_csmask/{scene}.npz")["img"].transpose(2, 0, 1)
    stored = np.load(data / f"models/cloud_unet/expected/rgbiswir_{scene}.npz")
    clouds = np.unpackbits(stored["mask_gt_0_5"])[: 512 * 512].reshape(512, 512)
    scores = tmp_path / "scores.zarr"
    tiledseg.segment(
        image,
        CONFIGS / "models/cloud_unet.yaml",
        tmp_path / "map.zarr",
        output={"scores": str(scores), "score_type": "float32", "report": False},
        tiling={"window": window, "margin": 32, "core": core},
    )
    with tiledseg.open_source(tmp_path / "map.zarr") as source:
        np.testing.assert_array_equal(source.read(source.grid.box)[0], clouds)
    with tiledseg.open_source(scores) as source:
        found = source.read(source.grid.box)[0]
    # The reference is stored as float16: half a unit in its last place is 2.4e-4 near 1.
    half_unit = np.spacing(stored["prob_f16"]).astype(np.float64) / 2
    apart = np.abs(found - stored["prob_f16"].astype(np.float64))
    assert (apart <= 1e-4 + half_unit).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "core"),
    [((160, 160, 160), (256, 128, 256)), ((192, 176, 160), (256, 256, 256))],
)
def test_brain_tissue(
    data: Path, tmp_path: Path, window: tuple[int, int, int], core: tuple[int, int, int]
) -> None:
    scan = data / "medical/brainchop_t1/t1_crop.nii.gz"
    out = tmp_path / "labels.nii.gz"
    tiledseg.segment(
        scan,
        CONFIGS / "models/brainchop_tissue.yaml",
        out,
        tiling={"window": window, "margin": 46, "core": core},
        budget={"memory": "14GB"},
        output={"report": False},
    )
    expected = nibabel.load(data / "models/brainchop/model5_gw_ae/expected_t1_crop_labels.nii.gz")
    found = nibabel.load(out)
    np.testing.assert_array_equal(np.asarray(found.dataobj), np.asarray(expected.dataobj))
    np.testing.assert_array_equal(found.affine, nibabel.load(scan).affine)
    assert found.header["qform_code"] > 0
    assert found.header["sform_code"] > 0


def test_dynamic_world_logits(data: Path) -> None:
    """The model's own stored check, through our loading."""
    from tiledseg.models import load_model

    stored = np.load(data / "models/dynamicworld/io_check_tf.npz")
    model = load_model(CONFIGS / "models/dynamicworld.yaml", threads=1)
    import torch

    raw = model(torch.from_numpy(stored["x_nhwc"].transpose(0, 3, 1, 2).copy()))
    expected = stored["logits_nhwc"].transpose(0, 3, 1, 2)
    np.testing.assert_allclose(raw.numpy(), expected, atol=1e-4)


def test_dynamic_world_runs_tiled(data: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(200, 4000, (9, 300, 280)).astype(np.uint16)
    result = tiledseg.segment(
        image, CONFIGS / "models/dynamicworld.yaml", tiling={"window": (256, 256)}
    )
    assert result.array is not None
    assert result.array.shape == (300, 280)
    assert set(np.unique(result.array)) <= set(range(9))


@pytest.mark.parametrize(
    "file", ["dynamicworld_forward_nchw.onnx", "dynamicworld_forward_nhwc.onnx"]
)
@pytest.mark.parametrize("window", [(56, 60), (60, 66)])
def test_dynamic_world_tiled(
    data: Path, tmp_path: Path, window: tuple[int, int], file: str
) -> None:
    """On model units, as the original's logits were stored; either layout of the same network."""
    stored = np.load(data / "models/dynamicworld/io_check_tf.npz")
    card = yaml.safe_load((CONFIGS / "models/dynamicworld.yaml").read_text())
    card |= {"weights": f"${{TILEDSEG_DATA}}/models/dynamicworld/{file}", "sha256": None}
    card |= {"normalization": [], "activation": "none"}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(card))
    scores = tmp_path / "scores.zarr"
    tiledseg.segment(
        stored["x_nhwc"][0].transpose(2, 0, 1),
        tmp_path / "card.yaml",
        tmp_path / "map.zarr",
        output={"scores": str(scores), "score_type": "float32", "report": False},
        tiling={"window": window, "margin": 22},
    )
    expected = stored["logits_nhwc"][0].transpose(2, 0, 1)
    with tiledseg.open_source(scores) as source:
        np.testing.assert_allclose(source.read(source.grid.box), expected, rtol=0, atol=1e-4)
