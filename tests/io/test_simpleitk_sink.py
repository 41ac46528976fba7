"""Volumes written: what SimpleITK and nibabel find in them, and what happens without room."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from tests.runs import small_disk
from tiledseg.box import Box
from tiledseg.errors import ConfigError, OutputFailed
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import OrientedSink, SinkSpec, sidecars
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


def as_itk_writes(path: Path, spec: SinkSpec, values: np.ndarray) -> Path:
    """Write a whole volume from memory through SimpleITK."""
    bands = np.moveaxis(values, 0, -1)
    image = sitk.GetImageFromArray(
        bands if len(values) > 1 else values[0], isVector=len(values) > 1
    )
    centers = spec.grid.centers()
    spacing = np.linalg.norm(centers[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(centers[:3, 3].tolist())
    image.SetDirection((centers[:3, :3] / spacing).ravel().tolist())
    sitk.WriteImage(image, str(path), useCompression=path.suffix != ".nii")
    return path


ORIENTATIONS = [
    "".join(letter[int(bit)] for letter, bit in zip(axes, bits, strict=True))
    for axes in permutations(("RL", "AP", "IS"))
    for bits in product("01", repeat=3)
]


def turned_grid(codes: str) -> Grid:
    """Return a grid close to the given axes, a little oblique."""
    tilt = np.reshape(sitk.VersorTransform((3.0, -1.0, 2.0), 0.2).GetMatrix(), (3, 3))
    whole = Grid.from_centers((5, 6, 7), (-90.3, 20.0, 0.1), (0.5, 0.75, 3.1), tilt, PATIENT)
    return whole.reorient(codes)[0]


@pytest.mark.parametrize("bands", [1, 3])
@SUFFIXES
def test_headers_are_those_of_simpleitk(tmp_path, suffix, bands):
    """For every orientation, handedness and for none: the same words, geometry and samples."""
    grids = {**GRIDS, "local": Grid.local((4, 5, 6))}
    grids |= {codes: turned_grid(codes) for codes in ORIENTATIONS}
    for name, grid in grids.items():
        spec = SinkSpec(grid, np.dtype("u1" if bands == 1 else "f4"), ("a", "b", "c")[:bands], None)
        values = numbered(spec)
        mine, theirs = (tmp_path / f"{name} {who}{suffix}" for who in ("mine", "itk"))
        written(mine, spec, values)
        as_itk_writes(theirs, spec, values)
        one, other = sitk.ReadImage(str(mine)), sitk.ReadImage(str(theirs))
        np.testing.assert_array_equal(*map(sitk.GetArrayFromImage, (one, other)), name)
        for get in ("GetSpacing", "GetOrigin", "GetDirection"):
            ours, itk = getattr(one, get)(), getattr(other, get)()
            np.testing.assert_allclose(ours, itk, rtol=1e-6, atol=1e-6, err_msg=f"{name} {get}")
        assert one.GetPixelID() == other.GetPixelID()
        if suffix.startswith(".nii"):
            same_nifti(mine, theirs)
        else:
            assert words(mine) == words(theirs), name


def same_nifti(mine: Path, theirs: Path) -> None:
    """Compare all fields; a half turn has two quaternions, of which either will do."""
    one, other = (nibabel.load(path) for path in (mine, theirs))
    loose = {"quatern_b", "quatern_c", "quatern_d", "srow_x", "srow_y", "srow_z", "pixdim"}
    loose |= {"qoffset_x", "qoffset_y", "qoffset_z"}
    for field in set(one.header.keys()) - loose:
        np.testing.assert_array_equal(one.header[field], other.header[field], field)
    np.testing.assert_allclose(one.header["pixdim"], other.header["pixdim"], rtol=1e-6)
    np.testing.assert_allclose(one.header.get_sform(), other.header.get_sform(), atol=1e-5)
    # Where the rotation is a half turn, float32 keeps the quaternion to 3e-4 only.
    np.testing.assert_allclose(one.header.get_qform(), other.header.get_qform(), atol=1e-4)


def words(path: Path) -> list[str]:
    """Return a text header without its numbers."""
    head = path.read_bytes().split(b"LOCAL")[0].split(b"\n\n")[0].decode()
    kept = ("TransformMatrix", "Offset", "ElementSpacing", "CompressedDataSize", "space dir",
            "space orig")  # fmt: skip
    return [
        next((name for name in kept if line.startswith(name)), line) for line in head.splitlines()
    ]


@SUFFIXES
def test_every_order_of_axes_and_of_boxes(tmp_path, suffix):
    """A turned frame hands over slabs along any axis, backwards too."""
    spec = SinkSpec(GRIDS["oblique"], np.dtype("u2"), ("a", "b"), None)
    values = numbered(spec)
    for codes in ORIENTATIONS:
        turned, axes = spec.grid.reorient(codes)
        path = tmp_path / f"{codes}{suffix}"
        sink = OrientedSink(VolumeSink(path, spec), axes)
        sink.prepare()
        for low in range(0, turned.shape[0], 4):
            box = turned.box.along(0, low, min(low + 4, turned.shape[0]))
            sink.write(box, axes.apply(values)[(slice(None), *box.slices)])
        sink.commit()
        read = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
        np.testing.assert_array_equal(np.moveaxis(read, -1, 0), values, codes)
        if codes != ORIENTATIONS[0]:  # the same bytes whatever the way
            assert path.read_bytes() == (tmp_path / f"{ORIENTATIONS[0]}{suffix}").read_bytes()


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_bytes_do_not_depend_on_threads(tmp_path, suffix):
    spec = class_map(Grid.local((40, 250, 260)))  # several pieces
    noise = np.random.default_rng(0).integers(0, 9, (1, *spec.grid.shape)).astype("u1")
    made = set()
    for threads in (1, 2, 5):
        path = tmp_path / f"{threads}{suffix}"
        sink = VolumeSink(path, spec, threads)
        sink.prepare()
        sink.write(spec.grid.box, noise)
        sink.commit()
        made.add(path.read_bytes())
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), noise[0])
        if suffix == ".nii.gz":
            np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj).T, noise[0])
    assert len(made) == 1


@SUFFIXES
def test_names_and_colours_go_along(tmp_path, suffix):
    path = tmp_path / f"a.b{suffix}"
    made = written(path, class_map(GRIDS["oblique"]), numbered(class_map(GRIDS["oblique"])))
    assert made == [path, tmp_path / "a.b.ctbl", tmp_path / "a.b.json"]
    assert made == [path, *sidecars(path)]
    assert sorted(tmp_path.iterdir()) == sorted(made)
    lines = made[1].read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("#")
    assert lines[1:] == ["0 air 0 0 0 0", "7 left_kidney_é 250 3 9 255", "255 nodata 0 0 0 0"]
    assert json.loads(made[2].read_text(encoding="utf-8"))["nodata"] == 255
    assert read_schema(path) == SCHEMA
    made[2].write_text("{")
    assert [(c.id, c.name) for c in read_schema(path).classes] == [(0, "air"), (7, "left_kidney_é")]
    made[2].unlink()
    made[1].unlink()
    assert read_schema(path) is None


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_what_can_be_compressed_is(tmp_path, suffix):
    spec = class_map(Grid.from_centers((50, 60, 70), (0, 0, 0), (1, 1, 1), None, PATIENT))
    path = tmp_path / f"zero{suffix}"
    written(path, spec, np.zeros((1, 50, 60, 70), "u1"))
    assert path.stat().st_size < 5000


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_refuses_slanted_axes_before_any_work(tmp_path, suffix):
    with pytest.raises(ConfigError, match=r"perpendicular axes only.*take \.nrrd or \.mha"):
        VolumeSink(tmp_path / f"labels{suffix}", class_map(SHEARED))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_refuses_long_axes_before_any_work(tmp_path, suffix):
    spec = class_map(Grid.local((1, 2, 40_000)))
    with pytest.raises(ConfigError, match=r"at most 32767 samples along .*take \.nrrd or \.mha"):
        VolumeSink(tmp_path / f"labels{suffix}", spec)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_formats_hold_long_axes(tmp_path, suffix):
    spec = class_map(Grid.local((1, 2, 40_000)))
    values, path = numbered(spec), tmp_path / f"labels{suffix}"
    written(path, spec, values)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), values[0])


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


@SUFFIXES
def test_what_lies_in_the_place_of_a_temporary_file(tmp_path, suffix):
    """A link is not followed; a folder is told of and left."""
    spec, path = class_map(GRIDS["oblique"]), tmp_path / f"labels{suffix}"
    temporary = tmp_path / f".partial.labels{suffix}"
    (tmp_path / "other").write_text("precious")
    temporary.symlink_to("other")
    sink = VolumeSink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, numbered(spec))
    sink.commit()
    assert (tmp_path / "other").read_text() == "precious"
    temporary.mkdir()
    with pytest.raises(OutputFailed, match="cannot write"):
        sink.prepare()
    sink.abort()
    assert temporary.is_dir()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path / "small", "1200k") as place:
        yield place


@SUFFIXES
def test_a_full_disk_is_told_and_nothing_stays(disk, suffix):
    """Whether the samples find no room, or what they are compressed to."""
    path = disk / f"labels{suffix}"
    spec = class_map(Grid.from_centers((60, 110, 130), (0, 0, 0), (1, 1, 1), None, PATIENT))
    noise = np.random.default_rng(0).integers(0, 255, (1, *spec.grid.shape)).astype("u1")
    sink = VolumeSink(path, spec)
    if suffix == ".nii":
        (disk / "other").write_bytes(bytes(600_000))
    sink.prepare()

    def finish() -> None:
        sink.write(spec.grid.box, noise)
        sink.commit()

    with pytest.raises(OutputFailed, match=rf"cannot write {path}: No space left") as caught:
        finish()
    assert "\n" not in str(caught.value)
    sink.abort()
    assert [file.name for file in disk.iterdir() if file.name != "other"] == []
    held = [os.path.realpath(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    assert [file for file in held if file.startswith(str(disk))] == []  # nor the nameless


def test_a_disk_is_told_before_any_work(disk):
    spec = class_map(Grid.local((100, 110, 130)))
    told = r"its samples need 1\.4 MB before they are compressed, 1\.2 MB are free in .*make room"
    with pytest.raises(OutputFailed, match=told):
        VolumeSink(disk / "labels.nii.gz", spec)


@SUFFIXES
def test_samples_are_not_held_in_memory(tmp_path, suffix):
    """64 MB of scores, in slabs of 8 MB."""
    spec = SinkSpec(Grid.local((64, 256, 256)), np.dtype("f4"), ("a", "b", "c", "d"), np.nan)
    tracemalloc.start()
    try:
        sink = VolumeSink(tmp_path / f"scores{suffix}", spec, threads=2)
        sink.prepare()
        for low in range(0, 64, 8):
            box = spec.grid.box.along(0, low, low + 8)
            sink.write(box, np.zeros((4, *box.shape), "f4"))
        sink.commit()
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_no_folder_is_told(tmp_path):
    with pytest.raises(OutputFailed, match=r"cannot write .*absent/labels\.nii\.gz: No such file"):
        VolumeSink(tmp_path / "absent/labels.nii.gz", class_map(GRIDS["oblique"]))
