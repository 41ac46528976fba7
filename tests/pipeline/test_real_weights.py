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
    [((256, 160, 176), (256, 128, 256)), ((192, 176, 160), (256, 256, 256))],
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
@pytest.mark.parametrize("window", [(104, 96, 96), (112, 95, 95)])
def test_eighteen_classes(data: Path, tmp_path: Path, window: tuple[int, int, int]) -> None:
    """A part of the head, tiled: where it sees no border of the part it is the stored whole.

    The part is as small as the receptive radius of 46 allows, and cut into two windows along one
    axis, or two along each of the others: the whole takes minutes.
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
        tiling={"window": window, "margin": 46},
        runtime={"runtime": "openvino", "precision": "fp32"},
    )
    stored = data / "models/brainchop/model30chan18cls/expected_t1_crop_labels.nii.gz"
    inner = (slice(46, -46),) * 3
    expected = np.asarray(nibabel.load(stored).dataobj)[part][inner]
    assert len(np.unique(expected)) > 4
    assert result.array is not None
    np.testing.assert_array_equal(result.array[inner], expected)


@pytest.mark.slow
def test_mindgrab_sees_all_in_one_window(data: Path, tmp_path: Path) -> None:
    """Its instance norm sees the whole volume: in one window it is itself, in two that is told."""
    onnxruntime = pytest.importorskip("onnxruntime")
    graph = data / "models/brainchop/mindgrab/mindgrab.onnx"
    scan = nibabel.load(data / "medical/brainchop_t1/t1_crop.nii.gz")
    part = np.asarray(scan.dataobj)[80:144, 80:152, 90:146]
    card = {"classes": [{"name": "outside"}, {"name": "brain"}], "dims": 3, "channels": ["T1"]}
    card |= {"normalization": [{"kind": "scene_range"}], "activation": "softmax"}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(card))
    (tmp_path / "net.onnx").symlink_to(graph)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    x = (part - part.min()).astype(np.float32) / np.ptp(part).astype(np.float32)
    wanted = session.run(None, {session.get_inputs()[0].name: x[None, None]})[0][0].argmax(0)
    assert len(np.unique(wanted)) == 2
    for window, told in ((part.shape, False), ((64, 64, 56), True)):
        settings = {"tiling": {"window": window}, "runtime": {"runtime": "onnxruntime"}}
        result = tiledseg.segment(part, tmp_path / "net.onnx", **settings)
        assert any("global" in warning for warning in result.warnings) == told
        assert (result.array == wanted).all() != told


@pytest.fixture(scope="module")
def conformed(data: Path) -> np.ndarray:
    """The tissues of the MNI head as the graph alone gives them, (x, y, z) as stored.

    The head is turned to the network's axes, put into the middle of 256^3 zeros, and seen whole.
    """
    onnxruntime = pytest.importorskip("onnxruntime")
    orientations = nibabel.orientations
    head = mni(data, "t1")
    wanted, own = orientations.axcodes2ornt("LIA"), orientations.io_orientation(head.affine)
    turn, back = orientations.ornt_transform(own, wanted), orientations.ornt_transform(wanted, own)
    turned = orientations.apply_orientation(np.asarray(head.dataobj, np.float32), turn)
    pads = [((256 - n) // 2, 256 - n - (256 - n) // 2) for n in turned.shape]
    whole = np.pad((turned - turned.min()) / np.ptp(turned), pads)
    graph = data / "models/brainchop/model5_gw_ae/model5_gw_ae.onnx"
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    scores = session.run(None, {session.get_inputs()[0].name: whole[None, None]})[0][0]
    inner = scores.argmax(0)[tuple(slice(a, 256 - b) for a, b in pads)]
    return orientations.apply_orientation(inner, back)


@pytest.mark.slow
@pytest.mark.parametrize("window", [(256, 256, 176), (192, 256, 256)])
def test_the_mni_head_conformed(
    data: Path, tmp_path: Path, conformed: np.ndarray, window: tuple[int, int, int]
) -> None:
    """Tiled on the network's grid of 256^3, whose border the network sees: the whole, but for ties.

    Without the extent 0.4 % of the brain's labels were others.
    """
    head = mni(data, "t1")
    out = tmp_path / "labels.nii.gz"
    tiledseg.segment(
        head.get_filename(),
        CONFIGS / "models/brainchop_tissue.yaml",
        out,
        tiling={"window": window, "margin": 46},
        runtime={"runtime": "onnxruntime"},
        budget={"memory": "9GB"},
        output={"report": False},
    )
    found = nibabel.load(out)
    labels = np.asarray(found.dataobj)
    assert (labels != conformed).mean() < 1e-6
    np.testing.assert_array_equal(found.affine, head.affine)
    assert dice(labels == 1, np.asarray(mni(data, "wm").dataobj) > 127) >= 0.86
    assert dice(labels == 2, np.asarray(mni(data, "gm").dataobj) > 127) >= 0.81


@pytest.mark.slow
def test_the_mni_head_in_slices_of_two_millimetres(data: Path, tmp_path: Path) -> None:
    """Another orientation, extent and spacing than the network's, against the atlas' tissues."""
    values, affine = _two_millimetres(data, "t1")
    head = nibabel.Nifti1Image(values, affine)
    head.set_data_dtype(np.float32)
    nibabel.save(head, tmp_path / "head.nii.gz")
    out = tmp_path / "labels.nii.gz"
    tiledseg.segment(
        tmp_path / "head.nii.gz",
        CONFIGS / "models/brainchop_tissue.yaml",
        out,
        tiling={"window": (256, 256, 176), "margin": 46},
        runtime={"runtime": "openvino", "precision": "fp32"},
        budget={"memory": "9GB"},
        output={"report": False},
    )
    found = np.asarray(nibabel.load(out).dataobj)
    assert dice(found == 1, _two_millimetres(data, "wm")[0] > 127) >= 0.84
    assert dice(found == 2, _two_millimetres(data, "gm")[0] > 127) >= 0.82


def dice(mine: np.ndarray, there: np.ndarray) -> float:
    return float(2 * (mine & there).sum() / (mine.sum() + there.sum()))


def mni(data: Path, kind: str) -> nibabel.Nifti1Image:
    """Return the atlas' head (t1), or where it has white or grey matter, 0 to 255."""
    return nibabel.load(
        data / f"medical/mni152/mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"
    )


def _two_millimetres(data: Path, kind: str) -> tuple[np.ndarray, np.ndarray]:
    image = mni(data, kind)
    values = np.asarray(image.dataobj)[..., :188]
    affine = image.affine @ np.diag([1, 1, 2, 1])
    affine[2, 3] += 0.5
    return values.reshape(*values.shape[:2], -1, 2).mean(3), affine
