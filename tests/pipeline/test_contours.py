"""Contours in DICOM: read back to the same labels, where SimpleITK says, on their images."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

import tiledseg
from tests.datasets.test_dicom_labels import ids_of
from tiledseg.cli import run
from tiledseg.engine import machine
from tiledseg.errors import (
    BudgetExceeded,
    ConfigError,
    DamagedInput,
    GridMismatch,
    OutputFailed,
    UnknownFormat,
)
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec, create_sink
from tiledseg.labels import ClassSchema

pydicom = pytest.importorskip("pydicom")

SCHEMA = ClassSchema.of_names(["nothing", "liver", "left lung", "absent"], background=0)


def organs() -> np.ndarray:
    """Two classes with holes, in pieces, that touch; and nodata."""
    rng = np.random.default_rng(0)
    labels = np.zeros((9, 24, 30), np.uint8)
    labels[1:6, 3:20, 2:18], labels[2:8, 5:22, 18:28] = 1, 2
    labels[2:4, 6:12, 5:9] = 0
    labels[3, 8:10, 6:8] = 2
    labels[4][rng.random((24, 30)) < 0.3] = 1
    labels[8] = 255
    return labels


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """Stored along other axes than slices run, left-handed."""
    labels = np.ascontiguousarray(organs().transpose(2, 0, 1)[:, ::-1])
    direction = np.array([[0, 0, -1.0], [1, 0, 0], [0, -1, 0]])
    grid = Grid.from_centers(labels.shape, (30.1, -7.3, 43.0), (0.7, 2.5, 0.8), direction, PATIENT)
    path = tmp_path / "organs.nii.gz"
    sink = create_sink(path, SinkSpec(grid, labels.dtype, ("class",), 255, SCHEMA))
    sink.prepare()
    sink.write(grid.box, labels[None])
    sink.commit()
    return path


def test_what_is_read_back_is_what_was_drawn(volume: Path, tmp_path: Path) -> None:
    out, shares = tmp_path / "rt.dcm", []
    made = tiledseg.contours(volume, out, on_share=shares.append)
    stored = sitk.GetArrayFromImage(sitk.ReadImage(str(volume)))
    head = "classes: [nothing, liver, left lung]\nbackground: nothing\n"
    found = ids_of(tmp_path, f"{{image: {volume}, labels: rt.dcm}}", head)
    np.testing.assert_array_equal(found, np.where(stored == 255, 0, stored))
    liver, lung = made.classes
    assert (liver.name, lung.name) == ("liver", "left lung")
    assert liver.voxels == (stored == 1).sum()
    assert liver.volume == pytest.approx(liver.voxels * 0.7 * 2.5 * 0.8 / 1000, rel=1e-6)
    assert lung.planes == 6
    assert shares == sorted(shares)
    assert shares[-1] == 1
    first = out.read_bytes()
    tiledseg.contours(volume, out, classes=np.arange(1, 3))
    assert out.read_bytes() == first


def test_contours_of_the_kind_that_says_xor_are_read_too(volume: Path, tmp_path: Path) -> None:
    """DICOM PS3.3, C.8.8.6.3: CLOSEDPLANAR_XOR."""
    tiledseg.contours(volume, tmp_path / "rt.dcm")
    file = pydicom.dcmread(tmp_path / "rt.dcm")
    for structure in file.ROIContourSequence:
        for contour in structure.ContourSequence:
            contour.ContourGeometricType = "CLOSEDPLANAR_XOR"
    file.save_as(tmp_path / "xor.dcm")
    head = "classes: [nothing, liver, left lung]\nbackground: nothing\n"
    one, other = (
        ids_of(tmp_path, f"{{image: {volume}, labels: {name}.dcm}}", head) for name in ("rt", "xor")
    )
    assert other.any()
    np.testing.assert_array_equal(one, other)


def test_names_are_those_that_dicom_can_hold(tmp_path: Path) -> None:
    """64 characters at most, none that controls, and told apart where they are cut."""
    names = ["x" * 200, "x" * 64 + "y", "a\\b\nc", " Leber ü ", "\n", "🫁" * 70]
    schema = ClassSchema.of_names(["nothing", *names], 0)
    labels = np.zeros((1, 2, 9), np.uint8)
    labels[0, 0, :6] = np.arange(1, 7)
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (1, 1, 1), np.eye(3), PATIENT)
    sink = create_sink(tmp_path / "a.nii.gz", SinkSpec(grid, labels.dtype, ("c",), 255, schema))
    sink.prepare()
    sink.write(grid.box, labels[None])
    sink.commit()
    tiledseg.contours(tmp_path / "a.nii.gz", tmp_path / "a.dcm")
    found = pydicom.dcmread(tmp_path / "a.dcm").StructureSetROISequence
    cut = [f"{'x' * 60} ({i})" for i in (1, 2)]
    assert [str(s.ROIName) for s in found] == [*cut, "a_b_c", "Leber ü", "_", "🫁" * 64]


def drawn_area(contour: object) -> float:
    """Return what a contour in a plane encloses, in mm2: by cross products."""
    points = np.array(contour.ContourData, float).reshape(-1, 3)
    away = points - points[0]
    return float(np.linalg.norm(np.cross(away, np.roll(away, -1, axis=0)).sum(axis=0))) / 2


def test_the_file_is_an_rt_structure_set(volume: Path, tmp_path: Path) -> None:
    tiledseg.contours(volume, tmp_path / "rt.dcm", classes=["left lung", 1])
    file = pydicom.dcmread(tmp_path / "rt.dcm")
    assert file.file_meta.MediaStorageSOPClassUID.name == "RT Structure Set Storage"
    assert [str(s.ROIName) for s in file.StructureSetROISequence] == ["liver", "left lung"]
    assert {s.ReferencedFrameOfReferenceUID for s in file.StructureSetROISequence} == {
        file.FrameOfReferenceUID
    }
    stored = sitk.ReadImage(str(volume))
    values = sitk.GetArrayViewFromImage(stored)
    for structure in file.ROIContourSequence:
        number = int(structure.ReferencedROINumber)
        assert tuple(structure.ROIDisplayColor) == SCHEMA.unique[number].color
        area = sum(map(drawn_area, structure.ContourSequence))
        assert area * 2.5 == pytest.approx((values == number).sum() * 0.7 * 0.8 * 2.5, rel=1e-6)
        for contour in structure.ContourSequence:
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert contour.NumberOfContourPoints == len(points)
            assert np.ptp(points[:, 2]) < 1e-6  # axial
            index = [stored.TransformPhysicalPointToContinuousIndex(p) for p in points.tolist()]
            beside = np.array(index) - np.floor(index)
            np.testing.assert_allclose(np.minimum(beside[:, 1], 1 - beside[:, 1]), 0, atol=1e-4)
            np.testing.assert_allclose(beside[:, [0, 2]], 0.5, atol=1e-4)


@pytest.mark.data
def test_contours_are_drawn_on_their_images(data: Path, tmp_path: Path) -> None:
    source, series = data / "medical" / "dcmqi", tmp_path / "ct"
    series.mkdir()
    for name in ("01.dcm", "02.dcm", "03.dcm"):
        shutil.copy(source / name, series)
    labels = source / "liver_seg.nrrd"
    words = ["contours", str(labels), "--images", str(series), "-o", str(tmp_path / "rt.dcm")]
    assert run([*words, "-q"]) == 0
    file = pydicom.dcmread(tmp_path / "rt.dcm")
    slices = {h.SOPInstanceUID: h for h in map(pydicom.dcmread, series.iterdir())}
    one = next(iter(slices.values()))
    for name in ("PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert file[name].value == one[name].value
    assert file.SeriesInstanceUID != one.SeriesInstanceUID
    frame = file.ReferencedFrameOfReferenceSequence[0]
    listed = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == one.SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in listed.ContourImageSequence} == {*slices}
    for contour in file.ROIContourSequence[0].ContourSequence:
        shown = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
        heights = np.array(contour.ContourData, float)[2::3]
        np.testing.assert_allclose(heights, float(shown.ImagePositionPatient[2]), atol=1e-5)
    head = "classes: [rest, class 1]\nbackground: rest\n"
    found = ids_of(tmp_path, "{image: ct, labels: rt.dcm}", head)
    expected = ids_of(tmp_path, f"{{image: ct, labels: {labels}}}", head)
    assert expected.sum() > 1000
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(ConfigError, match=r"02\.dcm"):
        tiledseg.contours(labels, series / "02.dcm", images=series)
    nameless = pydicom.dcmread(series / "02.dcm")
    del nameless.FrameOfReferenceUID
    nameless.save_as(series / "02.dcm")
    with pytest.raises(DamagedInput, match=r"02\.dcm has no FrameOfReferenceUID, by which"):
        tiledseg.contours(labels, tmp_path / "rt.dcm", images=series)
    (series / "03.dcm").unlink()
    with pytest.raises(GridMismatch, match="must lie on the grid"):
        tiledseg.contours(labels, tmp_path / "rt.dcm", images=series)


@pytest.mark.data
def test_real_organs_are_read_back(data: Path, tmp_path: Path) -> None:
    """Every fourth class of a CT."""
    path = next(data.rglob("example_seg_fast_force_split.nii.gz"))
    image = sitk.ReadImage(str(path))
    labels = sitk.GetArrayFromImage(image)
    known = np.unique(labels[labels > 0])[::4].tolist()
    labels[~np.isin(labels, known)] = 0
    made = tiledseg.contours(path, tmp_path / "rt.dcm", classes=known)
    assert [c.id for c in made.classes] == known
    assert [c.voxels for c in made.classes] == [int((labels == i).sum()) for i in known]
    names = ", ".join(f"class {i}" for i in range(118))
    head = f"classes: [{names}]\nbackground: class 0\n"
    found = ids_of(tmp_path, f"{{image: {path}, labels: rt.dcm}}", head)
    np.testing.assert_array_equal(found, labels)


def test_bad_input_is_one_sentence(
    volume: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there, out = sorted(tmp_path.iterdir()), tmp_path / "rt.dcm"
    with pytest.raises(UnknownFormat, match=r"name a file NAME\.dcm"):
        tiledseg.contours(volume, tmp_path / "rt.json")
    with pytest.raises(ConfigError, match=r"has no class '1\.5'; it has nothing, liver"):
        tiledseg.contours(volume, out, classes=1.5)
    with pytest.raises(ConfigError, match="holds no voxel of absent"):
        tiledseg.contours(volume, out, classes="absent")
    with pytest.raises(ConfigError, match="must be a folder that holds a DICOM series"):
        tiledseg.contours(volume, out, images=volume)
    with pytest.raises(ConfigError, match="is no volume of a patient"):
        tiledseg.contours(np.ones((3, 4, 5), np.uint8), out)
    monkeypatch.setattr(machine, "resident", lambda: 10**9)
    with pytest.raises(BudgetExceeded, match=r"of the first 1 of 9 slices of .* need 25"):
        tiledseg.contours(volume, out, memory=str(10**9 + 25 * 10**6))
    with pytest.raises(BudgetExceeded, match=r"of the first [2-6] of 9 slices"):
        tiledseg.contours(volume, out, memory=str(10**9 + 25_400_000))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(OutputFailed, match=r"^cannot write .*rt.dcm: File too large"):
            tiledseg.contours(volume, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sorted(tmp_path.iterdir()) == there
