"""Points by class, and what they say of a map once their truth is filled in."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
from pyproj import CRS

import tiledseg
from tests.pipeline.test_evaluate import SCHEMA, fields, utm, write
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput, UnknownFormat
from tiledseg.grid import Grid, Space, SpaceKind
from tiledseg.io import open_source
from tiledseg.pipeline import _sample
from tiledseg.vector import read_points, write_points

SPACE = utm().space


@pytest.fixture
def class_map(tmp_path: Path) -> Path:
    """A map with nodata, in which class 2 is rare."""
    _, found = fields(3)
    rng = np.random.default_rng(3)
    found = np.where((found == 2) & (rng.random(found.shape) < 0.98), 1, found).astype(np.uint8)
    found[:, :20] = 255
    return write(tmp_path / "map.tif", found, schema=SCHEMA)


def read(path: Path) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    meta, _, wkb, columns = pyogrio.raw.read(path)
    return shapely.get_coordinates(shapely.from_wkb(wkb)), dict(
        zip(meta["fields"], columns, strict=True)
    )


def fill(points: Path, truth: Any, space: Space = SPACE) -> Path:
    """Write the points again with ``truth``, one text per point."""
    read = read_points(points, space)
    read.fields["truth"] = np.array(truth, dtype=object)
    filled = points.with_name(f"filled{points.suffix}")
    write_points(filled, read, space)
    return filled


@pytest.mark.parametrize("west", [0.0, 350.0, -190.0])
@pytest.mark.parametrize("suffix", [".geojson", ".gpkg"])
def test_longitudes_of_points_may_be_told_otherwise(
    tmp_path: Path, west: float, suffix: str
) -> None:
    """GeoJSON counts from -180 to 180, the map does not."""
    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt())
    matrix = np.array([[8.9, 0, west], [0, -8.9, 80], [0, 0, 1]])
    labels = np.random.default_rng(1).integers(0, 3, (18, 40)).astype(np.uint8)
    grid = Grid.from_matrix(labels.shape, matrix, space)
    path, points = write(tmp_path / "map.tif", labels, grid), tmp_path / f"p{suffix}"
    tiledseg.sample(path, points, per_class=30)
    strata = read(points)[1]["class_id"]
    filled = fill(points, [str(i) for i in strata.tolist()], space)
    assert tiledseg.assess(path, filled).estimates.overall[0] == 1


@pytest.mark.parametrize(
    ("total", "minimum", "told"),
    [
        (60, None, "150 points, not 60: every class gets 50 at least, which a smaller minimum"),
        (60, 20, None),
        (10**6, None, "points, not 1,000,000: the map has no more samples of some classes"),
    ],
)
def test_other_numbers_than_asked_for_are_told(
    class_map: Path, tmp_path: Path, total: int, minimum: int | None, told: str | None
) -> None:
    made = tiledseg.sample(class_map, tmp_path / "p.fgb", total=total, minimum=minimum)
    assert (told is None) == (sum(made.drawn.values()) == total) == (made.note == "")
    assert (told or "") in made.summary()


@pytest.mark.parametrize("suffix", [".gpkg", ".fgb", ".geojson"])
def test_points_lie_at_centres_of_samples_of_their_class(
    class_map: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"points{suffix}"
    made = tiledseg.sample(class_map, out, per_class=40, seed=1)
    assert made.drawn == {"nothing": 40, "field": 40, "water": 40}
    points = read_points(out, SPACE)
    index = (points.places - [5e5, 5.4e6]) / [10, -10]
    np.testing.assert_allclose(index % 1, 0.5, atol=2e-3)  # GeoJSON holds seven decimals of degrees
    with open_source(class_map) as source:
        labels = source.read(source.grid.box)[0]
    columns, rows = np.floor(index).astype(int).T
    assert (labels[rows, columns] == points.fields["class_id"]).all()
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == 120
    assert set(points.fields["class_name"]) == {"nothing", "field", "water"}
    assert all(value is None for value in points.fields["truth"])
    np.testing.assert_allclose(points.fields["x"], 5e5 + 10 * (columns + 0.5))


def test_points_do_not_depend_on_how_the_map_is_read(
    class_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for n, samples in enumerate((1 << 22, 420 * 7)):
        monkeypatch.setattr(_sample, "_BLOCK", samples)
        tiledseg.sample(class_map, tmp_path / f"{n}.gpkg", total=200, minimum=30, seed=4)
        drawn.append(read(tmp_path / f"{n}.gpkg"))
    assert (drawn[0][0] == drawn[1][0]).all()
    assert Counter(drawn[0][1]["class_id"].tolist())[2] == 30
    assert len(drawn[0][0]) == 200
    tiledseg.sample(class_map, tmp_path / "other.gpkg", total=200, minimum=30, seed=5)
    assert not (read(tmp_path / "other.gpkg")[0] == drawn[0][0]).all()


def test_a_class_with_fewer_samples_than_asked_for_gives_all_it_has(tmp_path: Path) -> None:
    labels = np.zeros((30, 30), np.uint8)
    labels[3, 4:9] = 7
    made = tiledseg.sample(write(tmp_path / "m.tif", labels), tmp_path / "p.gpkg", per_class=20)
    assert made.drawn == {"class 0": 20, "class 7": 5}
    many = tiledseg.sample(
        tmp_path / "m.tif", tmp_path / "q.gpkg", standard_error=0.02, minimum=2, expected=0.9
    )
    assert sum(many.drawn.values()) == 225  # (0.3 / 0.02)^2


def test_the_estimates_are_those_of_the_whole_truth(class_map: Path, tmp_path: Path) -> None:
    """Every sample as a point: no sampling error is left, and areas are those of the truth."""
    truth, _ = fields(3)
    tiledseg.sample(class_map, tmp_path / "p.gpkg", per_class=10**6)
    points = read_points(tmp_path / "p.gpkg", SPACE)
    columns, rows = np.floor((points.places - [5e5, 5.4e6]) / [10, -10]).astype(int).T
    filled = fill(tmp_path / "p.gpkg", [str(i) for i in truth[rows, columns]])
    made = tiledseg.assess(class_map, filled, tmp_path / "out")
    with open_source(class_map) as source:
        found = source.read(source.grid.box)[0]
    there = found != 255
    assert made.estimates.overall[0] == pytest.approx((found == truth)[there].mean())
    areas = [(truth[there] == i).sum() * 0.01 for i in range(3)]
    np.testing.assert_allclose(made.estimates.areas[0], areas)
    assert made.unit == "ha"
    told = json.loads((tmp_path / "out/metrics.json").read_text())
    assert told["classes"][2]["area_ha"] == pytest.approx(areas[2])
    assert "Olofsson" in (tmp_path / "out/report.html").read_text()


def test_truths_are_ids_or_names_and_empty_ones_are_left_out(
    class_map: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p.geojson"
    tiledseg.sample(class_map, out, per_class=10, seed=2)
    labels = read_points(out, SPACE).fields["class_id"]
    names = {0: "nothing", 1: "Field", 2: "2"}
    truth: list[str | None] = [names[int(i)] for i in labels]
    truth[5] = None
    assert run(["evaluate", str(class_map), "--points", str(fill(out, truth)), "--json", "-q"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["overall_accuracy"] == pytest.approx(1)
    assert told["warnings"] == ["1 of 30 points have no truth: left out"]
    assert sum(c["points"] for c in told["classes"]) == 29
    assert run(["evaluate", str(class_map), "--points", str(fill(out, truth))]) == 0
    assert "overall accuracy 1.0000" in capsys.readouterr().out


def test_a_column_of_numbers_that_qgis_made_is_read_too(class_map: Path, tmp_path: Path) -> None:
    tiledseg.sample(class_map, tmp_path / "p.gpkg", per_class=5)
    points = read_points(tmp_path / "p.gpkg", SPACE)
    points.fields["truth"] = points.fields["class_id"].astype(np.float64)
    points.fields["truth"][2] = np.nan
    write_points(tmp_path / "q.gpkg", points, SPACE)
    made = tiledseg.assess(class_map, tmp_path / "q.gpkg")
    assert made.estimates.overall[0] == pytest.approx(1)
    assert made.counts.sum() == 14


def bad_points(what: str, class_map: Path, tmp_path: Path) -> Path:
    """Return points that are wrong in one way."""
    path = tmp_path / "p.gpkg"
    tiledseg.sample(class_map, path, per_class=6)
    points = read_points(path, SPACE)
    truth = points.fields["class_id"].astype(str).astype(object)
    if what == "strange":
        truth[:3] = "moon"
    if what == "few":
        truth[points.fields["class_id"] == 2] = None
    if what == "other map":
        points.fields["class_id"] = np.roll(points.fields["class_id"], 1)
    if what == "outside":
        points.places[0] += 1e6
    points.fields["truth"] = truth
    if what == "no column":
        del points.fields["truth"]
    out = tmp_path / "bad.gpkg"
    write_points(out, points, SPACE)
    if what == "cut":
        out.write_bytes(out.read_bytes()[:5000])
    return out


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("strange", r"no class: 'moon' \(3 points\); the classes are 0 nothing, 1 field, 2 water"),
        ("few", r"at least 2 points with a truth, too few are in 'water' \(has 0\)"),
        ("other map", "points were drawn from another map: point"),
        ("outside", "1 of 18 points .* lie outside the map"),
        ("no column", "no column truth"),
    ],
)
def test_points_that_say_nothing_of_the_map_are_refused(
    class_map: Path, tmp_path: Path, what: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiledseg.assess(class_map, bad_points(what, class_map, tmp_path))


def test_damaged_and_missing_points_are_refused(class_map: Path, tmp_path: Path) -> None:
    with pytest.raises(DamagedInput, match="cannot be read as points"):
        tiledseg.assess(class_map, bad_points("cut", class_map, tmp_path))
    with pytest.raises(ConfigError, match="there is no file"):
        tiledseg.assess(class_map, tmp_path / "none.gpkg")
    tiledseg.vectorize(class_map, tmp_path / "areas.gpkg")
    with pytest.raises(ConfigError, match="must hold points only"):
        tiledseg.assess(class_map, tmp_path / "areas.gpkg")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "say how many points"),
        (["--total", "9", "--per-class", "3"], "one of the three"),
        (["--total", "0"], "must be at least 1"),
        (["--standard-error", "0"], "the standard error"),
        (["--total", "9", "--minimum", "-1"], "must not be below 0"),
        (["--per-class", "9", "--minimum", "5"], "minimum (--minimum) is for points in total"),
        (["--per-class", "9", "--expected", "0.9"], "expected (--expected) is for points by"),
        (["--total", "9", "--expected", "0.85"], "expected (--expected) is for points by"),
    ],
)
def test_wrong_sizes_are_refused(
    class_map: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert run(["sample", str(class_map), "-o", str(tmp_path / "p.gpkg"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "p.gpkg").exists()


def test_more_points_than_people_look_at_are_refused(
    class_map: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_sample, "_MOST", 100)
    with pytest.raises(ConfigError, match="120 points were asked for, at most 100 are drawn"):
        tiledseg.sample(class_map, tmp_path / "p.gpkg", per_class=40)


def test_points_that_are_there_are_kept(class_map: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.gpkg"
    tiledseg.sample(class_map, out, per_class=3)
    before = out.read_bytes()
    with pytest.raises(ConfigError, match="are there already, and somebody may have filled in"):
        tiledseg.sample(class_map, out, per_class=3)
    assert out.read_bytes() == before


def test_options_of_labels_are_refused_with_points(
    class_map: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = ["evaluate", str(class_map), "--points", "p.gpkg"]
    assert run([*points, "--ignore", "3"]) == 2
    assert "--ignore is for labels" in capsys.readouterr().err
    for option, value in (("--seed", "0"), ("--memory", "1GB")):
        assert run([*points, option, value]) == 2
        assert f"{option} is for labels" in capsys.readouterr().err
    assert run([*points, "--truth", "t.tif"]) == 2
    assert "not both" in capsys.readouterr().err


def test_what_is_no_map_of_a_scene_is_refused(class_map: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormat):
        tiledseg.sample(class_map, tmp_path / "p.xlsx", per_class=3)
    link = tmp_path / "p.gpkg"
    link.symlink_to(class_map)
    with pytest.raises(ConfigError, match="would overwrite the input"):
        tiledseg.sample(class_map, link, per_class=3)
    empty = write(tmp_path / "empty.tif", np.full((20, 20), 255, np.uint8))
    with pytest.raises(ConfigError, match="holds no class"):
        tiledseg.sample(empty, tmp_path / "q.gpkg", per_class=3)
    from tests.pipeline.test_evaluate import volume

    scan = volume(tmp_path / "v.nii.gz", np.zeros((5, 6, 7), np.uint8))
    with pytest.raises(ConfigError, match="no class map of a scene: it has 1 channels and 3 axes"):
        tiledseg.sample(scan, tmp_path / "q.gpkg", per_class=3)


def test_samples_in_degrees_are_counted_and_told(tmp_path: Path) -> None:
    from rasterio.crs import CRS

    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt())
    grid = Grid.from_matrix((40, 50), [[0.01, 0, 10], [0, -0.01, 50], [0, 0, 1]], space)
    labels = (np.arange(2000).reshape(40, 50) % 2).astype(np.uint8)
    write(tmp_path / "m.tif", labels, grid)
    tiledseg.sample(tmp_path / "m.tif", tmp_path / "p.gpkg", per_class=5)
    points = read_points(tmp_path / "p.gpkg", space)
    filled = fill(tmp_path / "p.gpkg", points.fields["class_id"].astype(str), space)
    made = tiledseg.assess(tmp_path / "m.tif", filled)
    assert made.unit == "samples"
    assert any("not of one size" in text for text in made.warnings)
    assert made.estimates.areas[0].tolist() == [1000, 1000]


def test_hectares_of_mercator_are_those_on_the_ground(tmp_path: Path) -> None:
    """At 48.6 degrees north a sample of 1 ha of the plane has 0.44 ha."""
    from rasterio.crs import CRS

    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(3857).to_wkt(), 1.0)
    grid = Grid.from_matrix((20, 30), [[100, 0, 3.6e5], [0, -100, 6.2e6], [0, 0, 1]], space)
    labels = (np.arange(600).reshape(20, 30) % 2).astype(np.uint8)
    write(tmp_path / "m.tif", labels, grid)
    tiledseg.sample(tmp_path / "m.tif", tmp_path / "p.gpkg", per_class=5)
    points = read_points(tmp_path / "p.gpkg", space)
    filled = fill(tmp_path / "p.gpkg", points.fields["class_id"].astype(str), space)
    made = tiledseg.assess(tmp_path / "m.tif", filled)
    assert (made.unit, made.warnings) == ("ha", ())
    assert made.estimates.areas[0] == pytest.approx([300 * 0.4375] * 2, rel=5e-3)
