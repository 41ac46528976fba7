"""Every odd or damaged volume: read as other readers read it, or refused in one sentence."""

from __future__ import annotations

import os
import re
import shutil
import struct
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from tiledseg.errors import ConfigError, DamagedInput, OutputFailed, TiledsegError
from tiledseg.io._simpleitk import open_volume

FOLDER = Path(os.environ.get("TILEDSEG_DATA", "")) / "broken"
FILES = sorted(FOLDER.glob("nifti/*")) if os.environ.get("TILEDSEG_DATA") else []
FOLDERS = sorted(FOLDER.glob("dicom/*")) if os.environ.get("TILEDSEG_DATA") else []
#: The error of every file that is refused, and words of its sentence.
REFUSED: dict[str, tuple[type[TiledsegError], str]] = {
    "dim0_is_0.nii.gz": (DamagedInput, r"dimensions \(\)"),
    "header_only_348.nii": (DamagedInput, "promises 343552 bytes, 348 are there"),
    "nan_sform.nii.gz": (DamagedInput, "not finite"),
    "negative_dim.nii.gz": (DamagedInput, r"dimensions \(-60, 55, 52\)"),
    "not_gzipped.nii.gz": (DamagedInput, "promises 343552 bytes, 60000 are there"),
    "qform_sform_disagree.nii.gz": (DamagedInput, r"sform says voxels of \(2.0, 2.0, 2.0\) mm"),
    "truncated.nii": (DamagedInput, "promises 343552 bytes, 114517 are there"),
    "truncated_gz.nii.gz": (DamagedInput, "cut or altered"),
    "two_d.nii.gz": (ConfigError, "2-D image; a volume has 3 axes"),
    "unknown_datatype.nii.gz": (DamagedInput, "datatype 999, which does not exist"),
    "vox_offset_past_eof.nii.gz": (DamagedInput, "promises 1000343200 bytes"),
    "wrong_sizeof_hdr.nii.gz": (DamagedInput, "header claims 1000 bytes"),
    "zero_bytes.nii.gz": (DamagedInput, r"is empty \(0 bytes\)"),
    "zero_dim.nii.gz": (DamagedInput, r"dimensions \(60, 55, 0\)"),
    "zero_pixdim.nii.gz": (DamagedInput, "expected positive numbers"),
    "missing_slice": (DamagedInput, r"2\.00 mm between 23\.00 and 25\.00 mm: a slice is missing"),
    "one_slice_other_size": (DamagedInput, r"slice 003\.dcm measures \(35, 50\)"),
    "text.dcm": (DamagedInput, "cannot be read as a volume"),
    "truncated.dcm": (DamagedInput, "cannot be read as a volume"),
    "two_series_one_folder": (ConfigError, "holds 2 series; choose one with --series: 1: Hippo"),
}


def read(path: Path) -> np.ndarray:
    with open_volume(str(path)) as source:
        return source.read(source.grid.box)


@pytest.mark.data
@pytest.mark.parametrize("path", FILES + FOLDERS, ids=lambda p: p.name)
def test_odd_file_is_read_exactly_or_refused(path, capfd):
    if path.name in REFUSED:
        error, words = REFUSED[path.name]
        with pytest.raises(error, match=words) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    else:
        theirs = np.asanyarray(nibabel.load(path).dataobj)
        expected = theirs.reshape(*theirs.shape[:3], -1).T
        np.testing.assert_array_equal(read(path), expected)
        with open_volume(str(path)) as source:
            affine = np.diag([-1, -1, 1, 1]) @ nibabel.load(path).affine
            np.testing.assert_allclose(source.grid.centers(), affine, atol=1e-4)
    assert capfd.readouterr() == ("", "")


# --------------------------------------------------------- NIfTI headers that lie


@pytest.fixture
def nifti(tmp_path: Path) -> Path:
    path = tmp_path / "scan.nii"
    values = np.arange(4 * 5 * 6, dtype="i2").reshape(4, 5, 6)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 2, 3, 1])), path)
    return path


NAN = float("nan")
QFORM_ONLY = ("2h", 252, 1, 0)
LIES = {
    "offset in header": ([("f", 108, 100.0)], "start at byte 100, inside the header"),
    "no offset": ([("f", 108, 0.0)], "start at byte 0, inside the header"),
    "negative offset": ([("f", 108, -352.0)], "start at byte -352"),
    "NaN offset": ([("f", 108, NAN)], "start at byte nan"),
    "offset too far": ([("f", 108, 360.0)], "promises 600 bytes, 592 are there"),
    "huge": ([("h", 42, 30000)], "promises 1800352 bytes"),
    "intercept": ([("2f", 112, 2.0, NAN)], "scaled by 2, with intercept nan"),
    "no mark": ([("4s", 344, b"abcd")], "carries the mark b'abc'"),
    "negative pixdim": ([("f", 80, -2.0)], "one of them is wrong"),
    "NaN pixdim": ([("f", 80, NAN)], "one of them is wrong"),
    "last pixdim NaN": ([("f", 88, NAN)], "one of them is wrong"),
    "flat sform": ([("4f", 312, 0.0, 0.0, 0.0, 0.0)], "singular"),
    "parallel sform": ([("8f", 280, 2.0, 2.0, 0, 0, 0, 0, 0, 0)], "orthonormal"),
    "slanted sform": ([("f", 284, 0.1)], "orthonormal"),
    "NaN qform": ([QFORM_ONLY, ("f", 256, NAN)], "no rotation and offset"),
    "NaN qform offset": ([QFORM_ONLY, ("f", 272, NAN)], "no rotation and offset"),
    "long quaternion": ([QFORM_ONLY, ("3f", 256, 1.0, 1.0, 1.0)], "no rotation and offset"),
}


@pytest.mark.parametrize(("changes", "words"), LIES.values(), ids=LIES)
def test_a_header_that_lies_is_refused(nifti, changes, words):
    raw = bytearray(nifti.read_bytes())
    for code, at, *values in changes:
        struct.pack_into("<" + code, raw, at, *values)
    nifti.write_bytes(raw)
    with pytest.raises(DamagedInput, match=words) as caught:
        read(nifti)
    assert str(nifti) in str(caught.value)


def test_a_slanted_sform_beside_a_whole_qform_gives_itks_place_quietly(nifti, capfd):
    expected = sitk.ReadImage(str(nifti))
    raw = bytearray(nifti.read_bytes())
    struct.pack_into("<2h", raw, 252, 1, 1)
    struct.pack_into("<f", raw, 284, 0.1)
    nifti.write_bytes(raw)
    with open_volume(str(nifti)) as source:
        np.testing.assert_array_equal(
            source.read(source.grid.box)[0], sitk.GetArrayFromImage(expected)
        )
        np.testing.assert_allclose(source.grid.spacing, expected.GetSpacing()[::-1])
        np.testing.assert_allclose(source.grid.direction.ravel(), expected.GetDirection())
    assert capfd.readouterr() == ("", "")


def test_nifti_2_that_cannot_be_kept_in_nifti_1_is_refused(tmp_path):
    path = tmp_path / "long.nii"
    nibabel.save(nibabel.Nifti2Image(np.zeros((40000, 2, 2), "u1"), np.eye(4)), path)
    with pytest.raises(ConfigError, match=r"NIfTI-2 with \(40000, 2, 2\).*at most 32767"):
        open_volume(str(path))


# ------------------------------------------------------- data that are cut or altered


def damaged_copies(raw: bytes) -> dict[str, bytes]:
    flipped = bytearray(raw)
    flipped[len(raw) // 2] ^= 0x55
    return {"cut": raw[: len(raw) * 2 // 3], "last 8 cut": raw[:-8], "altered": bytes(flipped)}


@pytest.mark.parametrize("damage", ["cut", "last 8 cut", "altered"])
@pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
def test_compressed_data_that_are_damaged_are_refused_every_time(tmp_path, suffix, damage, capfd):
    """Also the second time: a source that failed once must not give what was half unpacked."""
    values = np.random.default_rng(0).integers(0, 99, (60, 61, 62)).astype("i2")
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path), useCompression=True)
    np.testing.assert_array_equal(read(path)[0], values)
    path.write_bytes(damaged_copies(path.read_bytes())[damage])
    with open_volume(str(path)) as source:
        for _ in range(2):
            with pytest.raises(DamagedInput, match="is damaged") as caught:
                source.read(source.grid.box)
            assert str(path) in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
def test_plain_data_that_are_cut_are_refused(tmp_path, suffix, capfd):
    values = np.arange(20 * 21 * 22, dtype="i2").reshape(20, 21, 22)
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    path.write_bytes(damaged_copies(path.read_bytes())["cut"])
    for _ in range(2):
        with pytest.raises(DamagedInput, match="is damaged"):
            read(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DamagedInput, match=re.escape(str(path))):
        read(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("suffix", "lost"), [("mhd", "raw"), ("nhdr", "raw")])
def test_samples_in_a_file_that_is_gone_are_told(tmp_path, suffix, lost, capfd):
    path = tmp_path / f"scan.{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), "i2")), str(path))
    (tmp_path / f"scan.{lost}").unlink()
    with pytest.raises(DamagedInput, match=re.escape(str(path))):
        read(path)
    assert capfd.readouterr() == ("", "")


def test_no_room_to_unpack_names_the_place(tmp_path, monkeypatch, nifti):
    packed = tmp_path / "scan.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(nifti)), str(packed))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "absent"))
    with pytest.raises(OutputFailed, match=r"cannot write .*absent"):
        read(packed)


# ------------------------------------------------------------------------------ DICOM

SERIES = "medical/dicom_series/Study1/13_HCropVolume"


@pytest.fixture
def slices(data: Path, tmp_path: Path) -> list[Path]:
    """A copy of a small series, in the order of its positions."""
    files = [*shutil.copytree(data / SERIES, tmp_path / "series").iterdir()]
    return sorted(files, key=lambda p: float(pydicom.dcmread(p).ImagePositionPatient[2]))


@pytest.mark.data
@pytest.mark.parametrize("which", [0, 15, -1])
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.9])
def test_a_cut_slice_is_named(slices, which, share):
    """GDCM leaves it out, which at an end of the stack would go unnoticed."""
    raw = slices[which].read_bytes()
    slices[which].write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(DamagedInput, match=f"{slices[which].name} is damaged"):
        read(slices[which].parent)


@pytest.mark.data
def test_other_files_in_the_folder_do_not_matter(slices):
    """A structured report too, which GDCM leaves out as it does a damaged slice."""
    expected = read(slices[0].parent)
    (slices[0].parent / "README.txt").write_text("notes")
    (slices[0].parent / "more").mkdir()
    report = pydicom.dcmread(slices[0])
    for word in ("PixelData", "Rows", "Columns", "ImagePositionPatient"):
        delattr(report, word)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = pydicom.uid.BasicTextSRStorage
    report.SeriesInstanceUID = pydicom.uid.generate_uid()
    report.save_as(slices[0].parent / "report.dcm")
    np.testing.assert_array_equal(read(slices[0].parent), expected)


def move(path: Path, by: tuple[float, float, float]) -> None:
    one = pydicom.dcmread(path)
    place = np.array(one.ImagePositionPatient, float) + by
    one.ImagePositionPatient = [round(float(v), 6) for v in place]
    one.save_as(path)


@pytest.mark.data
def test_slices_out_of_place_are_refused(slices):
    folder = slices[0].parent
    shutil.copy(slices[4], folder / "again.dcm")
    with pytest.raises(DamagedInput, match=r"two slices lie at .* mm"):
        read(folder)
    (folder / "again.dcm").unlink()
    move(slices[5], (0, 0, 0.05))
    with pytest.raises(DamagedInput, match=r"1\.05 mm between .* the stack is uneven"):
        read(folder)
    move(slices[5], (0, 0, -0.05))
    assert read(folder).shape[1] == len(slices)
    for i, path in enumerate(slices):
        move(path, (0.02 * i, 0, 0))
    with pytest.raises(DamagedInput, match=r"aside of .*tilted gantry"):
        read(folder)


@pytest.mark.data
def test_a_slice_of_another_direction_is_refused(slices):
    one = pydicom.dcmread(slices[5])
    one.ImageOrientationPatient = [1, 0, 0, 0, 0.9998, 0.02]
    one.save_as(slices[5])
    with pytest.raises(DamagedInput, match=f"{slices[5].name} is tilted"):
        read(slices[0].parent)
