"""Measuring maps: the figures of the arrays themselves, however they are stored and read."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from sklearn import metrics as sk

import tiledseg
from tiledseg.cli import run
from tiledseg.datasets._labels import ImageLabels
from tiledseg.errors import BudgetExceeded, ConfigError, DamagedInput, GridMismatch
from tiledseg.grid import PATIENT, Grid, Space, SpaceKind
from tiledseg.io import MemorySource, SinkSpec, create_sink
from tiledseg.labels import ClassSchema
from tiledseg.metrics import surface_distances
from tiledseg.pipeline._evaluate import _opened
from tiledseg.pipeline._evaluate._worst import WorstPlaces
from tiledseg.report._charts import confusion_chart

SCHEMA = ClassSchema.of_names(["nothing", "field", "water"], background=0)
SHAPE = (300, 420)


def utm(shape: tuple[int, ...] = SHAPE, step: float = 10.0, east: float = 5e5) -> Grid:
    from rasterio.crs import CRS

    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    return Grid.from_matrix(shape, [[step, 0, east], [0, -step, 5.4e6], [0, 0, 1]], space)


def fields(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Return a truth of patches and a map that is shifted and noisy."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, [n // 12 + 1 for n in shape])
    for axis, n in enumerate(shape):
        truth = truth.repeat(12, axis=axis).take(range(n), axis=axis)
    found = np.roll(truth, 2, axis=-1)
    found = np.where(rng.random(shape) < 0.03, rng.integers(0, 3, shape), found)
    return truth.astype(np.uint8), found.astype(np.uint8)


def write(
    path: Path,
    labels: np.ndarray,
    grid: Grid | None = None,
    schema: ClassSchema | None = None,
    nodata: float | None = 255,
) -> Path:
    spec = SinkSpec(grid or utm(labels.shape), labels.dtype, ("class",), nodata, schema)
    sink = create_sink(path, spec, "gtiff")
    sink.prepare()
    sink.write(spec.grid.box, labels[None])
    sink.commit()
    return path


def volume(path: Path, labels: np.ndarray, schema: ClassSchema | None = None) -> Path:
    grid = Grid.from_centers(labels.shape, (0, 0, 0), (0.7, 0.8, 2.5), None, PATIENT)
    return write(path, labels, grid, schema, 255 if schema else None)


def test_a_scene_has_the_figures_of_its_samples(tmp_path: Path) -> None:
    truth, found = fields()
    truth[:40, :50], found[100:110, 200:260] = 255, 255  # unlabelled; nodata of the map
    result = tiledseg.evaluate(
        write(tmp_path / "map.tif", found, schema=SCHEMA), write(tmp_path / "truth.tif", truth)
    )
    labelled = truth != 255
    y, p = truth[labelled], found[labelled]
    assert result.overall["accuracy"] == pytest.approx(sk.accuracy_score(y, p), rel=1e-9)
    options = {"labels": [0, 1, 2], "average": None}
    np.testing.assert_allclose(result.classes["iou"], sk.jaccard_score(y, p, **options))
    np.testing.assert_allclose(result.classes["dice"], sk.f1_score(y, p, **options))
    assert result.overall["kappa"] == pytest.approx(sk.cohen_kappa_score(y, p), rel=1e-9)
    assert [c.name for c in result.schema.unique] == ["nothing", "field", "water"]
    assert any("nodata on 600 samples" in text for text in result.warnings)
    more = [(p == i).sum() - (y == i).sum() for i in range(3)]
    np.testing.assert_allclose(result.classes["difference_ha"], np.array(more) * 0.01)


@pytest.mark.parametrize("block", [1 << 22, 500])
def test_hectares_are_those_on_the_ground(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    """In Mercator a sample at 60 degrees is a quarter of one at the equator."""
    from pyproj import CRS, Geod

    monkeypatch.setattr(_opened, "_BLOCK", block)
    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(3857).to_wkt(), 1.0)
    grid = Grid.from_matrix((84, 40), [[1e5, 0, 0], [0, -1e5, 8.4e6], [0, 0, 1]], space)
    truth = np.zeros(grid.shape, np.uint8)
    truth[60, 3:23] = 1
    truth[80, :5] = 255
    found = np.where(np.arange(84)[:, None] == 5, 2, truth).astype(np.uint8)
    made = tiledseg.evaluate(
        write(tmp_path / "map.tif", found, grid, SCHEMA), write(tmp_path / "truth.tif", truth, grid)
    )
    # row 5 of 40 samples lies between y = 7.8e6 and 7.9e6 m: on the ellipsoid between its parallels
    lon, lat = grid.index_to_world([(5, 0), (6, 40)])[:, 0], (np.array([7.9e6, 7.8e6]))
    lon, lat = np.degrees(lon / 6378137), np.degrees(np.arctan(np.sinh(lat / 6378137)))
    edge = np.linspace(*lon, 400)
    ring = (np.append(edge, edge[::-1]), np.repeat(lat, 400))
    area = abs(Geod(ellps="WGS84").polygon_area_perimeter(*ring)[0]) / 1e4
    nothing, field, water = made.classes["difference_ha"]
    assert water == pytest.approx(area, rel=1e-4)
    assert (field, nothing) == (0, pytest.approx(-water))
    assert water < 0.3 * 40 * 1e6  # what the plane says


def test_any_blocks_give_the_same_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth, found = fields(1)
    truth[200:, :9] = 255
    maps = write(tmp_path / "map.tif", found), write(tmp_path / "truth.tif", truth)
    options = {"metrics": ("classes", "boundary", "surface", "panoptic"), "tolerance": (10, 25)}
    whole = tiledseg.evaluate(*maps, **options)
    for samples in (1000, 30_000):
        monkeypatch.setattr(_opened, "_BLOCK", samples)
        parts = tiledseg.evaluate(*maps, **options)
        assert (parts.confusion.counts == whole.confusion.counts).all()
        assert parts.panoptic == whole.panoptic
        assert parts.classes.keys() == whole.classes.keys()
        for name, values in whole.classes.items():
            np.testing.assert_array_equal(parts.classes[name], values)
    assert {"boundary_f1_10_m", "boundary_f1_25_m", "hd95_m", "nsd_25_m"} <= whole.classes.keys()


def test_a_volume_has_distances_in_mm_and_amounts_in_ml(tmp_path: Path) -> None:
    truth, found = fields(2, (12, 40, 36))
    result = tiledseg.evaluate(
        volume(tmp_path / "map.nii.gz", found, SCHEMA),
        volume(tmp_path / "truth.nii.gz", truth),
        tolerance=(1.0, 2.5),
    )
    for label in (1, 2):
        expected = surface_distances(truth == label, found == label, (2.5, 0.8, 0.7))
        figures = {k: v[label] for k, v in result.classes.items()}
        assert figures["hd95_mm"] == pytest.approx(expected.hausdorff(), rel=1e-6)
        assert figures["assd_mm"] == pytest.approx(expected.average(), rel=1e-6)
        assert figures["nsd_2.5_mm"] == pytest.approx(expected.normalised(2.5), abs=1e-9)
        more = int((found == label).sum()) - int((truth == label).sum())
        assert figures["difference_ml"] == pytest.approx(more * 2.5 * 0.8 * 0.7 / 1000, rel=1e-4)
    assert np.isnan(result.classes["hd95_mm"][0])  # background has no surface


def test_nodata_of_volumes_is_the_value_that_tiledseg_writes(tmp_path: Path) -> None:
    truth, found = fields(2, (6, 30, 30))
    found[0] = SCHEMA.nodata  # NIfTI cannot declare it
    result = tiledseg.evaluate(
        volume(tmp_path / "map.nii.gz", found, SCHEMA), volume(tmp_path / "truth.nii.gz", truth)
    )
    assert result.confusion.missing == 900
    assert result.overall["accuracy"] == pytest.approx((truth == found).mean())
    assert any("nodata on 900 samples" in text for text in result.warnings)
    assert not any("no classes" in text for text in result.warnings)


def test_maps_without_names_have_the_classes_of_their_labels() -> None:
    truth, found = fields(3)
    result = tiledseg.evaluate(found + 3, truth + 3)
    assert [c.name for c in result.schema.unique] == ["class 3", "class 4", "class 5"]
    assert "foreground_dice" not in result.overall
    floats = tiledseg.evaluate(found.astype(np.float32), truth.astype(np.int64))
    assert floats.overall["accuracy"] == result.overall["accuracy"]
    spots = np.where(np.arange(SHAPE[1]) < 5, np.nan, truth)
    assert tiledseg.evaluate(found, spots).confusion.total == truth[:, 5:].size


def test_classes_come_from_a_card_or_the_truth(tmp_path: Path) -> None:
    truth, found = fields(4)
    card = tmp_path / "classes.yaml"
    card.write_text("classes: [stone, {id: 1, name: sand}, clay]\nbackground: 0\n")
    named = tiledseg.evaluate(found, truth, classes=card)
    assert [c.name for c in named.schema.unique] == ["stone", "sand", "clay"]
    by_truth = tiledseg.evaluate(found, write(tmp_path / "t.tif", truth, Grid.local(SHAPE), SCHEMA))
    assert [c.name for c in by_truth.schema.unique] == ["nothing", "field", "water"]
    (tmp_path / "none.yaml").write_text("name: x\n")
    with pytest.raises(ConfigError, match="lists no classes"):
        tiledseg.evaluate(found, truth, classes=tmp_path / "none.yaml")


def test_an_id_that_means_another_class_in_the_truth_is_refused(tmp_path: Path) -> None:
    """The same numbers under swapped names are a map that is wrong everywhere, not right."""
    truth, _ = fields(4)
    swapped = ClassSchema.of_names(["rest", "water", "field"], background=0)
    pair = (
        write(tmp_path / "map.tif", truth, schema=SCHEMA),
        write(tmp_path / "truth.tif", truth, schema=swapped),
    )
    with pytest.raises(ConfigError, match="1 is 'field' and 'water', 2 is 'water' and 'field';"):
        tiledseg.evaluate(*pair)
    named = tiledseg.evaluate(*pair, classes=SCHEMA)  # who names the classes knows what ids mean
    assert [c.name for c in named.schema.unique] == ["nothing", "field", "water"]
    alike = ClassSchema.of_names(["rest", "Field", "WATER"], background=0)
    write(tmp_path / "truth.tif", truth, schema=alike)
    assert tiledseg.evaluate(*pair).overall["accuracy"] == 1


def test_ids_of_a_dataset_are_compared_with_those_of_the_map(tmp_path: Path) -> None:
    truth, _ = fields(4, (40, 50))
    write(tmp_path / "map_a.tif", truth, schema=SCHEMA)
    write(tmp_path / "a.tif", truth)
    (tmp_path / "set.yaml").write_text(
        "classes: [nothing, water, field]\nbackground: nothing\n"
        "cases: [{name: a, image: map_a.tif, labels: a.tif}]\n"
    )
    with pytest.raises(ConfigError, match="1 is 'field' and 'water'"):
        tiledseg.evaluate(str(tmp_path / "map_{name}.tif"), tmp_path / "set.yaml")


def test_labels_of_a_dataset_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Burning polygons is dear; labels say where they are none."""
    truth, _ = fields(4, (40, 50))
    truth[:3] = 255
    write(tmp_path / "map_a.tif", np.where(truth == 255, 0, truth), schema=SCHEMA)
    write(tmp_path / "a.tif", truth)
    (tmp_path / "set.yaml").write_text(
        "classes: [nothing, field, water]\nbackground: nothing\n"
        "cases: [{name: a, image: map_a.tif, labels: a.tif}]\n"
    )
    looked, look = [], ImageLabels.look
    monkeypatch.setattr(ImageLabels, "look", lambda s, b: (looked.append(b), look(s, b))[1])
    made = tiledseg.evaluate(str(tmp_path / "map_{name}.tif"), tmp_path / "set.yaml")
    assert (made.overall["accuracy"], made.confusion.total) == (1, 37 * 50)
    assert len(looked) == 1


def test_values_without_a_truth_are_named_by_ignore() -> None:
    truth, found = fields(5)
    truth[:10] = 200
    with pytest.raises(ConfigError, match=r"no classes: 200 \(4,200 samples\).* --ignore 200"):
        tiledseg.evaluate(found, truth, classes=SCHEMA)
    result = tiledseg.evaluate(found, truth, classes=SCHEMA, ignore=(200,))
    assert result.confusion.total == truth[10:].size


def test_values_of_the_map_that_are_no_class_count_as_wrong_and_are_told() -> None:
    truth, found = fields(6)
    found[:2] = 77
    result = tiledseg.evaluate(found, truth, classes=SCHEMA)
    assert result.overall["accuracy"] == pytest.approx((found == truth).mean())
    assert any("no classes: 77 (840 samples)" in text for text in result.warnings)


def test_a_class_without_a_truth_has_no_figures_and_is_told(tmp_path: Path) -> None:
    truth, found = fields(7, (8, 30, 30))
    truth[truth == 2] = 0
    only_map = tiledseg.evaluate(
        volume(tmp_path / "map.nii.gz", found, SCHEMA), volume(tmp_path / "truth.nii.gz", truth)
    )
    assert np.isnan(only_map.classes["recall"][2])
    assert only_map.classes["dice"][2] == 0
    assert any("'water' is not in the truth" in text for text in only_map.warnings)
    assert any("hd95_mm of class 'water' is infinite" in text for text in only_map.warnings)
    assert only_map.cases[0].classes["hd95_mm"][2] == np.inf
    nowhere = tiledseg.evaluate(np.minimum(found, 1), np.minimum(truth, 1), classes=SCHEMA)
    assert np.isnan([nowhere.classes[k][2] for k in ("dice", "iou", "recall", "precision")]).all()
    assert not np.isnan(nowhere.overall["mean_iou"])
    assert json.dumps(nowhere.to_dict(), allow_nan=False)


def test_nothing_labelled_is_told_and_has_no_figures(tmp_path: Path) -> None:
    truth, found = fields(8)
    result = tiledseg.evaluate(found, truth, tmp_path / "out", ignore=(0, 1, 2))
    assert result.overall == {}
    assert "no truth at all" in result.warnings[0]
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: (t[:-1], utm((299, 420))), "found 299 x 420 samples, expected 300 x 420"),
        (lambda t: (t, utm(east=5e5 + 30)), "found bounds"),
        (lambda t: (t, Grid.local(SHAPE)), r"found local space \(no CRS\), expected projected"),
    ],
)
def test_another_grid_is_refused_in_a_sentence(tmp_path: Path, make: Any, message: str) -> None:
    truth, found = fields()
    labels, grid = make(truth)
    other = write(tmp_path / "truth.tif", labels, grid)
    with pytest.raises(GridMismatch, match=message) as caught:
        tiledseg.evaluate(write(tmp_path / "map.tif", found), other)
    assert "\n" not in str(caught.value)


def test_a_grid_that_is_off_by_less_than_a_hundredth_of_a_sample_is_the_same() -> None:
    truth, found = fields()
    near = MemorySource(truth[None], utm(east=5e5 + 0.05))
    assert tiledseg.evaluate(MemorySource(found[None], utm()), near).confusion.total == truth.size


def test_polygons_as_truth_are_told_how_to_burn(tmp_path: Path) -> None:
    fields = tmp_path / "fields.geojson"
    fields.write_text('{"type": "FeatureCollection", "features": []}')
    with pytest.raises(ConfigError, match=r"rasterize .*fields\.geojson --like MAP"):
        tiledseg.evaluate(np.zeros((8, 8), np.uint8), fields)


def test_the_caption_of_a_confusion_matrix_is_whole() -> None:
    """Of few classes, too: nothing is drawn at its right border."""
    for names in (["a"], ["a", "b"], list("abcdefg")):
        picture = confusion_chart(np.eye(len(names), len(names) + 1, dtype=np.uint64), names)
        caption = np.asarray(picture.convert("L"))[-28:]
        drawn = np.flatnonzero((caption < 128).any(0))
        assert drawn[-1] - drawn[0] > 250
        assert drawn[-1] < picture.width - 4


def test_another_number_of_slices_is_refused(tmp_path: Path) -> None:
    truth, found = fields(0, (9, 20, 20))
    maps = volume(tmp_path / "map.nii.gz", found), volume(tmp_path / "truth.nii.gz", truth[:-2])
    with pytest.raises(GridMismatch, match="found 7 x 20 x 20 samples, expected 9 x 20 x 20"):
        tiledseg.evaluate(*maps)


def test_a_class_too_large_for_memory_is_refused_with_numbers(tmp_path: Path) -> None:
    truth, found = fields(0, (16, 120, 120))
    maps = volume(tmp_path / "map.nii.gz", found), volume(tmp_path / "truth.nii.gz", truth)
    with pytest.raises(BudgetExceeded, match=r"surfaces of class 1 .* need .* budget is 1.0 MB"):
        tiledseg.evaluate(*maps, memory="1MB")
    assert tiledseg.evaluate(*maps, memory="1MB", metrics=("classes",)).confusion.total


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ("beauty",)}, "no metric 'beauty'; take some of classes, boundary"),
        ({"tolerance": (-1.0,)}, "must not be below 0"),
        ({"tolerance": (1000.0,)}, "between 0 and 64 samples"),
        ({"colour": 1}, "no setting 'colour'"),
        ({"divisor": 0}, "at least 1"),
        ({"classes": "nowhere.yaml"}, "there is no file nowhere.yaml"),
    ],
)
def test_wrong_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiledseg.evaluate(*fields(), **arguments)


# --------------------------------------------------------------------- many cases


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Five cases in maps/ and labels/, as hippocampus volumes are."""
    for folder in ("maps", "labels"):
        (tmp_path / folder).mkdir()
    for i in range(5):
        truth, found = fields(i, (6, 30, 30))
        volume(tmp_path / f"maps/case_{i}.nii.gz", found, SCHEMA)
        volume(tmp_path / f"labels/case_{i}.nii.gz", truth)
    return tmp_path


def named(folder: Path) -> tuple[str, str]:
    return str(folder / "maps/{name}.nii.gz"), str(folder / "labels/{name}.nii.gz")


def test_many_cases_are_pooled_and_have_intervals(many: Path) -> None:
    result = tiledseg.evaluate(*named(many), many / "out")
    assert [case.name for case in result.cases] == [f"case_{i}" for i in range(5)]
    dice = np.array([case.classes["dice"] for case in result.cases])
    low, high = result.intervals["dice"]
    assert ((low <= dice.mean(axis=0)) & (dice.mean(axis=0) <= high)).all()
    assert result.confusion.total == 5 * 6 * 30 * 30
    hd = np.array([case.classes["hd95_mm"] for case in result.cases])
    np.testing.assert_allclose(result.classes["hd95_mm"][1:], hd.mean(axis=0)[1:])
    assert "mean_dice, mean of 5 cases each alone: 0." in result.summary()
    again = tiledseg.evaluate(*named(many))
    assert again.intervals["accuracy"] == result.intervals["accuracy"]
    rows = list(csv.DictReader((many / "out/metrics.csv").read_text().splitlines()))
    assert len(rows) == 6 * 3
    assert float(rows[1]["dice"]) == pytest.approx(dice[0, 1])
    told = json.loads((many / "out/metrics.json").read_text())
    assert told["per_class"]["dice"]["water"] == pytest.approx(result.classes["dice"][2])
    page = (many / "out/report.html").read_text()
    assert "a value may lie outside its interval" in page
    assert page.count("data:image/png;base64,") == 2 + 3
    assert all((many / "out" / Path(p).name).exists() for p in told["outputs"])


def test_one_damaged_case_of_many_does_not_stop_the_others(
    many: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (many / "labels/case_1.nii.gz").write_bytes(b"\x1f\x8b damaged")
    (many / "labels/case_3.nii.gz").unlink()
    (many / "maps/case_4.nii.gz").unlink()
    result = tiledseg.evaluate(*named(many))
    assert [case.name for case in result.cases] == ["case_0", "case_2"]
    assert [case.name for case in result.failed] == ["case_1", "case_3", "case_4"]
    maps, truths = named(many)
    assert run(["evaluate", maps, "--truth", truths, "-q"]) == 3
    err = capsys.readouterr().err
    assert "case_3 failed" in err
    assert "there is no file" in err
    for i in (0, 2):
        (many / f"labels/case_{i}.nii.gz").unlink()
    assert run(["evaluate", maps, "--truth", truths, "-q"]) == 2


def test_tables_and_lists_name_pairs(many: Path) -> None:
    table = many / "pairs.csv"
    table.write_text(
        "name,map,truth\n"
        "a, maps/case_0.nii.gz, labels/case_0.nii.gz\n"
        ",maps/case_1.nii.gz,labels/case_1.nii.gz\n"
        ",maps/case_1.nii.gz,labels/case_1.nii.gz\n"
    )
    result = tiledseg.evaluate(table)
    assert [case.name for case in result.cases] == ["a", "case_1", "case_1 (2)"]
    listed = tiledseg.evaluate([fields(0)[1], fields(1)[1]], [fields(0)[0], fields(1)[0]])
    assert [case.name for case in listed.cases] == ["case 1", "case 2"]


@pytest.mark.parametrize(
    ("found", "truth", "message"),
    [
        ("{folder}/maps/{{name}}.nii.gz", None, "nothing to measure against"),
        ("{folder}/maps/{{name}}.nii.gz", "{folder}/labels/case_0.nii.gz", "is one for many maps"),
        ("{folder}/maps/case_0.nii.gz", "{folder}/labels/{{name}}.nii.gz", "stands for many"),
        ("{folder}/none/{{name}}.tif", "{folder}/labels/{{name}}.nii.gz", "no file that matches"),
        ("{folder}/maps/case_0.nii.gz", "{folder}/labels/none.nii.gz", "there is no file"),
        ("{folder}/none.csv", None, "no list|cannot be read|there is no"),
    ],
)
def test_pairs_that_cannot_be_made_are_refused(
    many: Path, found: str, truth: str | None, message: str
) -> None:
    place = many.as_posix()
    with pytest.raises(ConfigError, match=message):
        tiledseg.evaluate(found.format(folder=place), truth and truth.format(folder=place))


def test_damaged_tables_and_images_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image;truth\n")
    with pytest.raises(ConfigError, match="no column map"):
        tiledseg.evaluate(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("map,truth\nx.tif,\n")
    with pytest.raises(ConfigError, match="line 2: it must name a map and a truth"):
        tiledseg.evaluate(tmp_path / "b.csv")
    (tmp_path / "t.tif").write_bytes(b"II*\0nonsense")
    with pytest.raises(DamagedInput):
        tiledseg.evaluate(write(tmp_path / "m.tif", fields()[1]), tmp_path / "t.tif")
    rgb = np.zeros((3, 20, 20), np.uint8)
    with pytest.raises(ConfigError, match="has 3 channels, expected one of labels"):
        tiledseg.evaluate(MemorySource(rgb), np.zeros((20, 20), np.uint8))


def test_maps_of_different_models_are_not_mixed(many: Path) -> None:
    other = ClassSchema.of_names(["air", "bone", "fat"], background=0)
    volume(many / "maps/case_2.nii.gz", fields(2, (6, 30, 30))[1], other)
    result = tiledseg.evaluate(*named(many))
    assert [f.name for f in result.failed] == ["case_2"]
    assert "other classes" in result.failed[0].problem


def test_a_dataset_is_a_truth_with_colours_and_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    colours = np.array([[1, 1, 1], [250, 0, 0], [0, 0, 250], [9, 9, 9]], np.uint8)
    accuracy = []
    for i in range(4):
        truth, found = fields(i, (60, 80))
        truth[:7] = 3  # a colour that the legend does not know: no truth
        Image.fromarray(colours[truth]).save(tmp_path / f"labels_{i}.png")
        Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / f"image_{i}.png")
        if i != 1:
            write(tmp_path / f"map_s{i}.tif", found, Grid.local((60, 80)))
        accuracy.append((truth == found)[7:].mean())
    cases = "".join(
        f"  - {{name: s{i}, image: image_{i}.png, labels: labels_{i}.png, split: {split}}}\n"
        for i, split in enumerate(("train", "test", "test", "train"))
    )
    (tmp_path / "set.yaml").write_text(
        "classes: [{name: rest}, {name: roof}, {name: lake}]\nbackground: 0\n"
        "legend: {'#010101': rest, '#FA0000': roof, '#0000FA': lake}\n"
        f"ignore: ['#090909']\ncases:\n{cases}"
    )
    maps = str(tmp_path / "map_{name}.tif")
    result = tiledseg.evaluate(maps, tmp_path / "set.yaml", tmp_path / "out")
    assert [case.name for case in result.cases] == ["s0", "s2", "s3"]
    assert [c.name for c in result.schema.unique] == ["rest", "roof", "lake"]
    for case, i in zip(result.cases, (0, 2, 3), strict=True):
        assert case.overall["accuracy"] == pytest.approx(accuracy[i])
    test = ["evaluate", maps, "--truth", str(tmp_path / "set.yaml"), "--split", "test", "-q"]
    assert run(test) == 3
    assert "s1 failed" in capsys.readouterr().err
    with pytest.raises(ConfigError, match=r"name the maps of its cases with \{name\}"):
        tiledseg.evaluate(tmp_path / "map_s0.tif", tmp_path / "set.yaml")
    with pytest.raises(ConfigError, match="none of the 4 labelled cases"):
        tiledseg.evaluate("nowhere/{name}.tif", tmp_path / "set.yaml")
    with pytest.raises(ConfigError, match="is one of a dataset"):
        tiledseg.evaluate(*fields(), split="test")


def test_a_source_that_was_open_stays_open(tmp_path: Path) -> None:
    truth, found = fields(3)
    with tiledseg.open_source(write(tmp_path / "t.tif", truth)) as source:
        tiledseg.evaluate(write(tmp_path / "m.tif", found), source, tmp_path / "out")
        assert source.read(source.grid.box).shape == (1, *SHAPE)


# --------------------------------------------------------------------- page and shell


def test_the_page_of_a_scene_shows_its_worst_places(tmp_path: Path) -> None:
    truth, found = fields(9, (900, 1100))
    found[520:700, 30:400] = 2 - found[520:700, 30:400]
    evil = ClassSchema.of_names(["<script>alert(1)</script>", "b", "c"], background=0)
    result = tiledseg.evaluate(
        write(tmp_path / "map.tif", found, schema=evil),
        write(tmp_path / "t.tif", truth),
        tmp_path / "out",
    )
    names = [path.name for path in result.outputs]
    assert names[:5] == [
        "report.html",
        "metrics.json",
        "metrics.csv",
        "confusion.png",
        "classes.png",
    ]
    assert any("row_512_column_0" in name for name in names)
    page = (tmp_path / "out/report.html").read_text()
    assert "<script>" not in page
    assert "http" not in page.replace("data:image", "")


def test_a_perfect_map_has_no_worst_places(tmp_path: Path) -> None:
    truth, _ = fields()
    paths = [write(tmp_path / name, truth) for name in ("map.tif", "truth.tif")]
    result = tiledseg.evaluate(*paths, tmp_path / "out")
    assert not [path for path in result.outputs if "worst" in path.name]
    assert (tmp_path / "out/report.html").is_file()


def test_outlines_are_drawn_on_the_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Gray, with the colour of a class along its inner border only, where truth and map have it."""
    truth, found = np.zeros((100, 100), np.uint8), np.zeros((100, 100), np.uint8)
    truth[20:60, 20:60], found[20:60, 20:80] = 1, 1
    colors = [{"name": "nothing", "color": [0, 0, 0]}, {"name": "field", "color": [250, 0, 0]}]
    schema = ClassSchema.from_dict({"classes": colors, "background": 0})
    write(tmp_path / "map.tif", found, schema=schema)
    write(tmp_path / "truth.tif", truth)
    write(tmp_path / "image.tif", np.full((100, 100), 90, np.uint8), nodata=None)
    command = ["evaluate", str(tmp_path / "map.tif"), "-t", str(tmp_path / "truth.tif")]
    drawn = [*command, "-o", str(tmp_path / "out"), "--image"]
    assert run([*drawn, str(tmp_path / "image.tif"), "-q"]) == 0
    (picture,) = (tmp_path / "out").glob("worst_*.png")
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 190) & (pixels[..., 1] < 40)
    parts = [red[:, n * 408 : n * 408 + 400] for n in range(4)]  # image, truth, map, difference
    assert not parts[0].any()
    for part, right in ((parts[1], 240), (parts[2], 320)):
        inside = part[80:240, 80:right]  # 4 pixels a sample
        assert part.sum() == inside.sum()
        assert inside[:2].all()
        assert inside[:, -2:].all()
        assert not inside[2:-2, 2:-2].any()
    assert parts[3].sum() == (truth != found).sum() * 16
    write(tmp_path / "other.tif", np.zeros((50, 50), np.uint8))
    assert run([*drawn, str(tmp_path / "other.tif")]) == 0
    assert "map is drawn without its image: its grid is not that of" in capsys.readouterr().out
    for arguments, sentence in (
        ([*drawn, str(tmp_path / "none.tif")], "there is no image"),
        ([*command, "--image", str(tmp_path / "image.tif")], "without a folder"),
    ):
        assert run(arguments) == 2
        assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("block", [(1300, 1200), (100, 700), (512, 512), (7, 1200)])
def test_worst_places_are_counted_whatever_the_blocks(block: tuple[int, int]) -> None:
    wrong = np.random.default_rng(0).random((1300, 1200)) < 0.1
    wrong[600:900, 520:800] = True
    worst = WorstPlaces()
    for y in range(0, 1300, block[0]):
        for x in range(0, 1200, block[1]):
            worst.add(wrong[y : y + block[0], x : x + block[1]], (y, x))
    expected = {
        (y, x): int(wrong[y : y + 512, x : x + 512].sum())
        for y in range(0, 1300, 512)
        for x in range(0, 1200, 512)
    }
    assert dict(worst.most(99)) == expected
    assert worst.most(1) == [((512, 512), expected[512, 512])]


def test_the_command_prints_a_table_json_and_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth, found = fields(10)
    arguments = [
        *("evaluate", str(write(tmp_path / "map.tif", found, schema=SCHEMA))),
        *("--truth", str(write(tmp_path / "t.tif", truth)), "--tolerance", "20"),
    ]
    assert run(arguments) == 0
    assert "water" in (out := capsys.readouterr().out)
    assert "boundary_f1_20_m" in out
    assert run([*arguments, "--json", "-q", "-o", str(tmp_path / "out")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["overall"]["accuracy"] == pytest.approx((truth == found).mean())
    assert run([*arguments[:4], "--metrics", "surface", "--memory", "1MB"]) == 4
    assert run([*arguments[:4], "--tolerance", "near"]) == 2
    assert "is no list of numbers" in capsys.readouterr().err


def test_progress_is_told_with_an_estimate(
    many: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tiledseg.cli._progress._LINE_EVERY", 0.0)
    maps, truths = named(many)
    assert run(["evaluate", maps, "--truth", truths]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("10% done, about")
    assert lines[-1].startswith("100% done, about 0 s left")
    shares: list[float] = []
    tiledseg.evaluate(maps, truths, on_share=lambda share, name: shares.append(share))
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_setting_of_one_may_be_given_bare() -> None:
    truth, found = fields()
    bare = tiledseg.evaluate(found, truth, metrics="boundary", tolerance=3, ignore=2)
    assert "boundary_f1_3_samples" in bare.classes
    assert bare.confusion.total == (truth != 2).sum()


def test_instances_are_measured_by_panoptic_quality(tmp_path: Path) -> None:
    ids = np.zeros((60, 60), np.uint32)
    ids[5:20, 5:20], ids[30:50, 30:50] = 70001, 70002
    found = np.roll(ids, 1, axis=0)
    found[0:4, 50:58] = 70009
    grid = utm((60, 60))
    maps = (
        write(tmp_path / "map.tif", found, grid, None, None),
        write(tmp_path / "t.tif", ids, grid, None, None),
    )
    result = tiledseg.evaluate(*maps, tmp_path / "out", metrics=("panoptic",))
    quality = result.panoptic[0]
    assert (quality.matched, quality.extra, quality.missed) == (2, 1, 0)
    expected = (14 / 16 + 19 / 21) / 2
    assert quality.sq == pytest.approx(expected)
    assert "PQ" in result.summary()


@pytest.mark.data
def test_real_labels_against_themselves_one_voxel_off(data: Path, tmp_path: Path) -> None:
    """The hippocampus of a person; its labels shifted by a voxel of 1 mm."""
    labels = sorted(data.glob("medical/msd_hippocampus/**/labels*/*.nii*"))[0]
    image = sitk.ReadImage(str(labels))
    moved = sitk.GetImageFromArray(np.roll(sitk.GetArrayFromImage(image), 1, axis=2))
    moved.CopyInformation(image)
    sitk.WriteImage(moved, str(tmp_path / "map.nii.gz"))
    result = tiledseg.evaluate(tmp_path / "map.nii.gz", labels)
    assert (result.classes["hd95_mm"][1:] == 1).all()
    assert (result.classes["nsd_1_mm"][1:] == 1).all()
    assert ((result.classes["dice"][1:] > 0.7) & (result.classes["dice"][1:] < 1)).all()
    assert result.classes["difference_ml"][1:].tolist() == [0, 0]


@pytest.mark.slow
def test_a_large_pair_stays_under_1_gb(tmp_path: Path) -> None:
    """In a process of its own, boundaries included; `benchmarks.evaluation` has the gigapixel."""
    from benchmarks.evaluation import measure_pair

    told = measure_pair(tmp_path, 8192)
    assert told["samples"] == 8192**2
    assert told["accuracy"] == pytest.approx(told["expected_accuracy"], abs=1e-12)
    assert told["peak"] < 1e9


def test_a_run_does_not_load_the_metrics() -> None:
    """They bring scipy, which takes room from a budget."""
    code = "import sys, tiledseg.pipeline; print('scipy.spatial' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"
