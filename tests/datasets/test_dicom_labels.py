"""Segmentation objects against the NRRD they were made of; contours against what they enclose."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.files import write_volume
from tiledseg import read_dataset
from tiledseg.errors import DamagedInput, GridMismatch

pydicom = pytest.importorskip("pydicom")


def ids_of(folder: Path, entry: str, head: str) -> np.ndarray:
    (folder / "set.yaml").write_text(f"{head}cases: [{entry}]\n")
    dataset = read_dataset(folder / "set.yaml")
    with dataset.open(dataset.cases[0]) as pair:
        return pair.labels.read(pair.grid.box)[0]


@pytest.mark.data
def test_a_segmentation_object_is_what_it_was_made_of(data: Path, tmp_path: Path) -> None:
    source = data / "medical" / "dcmqi"
    (tmp_path / "ct").mkdir()
    for name in ("01.dcm", "02.dcm", "03.dcm"):
        shutil.copy(source / name, tmp_path / "ct")
    head = "classes: [rest, Liver]\nbackground: rest\n"
    found = ids_of(tmp_path, f"{{image: ct, labels: {source / 'liver.dcm'}}}", head)
    expected = ids_of(tmp_path, f"{{image: ct, labels: {source / 'liver_seg.nrrd'}}}", head)
    assert found.sum() > 1000
    assert (found == expected).all()
    head = "classes: [rest, tumour]\nbackground: rest\nlegend: {Spleen: tumour}\n"
    (tmp_path / "set.yaml").write_text(
        f"{head}cases: [{{image: ct, labels: {source / 'liver.dcm'}}}]\n"
    )
    dataset = read_dataset(tmp_path / "set.yaml")
    with dataset.open(dataset.cases[0]) as pair:
        assert pair.labels.strange == {"Liver": expected.sum()}
        assert ((pair.labels.read(pair.grid.box)[0] == 255) == (expected == 1)).all()
    (tmp_path / "ct" / "03.dcm").unlink()
    with pytest.raises(GridMismatch, match="reach beyond their image"):
        ids_of(tmp_path, f"{{image: ct, labels: {source / 'liver.dcm'}}}", head)


def structures(path: Path, contours: dict[str, list[list[tuple[float, float, float]]]]) -> None:
    """Write an RTSTRUCT of closed planar contours, LPS mm."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    meta.MediaStorageSOPInstanceUID = generate_uid()
    file = Dataset()
    file.file_meta = meta
    file.Modality = "RTSTRUCT"
    file.StructureSetROISequence, file.ROIContourSequence = [], []
    for number, (name, rings) in enumerate(contours.items(), 1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, drawn.ReferencedROINumber = number, name, number
        drawn.ContourSequence = []
        for ring in rings:
            contour = Dataset()
            contour.ContourGeometricType = "CLOSED_PLANAR"
            contour.NumberOfContourPoints = len(ring)
            contour.ContourData = [v for point in ring for v in point]
            drawn.ContourSequence.append(contour)
        file.StructureSetROISequence.append(roi)
        file.ROIContourSequence.append(drawn)
    file.save_as(path, enforce_file_format=True)


def square(low: float, high: float, z: float) -> list[tuple[float, float, float]]:
    return [(low, low, z), (high, low, z), (high, high, z), (low, high, z)]


HEAD = "classes: [rest, organ, other]\nbackground: rest\n"
ENTRY = "{image: i.nii.gz, labels: l.dcm}"


def test_contours(tmp_path: Path) -> None:
    write_volume(tmp_path / "i.nii.gz", np.zeros((6, 20, 24), np.float32), (2, 2, 5))
    organ = [square(3, 21, 10), square(9, 15, 10), square(3, 9, 15)]
    structures(tmp_path / "l.dcm", {"organ": organ, "other": [square(3, 7, 15)]})
    expected = np.zeros((6, 20, 24), np.uint8)
    expected[2, 2:11, 2:11] = 1  # sample i lies at 2 i mm: 4 to 20
    expected[2, 5:8, 5:8] = 0  # the hole: 10 to 14
    expected[3, 2:5, 2:5] = 1
    expected[3, 2:4, 2:4] = 2  # the later structure
    assert (ids_of(tmp_path, ENTRY, HEAD) == expected).all()


def test_contours_of_another_image_and_damaged_files(tmp_path: Path) -> None:
    write_volume(tmp_path / "i.nii.gz", np.zeros((6, 20, 24), np.float32), (2, 2, 5))
    structures(tmp_path / "l.dcm", {"organ": [square(3, 21, 40)]})
    with pytest.raises(GridMismatch, match="lies in no plane of samples"):
        ids_of(tmp_path, ENTRY, HEAD)
    tilted = [(3.0, 3.0, 10.0), (9.0, 3.0, 14.0), (9.0, 9.0, 10.0)]
    structures(tmp_path / "l.dcm", {"organ": [tilted]})
    with pytest.raises(GridMismatch, match="lies in no plane of samples"):
        ids_of(tmp_path, ENTRY, HEAD)
    structures(tmp_path / "l.dcm", {"organ": [square(3, 21, 10)[:1] * 2]})
    assert ids_of(tmp_path, ENTRY, HEAD).sum() == 0
    file = pydicom.dcmread(tmp_path / "l.dcm")
    del file.StructureSetROISequence
    file.save_as(tmp_path / "l.dcm")
    with pytest.raises(DamagedInput, match="cannot be read as DICOM segments"):
        ids_of(tmp_path, ENTRY, HEAD)
