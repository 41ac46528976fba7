"""Volumes written: what SimpleITK and nibabel find in them, and what happens without room."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from tiledseg.box import Box
from tiledseg.errors import ConfigError, OutputFailed
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec
from tiledseg.io._simpleitk import VolumeSink, open_volume, read_schema
from tiledseg.labels import ClassInfo, ClassSchema

SCHEMA = ClassSchema(
    (ClassInfo(0, "air", (0, 0, 0)), ClassInfo(7, "left  kidney é", (250, 3, 9))), background=0
)
LPS = np.diag([-1.0, -1, 1, 1])
TURN = np.reshape(sitk.VersorTransform((1.0, 2.0, 3.0), 0.7).GetMatrix(), (3, 3))
GRIDS = {
    "oblique": Grid.from_centers((9, 11, 13), (-80.1, 12.5, 700.7), (0.7, 0.8, 2.5), TURN, PATIENT),
    "left-handed": Grid.from_centers(
        (9, 11, 13), (-80.1, 12.5, 7.7), (0.7, 0.8, 2.5), TURN @ np.diag([1, 1, -1]), PATIENT
    ),
    "one slice": Grid.from_centers((1, 11, 13), (1.0, 2.0, 3.0), (1.0, 1.0, 4.0), None, PATIENT),
}
SHEARED = Grid.from_matrix(
    (9, 11, 13), [[1, 0.3, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], PATIENT
)
SUFFIXES = pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])


def class_map(grid: Grid) -> SinkSpec:
    return SinkSpec(grid, np.dtype("u1"), ("class",), 255, SCHEMA)


def written(path: Path, spec: SinkSpec, values: np.ndarray) -> list[Path]:
    """Write in two boxes and commit."""
    sink = VolumeSink(path, spec)
    sink.prepare()
    middle = spec.grid.shape[1] // 2
    for a, b in ((0, middle), (middle, spec.grid.shape[1])):
        box = spec.grid.box.along(1, a, b)
        sink.write(box, values[(slice(None), *box.slices)])
    assert not path.exists()
    made = sink.commit()
    sink.abort()
    return made


def numbered(spec: SinkSpec) -> np.ndarray:
    count = len(spec.bands) * spec.grid.box.size
    return (np.arange(count) % 251).reshape(len(spec.bands), *spec.grid.shape).astype(spec.dtype)


@pytest.mark.parametrize("name", ["labels.json", "labels.ctbl"])
def test_a_sidecar_of_somebody_else_is_not_replaced(tmp_path, name):
    spec, path = class_map(GRIDS["one slice"]), tmp_path / "labels.nii.gz"
    written(path, spec, numbered(spec))
    VolumeSink(path, spec)
    (tmp_path / name).write_text('{"RepetitionTime": 2.0}')
    with pytest.raises(OutputFailed, match=rf"{name} would be replaced, and was not written by"):
        VolumeSink(path, spec)
    VolumeSink(path, SinkSpec(spec.grid, np.dtype("f4"), ("score",), None))


@SUFFIXES
@pytest.mark.parametrize("name", GRIDS)
def test_geometry_and_samples_come_back(tmp_path, suffix, name):
    spec = class_map(GRIDS[name])
    values, path = numbered(spec), tmp_path / f"labels{suffix}"
    written(path, spec, values)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), values[0])
    # NIfTI stores float32: half a unit in the last place of 700 mm.
    within = 3e-5 if suffix.startswith(".nii") else 1e-9
    shape = spec.grid.shape
    for index in [(0, 0, 0), tuple(n - 1 for n in shape)]:
        np.testing.assert_allclose(
            image.TransformIndexToPhysicalPoint(index[::-1]),
            spec.grid.index_to_world(np.add(index, 0.5)),
            atol=within,
        )
    if suffix.startswith(".nii"):
        theirs = nibabel.load(path)
        np.testing.assert_array_equal(np.asarray(theirs.dataobj).T, values[0])
        for affine, code in (theirs.get_sform(coded=True), theirs.get_qform(coded=True)):
            assert code > 0
            np.testing.assert_allclose(affine, LPS @ spec.grid.centers(), atol=within)


@pytest.mark.data
@SUFFIXES
@pytest.mark.parametrize(
    "name",
    ["medical/niivue/CT_pitch.nii.gz", "medical/nibabel/anatomical.nii", "medical/sct/t2.nii.gz"],
)
def test_labels_lie_exactly_on_their_source(data, tmp_path, suffix, name):
    path = tmp_path / f"labels{suffix}"
    with open_volume(str(data / name)) as source:
        spec = class_map(source.grid)
    written(path, spec, numbered(spec))
    with open_volume(str(path)) as made:
        corners = [(0, 0, 0), spec.grid.shape]
        np.testing.assert_allclose(
            made.grid.index_to_world(corners), spec.grid.index_to_world(corners), atol=5e-5
        )
        if suffix.startswith(".nii") and name.endswith(".gz"):
            np.testing.assert_allclose(
                nibabel.load(path).affine, nibabel.load(data / name).affine, atol=5e-5
            )


@SUFFIXES
def test_bands_are_channels(tmp_path, suffix):
    spec = SinkSpec(GRIDS["oblique"], np.dtype("f4"), ("air", "kidney", "bone"), np.nan)
    values = numbered(spec)
    values[:, 3, 4, 5] = np.nan
    path = tmp_path / f"scores{suffix}"
    assert written(path, spec, values) == [path]
    with open_volume(str(path)) as made:
        np.testing.assert_array_equal(made.read(made.grid.box), values)
        box = Box((1, 2, 3), (4, 9, 12))
        np.testing.assert_array_equal(made.read(box), values[(slice(None), *box.slices)])


@SUFFIXES
def test_names_and_colours_go_along(tmp_path, suffix):
    path = tmp_path / f"a.b{suffix}"
    made = written(path, class_map(GRIDS["oblique"]), numbered(class_map(GRIDS["oblique"])))
    assert made == [path, tmp_path / "a.b.ctbl", tmp_path / "a.b.json"]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    lines = made[1].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == ["0 air 0 0 0 0", "7 left_kidney_é 250 3 9 255", "255 nodata 0 0 0 0"]
    assert json.loads(made[2].read_text(encoding="utf-8"))["nodata"] == 255
    assert read_schema(path) == SCHEMA
    made[2].write_text("{")
    assert read_schema(path) is None
    made[2].unlink()
    assert read_schema(path) is None


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_what_can_be_compressed_is(tmp_path, suffix):
    spec = class_map(Grid.from_centers((50, 60, 70), (0, 0, 0), (1, 1, 1), None, PATIENT))
    path = tmp_path / f"zero{suffix}"
    written(path, spec, np.zeros((1, 50, 60, 70), "u1"))
    assert path.stat().st_size < 5000


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_refuses_slanted_axes_before_any_work(tmp_path, suffix):
    sink = VolumeSink(tmp_path / f"labels{suffix}", class_map(SHEARED))
    with pytest.raises(ConfigError, match=r"perpendicular axes only.*take \.nrrd or \.mha"):
        sink.prepare()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_formats_hold_slanted_axes(tmp_path, suffix):
    spec = class_map(SHEARED)
    written(tmp_path / f"labels{suffix}", spec, numbered(spec))
    image = sitk.ReadImage(str(tmp_path / f"labels{suffix}"))
    point = image.TransformIndexToPhysicalPoint((5, 4, 3))
    np.testing.assert_allclose(point, SHEARED.index_to_world([3.5, 4.5, 5.5]), atol=1e-9)


# ------------------------------------------------------------------------- failures


@SUFFIXES
def test_abort_leaves_the_old_file_and_nothing_else(tmp_path, suffix):
    spec, path = class_map(GRIDS["oblique"]), tmp_path / f"labels{suffix}"
    path.write_bytes(b"old")
    sink = VolumeSink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, numbered(spec))
    sink.abort()
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@SUFFIXES
def test_a_full_disk_is_told_and_nothing_stays(small_disk, suffix):
    """ITK writes half a NIfTI file and reports nothing."""
    path = small_disk / f"labels{suffix}"
    spec = class_map(Grid.from_centers((60, 110, 130), (0, 0, 0), (1, 1, 1), None, PATIENT))
    noise = np.random.default_rng(0).integers(0, 255, (1, *spec.grid.shape)).astype("u1")
    sink = VolumeSink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, noise)
    with pytest.raises(OutputFailed, match=rf"cannot write {path}: .*") as caught:
        sink.commit()
    assert "\n" not in str(caught.value)
    sink.abort()
    assert list(small_disk.iterdir()) == []


def test_no_folder_is_told(tmp_path):
    sink = VolumeSink(tmp_path / "absent/labels.nii.gz", class_map(GRIDS["oblique"]))
    with pytest.raises(OutputFailed, match=r"cannot write .*absent/labels\.nii\.gz: No such file"):
        sink.prepare()
