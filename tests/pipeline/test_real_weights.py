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


@pytest.mark.slow
def test_eighteen_classes(data: Path, tmp_path: Path) -> None:
    """A part of the head, tiled: where it sees no border of the part it is the stored whole.

    The part is as small as the receptive radius of 46 allows: the whole takes minutes, and is
    computed in one window in `tests/models/test_pretrained.py`.
    """
    scan = np.asarray(nibabel.load(data / "medical/brainchop_t1/t1_crop.nii.gz").dataobj)
    start, extent = (62, 86, 90), (112, 96, 96)
    part = tuple(slice(a, a + n) for a, n in zip(start, extent, strict=True))
    card = yaml.safe_load((CONFIGS / "models/brainchop_18class.yaml").read_text())
    whole_range = {"kind": "linear", "scale": [1 / 255], "offset": [0]}
    (tmp_path / "card.yaml").write_text(yaml.safe_dump({**card, "normalization": [whole_range]}))
    assert (scan.min(), scan.max()) == (0, 255)
    result = tiledseg.segment(
        scan[part],
        tmp_path / "card.yaml",
        tiling={"window": (104, 96, 96), "margin": 46},
        runtime={"runtime": "openvino", "precision": "fp32"},
    )
    stored = data / "models/brainchop/model30chan18cls/expected_t1_crop_labels.nii.gz"
    inner = (slice(46, -46),) * 3
    expected = np.asarray(nibabel.load(stored).dataobj)[part][inner]
    assert len(np.unique(expected)) > 4
    assert result.array is not None
    np.testing.assert_array_equal(result.array[inner], expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("thickness", "least"),
    [(1, {"wm": 0.86, "gm": 0.81}), (2, {"wm": 0.84, "gm": 0.82})],
    ids=["as it is", "slices of 2 mm"],
)
def test_brain_tissue_of_the_mni_head(
    data: Path, tmp_path: Path, thickness: int, least: dict[str, float]
) -> None:
    """Another orientation, extent and spacing than the network's, against the atlas' tissues."""
    name = "medical/mni152/mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"

    def volume(kind: str) -> tuple[np.ndarray, np.ndarray]:
        image = nibabel.load(data / name.format(kind))
        values = np.asarray(image.dataobj)[..., : 189 // thickness * thickness]
        slices = values.reshape(*values.shape[:2], -1, thickness).mean(3)
        affine = image.affine @ np.diag([1, 1, thickness, 1])
        affine[2, 3] += (thickness - 1) / 2
        return slices, affine

    head = nibabel.Nifti1Image(*volume("t1"))
    head.set_data_dtype(np.float32)
    nibabel.save(head, tmp_path / "head.nii.gz")
    out = tmp_path / "labels.nii.gz"
    tiledseg.segment(
        tmp_path / "head.nii.gz",
        CONFIGS / "models/brainchop_tissue.yaml",
        out,
        tiling={"margin": 46},
        runtime={"runtime": "openvino", "precision": "fp32"},
        budget={"memory": "9GB"},
        output={"report": False},
    )
    found = np.asarray(nibabel.load(out).dataobj)
    for label, tissue in ((1, "wm"), (2, "gm")):
        there = volume(tissue)[0] > 127
        mine = found == label
        dice = 2 * (mine & there).sum() / (mine.sum() + there.sum())
        assert dice >= least[tissue], (tissue, dice)
