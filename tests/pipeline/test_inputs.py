"""What the images of a batch are: patterns, lists, STAC items and DICOM studies."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import tiledseg
from tiledseg.config import InputSpec, OutputSpec, RunConfig
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink
from tiledseg.pipeline._inputs import Input, batch_folder, collect_inputs, name_of, stands_for_many

MakeModel = Callable[..., Path]
OUT = "maps/{name}.tif"
RGB = ("red", "green", "blue")


def collect(*images: Any, out: str = OUT, channels: tuple[str, ...] = RGB, **more: Any) -> Any:
    """Return the inputs that arguments stand for."""
    base = RunConfig(image="x", model="m", out=out, **more)
    return collect_inputs(images, base, channels)


def names(inputs: tuple[Input, ...]) -> list[str]:
    """Return the names of inputs."""
    return [one.name for one in inputs]


def touch(folder: Path, *files: str) -> list[Path]:
    """Make empty files."""
    paths = [folder / file for file in files]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


# --------------------------------------------------------------------- names and outputs


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("a/ct.nii.gz", "ct"),
        ("S2A_2020.01.02.tif", "S2A_2020.01.02"),
        ("x.ome.zarr", "x"),
        ("https://host/a/b.tif?token=1.2", "b"),
        ("s3://bucket/key/c.tiff", "c"),
        ("plain", "plain"),
    ],
)
def test_a_name_has_no_suffixes(image: str, name: str) -> None:
    assert name_of(image) == name


def test_a_folder_keeps_its_dots(tmp_path: Path) -> None:
    (tmp_path / "case.v2").mkdir()
    assert name_of(f"{tmp_path}/case.v2/") == "case.v2"


def test_images_are_runs_of_their_own_and_lists_are_stacked() -> None:
    first, second = collect("a.tif", ["b1.tif", "b2.tif"])
    assert (first.name, first.image, first.out) == ("a", "a.tif", Path("maps/a.tif"))
    assert (second.name, second.image) == ("b1", ["b1.tif", "b2.tif"])


def test_other_outputs_are_named_alike() -> None:
    output = OutputSpec(scores="s/{name}.tif", polygons="{name}.gpkg")
    (one,) = collect("a.tif", output=output, input=InputSpec(channels=(3, 2, 1)))
    config = one.config(RunConfig(image="x", model="m", out=OUT, output=output))
    assert (config.image, config.out) == ("a.tif", "maps/a.tif")
    assert (config.output.scores, config.output.polygons) == ("s/a.tif", "a.gpkg")
    assert config.input.channels == (3, 2, 1)


@pytest.mark.parametrize("option", ["scores", "polygons", "surfaces"])
def test_every_output_needs_a_name(option: str) -> None:
    with pytest.raises(tiledseg.ConfigError, match=f"^{option} one.tif: every image needs"):
        collect("a.tif", output=OutputSpec(**{option: "one.tif"}))
    with pytest.raises(tiledseg.ConfigError, match=r"^out map.tif: every image needs"):
        collect("a.tif", out="map.tif")


def test_unfinished_work_in_one_folder_needs_names_too() -> None:
    collect("a.tif", "b.tif", out="maps/{name}/map.tif")
    with pytest.raises(tiledseg.ConfigError, match=r"both be written as .*map\.tif\.work"):
        collect("a.tif", "b.tif", out="maps/{name}/map.tif", output=OutputSpec(work="s3://b/x"))
    output = OutputSpec(work="s3://b/{name}", log="log.jsonl")
    found = collect("a.tif", "b.tif", out="maps/{name}/map.tif", output=output)
    assert names(found) == ["a", "b"]


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["x/a.tif", "y/a.tif"], r"x/a\.tif and y/a\.tif would both be written as maps/a\.tif"),
        (["a.tif", "a.png"], "a.tif and a.png would both"),
        (["a.tif", "a.tif"], "a.tif and a.tif would both"),
        (["batch.tif"], "would have its report in .*batch.report"),
    ],
)
def test_names_that_clash_are_refused(images: list[str], words: str) -> None:
    with pytest.raises(tiledseg.ConfigError, match=words):
        collect(*images)


def test_an_image_is_never_an_output(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "b.tif")
    with pytest.raises(tiledseg.ConfigError, match=r"a.tif is one of the images"):
        collect(str(tmp_path / "a.tif"), str(tmp_path / "b.tif"), out=f"{tmp_path}/{{name}}.tif")


def test_where_the_batch_has_its_report() -> None:
    assert batch_folder("maps/{name}.tif") == Path("maps/batch.report")
    assert batch_folder("maps/x-{name}/map.tif") == Path("maps/batch.report")
    assert batch_folder("{name}.tif") == Path("batch.report")


# --------------------------------------------------------------------- patterns


def test_a_pattern_is_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "b.tif", "a.tif", "c.png", "deep/d.tif")
    assert names(collect(f"{tmp_path}/*.tif")) == ["a", "b"]
    assert names(collect(f"{tmp_path}/**/*.tif")) == ["a", "b", "d"]
    assert names(collect(f"{tmp_path}/[ab].tif")) == ["a", "b"]
    with pytest.raises(tiledseg.ConfigError, match=r"no file that matches .*\*\.jp2"):
        collect(f"{tmp_path}/*.jp2")


def test_a_file_with_such_a_name_is_no_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].tif", "a1.tif")
    assert names(collect(f"{tmp_path}/a[1].tif")) == ["a[1]"]
    assert not stands_for_many(f"{tmp_path}/a[1].tif")
    assert not stands_for_many("https://host/a.tif?x=[1]")
    assert not stands_for_many("/vsicurl?url=x")
    assert stands_for_many("a?.tif")


def test_outputs_of_an_earlier_run_are_no_inputs(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "a-map.tif", "b.tif")
    found = collect(f"{tmp_path}/*.tif", out=f"{tmp_path}/{{name}}-map.tif")
    assert names(found) == ["a", "b"]


@pytest.mark.parametrize("argument", ["*.tif", "list.csv", "items.json", "studies"])
def test_many_images_need_a_name_in_the_output(
    tmp_path: Path, make_model: MakeModel, argument: str, data: Path
) -> None:
    if argument == "studies":
        shutil.copytree(data / "medical" / "dicom_series", tmp_path / "studies")
    words = "stands for many images, each of which needs an output of its own.*{name}"
    with pytest.raises(tiledseg.ConfigError, match=words):
        tiledseg.segment(str(tmp_path / argument), make_model(), tmp_path / "map.tif")
    with pytest.raises(tiledseg.ConfigError, match="which is for many images"):
        tiledseg.segment("a.tif", make_model(), OUT)


def test_arrays_have_no_name(make_model: MakeModel) -> None:
    with pytest.raises(tiledseg.ConfigError, match="ndarray has no name"):
        tiledseg.segment_many([np.zeros((3, 9, 9))], make_model(), OUT)


# --------------------------------------------------------------------- lists


def test_a_table(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text(
        "\ufeffname,image,sensor,out\n"
        "one,a.tif,S2,\n"
        ",/abs/b.tif,S2,other/b.tif\n"
        '"x, y",b4.tif;b3.tif,L8\n'
        ",https://host/u.tif,,\n",
        encoding="utf-8",
    )
    one, two, three, four = collect(str(path))
    assert (one.name, one.image, one.out) == ("one", str(tmp_path / "a.tif"), Path("maps/one.tif"))
    assert (two.name, two.image, two.out) == ("b", "/abs/b.tif", tmp_path / "other" / "b.tif")
    assert three.image == [str(tmp_path / "b4.tif"), str(tmp_path / "b3.tif")]
    assert three.name == "x, y"
    assert four.image == "https://host/u.tif"


def test_a_list_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "list.json"
    entries = ["a.tif", {"image": ["b4.tif", "b3.tif"], "name": "deep/b"}, {"image": "c.tif;d.tif"}]
    path.write_text(json.dumps(entries))
    one, two, three = collect(str(path))
    assert (one.name, one.image) == ("a", str(tmp_path / "a.tif"))
    assert (two.name, two.out) == ("deep/b", Path("maps/deep/b.tif"))
    assert two.image == [str(tmp_path / "b4.tif"), str(tmp_path / "b3.tif")]
    assert (three.name, len(three.image)) == ("c", 2)


HOSTILE = {
    "empty.csv": (b"", "has no column image; its first line is nothing"),
    "header.csv": (b"image,name\n", "names no image"),
    "columns.csv": (
        b"path;name\na.tif;b\n",
        "its first line is path;name; separate columns with commas",
    ),
    "hole.csv": (b"image,name\n,b\n", "line 2: image must be a path, found nothing"),
    "latin.csv": (b"image\nfl\xe4che.tif\n", "is not text in UTF-8"),
    "nul.csv": (b"image\na\0b.tif\n", "line 2: image must be a path|is not a table"),
    "huge.csv": (b"image\n" + b"a" * 200_000, "is not a table: field larger"),
    "deep.json": (b"[" * 100_000, "is nested too deeply"),
    "deeper.json": (b"[" * 400 + b"]" * 400, "expected a path or an object, found a list"),
    "cut.json": (b'["a.tif"', "is not JSON"),
    "digits.json": (b"[" + b"9" * 10_000 + b"]", "is not JSON|found a number"),
    "empty.json": (b"[]", "names no image"),
    "number.json": (b"7", "holds a number; expected a list"),
    "object.json": (b'{"image": "a.tif"}', "holds an object; expected a list"),
    "null.json": (b'[{"image": null}]', "entry 1: image must be a path, found nothing"),
    "none.json": (b'[{"image": []}]', "entry 1: image must be a path, found a list"),
    "name.json": (b'["a.tif", {"image": "b.tif", "name": 7}]', "entry 2: name must be a text"),
    "up.json": (b'[{"image": "b.tif", "name": "../b"}]', "cannot be the name"),
    "root.json": (b'[{"image": "b.tif", "name": "/etc/b"}]', "cannot be the name"),
    "line.json": (b'[{"image": "b.tif", "name": "a\\nb"}]', "cannot be the name"),
    "items.json": (b'{"type": "FeatureCollection", "features": []}', "holds no items"),
    "id.json": (b'{"type": "FeatureCollection", "features": [7]}', "item 1 has no id"),
    "geo.json": (b'{"type": "Feature", "id": "x", "properties": {}}', "item x .* has no assets"),
    "href.json": (b'{"type": "Feature", "id": "x", "assets": {"a": {}}}', "asset a has no href"),
    "word.json": (b'{"type": "Feature", "id": "x", "assets": {"a": 7}}', "asset a has no href"),
}


@pytest.mark.parametrize("file", HOSTILE)
def test_a_hostile_list_gets_one_sentence(tmp_path: Path, file: str) -> None:
    content, words = HOSTILE[file]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(tiledseg.ConfigError, match=words) as told:
        collect(str(tmp_path / file))
    assert len(str(told.value)) < 400
    assert file in str(told.value) or "cannot be the name" in str(told.value)


def test_a_list_that_is_not_there() -> None:
    with pytest.raises(tiledseg.ConfigError, match=r"there is no list nowhere\.csv"):
        collect("nowhere.csv")


# --------------------------------------------------------------------- STAC


def item(name: str, **assets: Any) -> dict[str, Any]:
    """Return a STAC item."""
    return {"type": "Feature", "stac_version": "1.0.0", "id": name, "assets": assets}


def asset(href: str, *bands: str, roles: tuple[str, ...] = ("data",), **more: Any) -> Any:
    """Return an asset in STAC 1.0, with the common names of its bands."""
    named = {"eo:bands": [{"name": f"B{i}", "common_name": b} for i, b in enumerate(bands)]}
    return {"href": href, "roles": list(roles), **(named if bands else {}), **more}


def stac(tmp_path: Path, *assets_of: dict[str, Any], **more: Any) -> Any:
    """Return the inputs of a collection of items."""
    path = tmp_path / "items.json"
    items = [item(f"item{i}", **assets) for i, assets in enumerate(assets_of)]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return collect(str(path), **more)


def test_items_are_stacked_in_the_order_of_the_card(tmp_path: Path) -> None:
    one, two, three = stac(
        tmp_path,
        {"blue": asset("b.tif"), "green": asset("/abs/g.tif"), "red": asset("https://h/r.tif")},
        {  # by common names; the preview has the same bands
            "B02": asset("b.jp2", "blue"),
            "B03": asset("g.jp2", "green"),
            "B04": asset("r.jp2", "red"),
            "tci": asset("tci.jp2", "red", "green", "blue", roles=("visual",)),
            "thumbnail": asset("t.jpg", "red", "green", "blue", roles=("thumbnail",)),
        },
        {  # STAC 1.1
            "x": {"href": "b.tif", "bands": [{"name": "Blue"}]},
            "y": {"href": "r.tif", "bands": [{"eo:common_name": "red"}]},
            "z": {"href": "g.tif", "bands": [{"name": "green"}]},
        },
    )
    assert one.name == "item0"
    assert one.image == ["https://h/r.tif", "/abs/g.tif", str(tmp_path / "b.tif")]
    assert two.image == [str(tmp_path / f"{band}.jp2") for band in "rgb"]
    assert three.image == [str(tmp_path / f"{band}.tif") for band in "rgb"]
    assert one.channels is two.channels is three.channels is None


def test_bands_of_one_asset(tmp_path: Path) -> None:
    (one,) = stac(tmp_path, {"all": asset("all.tif", "blue", "green", "red", "nir")})
    assert (one.image, one.channels) == (str(tmp_path / "all.tif"), (3, 2, 1))


def test_channels_that_were_asked_for(tmp_path: Path) -> None:
    assets = {"nir": asset("n.tif"), "red": asset("r.tif"), "visual": asset("v.tif", *RGB)}
    (one,) = stac(tmp_path, assets, input=InputSpec(channels=("nir", "red")))
    assert one.image == [str(tmp_path / "n.tif"), str(tmp_path / "r.tif")]
    assert one.channels is None


def test_the_asset_that_is_the_image(tmp_path: Path) -> None:
    tiff = {"type": "image/tiff; application=geotiff; profile=cloud-optimized"}
    found = stac(
        tmp_path,
        {"a": asset("a.tif"), "meta": asset("m.xml", roles=("metadata",))},
        {"a": asset("a.tif", roles=("visual",)), "b": asset("b.tif", roles=())},
        {"a": asset("a.tif", roles=(), **tiff), "b": asset("b.xml", roles=())},
        input=InputSpec(channels=(2, 1)),
    )
    assert [one.image for one in found] == [str(tmp_path / "a.tif")] * 3
    assert [one.channels for one in found] == [(2, 1)] * 3
    with pytest.raises(tiledseg.ConfigError, match=r"item item0 .*red, green, blue.*it has a; b"):
        stac(tmp_path, {"a": asset("a.tif"), "b": asset("b.tif")})


def test_an_item_collection_is_segmented(tmp_path: Path, make_model: MakeModel) -> None:
    """Bands that lie in another order than the model wants give the map of the plain image."""
    pixels = np.random.default_rng(1).integers(0, 255, (3, 70, 80), np.uint8)
    for name, values in {
        "c0": pixels[:1],
        "c1": pixels[1:2],
        "c2": pixels[2:],
        "all": pixels,
    }.items():
        channels = tuple(f"{name} {i}" for i in range(len(values)))
        spec = SinkSpec(Grid.local((70, 80)), np.dtype(np.uint8), channels, None)
        sink = create_sink(tmp_path / f"{name}.tif", spec)
        sink.prepare()
        sink.write(spec.grid.box, values)
        sink.commit()
    items = item("scene", **{name: asset(f"{name}.tif") for name in ("c2", "c0", "c1")})
    (tmp_path / "items.json").write_text(
        json.dumps({"type": "FeatureCollection", "features": [items]})
    )
    model, out = make_model(), tmp_path / "{name}.map.tif"
    result = tiledseg.segment_many(tmp_path / "items.json", model, out)
    assert [row.state for row in result.rows] == ["done"], result.rows[0].problem
    tiledseg.segment(tmp_path / "all.tif", model, tmp_path / "alone.tif")
    made = [Image.open(tmp_path / f"{name}.tif") for name in ("scene.map", "alone")]
    assert np.array_equal(*map(np.asarray, made))


# --------------------------------------------------------------------- DICOM


@pytest.mark.data
def test_a_folder_of_studies(data: Path, tmp_path: Path) -> None:
    studies = tmp_path / "studies"
    source = data / "medical" / "dicom_series"
    shutil.copytree(source, studies)
    shutil.copytree(data / "broken" / "dicom" / "two_series_one_folder", studies / "Study4")
    shutil.copytree(data / "broken" / "dicom" / "missing_slice", studies / "deep" / "Study5")
    shutil.copytree(data / "medical" / "highdicom", studies / "single slices")
    (studies / "Study1" / "notes.txt").write_text("no image")
    found = collect(str(studies), out="maps/{name}.nii.gz")
    assert names(found) == [
        "Study1/13_HCropVolume",
        "Study3/11-T1post-18670",
        "Study4-46185462",
        "Study4-185462-1",
        "deep/Study5",
    ]
    assert found[0].out == Path("maps/Study1/13_HCropVolume.nii.gz")
    assert found[0].image == str(studies / "Study1" / "13_HCropVolume")
    assert found[0].series is None
    assert found[2].image == found[3].image == str(studies / "Study4")
    assert {one.series for one in found[2:4]} == {
        "1.2.826.0.1.3680043.8.498.10112548596522579645160189153146185462",
        "1.2.826.0.1.3680043.8.498.10112548596522579645160189153146185462.1",
    }
    assert names(collect(str(studies / "Study1" / "13_HCropVolume"))) == ["13_HCropVolume"]
    assert names(collect(str(studies / "Study4"))) == ["Study4-46185462", "Study4-185462-1"]
    assert names(collect(str(studies / "Study4"), input=InputSpec(series="1"))) == ["Study4"]
    with pytest.raises(tiledseg.ConfigError, match="holds no DICOM series"):
        collect(str(studies / "single slices"))


@pytest.mark.data
def test_studies_are_segmented(data: Path, tmp_path: Path, make_model: MakeModel) -> None:
    """A study that lacks a slice is told, the other is what a single run writes."""
    studies = tmp_path / "studies"
    whole = data / "medical" / "dicom_series" / "Study1" / "13_HCropVolume"
    shutil.copytree(whole, studies / "whole")
    shutil.copytree(data / "broken" / "dicom" / "missing_slice", studies / "cut")
    model = make_model(dims=3, channels=1)
    result = tiledseg.segment_many(studies, model, tmp_path / "{name}.nii.gz")
    assert [(row.name, row.state) for row in result.rows] == [("cut", "failed"), ("whole", "done")]
    assert "a slice is missing" in result.rows[0].problem
    tiledseg.segment(whole, model, tmp_path / "alone.nii.gz")
    assert (tmp_path / "whole.nii.gz").read_bytes() == (tmp_path / "alone.nii.gz").read_bytes()


def test_a_list_may_not_write_over_an_image_it_names(tmp_path: Path) -> None:
    for name in ("a.tif", "b.tif"):
        (tmp_path / name).touch()
    file = tmp_path / "cross.csv"
    file.write_text("image,out\na.tif,b.tif\nb.tif,c.tif\n")
    with pytest.raises(tiledseg.ConfigError, match=r"b\.tif is one of the images"):
        collect(str(file), out=str(tmp_path / "{name}.map.tif"))


@pytest.mark.parametrize("image", ["file://[bad/a.tif", "a.tif\ud800"])
def test_names_that_are_none_are_one_sentence(tmp_path: Path, image: str) -> None:
    file = tmp_path / "list.json"
    file.write_text(json.dumps([image]))
    with pytest.raises(tiledseg.ConfigError, match="no path and no URL"):
        collect(str(file), out=str(tmp_path / "{name}.map.tif"))
