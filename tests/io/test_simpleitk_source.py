"""Volumes read: what nibabel, pydicom and SimpleITK itself find in the same files."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tiledseg.box import Box
from tiledseg.errors import ConfigError
from tiledseg.grid import SpaceKind
from tiledseg.io import open_source
from tiledseg.io._simpleitk import open_volume
from tiledseg.testing.contracts import sample_boxes

LPS = np.diag([-1.0, -1, 1, 1])
NIFTI = [
    "medical/nibabel/anatomical.nii",  # big-endian
    "medical/nibabel/functional.nii",  # big-endian, scaled, 20 frames
    "medical/nibabel/resampled_anat_moved.nii",
    "medical/nibabel/example4d.nii.gz",
    "medical/nibabel/example_nifti2.nii.gz",
    "medical/nibabel/standard.nii.gz",
    "medical/niivue/CT_pitch.nii.gz",  # oblique
    "medical/sct/t2.nii.gz",
    "medical/sct/mtr.nii.gz",
    "medical/totalsegmentator/example_ct.nii.gz",
    "broken/nifti/oblique_25deg.nii.gz",
]
DICOM = ["Study1/13_HCropVolume", "Study3/11-T1post-18670"]


def nibabel_samples(path: Path) -> np.ndarray:
    """All samples, (c, z, y, x)."""
    values = np.asanyarray(nibabel.load(path).dataobj)
    values = values.reshape(*values.shape[:3], -1)
    return values.T


@pytest.mark.data
@pytest.mark.parametrize("name", NIFTI)
def test_nifti_is_as_nibabel_reads_it(data, name):
    expected, affine = nibabel_samples(data / name), nibabel.load(data / name).affine
    with open_volume(str(data / name)) as source:
        np.testing.assert_allclose(source.read(source.grid.box), expected, rtol=1e-6)
        np.testing.assert_allclose(source.grid.centers(), LPS @ affine, atol=1e-4)
        assert source.grid.space.kind is SpaceKind.PATIENT
        assert source.valid(source.grid.box).all()


@pytest.mark.data
@pytest.mark.parametrize("name", [n for n in NIFTI if "nifti2" not in n])
def test_points_are_as_sitk_places_them(data, name):
    image = sitk.ReadImage(str(data / name))
    extra = (0,) * (image.GetDimension() - 3)
    with open_volume(str(data / name)) as source:
        shape = source.grid.shape
        for index in [(0, 0, 0), (1, 2, 1), tuple(n - 1 for n in shape)]:
            world = image.TransformIndexToPhysicalPoint((*index[::-1], *extra))
            found = source.grid.index_to_world(np.add(index, 0.5))
            np.testing.assert_allclose(found, world[:3], atol=1e-9)


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    [*NIFTI, "medical/pyradiomics/brain1_image.nrrd", "medical/dicom_series/" + DICOM[1]],
)
def test_a_box_is_the_same_part_of_the_whole(data, name):
    with open_volume(str(data / name)) as source:
        whole, boxes = source.read(source.grid.box), sample_boxes(source.grid.shape)
        with ThreadPoolExecutor(4) as pool:
            for box, part in zip(boxes, pool.map(source.read, boxes), strict=True):
                np.testing.assert_array_equal(part, whole[(slice(None), *box.slices)])


# ------------------------------------------------------------------- every format


def volume(*shape: int, dtype: str = "int16") -> np.ndarray:
    return np.random.default_rng(3).integers(-900, 900, shape).astype(dtype)


def oblique(image: sitk.Image) -> sitk.Image:
    turn = sitk.VersorTransform((1.0, 2.0, 3.0), 0.7).GetMatrix()
    image.SetDirection(turn)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-80.25, 12.5, 700.75))
    return image


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"])
@pytest.mark.parametrize("components", [1, 3])
def test_every_format(tmp_path, suffix, packed, components):
    """ITK crashes on a box of a vector NIfTI, so a box of each is read here."""
    values = volume(9, 11, 13, components, dtype="float32")
    image = oblique(sitk.GetImageFromArray(values, isVector=True))
    if components == 1:
        image = sitk.VectorIndexSelectionCast(image)
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(image, str(path), useCompression=packed)
    box = Box((2, 3, 4), (7, 5, 12))
    with open_volume(str(path)) as source:
        expected = np.moveaxis(values, -1, 0)
        np.testing.assert_array_equal(source.read(box), expected[(slice(None), *box.slices)])
        np.testing.assert_array_equal(source.read(source.grid.box), expected)
        last = (12, 10, 8)
        np.testing.assert_allclose(
            source.grid.index_to_world([8.5, 10.5, 12.5]),
            image.TransformIndexToPhysicalPoint(last),
            atol=1e-4,
        )
        assert source.grid.spacing == pytest.approx((2.5, 0.8, 0.7))
        streams = suffix.startswith("nii") or (suffix in ("mha", "mhd") and not packed)
        assert source.working_bytes == (0 if streams else 2 * values.nbytes)


def test_nan_in_a_vector_nifti_stays_nan(tmp_path):
    values = volume(4, 5, 6, 2, dtype="float32")
    values[1, 2, 3] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(values, isVector=True), str(tmp_path / "v.nii"))
    with open_volume(str(tmp_path / "v.nii")) as source:
        np.testing.assert_array_equal(source.read(source.grid.box), np.moveaxis(values, -1, 0))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_nifti_of_every_number(tmp_path, dtype, order, version):
    kind = nibabel.Nifti1Image if version == 1 else nibabel.Nifti2Image
    values = (np.arange(4 * 5 * 6) % 100).reshape(4, 5, 6).astype(dtype)
    header = kind.header_class(endianness=order)
    affine = np.array([[0, -2.0, 0, 7], [1.5, 0, 0, -3], [0, 0, 3.25, 11], [0, 0, 0, 1]])
    image = kind(values, affine, header, dtype=np.dtype(dtype))
    nibabel.save(image, tmp_path / "a.nii.gz")
    with open_volume(str(tmp_path / "a.nii.gz")) as source:
        assert source.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(source.read(source.grid.box)[0], values.T)
        np.testing.assert_allclose(source.grid.centers(), LPS @ affine, atol=1e-6)


def test_scaling_is_applied_and_slope_zero_means_none(tmp_path):
    values = volume(4, 5, 6)
    for slope, inter, expected in [(2, 5, values * 2.0 + 5), (-1, 0, -1.0 * values)]:
        image = nibabel.Nifti1Image(values, np.eye(4))
        image.header.set_slope_inter(slope, inter)
        raw = tmp_path / f"{slope}.nii"
        nibabel.save(image, raw)
        edit(raw, 112, np.array([slope, inter], "<f4"))
        stored = np.fromfile(raw, "<i2", values.size, offset=352).reshape(values.T.shape)
        with open_volume(str(raw)) as source:
            found = source.read(source.grid.box)[0]
            assert source.dtype == np.float32
            np.testing.assert_array_equal(found, stored.astype("f4") * slope + inter)
            np.testing.assert_allclose(found, nibabel.load(raw).get_fdata().T)
        assert expected.shape == values.shape
    edit(raw, 112, np.array([0, 5], "<f4"))
    with open_volume(str(raw)) as source:
        np.testing.assert_array_equal(source.read(source.grid.box)[0], stored)


def edit(path: Path, at: int, values: np.ndarray) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + values.nbytes] = values.tobytes()
    path.write_bytes(raw)


def test_where_qform_and_sform_differ_the_place_is_itks(tmp_path):
    """Both valid: an "aligned" sform beside a scanner qform; ITK and 3D Slicer show the qform."""
    image = nibabel.Nifti1Image(volume(4, 5, 6), np.eye(4))
    image.set_qform(np.eye(4), 1)
    moved = np.eye(4)
    moved[0, 3] = 50
    image.set_sform(moved, 2)
    nibabel.save(image, tmp_path / "two.nii")
    seen = sitk.ReadImage(str(tmp_path / "two.nii"))
    with open_volume(str(tmp_path / "two.nii")) as source:
        np.testing.assert_allclose(source.grid.centers()[:3, 3], seen.GetOrigin())
        np.testing.assert_allclose(source.grid.centers()[:3, 3], (0, 0, 0))


# ------------------------------------------------------------------------ channels


@pytest.mark.data
def test_frames_are_channels(data):
    path = data / "broken/nifti/four_d.nii.gz"
    expected = nibabel_samples(path)
    with open_volume(str(path)) as source:
        assert source.channels == ("frame 1", "frame 2")
        np.testing.assert_array_equal(source.read(source.grid.box), expected)
    with open_volume(str(path), channels=("Frame 2", 1)) as source:
        assert source.channels == ("frame 2", "frame 1")
        np.testing.assert_array_equal(source.read(source.grid.box), expected[::-1])
    with pytest.raises(ConfigError, match="channel 3 is not there"):
        open_volume(str(path), channels=(3,))


# --------------------------------------------------------------------------- DICOM


@pytest.mark.data
@pytest.mark.parametrize("name", DICOM)
def test_dicom_is_as_pydicom_reads_it(data, name):
    slices = [pydicom.dcmread(p) for p in (data / "medical/dicom_series" / name).glob("*.dcm")]
    right, down = np.reshape(slices[0].ImageOrientationPatient, (2, 3)).astype(float)
    slices.sort(
        key=lambda s: float(np.array(s.ImagePositionPatient, float) @ np.cross(right, down))
    )
    expected = np.stack([s.pixel_array for s in slices])
    with open_volume(str(data / "medical/dicom_series" / name)) as source:
        np.testing.assert_array_equal(source.read(source.grid.box)[0], expected)
        for i, one in enumerate(slices):
            world = source.grid.index_to_world([i + 0.5, 0.5, 0.5])
            np.testing.assert_allclose(world, np.array(one.ImagePositionPatient, float), atol=1e-3)
        row, column = map(float, slices[0].PixelSpacing)
        step = source.grid.index_to_world([0.5, 0.5, 1.5]) - source.grid.index_to_world([0.5] * 3)
        np.testing.assert_allclose(step, column * right, atol=1e-5)
        assert source.grid.spacing[1] == pytest.approx(row)


def edited(data: Path, target: Path, change: Callable[[int, pydicom.Dataset], None]) -> Path:
    """Copy the small series with every slice changed."""
    folder = shutil.copytree(data / "medical/dicom_series" / DICOM[0], target)
    for i, path in enumerate(sorted(folder.iterdir())):
        one = pydicom.dcmread(path)
        change(i, one)
        one.save_as(path)
    return folder


@pytest.mark.data
def test_dicom_rescale_is_applied_slice_by_slice(data, tmp_path):
    def rescale(i: int, one: pydicom.Dataset) -> None:
        one.RescaleSlope, one.RescaleIntercept = str(1 + i / 2), "-10"

    folder = edited(data, tmp_path / "scaled", rescale)
    slices = [pydicom.dcmread(p) for p in folder.iterdir()]
    slices.sort(key=lambda s: float(s.ImagePositionPatient[2]))
    expected = [s.pixel_array * float(s.RescaleSlope) - 10 for s in slices]
    with open_volume(str(folder)) as source:
        np.testing.assert_allclose(source.read(source.grid.box)[0], np.stack(expected))


@pytest.mark.data
def test_one_of_several_series(data):
    folder = data / "medical/dcmqi"
    with pytest.raises(ConfigError, match=r"holds 2 series; choose one with --series: 1: Liver"):
        open_volume(str(folder))
    uid = str(pydicom.dcmread(folder / "01.dcm").SeriesInstanceUID)
    for series in ("2", uid):
        with open_volume(str(folder), series=series) as source:
            assert source.grid.shape == (3, 512, 512)
    with pytest.raises(ConfigError, match="no series '7'; there are 1: Liver"):
        open_volume(str(folder), series="7")


@pytest.mark.data
def test_one_file_with_several_frames(data):
    path = data / "medical/dcmqi/liver.dcm"
    with open_volume(str(path)) as source:
        assert source.grid.shape == (3, 512, 512)
        expected = pydicom.dcmread(path).pixel_array
        np.testing.assert_array_equal(source.read(source.grid.box)[0] > 0, expected > 0)


# ------------------------------------------------------- same world, scratch, identity


@pytest.mark.data
@pytest.mark.parametrize("copy", ["flip_0", "flip_2", "perm_021", "perm_120"])
def test_copies_of_one_scan_meet_in_one_orientation(data, copy):
    turned = []
    for name in ("medical/sct/t2.nii.gz", f"broken/nifti/same_world_{copy}.nii.gz"):
        with open_volume(str(data / name)) as source:
            grid, axes = source.grid.reorient("SPL")
            turned.append((grid, axes.apply(source.read(source.grid.box)[0])))
    (grid, values), (other, theirs) = turned
    np.testing.assert_array_equal(theirs, values)
    assert grid.like(other, 1e-4)


@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd"])
def test_scratch_is_made_at_the_first_read_and_removed_at_close(tmp_path, monkeypatch, suffix):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    sitk.WriteImage(sitk.GetImageFromArray(volume(6, 7, 8)), str(tmp_path / f"a.{suffix}"))
    source = open_volume(str(tmp_path / f"a.{suffix}"))
    assert list(scratch.iterdir()) == []
    source.read(source.grid.box)
    assert len(list(scratch.rglob("volume.*"))) == 1
    source.close()
    assert list(scratch.iterdir()) == []


#: What a worker holds to its end.
held = []


def read_in_a_worker(path, scratch):
    """Leave the source open: nobody closes what a worker's tasks hold."""
    tempfile.tempdir = str(scratch)
    held.append(open_volume(str(path)))
    held[0].read(held[0].grid.box)
    assert list(scratch.iterdir())


def test_a_worker_that_ends_leaves_no_scratch(tmp_path):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    sitk.WriteImage(sitk.GetImageFromArray(volume(6, 7, 8)), str(tmp_path / "a.nii.gz"))
    worker = get_context("fork").Process(
        target=read_in_a_worker, args=(tmp_path / "a.nii.gz", scratch)
    )
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert list(scratch.iterdir()) == []


def test_the_fingerprint_follows_the_content(tmp_path):
    for suffix in ("nii.gz", "mha", "mhd", "nhdr"):
        path = tmp_path / f"a.{suffix}"
        sitk.WriteImage(sitk.GetImageFromArray(volume(6, 7, 8)), str(path))
        with open_volume(str(path)) as source:
            before, again = source.fingerprint(), source.fingerprint()
        assert before == again
        sitk.WriteImage(sitk.GetImageFromArray(volume(6, 7, 8) + np.int16(1)), str(path))
        with open_volume(str(path)) as source:
            assert source.fingerprint() != before, suffix


@pytest.mark.data
def test_wrong_names_are_told(data, tmp_path):
    with pytest.raises(ConfigError, match=r"there is no file .*absent\.nii"):
        open_volume(str(tmp_path / "absent.nii"))
    with pytest.raises(ConfigError, match="holds no DICOM series"):
        open_volume(str(tmp_path))
    plain = gzip.decompress((data / "medical/sct/t2.nii.gz").read_bytes())
    (tmp_path / "named.nii.gz").write_bytes(plain)
    with open_source(tmp_path / "named.nii.gz") as source:
        expected = nibabel_samples(data / "medical/sct/t2.nii.gz")
        np.testing.assert_array_equal(source.read(source.grid.box), expected)
