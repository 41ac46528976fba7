"""A dataset from YAML, tables and patterns; what is refused, in one sentence."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.datasets.files import write_png, write_raster, write_volume
from tiledseg import read_dataset
from tiledseg.datasets import check_dataset
from tiledseg.errors import ConfigError, DamagedInput, GridMismatch

RNG = np.random.default_rng(5)
IMAGE = RNG.integers(0, 255, (3, 20, 30), dtype=np.uint8)
LABELS = RNG.integers(0, 3, (20, 30), dtype=np.uint8)
HEAD = "classes: [water, forest, road]\n"


def write(folder: Path, text: str, name: str = "set.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def pair(folder: Path, name: str = "a", labels: np.ndarray = LABELS) -> None:
    write_raster(folder / f"{name}.tif", IMAGE)
    write_raster(folder / f"{name}_labels.tif", labels)


ONE = "cases: [{image: a.tif, labels: a_labels.tif}]\n"


def ids_of(path: Path, case: int = 0) -> np.ndarray:
    dataset = read_dataset(path)
    with dataset.open(dataset.cases[case]) as opened:
        ids = opened.labels.read(opened.grid.box)
        assert ids.dtype == dataset.schema.dtype
        assert ((ids[0] != dataset.schema.nodata) == opened.labels.valid(opened.grid.box)).all()
        return ids[0]


def test_values_are_class_ids_unless_said_otherwise(tmp_path: Path) -> None:
    pair(tmp_path)
    assert (ids_of(write(tmp_path, HEAD + ONE)) == LABELS).all()


def test_classes_are_merged_and_renumbered_and_ignored(tmp_path: Path) -> None:
    pair(tmp_path, labels=np.where(LABELS == 0, 40, LABELS).astype(np.uint8))
    text = "classes: [{name: wet, id: 7}, {name: dry, id: 3}]\nlegend: {40: wet, 1: 3, 2: ignore}\n"
    expected = np.select([LABELS == 0, LABELS == 1], [7, 3], 255)
    assert (ids_of(write(tmp_path, text + ONE)) == expected).all()
    more = "classes: [wet, dry]\nlegend: {40: wet, 1: dry, 2: dry}\nignore: [1]\n"
    expected = np.select([LABELS == 0, LABELS == 1], [0, 255], 1)
    assert (ids_of(write(tmp_path, more + ONE)) == expected).all()


def test_values_that_no_class_is_known_for_are_counted_and_without_truth(tmp_path: Path) -> None:
    pair(tmp_path, labels=np.where(LABELS == 1, 9, LABELS).astype(np.uint8))
    dataset = read_dataset(write(tmp_path, HEAD + ONE))
    with dataset.open(dataset.cases[0]) as opened:
        ids, strange = opened.labels.look(opened.grid.box)
    assert strange == {"9": (LABELS == 1).sum()}
    assert ((ids == 255) == (LABELS == 1)).all()


def test_a_declared_nodata_has_no_truth_unless_the_legend_names_it(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", IMAGE)
    write_raster(tmp_path / "a_labels.tif", LABELS, nodata=0)
    expected = np.where(LABELS == 0, 255, LABELS)
    bare = write(tmp_path, HEAD + ONE)  # nobody said that 0 is no gap
    assert (ids_of(bare) == expected).all()
    told = [f for f in check_dataset(read_dataset(bare)).findings if "as nodata" in f.text]
    assert "declare 0 as nodata, so that class water has no truth" in told[0].text
    legend = "legend: {1: forest, 2: road}\n"
    assert (ids_of(write(tmp_path, HEAD + legend + ONE)) == expected).all()
    legend = "legend: {0: water, 1: forest, 2: road}\n"
    named = write(tmp_path, HEAD + legend + ONE)
    assert (ids_of(named) == LABELS).all()
    checked = check_dataset(read_dataset(named))
    assert checked.census.missing == 0  # not that which was kept of the dataset without a legend
    assert not any("as nodata" in f.text for f in checked.findings)


COLORS = np.array([[60, 16, 152], [132, 41, 246], [110, 193, 228]], np.uint8)
LEGEND = "legend: {'#3C1098': water, '#8429f6': forest, '#6EC1E4': ignore}\n"


@pytest.mark.parametrize("paletted", [False, True], ids=["rgb", "palette"])
def test_masks_coded_by_colour(tmp_path: Path, paletted: bool) -> None:
    write_png(tmp_path / "a.png", np.moveaxis(IMAGE, 0, -1))
    if paletted:
        write_png(tmp_path / "a_labels.png", LABELS, COLORS.ravel().tolist())
    else:
        mask = COLORS[LABELS]
        mask[0, 0] = (1, 2, 3)
        write_png(tmp_path / "a_labels.png", mask)
    path = write(tmp_path, HEAD + LEGEND + ONE.replace(".tif", ".png"))
    expected = np.where(LABELS == 2, 255, LABELS)
    if not paletted:
        expected[0, 0] = 255
    assert (ids_of(path) == expected).all()
    dataset = read_dataset(path)
    with dataset.open(dataset.cases[0]) as opened:
        assert opened.labels.look(opened.grid.box)[1] == ({} if paletted else {"#010203": 1})


def test_classes_have_the_colours_of_the_masks(tmp_path: Path) -> None:
    """The first of a class in the legend, where no colour is given with the class."""
    write_png(tmp_path / "a.png", np.moveaxis(IMAGE, 0, -1))
    write_png(tmp_path / "a_labels.png", COLORS[LABELS])
    head = "classes: [water, {name: forest, color: [1, 2, 3]}, land]\n"
    legend = "legend: {'#3C1098': water, '#8429f6': forest, '#6EC1E4': ignore, '#000001': water}\n"
    schema = read_dataset(write(tmp_path, head + legend + ONE.replace(".tif", ".png"))).schema
    assert [c.color for c in schema.unique[:2]] == [(60, 16, 152), (1, 2, 3)]
    assert schema.unique[2].color not in {(110, 193, 228), (0, 0, 1)}


def test_a_box_is_the_same_as_that_part_of_the_whole(tmp_path: Path) -> None:
    pair(tmp_path)
    dataset = read_dataset(write(tmp_path, HEAD + ONE))
    with dataset.open(dataset.cases[0]) as opened:
        box = opened.grid.box.along(0, 3, 11).along(1, 7, 8)
        assert (opened.labels.read(box) == LABELS[None][(slice(None), *box.slices)]).all()


def test_volumes_stored_along_other_axes(tmp_path: Path) -> None:
    import SimpleITK as sitk

    values = RNG.integers(0, 3, (5, 6, 7)).astype(np.uint8)
    write_volume(tmp_path / "a.nii.gz", values.astype(np.float32), (1, 2, 3))
    turned = sitk.DICOMOrient(sitk.ReadImage(str(tmp_path / "a.nii.gz")), "RAS")
    labels = sitk.Cast(turned, sitk.sitkFloat32)
    sitk.WriteImage(labels, str(tmp_path / "l.nii.gz"))
    path = write(tmp_path, HEAD + "cases: [{image: a.nii.gz, labels: l.nii.gz}]")
    assert (ids_of(path) == values).all()


def test_a_table_with_groups_splits_and_stacked_images(tmp_path: Path) -> None:
    for name in ("a", "b"):
        pair(tmp_path, name)
    rows = "image, labels, name, group, split\na.tif;b.tif,a_labels.tif,one,g,train\nb.tif,,,,\n"
    write(tmp_path, rows, "cases.csv")
    dataset = read_dataset(write(tmp_path, HEAD + "cases: cases.csv"))
    first, second = dataset.cases
    assert (first.name, first.group, first.split) == ("one", "g", "train")
    assert (second.name, second.group, second.split, second.labels) == ("b", "b", None, None)
    with dataset.open(first) as opened:
        assert len(opened.image.channels) == 6
    with pytest.raises(ConfigError, match="case b: it has no labels"):
        dataset.open(second)
    assert dataset.labelled == (first,)


def test_a_table_alone_takes_the_classes_of_its_first_labels(tmp_path: Path) -> None:
    from tiledseg.io import SinkSpec, create_sink
    from tiledseg.io import open_source as opened
    from tiledseg.labels import ClassSchema

    pair(tmp_path)
    table = write(tmp_path, "image,labels\na.tif,a_labels.tif\n", "cases.csv")
    with pytest.raises(ConfigError, match="names no classes"):
        read_dataset(table)
    schema = ClassSchema.of_names(["water", "forest", "road"])
    grid = opened(str(tmp_path / "a.tif")).grid
    spec = SinkSpec(grid, schema.dtype, ("class",), schema.nodata, schema)
    sink = create_sink(tmp_path / "a_labels.tif", spec)
    sink.prepare()
    sink.write(grid.box, LABELS[None])
    sink.commit()
    assert [c.name for c in read_dataset(table).schema.classes] == ["water", "forest", "road"]


def test_patterns(tmp_path: Path) -> None:
    for scene in ("s1", "s2"):
        for name in ("p1", "p2"):
            write_raster(tmp_path / scene / "images" / f"{name}.tif", IMAGE)
            if (scene, name) != ("s2", "p2"):
                write_raster(tmp_path / scene / "masks" / f"{name}.tif", LABELS)
    text = (
        "cases: {images: '{group}/images/{name}.tif', labels: '{group}/masks/{name}.tif'}\n"
        "split: {test: [s2], Val: [s1_p2]}\n"
    )
    dataset = read_dataset(write(tmp_path, HEAD + text))
    assert [c.name for c in dataset.cases] == ["s1_p1", "s1_p2", "s2_p1", "s2_p2"]
    assert [c.group for c in dataset.cases] == ["s1", "s1", "s2", "s2"]
    assert [c.split for c in dataset.cases] == [None, "validation", "test", "test"]
    assert [c.name for c in dataset.labelled] == ["s1_p1", "s1_p2", "s2_p1"]
    assert [c.name for c in dataset.split("test").cases] == ["s2_p1", "s2_p2"]


def test_groups_by_a_regular_expression(tmp_path: Path) -> None:
    for name in ("p1_a", "p1_b"):
        pair(tmp_path, name)
    cases = "cases: {images: '{name}.tif', labels: '{name}_labels.tif'}\n"
    (tmp_path / "x").mkdir()
    path = write(tmp_path, HEAD + cases + "groups: '^(p\\d+)_'\nignore: [2]")
    assert {c.group for c in read_dataset(path).cases} == {"p1"}


def test_variables_in_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair(tmp_path / "there")
    path = write(tmp_path, HEAD + "root: ${WHERE}/there\n" + ONE)
    with pytest.raises(ConfigError, match="variable WHERE, which is not set"):
        read_dataset(path)
    monkeypatch.setenv("WHERE", str(tmp_path))
    assert (ids_of(path) == LABELS).all()


WRONG = {
    "no file": ("", "there is no dataset"),
    "not yaml": ("a: [", "cannot be read"),
    "a list": ("[1]", "expected keys and values"),
    "no cases": (HEAD, "either cases, or layout"),
    "no classes": (ONE, "classes: is missing"),
    "empty": (HEAD + "cases: []", "has no cases"),
    "unknown key": (HEAD + ONE + "colour: 3", "colour: there is no such setting"),
    "unknown class": (HEAD + ONE + "legend: {1: sea}", "'sea' is no class"),
    "mixed legend": (HEAD + ONE + "legend: {1: road, '#000000': water}", "values and colours"),
    "no colour": (HEAD + ONE + "legend: {1.5: road}", "legend.1.5"),
    "twice": (HEAD + ONE + "split: {train: [a], test: [a]}", "'a' is in train and in test"),
    "no such group": (HEAD + ONE + "split: {train: [b]}", "'b' is no group and no case"),
    "pattern": (HEAD + "cases: {images: '*.tif'}", "must hold {name}"),
    "nothing matches": (HEAD + "cases: {images: '{name}.jpg'}", "there is no file like"),
    "groups": (HEAD + ONE + "groups: '('", "is no regular expression"),
    "same names": (
        HEAD + "cases: [{image: a.tif}, {image: b.tif, name: a}]",
        "1 names belong to several cases ('a')",
    ),
    "aliases": (
        "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
        + "".join(f"{c}: &{c} [{','.join(f'*{b}' for _ in range(10))}]\n" for b, c in
                  zip("abcdef", "bcdefg", strict=True)),
        "stands for more than",
    ),
    "itself": ("a: &a [*a]", "stands for more than"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_told_in_one_sentence(tmp_path: Path, name: str) -> None:
    text, told = WRONG[name]
    pair(tmp_path)
    path = write(tmp_path, text)
    if not text:
        path.unlink()
    with pytest.raises(ConfigError) as error:
        read_dataset(path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def opening(path: Path) -> None:
    dataset = read_dataset(path)
    dataset.open(dataset.cases[0]).close()


def test_an_image_that_is_not_there(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ONE)
    with pytest.raises(ConfigError, match="case a: there is no file"):
        opening(path)


def test_labels_of_another_size_or_place(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ONE)
    write_raster(tmp_path / "a.tif", IMAGE)
    write_raster(tmp_path / "a_labels.tif", LABELS[:-1])
    with pytest.raises(GridMismatch, match=r"case a: labels .* found 19 x 30 samples"):
        opening(path)
    import rasterio

    moved = rasterio.Affine(2.0, 0, 400010.0, 0, -2.0, 5000000.0)
    write_raster(tmp_path / "a_labels.tif", LABELS, transform=moved)
    with pytest.raises(GridMismatch, match=r"from .400010"):
        opening(path)


def test_labels_that_are_damaged_or_coded_otherwise(tmp_path: Path) -> None:
    path = write(tmp_path, HEAD + ONE)
    pair(tmp_path)
    (tmp_path / "a_labels.tif").write_bytes(b"II*\0 nonsense")
    with pytest.raises(DamagedInput, match="case a"):
        opening(path)
    (tmp_path / "a_labels.tif").unlink()
    write_raster(tmp_path / "a_labels.tif", IMAGE)
    with pytest.raises(ConfigError, match="must have one channel, found 3"):
        opening(path)
    pair(tmp_path)
    with pytest.raises(ConfigError, match="must be RGB of uint8 or have a palette"):
        opening(write(tmp_path, HEAD + LEGEND + ONE))


def test_half_numbers_are_no_class(tmp_path: Path) -> None:
    pair(tmp_path, labels=np.where(LABELS == 1, 0.5, LABELS).astype(np.float32))
    dataset = read_dataset(write(tmp_path, HEAD + ONE))
    with dataset.open(dataset.cases[0]) as opened:
        assert opened.labels.look(opened.grid.box)[1] == {"0.5": (LABELS == 1).sum()}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("cases: {images: 'x/{name}.tif', labls: 'y/{name}.tif'}", "cases.keys.labls: there is no"),
        ("cases: [{image: a.tif, labls: b.tif}]", "cases.list.0.labls: there is no such setting"),
        ("cases: 7", "cases.text: input should be a valid string, found 7"),
    ],
)
def test_a_wrong_key_is_told_once(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "dataset.yaml"
    path.write_text(f"classes: [a, b]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        read_dataset(path)
    assert told in str(caught.value)
    assert ";" not in str(caught.value)
