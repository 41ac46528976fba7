"""A network that finds bright things, window by window: the objects of the whole scene."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import ndimage

import tiledseg
from tests.objects.test_detected import town
from tests.pipeline.test_instances import read, read_table, utm, write
from tiledseg.cli import run
from tiledseg.errors import BudgetExceeded, ConfigError
from tiledseg.models import mask_rcnn


class Bright(torch.nn.Module):
    """Finds connected bright samples; their class is how bright they are."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        """Keep torchvision's contract."""
        told = []
        for image in images:
            values = np.rint(image[0].numpy() * 255).astype(int)
            found = [(c, *ndimage.label(values == 100 * c)) for c in (1, 2)]
            masks = [(c, ids == i) for c, ids, many in found for i in range(1, many + 1)]
            shapes = torch.zeros((len(masks), 1, *image.shape[1:]))
            for place, (_, mask) in enumerate(masks):
                shapes[place, 0] = torch.from_numpy(np.where(mask, 0.8, 0.2))
            sizes = torch.tensor([int(m.sum()) for _, m in masks], dtype=torch.float32)
            labels = torch.tensor([c for c, _ in masks], dtype=torch.int64)
            told.append({"labels": labels, "scores": 1 - 0.4 / (1 + sizes), "masks": shapes})
        return told


class Gives(torch.nn.Module):
    """Finds one thing that is all of the window."""

    def __init__(self, **told: list[float]) -> None:
        super().__init__()
        self.told = {"labels": [1], "scores": [0.9], **told}

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        told = {name: torch.tensor(numbers) for name, numbers in self.told.items()}
        return [{**told, "masks": torch.ones(1, 1, *image.shape[1:])} for image in images]


class Learns(Gives):
    """Gives what a training would go on from."""

    def forward(self, images: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        (told,) = super().forward(images)
        grown = {name: torch.nn.Parameter(told[name]) for name in ("scores", "masks")}
        return [{**told, **grown}]


class Raises(torch.nn.Module):
    """Fails as torchvision's checks of boxes do."""

    def forward(self, images: list[torch.Tensor]) -> None:
        raise AssertionError("boxes of no height")


@pytest.fixture
def scene(tmp_path: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    ids, classes = town(1)
    classes[0] = 0
    return write(tmp_path / "scene.tif", (100 * classes[ids]).astype(np.uint8)), ids, classes


def test_objects_are_those_of_the_whole_scene(
    scene: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    path, ids, classes = scene
    shares: list[float] = []
    for window, overlap in ((40, 16), (64, 20), (1024, 256)):
        made = tiledseg.detect(
            *(path, Bright(), tmp_path / "ids.tif", tmp_path / "objects.csv"),
            classes=["house", "pool"],
            window=window,
            overlap=overlap,
            panoptic=True,
            on_share=shares.append,
        )
        np.testing.assert_array_equal(read(tmp_path / "ids.tif"), ids)
        rows = read_table(tmp_path / "objects.csv")
        assert [int(r["class_id"]) for r in rows] == classes[1:].tolist()
        assert [int(r["samples"]) for r in rows] == np.bincount(ids.ravel())[1:].tolist()
        assert float(rows[0]["area_m2"]) == 4 * (ids == 1).sum()
        assert all(0.5 < float(r["score"]) < 1 for r in rows)
        told = json.loads((tmp_path / "ids.json").read_text())
        assert [s["category_id"] for s in told["annotations"][0]["segments_info"]] == [
            int(r["class_id"]) for r in rows
        ]
    assert made.objects == {n: int((classes == i).sum()) for i, n in ((1, "house"), (2, "pool"))}
    assert shares[-1] == 1


@pytest.mark.parametrize(
    ("settings", "error", "told"),
    [
        ({"overlap": 40}, ConfigError, "overlap 40 must be 0 or more and less than the window 40"),
        ({"window": 40.5}, ConfigError, "window 40.5 is no whole number of samples"),
        ({"windows": 40}, ConfigError, "detect has no setting 'windows'; there are window"),
        ({"classes": []}, ConfigError, "needs the names of the network's classes"),
        ({"network": "w.pth"}, ConfigError, "must be a module of torch, found str"),
        ({"agree": "half"}, ConfigError, "agree 'half' must be above 0"),
        ({"threshold": 0}, ConfigError, "threshold 0 must be above 0"),
        ({"agree": 2}, ConfigError, "agree 2 must be above 0, 1 at most"),
        ({"scale": -1}, ConfigError, "scale -1 is no number above 0"),
        ({"classes": ["house"]}, ConfigError, "finds objects of class 2, and 1 classes are named"),
        ({"network": torch.nn.Identity()}, ConfigError, "must give labels, scores and masks"),
        ({"network": torch.nn.Linear(3, 3)}, ConfigError, "fails on a window of (1, 40, 40)"),
        ({"network": Gives(scores=[2.0])}, ConfigError, "scores up to 2"),
        ({"network": Gives(labels=[1.5])}, ConfigError, "labels of float32"),
        ({"network": Raises()}, ConfigError, "(1, 40, 40) (c, y, x): boxes of no height; give"),
        ({"device": "gpu"}, ConfigError, "'gpu' cannot be used"),
        ({"memory": "1MB"}, BudgetExceeded, "raise the memory"),
    ],
)
def test_bad_settings_are_one_sentence(
    scene: tuple[Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    settings: dict[str, Any],
    error: type[Exception],
    told: str,
) -> None:
    settings = {"classes": ["house", "pool"], "window": 40, "overlap": 10, **settings}
    network, before = settings.pop("network", Bright()), sorted(tmp_path.iterdir())
    with pytest.raises(error) as caught:
        tiledseg.detect(scene[0], network, tmp_path / "ids.tif", **settings)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_training_would_go_on_from_is_taken(
    scene: tuple[Path, np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    """And classes of one name are counted together."""
    made = tiledseg.detect(scene[0], Learns(), tmp_path / "ids.tif", classes=["house", "house"])
    assert made.objects == {"house": 1}


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What torchvision's networks call, in Python where it has no compiled ones."""
    door = import_module("tiledseg.models._smp")  # which alone can import a torchvision like that
    try:
        door.detection_models()
        return None
    except ConfigError:
        pass

    def nms(boxes: torch.Tensor, scores: torch.Tensor, most: float) -> torch.Tensor:
        box_iou, kept = import_module("torchvision.ops").box_iou, list[int]()
        for place in scores.argsort(descending=True).tolist():
            if not kept or box_iou(boxes[place][None], boxes[kept]).max() <= most:
                kept.append(place)
        return torch.tensor(kept, dtype=torch.int64)

    library = torch.library.Library("torchvision", "FRAGMENT")
    library.define(
        "roi_align(Tensor input, Tensor rois, float spatial_scale, int pooled_height, "
        "int pooled_width, int sampling_ratio, bool aligned) -> Tensor"
    )
    library.impl("nms", nms, "CPU")
    aligning = import_module("torchvision.ops.roi_align")
    library.impl("roi_align", aligning._roi_align.__wrapped__, "CPU")  # not to be compiled
    for module in (aligning, import_module("torchvision.extension")):
        monkeypatch.setattr(module, "_has_ops", lambda: True)
    return library


@pytest.mark.slow
def test_mask_rcnn_of_torchvision_runs(tmp_path: Path, operators: Any) -> None:
    """Random weights, five channels: whatever it finds is numbered."""
    from tiledseg.models._detector import _build

    torch.manual_seed(0)
    torch.save(_build(3, 5, (32, 32)).state_dict(), tmp_path / "weights.pth")
    network: Any = mask_rcnn(tmp_path / "weights.pth", 2, 5, (32, 32))
    network.rpn._post_nms_top_n["testing"] = 40  # operators in Python take their time
    values = np.random.default_rng(0).integers(0, 255, (5, 32, 48)).astype(np.uint8)
    path, out = write(tmp_path / "scene.tif", values, utm((32, 48))), tmp_path / "ids.tif"
    settings = {"window": 32, "overlap": 16, "threshold": 0.01}
    made = tiledseg.detect(path, network, out, classes=["a", "b"], **settings)
    assert read(out).max() == sum(made.objects.values()) > 0
    with pytest.raises(tiledseg.DamagedInput, match="of 1 classes and 5 channels"):
        mask_rcnn(tmp_path / "weights.pth", 1, 5)


def test_a_network_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    weights = tmp_path / "weights.pth"
    weights.touch()
    with pytest.raises(ConfigError, match="network of 0 classes and 3 channels is none"):
        mask_rcnn(weights, 0)
    for size in ((0, 600), (900, 600)):
        with pytest.raises(ConfigError, match="must be the shorter side and the longer"):
            mask_rcnn(weights, 1, size=size)


def test_the_command_does_the_same(
    scene: tuple[Path, np.ndarray, np.ndarray],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = f"detect {scene[0]} --weights w.pth --classes house,pool -o {tmp_path}/ids.tif"
    assert run(words.split()) == 2
    assert "weights w.pth are no file" in capsys.readouterr().err
    asked: list[Any] = []
    monkeypatch.setattr("tiledseg.models.mask_rcnn", lambda *given: asked.append(given) or Bright())
    more = "--window 64 --overlap 20 --size 600,900"
    assert run([*words.split(), *more.split(), "--json", "-q"]) == 0
    assert asked == [(Path("w.pth"), 2, 1, (600, 900))]
    assert sum(json.loads(capsys.readouterr().out)["objects"].values()) == scene[1].max()
    np.testing.assert_array_equal(read(tmp_path / "ids.tif"), scene[1])
    assert run([*words.split(), "--size", "600"]) == 2
    assert "size '600' is not two extents" in capsys.readouterr().err
    assert run([*words.split(), "--size", "600,x,900"]) == 2
    assert "size '600,x,900' is no list of numbers" in capsys.readouterr().err
