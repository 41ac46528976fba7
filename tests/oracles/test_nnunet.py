"""Trained models of nnU-Net v2: the labels are nnU-Net's own, voxel by voxel.

`nnunet_labels.npz` holds what nnU-Net 2.8.1 gave for the cases of `nnunet_cases` on a CPU. With
``make oracle``, which brings nnU-Net in an environment of its own, it is asked again.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
import torch

import tiledseg
from tests.oracles.nnunet_cases import CASCADE, PLAIN, RESAMPLED, write_images, write_model
from tiledseg.errors import ConfigError, DamagedInput, TiledsegError
from tiledseg.models import find_card, understand
from tiledseg.steps import KeepLargest

HERE = Path(__file__).parent
LABELS = HERE / "nnunet_labels.npz"
BY_NAME = {case.name: case for case in (*PLAIN, *RESAMPLED, *CASCADE)}
RUNTIME = {"runtime": "torch", "threads": 1}


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Path, list[Path]]]:
    """Return a function that writes a case and returns its model and images."""
    root, known = tmp_path_factory.mktemp("nnunet"), {}

    def make(name: str) -> tuple[Path, list[Path]]:
        if name not in known:
            case = BY_NAME[name]
            model = write_model(case, root / "models")
            known[name] = model, write_images(case, root / "images" / name)
        return known[name]

    return make


def segmented(model: Path, images: list[Path], out: Path, **settings: Any) -> np.ndarray:
    settings.setdefault("runtime", RUNTIME)
    tiledseg.segment([str(path) for path in images], model, out, **settings)
    found = sitk.ReadImage(str(out))
    first = sitk.ReadImage(str(images[0]))
    np.testing.assert_allclose(found.GetDirection(), first.GetDirection(), atol=1e-6)
    np.testing.assert_allclose(found.GetOrigin(), first.GetOrigin(), rtol=1e-6)
    np.testing.assert_allclose(found.GetSpacing(), first.GetSpacing(), rtol=1e-6)
    return np.asarray(sitk.GetArrayFromImage(found))


@pytest.mark.parametrize("name", BY_NAME)
def test_labels_are_those_of_nnunet(name: str, made: Any, tmp_path: Path) -> None:
    model, images = made(name)
    found = segmented(model, images, tmp_path / "out.nii.gz")
    with np.load(LABELS) as kept:
        expected = kept[name]
    assert len(np.unique(expected)) > 2
    # All of them where they were made; another processor's convolutions may round otherwise.
    assert np.count_nonzero(found != expected) <= 2


@pytest.mark.oracle
def test_nnunet_itself_gives_the_same(made: Any, tmp_path: Path) -> None:
    python = os.environ.get("TILEDSEG_NNUNET", "")
    if not Path(python).is_file():
        pytest.skip("TILEDSEG_NNUNET does not name a Python with nnunetv2: make oracle")
    paths = {name: made(name) for name in BY_NAME}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    asked = {
        name: [str(model), *map(str, images), BY_NAME[name].before or ""]
        for name, (model, images) in paths.items()
    }
    command = [python, "-m", "tests.oracles.nnunet_run", str(tmp_path / "expected")]
    subprocess.run([*command, json.dumps(asked)], check=True, env=environment)
    whole = {}
    for name, (model, images) in paths.items():
        expected = sitk.ReadImage(str(tmp_path / "expected" / f"{name}.nii.gz"))
        whole[name] = sitk.GetArrayFromImage(expected)
        found = segmented(model, images, tmp_path / f"{name}.nii.gz")
        assert np.count_nonzero(found != whole[name]) == 0, name
    if os.environ.get("TILEDSEG_KEEP_LABELS"):
        np.savez_compressed(LABELS, **whole)


def test_a_cascade_runs_its_first_stage_or_takes_what_is_given(made: Any, tmp_path: Path) -> None:
    made("lowres")
    model, images = made("fullres")
    found = segmented(model, images, tmp_path / "out.nii.gz")
    with np.load(LABELS) as kept:
        lowres, fullres = kept["lowres"], kept["fullres"]
    assert np.count_nonzero(found != fullres) <= 2
    first = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.previous.nii.gz")))
    assert np.count_nonzero(first != lowres) <= 2
    given = {"previous": str(tmp_path / "out.previous.nii.gz")}
    again = segmented(model, images, tmp_path / "again.nii.gz", input=given)
    np.testing.assert_array_equal(again, found)
    with pytest.raises(ConfigError, match=r"needs the class map .*: name an out"):
        tiledseg.segment(str(images[0]), model, runtime=RUNTIME)
    with pytest.raises(ConfigError, match=r"stage before: give it with input\.previous"):
        tiledseg.plan(str(images[0]), model, tmp_path / "x.nii.gz", runtime=RUNTIME)
    tiledseg.import_model(model, tmp_path / "native")
    with pytest.raises(ConfigError, match=r"3d_lowres, which is not there: give it with"):
        tiledseg.segment(str(images[0]), tmp_path / "native", tmp_path / "x.nii.gz")


def test_tiles_change_nothing(made: Any, tmp_path: Path) -> None:
    model, images = made("coarse_plans")
    whole = segmented(model, images, tmp_path / "a.nii.gz")
    tiled = segmented(model, images, tmp_path / "b.nii.gz", tiling={"core": (12, 20, 19)})
    np.testing.assert_array_equal(tiled, whole)


def test_workers_see_what_the_driver_saw(made: Any, tmp_path: Path) -> None:
    model, images = made("slices")
    whole = segmented(model, images, tmp_path / "a.nii.gz")
    runtime = {**RUNTIME, "runner": "dask", "workers": 1}
    core = {"core": (4, 41, 38)}
    there = segmented(model, images, tmp_path / "b.nii.gz", tiling=core, runtime=runtime)
    np.testing.assert_array_equal(there, whole)


def test_what_is_cropped_off_is_background_and_counts_as_that(made: Any, tmp_path: Path) -> None:
    model, images = made("regions")
    scores = tmp_path / "scores.nii.gz"
    result = tiledseg.segment(
        [str(path) for path in images],
        model,
        tmp_path / "out.nii.gz",
        runtime=RUNTIME,
        output={"scores": str(scores), "score_type": "float32"},
    )
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "out.nii.gz")))
    values = np.moveaxis(sitk.GetArrayFromImage(sitk.ReadImage(str(scores))), -1, 0)
    assert (labels[0] == 0).all()
    assert (values[:, 0] == 0).all()
    counts = np.unique(labels, return_counts=True)
    counted = {measure.id: measure.samples for measure in result.classes}
    assert counted == dict(zip(*(c.tolist() for c in counts), strict=True))
    assert np.isclose(sum(measure.amount for measure in result.classes), labels.size / 1000)
    painted = np.zeros_like(labels)
    for region, label in zip(values, (1, 2, 3), strict=True):
        painted[region > 0.5] = label
    np.testing.assert_array_equal(painted, labels)


def test_a_region_of_interest_goes_with_the_crop(made: Any, tmp_path: Path) -> None:
    model, images = made("old_plans")
    whole = segmented(model, images, tmp_path / "a.nii.gz")
    image = sitk.ReadImage(str(images[0]))
    mask = np.zeros(whole.shape, np.uint8)
    mask[8:20, 4:15, 6:30] = 1
    roi = sitk.GetImageFromArray(mask)
    roi.CopyInformation(image)
    sitk.WriteImage(roi, str(tmp_path / "roi.nii.gz"))
    part = segmented(
        model, images, tmp_path / "b.nii.gz", input={"roi": str(tmp_path / "roi.nii.gz")}
    )
    np.testing.assert_array_equal(part[mask == 1], whole[mask == 1])


def test_an_imported_model_is_the_same_model(made: Any, tmp_path: Path) -> None:
    model, images = made("residual")
    made_of = tiledseg.import_model(model, tmp_path / "native")
    assert any("3d_fullres" in note for note in made_of.notes)
    native = segmented(tmp_path / "native", images, tmp_path / "a.nii.gz")
    with np.load(LABELS) as kept:
        assert np.count_nonzero(native != kept["residual"]) <= 2


def test_other_tapers_and_runtimes_come_close(made: Any, tmp_path: Path) -> None:
    model, images = made("batch_norm")
    whole = segmented(model, images, tmp_path / "a.nii.gz")
    for number, settings in enumerate(
        (
            {"tiling": {"taper": "gaussian", "blend": "logits"}},
            {"runtime": {"runtime": "onnxruntime", "threads": 1}},
        )
    ):
        found = segmented(model, images, tmp_path / f"{number}.nii.gz", **settings)
        assert (found == whole).mean() > 0.99


# --------------------------------------------------------------------- what is refused, and noted


def changed(model: Path, root: Path, **changes: Any) -> Path:
    """Return a copy of a trained model with other values in plans.json, dataset.json or weights."""
    case = replace(BY_NAME["empty"], name="other")
    folder = write_model(case, root)
    for name, change in changes.items():
        path = folder / f"{name}.json"
        values = json.loads(path.read_text())
        change(values)
        path.write_text(json.dumps(values))
    return folder


def chosen(plans: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of plans."""
    configuration: dict[str, Any] = plans["configurations"]["3d_fullres"]
    return configuration


REFUSED = {
    "network": (
        lambda p: chosen(p)["architecture"].update(network_class_name="a.b.Primus"),
        "its network is 'Primus', and only PlainConvUNet and ResidualEncoderUNet can be built",
    ),
    "normalisation": (
        lambda p: chosen(p).update(normalization_schemes=["MyNormalization"]),
        "ask for the normalisation 'MyNormalization'",
    ),
    "resampling": (
        lambda p: chosen(p).update(resampling_fn_data="resample_torch_fornnunet"),
        "ask for the resampling 'resample_torch_fornnunet'",
    ),
    "reader": (lambda p: p.update(image_reader_writer="Own"), "ask for the reader 'Own'"),
    "circle": (
        lambda p: p["configurations"]["base"].update(inherits_from="3d_fullres"),
        "inherits from itself",
    ),
    "nothing": (lambda p: p.update(configurations={}), "no configuration '3d_fullres'"),
    "lack": (lambda p: chosen(p).pop("normalization_schemes"), "lacks something"),
    "form": (lambda p: p.update(transpose_forward=7), "lacks something, or has it in another"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_told_in_a_sentence(what: str, tmp_path: Path) -> None:
    change, told = REFUSED[what]
    folder = changed(tmp_path, tmp_path, plans=change)
    with pytest.raises(TiledsegError, match=told) as caught:
        find_card(folder)
    assert str(folder) in str(caught.value)


def test_a_trainer_with_a_network_of_its_own_is_refused(tmp_path: Path) -> None:
    folder = changed(tmp_path, tmp_path)
    file = folder / "fold_0" / "checkpoint_final.pth"
    with torch.serialization.safe_globals([]):
        found = torch.load(file, weights_only=False)
    torch.save({**found, "trainer_name": "nnUNet_Primus_M_Trainer"}, file)
    with pytest.raises(ConfigError, match="nnUNet_Primus_M_Trainer builds a network of its own"):
        find_card(folder)
    strange = {"encoder.other.weight": torch.zeros(3)}
    torch.save({**found, "network_weights": {**found["network_weights"], **strange}}, file)
    with pytest.raises(ConfigError, match="do not fit card"):
        tiledseg.load_model(folder)
    torch.save({"weights": 1}, file)
    with pytest.raises(DamagedInput, match="is no checkpoint of nnU-Net"):
        find_card(folder)


def test_a_payload_is_refused_and_does_not_run(tmp_path: Path, payload: Any) -> None:
    folder = changed(tmp_path, tmp_path)
    torch.save({"network_weights": payload}, folder / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(DamagedInput, match="is refused"):
        find_card(folder)
    assert not payload.sentinel.exists()


def test_folds_and_postprocessing_are_noted(tmp_path: Path) -> None:
    folder = write_model(replace(BY_NAME["batch_norm"], folds=("0", "1")), tmp_path)
    (folder / "fold_1").rename(folder / "fold_all")
    results = folder / "crossval_results_folds_0_1_2_3_4"
    results.mkdir()
    (results / "postprocessing.pkl").write_bytes(b"never read")
    notes = " ".join(understand(folder).notes)
    assert "1 fold" in notes
    assert "fold_all was left out" in notes
    assert "postprocessing.pkl was not applied" in notes
    (folder / "fold_0" / "checkpoint_final.pth").rename(folder / "fold_0" / "checkpoint_best.pth")
    assert len(understand(folder).states) == 1  # fold_all is taken where it is alone
    (folder / "fold_all" / "checkpoint_final.pth").unlink()
    assert "checkpoint_best.pth was taken" in " ".join(understand(folder).notes)


def test_what_nnunet_found_worth_doing_is_done(tmp_path: Path) -> None:
    """Written as nnU-Net 2.6 does, with the figures left out."""
    folder = write_model(BY_NAME["batch_norm"], tmp_path)
    classes = find_card(folder).schema.classes
    results = folder / "crossval_results_folds_0_1_2_3_4"
    results.mkdir()
    (results / "postprocessing.pkl").write_bytes(b"never read")
    all_of_them = [c.id for c in classes if c.id]
    name = "remove_all_but_largest_component_from_segmentation"
    values = {
        "postprocessing_fns": [name, name],
        "postprocessing_kwargs": [{"labels_or_regions": n} for n in (all_of_them, all_of_them[0])],
    }
    (results / "postprocessing.json").write_text(json.dumps(values))
    first = classes[1].name
    assert find_card(folder).postprocess == (
        KeepLargest(tuple(c.name for c in classes[1:]), together=True, connectivity=26),
        KeepLargest((first,), together=True, connectivity=26),
    )
    assert f"only the largest component of {first} is kept" in " ".join(understand(folder).notes)
    for wrong in ({**values, "postprocessing_fns": ["erode", name]}, [], {"postprocessing_fns": 1}):
        (results / "postprocessing.json").write_text(json.dumps(wrong))
        assert find_card(folder).postprocess == ()
        assert "was not applied: it is not as nnU-Net" in " ".join(understand(folder).notes)


def test_the_card_says_what_nnunet_does(made: Any) -> None:
    card = find_card(made("mr_transposed")[0])
    assert (card.axes, card.crop, card.spacing) == ((2, 0, 1), "nonzero", (1.5, 1.0, 2.0))
    assert (card.mirror, card.average, card.microbatch) == ((0, 2), "blended", 1)
    assert card.tiling.stride == (12, 8, 10)
    assert find_card(made("regions")[0]).tiling.stride == (8, 8, 10.5)
    assert find_card(made("old_plans")[0]).orientation == "SAR"
