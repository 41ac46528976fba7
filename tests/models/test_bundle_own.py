"""With --trust-code a bundle's own code is run by MONAI, around tiledseg's sweep; else never."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import tiledseg
from tests.models import bundles
from tiledseg.budget import parse_bytes
from tiledseg.cli import run
from tiledseg.engine import TileDone
from tiledseg.errors import BudgetExceeded, ConfigError

SHAPE = (33, 40, 30)
#: A transform before and one after the network, and a network; importing them leaves a trace.
SCRIPTS = '''
from pathlib import Path

import torch
from monai.networks.nets import UNet
from monai.transforms import MapTransform

Path(__file__).parents[1].joinpath("RUN").touch()


class Rooted(MapTransform):
    def __call__(self, data):
        return {**data, **{key: data[key].clamp(0, 1) ** 0.5 for key in self.keys}}


class Numbered(MapTransform):
    """Labels of another numbering, as a map of organs has them."""

    def __init__(self, keys, numbers):
        super().__init__(keys)
        self.numbers = torch.tensor(numbers)

    def __call__(self, data):
        made = dict(data)
        for key in self.keys:
            numbered = self.numbers[data[key].as_tensor().long()].float()
            made[key] = type(data[key])(numbered).copy_meta_from(data[key])
        return made


class Mirrored(MapTransform):
    """What a reader gives that takes slices in the other order than tiledseg."""

    def __call__(self, data):
        for key in self.keys:
            image = data[key]
            affine = image.meta["original_affine"].copy()
            affine[:3, 3] += affine[:3, 2] * (image.shape[3] - 1)
            affine[:3, 2] *= -1
            image.meta["original_affine"] = affine
        return data


class Own(UNet):
    pass
'''


def before(*transforms: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return a change that adds transforms after the known ones before the network."""
    return lambda c: c["preprocessing"]["transforms"].extend(transforms)


def with_own_transforms(config: dict[str, Any]) -> None:
    before({"_target_": "scripts.own.Rooted", "keys": "image"})(config)
    number = {"_target_": "scripts.own.Numbered", "keys": "pred", "numbers": [0, 300]}
    config["postprocessing"]["transforms"].insert(3, number)


def with_lambdas(config: dict[str, Any]) -> None:
    before({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: 1 - x"})(config)
    swapped = {"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x[[1, 0]]"}
    config["postprocessing"]["transforms"].insert(0, swapped)


def with_expressions(config: dict[str, Any]) -> None:
    config["imports"] += ["$import math", "$from pathlib import Path"]
    config["network_def"]["channels"] = "$[4 * 2 ** i for i in range(3)]"
    config["inferer"]["roi_size"] = "$tuple(24 for _ in range(3))"
    config["preprocessing"]["transforms"][4]["a_min"] = "$-math.floor(57.5)"
    config["checkpointloader"]["load_path"] = "$str(Path(@bundle_root) / 'models' / 'model.pt')"


def with_a_network(config: dict[str, Any]) -> None:
    config["network_def"]["_target_"] = "scripts.own.Own"


def on_whole_images(config: dict[str, Any]) -> None:
    config["inferer"] = {"_target_": "SimpleInferer"}
    config["preprocessing"]["transforms"].insert(
        4, {"_target_": "DivisiblePadd", "keys": "image", "k": 4}
    )


def without_a_way_back(config: dict[str, Any]) -> None:
    config["preprocessing"]["transforms"][2]["axcodes"] = "PLS"
    config["preprocessing"]["transforms"].append(
        {"_target_": "CropForegroundd", "keys": "image", "source_key": "image"}
    )
    config["postprocessing"] = bundles.compose(
        [bundles.SOFTMAX, bundles.ARGMAX, {**bundles.SAVE, "resample": True}]
    )


def with_the_largest_kept(config: dict[str, Any]) -> None:
    largest = {"_target_": "KeepLargestConnectedComponentd", "keys": "pred"}
    config["postprocessing"]["transforms"].insert(3, largest)


CHANGES = {
    "transforms of its own": with_own_transforms,
    "lambdas": with_lambdas,
    "expressions": with_expressions,
    "a network of its own": with_a_network,
    "whole images": on_whole_images,
    "no way back": without_a_way_back,
    "the largest component": with_the_largest_kept,
}
#: Those of which nothing is refused: tiledseg leaves out what it tells of.
UNDERSTOOD = {"the largest component"}


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    affine = bundles.affine((1.3, 1.1, 2.6), 0.0, "xz")
    return bundles.write_volume(tmp_path_factory.mktemp("image") / "ct.nii.gz", SHAPE, affine)


def own_bundle(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Write a bundle with a change, but for the weights, and with code of its own."""
    config = bundles.spleen()
    bundle = bundles.write_bundle(path, config)
    change(config)
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    (bundle / "scripts").mkdir()
    (bundle / "scripts/__init__.py").touch()
    (bundle / "scripts/own.py").write_text(SCRIPTS)
    return bundle


def labels(path: Path) -> Any:
    return np.asarray(nib.load(path).dataobj)


@pytest.mark.parametrize("name", CHANGES)
def test_labels_are_those_of_monai(tmp_path: Path, image: Path, name: str) -> None:
    bundle = own_bundle(tmp_path / "b", CHANGES[name])
    wanted = bundles.run_monai(bundle, image)
    assert len(np.unique(wanted)) == 2
    shutil.rmtree(bundle / "eval")
    (bundle / "RUN").unlink(missing_ok=True)
    out = tmp_path / "out.nii.gz"
    if name not in UNDERSTOOD:
        with pytest.raises(ConfigError, match=r"--trust-code has MONAI run the bundle's own code"):
            tiledseg.segment(image, bundle, out)
    assert not (bundle / "RUN").exists()
    made = tiledseg.segment(image, bundle, out, trust_code=True)
    found = nib.load(out)
    assert (labels(out) == wanted).mean() > 0.9999
    np.testing.assert_allclose(found.affine, nib.load(image).affine, atol=1e-4)
    assert not list(bundle.rglob("eval")) + list(bundle.rglob("__pycache__"))
    assert sum(c.samples for c in made.classes) == wanted.size
    assert {c.id for c in made.classes if c.samples} == {*np.unique(wanted).tolist()}
    assert any("--trust-code" in warning for warning in made.warnings)
    report = json.loads((tmp_path / "out.report/report.json").read_text())
    assert "own_code" in report["ran"]


def test_a_zip_gives_the_same(tmp_path: Path, image: Path) -> None:
    bundle = own_bundle(tmp_path / "b", with_a_network)
    archive = shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "b")
    made = [tiledseg.segment(image, place, trust_code=True).array for place in (bundle, archive)]
    assert made[0] is not None
    np.testing.assert_array_equal(*made)


def test_an_oblique_series_has_the_labels_of_its_volume(data: Path, tmp_path: Path) -> None:
    import SimpleITK as sitk

    series = data / "medical/dicom_series/Study1/13_HCropVolume"
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    sitk.WriteImage(reader.Execute(), tmp_path / "volume.nii.gz")
    bundle = own_bundle(tmp_path / "bundle", with_lambdas)
    places = (series, tmp_path / "volume.nii.gz")
    made = [tiledseg.segment(place, bundle, trust_code=True).array for place in places]
    assert len(np.unique(made[0])) > 1
    assert (made[0] == made[1]).mean() > 0.999  # NIfTI's header is float32


def test_slices_in_another_order_are_refused(tmp_path: Path, image: Path) -> None:
    mirrored = {"_target_": "scripts.own.Mirrored", "keys": "image"}

    def change(config: dict[str, Any]) -> None:
        config["preprocessing"]["transforms"].insert(2, mirrored)

    with pytest.raises(ConfigError, match=r"MONAI reads .* on another grid, up to \d+\.0 samples"):
        tiledseg.segment(image, own_bundle(tmp_path / "bundle", change), trust_code=True)


def test_pictures(tmp_path: Path) -> None:
    scaled = {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x / 255"}
    bundle, image = bundles.write_picture_bundle(tmp_path, scaled)
    wanted = bundles.run_monai(bundle, image)
    assert len(np.unique(wanted)) == 3
    found = tiledseg.segment(image, bundle, tmp_path / "out.tif", trust_code=True)
    with tiledseg.open_source(found.outputs[0]) as source:
        made = source.read(source.grid.box)[0]
    assert (made == wanted).mean() > 0.9999


def test_unfinished_work_is_gone_on_with(tmp_path: Path, image: Path) -> None:
    """What was interrupted between two tiles: preprocessing is done again, no window is."""
    bundle, out = own_bundle(tmp_path / "b", with_lambdas), tmp_path / "out.nii.gz"
    settings = {"tiling": {"core": (16, 64, 64)}, "output": {"report": False}}

    def stop(event: object) -> None:
        if isinstance(event, TileDone):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(image, bundle, out, trust_code=True, on_event=stop, **settings)
    assert not out.exists()
    made = tiledseg.segment(image, bundle, out, trust_code=True, **settings)
    assert made.ran.resumed == 1
    assert not out.with_name("out.nii.gz.work").exists()
    whole = tiledseg.segment(image, bundle, trust_code=True)
    np.testing.assert_array_equal(labels(out).T, whole.array)


def test_the_shell_takes_it_and_nothing_that_lies_in_a_file(
    tmp_path: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither a config, nor a change of one, nor a card or the bundle can ask for it."""
    bundle, out = own_bundle(tmp_path / "b", with_own_transforms), tmp_path / "out.nii.gz"
    config = json.loads((bundle / "configs/inference.json").read_text())
    (bundle / "configs/inference.json").write_text(json.dumps({**config, "trust_code": True}))
    for more in ({"trust_code": True}, {"input": {"trust_code": True}}, {"runtime": {"trust": 1}}):
        file = tmp_path / "run.yaml"
        file.write_text(json.dumps({"image": str(image), "model": str(bundle), **more}))
        assert run(["run", str(file), "--set", f"out={out}"]) == 2
        assert "there is no such setting" in capsys.readouterr().err
    asked = [str(image), "-m", str(bundle), "-o", str(out)]
    assert run(["segment", *asked, "--set", "trust_code=true"]) == 2
    assert run(["segment", *asked]) == 2
    assert run(["import", str(bundle), "--out", str(tmp_path / "m")]) == 2
    assert not (bundle / "RUN").exists()
    assert "--trust-code" in capsys.readouterr().err
    assert run(["plan", *asked, "--trust-code"]) == 0
    assert (bundle / "RUN").exists()
    assert not out.exists()
    assert run(["segment", *asked, "--trust-code", "-q"]) == 0
    first = labels(out)
    assert {*np.unique(first).tolist()} == {0, 300}
    file.write_text(json.dumps({"image": str(image), "model": str(bundle), "out": str(out)}))
    assert run(["run", str(file), "--trust-code", "-q", "--fresh"]) == 0
    np.testing.assert_array_equal(labels(out), first)


def test_what_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, image: Path
) -> None:
    bundle = own_bundle(tmp_path / "b", with_own_transforms)
    for memory, told in (("500kB", "hold .*ct.nii.gz of"), ("200MB", "budget is 200.0 MB")):
        with pytest.raises(BudgetExceeded, match=told):
            tiledseg.segment(image, bundle, trust_code=True, budget={"memory": memory})


@pytest.mark.slow
def test_peak_is_what_the_plan_says(tmp_path: Path) -> None:
    config = bundles.spleen((1.0, 1.0, 1.0))
    config["inferer"].update(roi_size=[64, 64, 64], overlap=0.0)
    before({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x"})(config)
    bundle = bundles.write_bundle(tmp_path / "b", config)
    affine = bundles.affine((1.0, 1.1, 1.2))
    image = bundles.write_volume(tmp_path / "ct.nii.gz", (176, 176, 176), affine)
    start = [sys.executable, "-m", "tiledseg"]
    more = [str(image), "-m", str(bundle), "--trust-code", "--json", "--threads", "2"]
    more += ["-o", str(tmp_path / "out.nii.gz")]

    def ran(*words: str) -> Any:
        ended = subprocess.run([*start, *words, *more], capture_output=True, text=True, check=True)
        return json.loads(ended.stdout.splitlines()[-1])

    planned = parse_bytes(ran("plan")["memory"])
    peak = ran("segment", "-q")["ran"]["peak_memory"]
    assert 0.75 * planned < peak <= 1.02 * planned  # the plan is told in tenths of a GB


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"output": {"scores": "s.nii.gz"}}, "no output.scores"),
        ({"input": {"skip_below": -900}}, "no setting of input"),
        ({"runtime": {"runner": "dask"}}, "tiles computed in this process"),
        ({"runtime": {"runtime": "openvino"}}, "runtime torch in fp32"),
    ],
)
def test_what_does_not_go_with_it_is_refused(
    tmp_path: Path, image: Path, settings: dict[str, Any], told: str
) -> None:
    bundle = own_bundle(tmp_path / "b", with_own_transforms)
    with pytest.raises(ConfigError, match=f"--trust-code takes {told}"):
        tiledseg.segment(image, bundle, tmp_path / "o.nii.gz", trust_code=True, **settings)
    assert not (bundle / "RUN").exists()


def test_other_models_have_no_code_to_trust(tmp_path: Path, image: Path) -> None:
    (tmp_path / "model.yaml").write_text("name: x")
    with pytest.raises(ConfigError, match=r"model\.yaml is no MONAI bundle"):
        tiledseg.segment(image, tmp_path / "model.yaml", trust_code=True)


def raising(config: dict[str, Any]) -> None:
    before({"_target_": "Lambdad", "keys": "image", "func": "$lambda x: 1 / 0"})(config)


def multi_label(config: dict[str, Any]) -> None:
    config["postprocessing"] = bundles.compose(
        [{"_target_": "Lambdad", "keys": "pred", "func": "$lambda x: x * 0 + 1"}]
    )


def of_another_kind(config: dict[str, Any]) -> None:
    config["network_def"] = {"_target_": "builtins.dict", "a": 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (raising, "its own preprocessing failed: "),
        (multi_label, "2 channels that are not one label a sample"),
        (of_another_kind, "network_def gives dict, no network"),
    ],
)
def test_code_that_fails_is_told_in_a_sentence(
    tmp_path: Path, image: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    bundle = own_bundle(tmp_path / "b", change)
    with pytest.raises(ConfigError, match=told) as refused:
        tiledseg.segment(image, bundle, trust_code=True)
    assert "\n" not in str(refused.value)
