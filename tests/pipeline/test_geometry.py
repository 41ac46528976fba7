"""What goes out lies exactly where what went in lies."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import rasterio
import SimpleITK as sitk

import tiledseg

MakeModel = Callable[..., Path]


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [
        "rasterio/RGB.byte.tif",
        "rio-tiler/cog_rgb_mask.tif",
        "rio-tiler/cog_rgba.tif",
        "rio-tiler/pix4d_alpha_nodata.tif",
    ],
)
def test_scene(data: Path, tmp_path: Path, make_model: MakeModel, name: str) -> None:
    scene, out = data / "geo" / name, tmp_path / "map.tif"
    result = tiledseg.segment(scene, make_model(), out, output={"layout": "cog"})
    with rasterio.open(scene) as given, rasterio.open(out) as made:
        assert made.crs == given.crs
        assert made.transform == given.transform
        assert made.shape == given.shape
        assert made.nodata == 255
        assert made.dtypes == ("uint8",)
        assert made.colormap(1)[255] == (0, 0, 0, 0)
        np.testing.assert_array_equal(made.read(1) == 255, given.dataset_mask() == 0)
        assert made.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    assert {p.suffix for p in result.outputs} >= {".tif", ".qml", ".html"}


@pytest.mark.data
def test_control_points_stay(data: Path, tmp_path: Path, make_model: MakeModel) -> None:
    scene, out = data / "geo/rio-tiler/cog_gcps.tif", tmp_path / "map.tif"
    tiledseg.segment(scene, make_model(channels=1), out)
    with rasterio.open(scene) as given, rasterio.open(out) as made:
        assert made.gcps[1] == given.gcps[1]
        pairs = zip(made.gcps[0], given.gcps[0], strict=True)
        assert all((a.row, a.col, a.x, a.y) == (b.row, b.col, b.x, b.y) for a, b in pairs)


@pytest.mark.data
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
@pytest.mark.parametrize("name", ["medical/niivue/CT_pitch.nii.gz", "medical/sct/t2.nii.gz"])
def test_volume(data: Path, tmp_path: Path, make_model: MakeModel, name: str, suffix: str) -> None:
    scan, out = data / name, tmp_path / f"labels{suffix}"
    tiledseg.segment(scan, make_model(3, 1, orientation="RAS"), out)
    given, made = sitk.ReadImage(str(scan)), sitk.ReadImage(str(out))
    assert made.GetSize() == given.GetSize()
    for index in [(0, 0, 0), (3, 5, 7), tuple(n - 1 for n in given.GetSize())]:
        apart = np.subtract(
            made.TransformIndexToPhysicalPoint(index), given.TransformIndexToPhysicalPoint(index)
        )
        assert np.abs(apart).max() < 1e-4
    if ".nii" in suffix:
        np.testing.assert_allclose(nibabel.load(out).affine, nibabel.load(scan).affine, atol=1e-5)
    names = json.loads((tmp_path / "labels.json").read_text())
    assert [c["name"] for c in names["classes"]] == [f"class {i}" for i in range(4)]
    assert (tmp_path / "labels.ctbl").read_text().splitlines()[1].startswith("0 class_0 ")


@pytest.mark.data
@pytest.mark.parametrize("copy", ["flip_0", "flip_2", "perm_021", "perm_120"])
def test_same_world_same_result(
    data: Path, tmp_path: Path, make_model: MakeModel, copy: str
) -> None:
    """Flipped and permuted copies of one scan hold the same labels at the same places."""
    model = make_model(3, 1, orientation="SPL")
    made = []
    for n, scan in enumerate(
        (data / "medical/sct/t2.nii.gz", data / f"broken/nifti/same_world_{copy}.nii.gz")
    ):
        out = tmp_path / f"{n}.nii.gz"
        tiledseg.segment(scan, model, out, tiling={"core": (30, 30, 30)})
        made.append(sitk.DICOMOrient(sitk.ReadImage(str(out)), "LPS"))
    np.testing.assert_array_equal(*(sitk.GetArrayFromImage(m) for m in made))
    assert len(np.unique(sitk.GetArrayFromImage(made[0]))) > 1
    np.testing.assert_allclose(made[0].GetOrigin(), made[1].GetOrigin(), atol=1e-4)


@pytest.mark.data
def test_dicom_series(data: Path, tmp_path: Path, make_model: MakeModel) -> None:
    folder = next(p.parent for p in (data / "medical/dicom_series/Study3").rglob("*.dcm"))
    out = tmp_path / "labels.nii.gz"
    tiledseg.segment(folder, make_model(3, 1), out)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))
    given, made = reader.Execute(), sitk.ReadImage(str(out))
    assert made.GetSize() == given.GetSize()
    last = tuple(n - 1 for n in given.GetSize())
    for index in [(0, 0, 0), last]:
        apart = np.subtract(
            made.TransformIndexToPhysicalPoint(index), given.TransformIndexToPhysicalPoint(index)
        )
        assert np.abs(apart).max() < 1e-2
