"""Folders laid out as well-known datasets are, made here in their official layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.datasets.files import write_png, write_volume
from tiledseg import read_dataset
from tiledseg.datasets import Dataset
from tiledseg.errors import ConfigError, DamagedInput, GridMismatch

RNG = np.random.default_rng(8)
PHOTO = RNG.integers(0, 255, (12, 16, 3), dtype=np.uint8)


def ids_of(dataset: Dataset, name: str) -> np.ndarray:
    case = next(c for c in dataset.cases if c.name == name)
    with dataset.open(case) as pair:
        return pair.labels.read(pair.grid.box)[0]


def names(dataset: Dataset) -> list[str]:
    return [c.name for c in dataset.cases]


def write_json(path: Path, values: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
    return path


# --------------------------------------------------------------------- photos


def test_voc(tmp_path: Path) -> None:
    mask = RNG.choice(np.array([0, 1, 20, 255], np.uint8), PHOTO.shape[:2])
    for name in ("2007_000032", "2007_000039", "2007_000063"):
        write_png(tmp_path / "JPEGImages" / f"{name}.jpg", PHOTO)
        write_png(tmp_path / "SegmentationClass" / f"{name}.png", mask, list(range(256)) * 3)
    lists = tmp_path / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("2007_000032\n2007_000039\n")
    (lists / "val.txt").write_text("2007_000063\n")
    dataset = read_dataset(tmp_path)
    assert [c.split for c in dataset.cases] == ["train", "train", "validation"]
    assert (ids_of(dataset, "2007_000063") == mask).all()  # 255 is the schema's nodata, too
    assert len(dataset.schema.unique) == 21
    assert dataset.schema.unique[15].color == (192, 128, 128)  # person, in VOC's palette
    (lists / "train.txt").unlink()
    (lists / "val.txt").unlink()
    with pytest.raises(ConfigError, match=r"must hold one of train\.txt"):
        read_dataset(tmp_path)


def test_cityscapes(tmp_path: Path) -> None:
    ids = RNG.choice(np.array([0, 4, 7, 26, 33, 255], np.uint8), PHOTO.shape[:2])
    for split, city in (("train", "aachen"), ("val", "lindau"), ("test", "berlin")):
        name = f"{city}_000000_000019"
        write_png(tmp_path / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", PHOTO)
        gt = tmp_path / "gtFine" / split / city
        write_png(gt / f"{name}_gtFine_labelIds.png", ids)
    dataset = read_dataset(tmp_path)
    assert {c.group: c.split for c in dataset.cases} == {
        "berlin": "test",
        "aachen": "train",
        "lindau": "validation",
    }
    assert [c.group for c in dataset.labelled] == ["aachen", "lindau"]
    known = np.isin(ids, (7, 26, 33))
    assert (ids_of(dataset, "aachen_000000_000019") == np.where(known, ids, 255)).all()


def test_scannet(tmp_path: Path) -> None:
    ids = RNG.choice(np.array([0, 1, 13, 39, 40], np.uint8), PHOTO.shape[:2])
    frames = tmp_path / "scannet_frames_25k"
    for scan in ("scene0000_00", "scene0000_01", "scene0011_00"):
        write_png(frames / scan / "color" / "000100.jpg", PHOTO)
        write_png(frames / scan / "label" / "000100.png", ids)
    (tmp_path / "scannetv2_val.txt").write_text("scene0011_00\n")
    dataset = read_dataset(frames)
    assert [c.group for c in dataset.cases] == ["scene0000", "scene0000", "scene0011"]
    assert [c.split for c in dataset.cases] == [None, None, "validation"]
    known = np.isin(ids, (1, 39))
    assert (ids_of(dataset, "scene0000_01_000100") == np.where(known, ids, 255)).all()


# --------------------------------------------------------------------- COCO

CATEGORIES = [{"id": 3, "name": "car"}, {"id": 17, "name": "cat"}]
IMAGES = [{"id": 139, "file_name": "000000000139.jpg", "height": 12, "width": 16}]
SQUARE = [2.0, 1.0, 9.0, 1.0, 9.0, 6.0, 2.0, 6.0]


def coco(folder: Path, annotations: list[dict[str, Any]], kind: str = "instances") -> Path:
    write_png(folder / "val2017" / "000000000139.jpg", PHOTO)
    values = {"images": IMAGES, "categories": CATEGORIES, "annotations": annotations}
    return write_json(folder / "annotations" / f"{kind}_val2017.json", values)


def annotation(shape: Any, category: int = 3, **more: Any) -> dict[str, Any]:
    return {"id": 1, "image_id": 139, "category_id": category, "segmentation": shape, **more}


def runs_of(mask: np.ndarray) -> list[int]:
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat.astype(int))) + 1
    runs = np.diff([0, *edges, len(flat)]).tolist()
    return [0, *runs] if flat[0] else runs


def letters_of(runs: list[int]) -> str:
    """COCO's compressed text: the inverse of what is read, written after the same description."""
    text = ""
    for i, run in enumerate(runs):
        value, more = run - (runs[i - 2] if i > 2 else 0), True
        while more:
            group = value & 31
            value >>= 5
            more = value != (-1 if group & 16 else 0)
            text += chr(48 + group + (32 if more else 0))
    return text


def test_coco_instances(tmp_path: Path) -> None:
    mask = np.zeros((12, 16), bool)
    mask[4:10, 5:14] = True
    expected = np.zeros((12, 16), np.uint8)
    expected[1:6, 2:9] = 3
    coco(tmp_path, [annotation([SQUARE])])
    dataset = read_dataset(tmp_path)
    assert dataset.cases[0].split == "validation"
    assert [c.name for c in dataset.schema.unique] == ["background", "car", "cat"]
    assert (ids_of(dataset, "000000000139") == expected).all()
    expected[mask] = 17  # later annotations lie over earlier ones
    for counts in (runs_of(mask), letters_of(runs_of(mask))):
        rle = {"counts": counts, "size": [12, 16]}
        coco(tmp_path, [annotation([SQUARE]), annotation(rle, 17, iscrowd=1)])
        assert (ids_of(read_dataset(tmp_path), "000000000139") == expected).all()


def test_coco_run_lengths_of_the_api_s_own_documentation() -> None:
    """maskApi.h: the mask [0 0 1 1 1 0 1] has the runs [2 3 1 1], [1 1 1 1 1 1 0] [0 6 1]."""
    from tiledseg.datasets._rle import decode_rle

    assert decode_rle([2, 3, 1, 1], [7, 1], "x").ravel().tolist() == [0, 0, 1, 1, 1, 0, 1]
    assert decode_rle([0, 6, 1], [7, 1], "x").ravel().tolist() == [1, 1, 1, 1, 1, 1, 0]
    for seed in range(50):
        mask = np.random.default_rng(seed).random((37, 41)) < 0.5 ** (seed % 7)
        assert (decode_rle(letters_of(runs_of(mask)), [37, 41], "x") == mask).all()


def test_coco_stuff_has_no_truth_where_nothing_is_drawn(tmp_path: Path) -> None:
    coco(tmp_path, [annotation([SQUARE])], "stuff")
    expected = np.full((12, 16), 255)
    expected[1:6, 2:9] = 3
    assert (ids_of(read_dataset(tmp_path), "000000000139") == expected).all()


def test_coco_panoptic(tmp_path: Path) -> None:
    segments = RNG.choice(np.array([0, 3226956, 70000, 5]), (12, 16))
    png = np.stack([segments & 255, segments >> 8 & 255, segments >> 16 & 255], axis=-1)
    infos = [{"id": 3226956, "category_id": 17}, {"id": 70000, "category_id": 3}]
    path = coco(tmp_path, [{"image_id": 139, "file_name": "139.png", "segments_info": infos}])
    path.rename(path.with_name("panoptic_val2017.json"))
    write_png(path.parent / "panoptic_val2017" / "139.png", png.astype(np.uint8))
    dataset = read_dataset(tmp_path)
    expected = np.select([segments == 3226956, segments == 70000], [17, 3], 255)
    assert (ids_of(dataset, "000000000139") == expected).all()
    with dataset.open(dataset.cases[0]) as pair:
        assert pair.labels.look(pair.grid.box)[1] == {"#050000": (segments == 5).sum()}


def test_coco_categories_are_merged_by_a_legend(tmp_path: Path) -> None:
    coco(tmp_path, [annotation([SQUARE]), annotation([[0, 8, 4, 8, 4, 12, 0, 12]], 17)])
    (tmp_path / "set.yaml").write_text(
        "layout: coco\nclasses: [nothing, thing]\nbackground: nothing\n"
        "legend: {car: thing, 17: thing, background: nothing}\n"
    )
    ids = ids_of(read_dataset(tmp_path / "set.yaml"), "000000000139")
    assert (ids[1:6, 2:9] == 1).all()
    assert (ids[8:, :4] == 1).all()
    assert ids.sum() == 35 + 16


def test_coco_beside_its_images(tmp_path: Path) -> None:
    path = coco(tmp_path, [annotation([SQUARE])])
    values = json.loads(path.read_text())
    write_png(tmp_path / "flat" / "train" / "000000000139.jpg", PHOTO)
    write_json(tmp_path / "flat" / "train" / "_annotations.coco.json", values)
    for dataset in (read_dataset(tmp_path / "flat"), read_dataset(path)):
        assert ids_of(dataset, "000000000139").max() == 3
    assert read_dataset(tmp_path / "flat").cases[0].split == "train"


ODD: dict[str, tuple[Any, type[Exception], str]] = {
    "too short": ({"counts": [5], "size": [12, 16]}, DamagedInput, "run lengths of 5 samples"),
    "negative": ({"counts": [-5, 197], "size": [12, 16]}, DamagedInput, "must be run lengths"),
    "other size": ({"counts": [192], "size": [16, 12]}, GridMismatch, "of the image's size"),
    "huge": ({"counts": [2**40], "size": [2**20, 2**20]}, GridMismatch, "of the image's size"),
    "letters": ({"counts": "\u20ac!", "size": [12, 16]}, DamagedInput, "no run length of COCO"),
    "cut": ({"counts": "oooo", "size": [12, 16]}, DamagedInput, "end within a number"),
    "endless": ({"counts": "o" * 99, "size": [12, 16]}, DamagedInput, "no run length of COCO"),
    "nothing": ({}, GridMismatch, "of the image's size"),
    "text": ("polygon", DamagedInput, "segmentation must be polygons"),
    "odd numbers": ([[1, 2, 3, 4, 5]], DamagedInput, "must be pairs of numbers"),
    "not finite": ([[1, 2, 3, 4, 5, float("nan")]], DamagedInput, "must be pairs of numbers"),
    "two points": ([[1, 2, 3, 4]], DamagedInput, "must be pairs of numbers"),
}


@pytest.mark.parametrize("name", ODD)
def test_coco_odd_annotations_are_told(tmp_path: Path, name: str) -> None:
    shape, error, told = ODD[name]
    coco(tmp_path, [annotation([SQUARE]), annotation(shape)])
    dataset = read_dataset(tmp_path)
    with pytest.raises(error, match=told) as raised:
        dataset.open(dataset.cases[0])
    assert "000000000139" in str(raised.value)
    assert "annotation 2" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [("[", "is not JSON"), ("[]", "images must be a list"), ("[" * 100_000, "is not JSON"),
     ('{"images": [{"id": "7"}], "categories": [], "annotations": []}', "id must be a number")],
)  # fmt: skip
def test_coco_odd_files_are_told(tmp_path: Path, text: str, told: str) -> None:
    path = coco(tmp_path, [])
    path.write_text(text)
    with pytest.raises((ConfigError, DamagedInput), match=told):
        read_dataset(tmp_path)


# --------------------------------------------------------------------- volumes


def volumes(folder: Path, image: str, label: str) -> np.ndarray:
    values = RNG.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    write_volume(folder / image, np.zeros((4, 5, 6), np.float32), (1, 1, 2))
    write_volume(folder / label, values, (1, 1, 2))
    return values


def test_decathlon(tmp_path: Path) -> None:
    values = volumes(tmp_path, "imagesTr/la_003.nii.gz", "labelsTr/la_003.nii.gz")
    write_volume(tmp_path / "imagesTs/la_001.nii.gz", np.zeros((3, 3, 3), np.float32))
    document = {
        "name": "LeftAtrium",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "left atrium", "2": "other"},
        "numTraining": 1,
        "training": [
            {"image": "./imagesTr/la_003.nii.gz", "label": "./labelsTr/la_003.nii.gz"},
        ],
        "test": ["./imagesTs/la_001.nii.gz"],
    }
    write_json(tmp_path / "dataset.json", document)
    for dataset in (read_dataset(tmp_path), read_dataset(tmp_path / "dataset.json")):
        assert (dataset.name, dataset.modality) == ("LeftAtrium", "mr")
        assert dataset.schema.background == 0
        assert [(c.name, c.split) for c in dataset.cases] == [
            ("la_003", "train"),
            ("la_001", "test"),
        ]
        assert (ids_of(dataset, "la_003") == values).all()
    write_json(tmp_path / "dataset.json", {**document, "training": [{"image": 3}]})
    with pytest.raises(ConfigError, match="must list objects of image and label"):
        read_dataset(tmp_path)
    write_json(tmp_path / "dataset.json", {**document, "labels": None})
    with pytest.raises(ConfigError, match="labels must name the classes"):
        read_dataset(tmp_path)


def test_nnunet(tmp_path: Path) -> None:
    folder = tmp_path / "Dataset002_Heart"
    values = volumes(folder, "imagesTr/la_003_0000.nii.gz", "labelsTr/la_003.nii.gz")
    write_volume(folder / "imagesTr/la_003_0001.nii.gz", np.ones((4, 5, 6), "f4"), (1, 1, 2))
    document = {
        "channel_names": {"0": "CT", "1": "noNorm"},
        "labels": {"background": 0, "atrium": 1, "ignore": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    write_json(folder / "dataset.json", document)
    dataset = read_dataset(folder)
    assert (dataset.name, dataset.modality) == ("Heart", "ct")
    assert (ids_of(dataset, "la_003") == np.where(values == 2, 255, values)).all()
    with dataset.open(dataset.cases[0]) as pair:
        assert pair.image.read(pair.grid.box)[:, 0, 0, 0].tolist() == [0, 1]
    regions = {"background": 0, "whole": [1, 2], "core": [2]}
    write_json(folder / "dataset.json", {**document, "labels": regions})
    assert (ids_of(read_dataset(folder), "la_003") == values).all()
    files = {"la": {"images": ["imagesTr/la_003_0000.nii.gz"], "label": "labelsTr/la_003.nii.gz"}}
    write_json(folder / "dataset.json", {**document, "dataset": files})
    assert names(read_dataset(folder)) == ["la"]


def test_nnunet_version_1(tmp_path: Path) -> None:
    values = volumes(tmp_path, "imagesTr/la_003_0000.nii.gz", "labelsTr/la_003.nii.gz")
    document = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "atrium", "2": "rest"},
        "training": [{"image": "./imagesTr/la_003.nii.gz", "label": "./labelsTr/la_003.nii.gz"}],
    }
    write_json(tmp_path / "dataset.json", document)
    assert (ids_of(read_dataset(tmp_path), "la_003") == values).all()


@pytest.mark.parametrize("outside", ["/etc/hostname", "../a.nii.gz", "x/../../a.nii.gz"])
def test_annotation_files_name_no_files_of_other_folders(tmp_path: Path, outside: str) -> None:
    """Who downloads a dataset does not have its JSON choose which files of theirs are opened."""
    document = {
        "labels": {"background": 0, "atrium": 1},
        "modality": {"0": "CT"},
        "training": [{"image": "a.nii.gz", "label": outside}],
    }
    write_json(tmp_path / "dataset.json", document)
    with pytest.raises(ConfigError, match=r"dataset\.json names .*, which leads out of"):
        read_dataset(tmp_path)
    write_json(tmp_path / "dataset.json", {**document, "training": [], "test": [outside]})
    with pytest.raises(ConfigError, match="leads out of"):
        read_dataset(tmp_path)
    listed = {"a": {"images": [outside], "label": "a.nii.gz"}}
    write_json(tmp_path / "dataset.json", {**document, "file_ending": ".nii", "dataset": listed})
    with pytest.raises(ConfigError, match="leads out of"):
        read_dataset(tmp_path)
    segments = [{"image_id": 139, "file_name": outside, "segments_info": []}]
    panoptic = read_dataset(coco(tmp_path / "p", segments, "panoptic"))
    with pytest.raises(ConfigError, match=r"panoptic_val2017\.json names"):
        panoptic.open(panoptic.cases[0])
    instances = coco(tmp_path / "i", [annotation([SQUARE])])
    values = json.loads(instances.read_text())
    values["images"][0]["file_name"] = outside
    with pytest.raises(ConfigError, match="leads out of"):
        read_dataset(write_json(instances, values))


def test_an_unknown_layout_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="laid out in no way that is known"):
        read_dataset(tmp_path)
    (tmp_path / "set.yaml").write_text("layout: voc\nroot: nowhere\n")
    with pytest.raises(ConfigError, match="there is no folder"):
        read_dataset(tmp_path / "set.yaml")
