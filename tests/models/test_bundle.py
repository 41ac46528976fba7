"""MONAI bundles give the labels of ``monai.bundle run``, and nothing in them is run."""

from __future__ import annotations

import copy
import json
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
import yaml

import tiledseg
from tests.models import bundles
from tiledseg.cli import run
from tiledseg.errors import ConfigError, DamagedInput
from tiledseg.models import create_network, find_card
from tiledseg.models._foreign import complete, find_reader, understand

Change = Callable[[dict[str, Any]], object]
SHAPE = (33, 40, 30)
#: Spacing of a volume (None: the bundle's), how much it is turned, and which axes are flipped.
PLACES: dict[str, tuple[tuple[float, ...] | None, float, str]] = {
    "as it is": (None, 0.0, ""),
    "oblique": (None, 17.0, "y"),
    "resampled": ((0.75, 1.125, 2.5), 0.0, "xz"),
    "oblique and resampled": ((0.9, 1.1, 2.2), 17.0, "y"),
}
KINDS = {
    "spleen": (bundles.spleen, (1.5, 1.5, 2.0)),
    "whole body": (bundles.whole_body, (1.5, 1.5, 1.5)),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that writes a bundle with generated weights once."""
    root, known = tmp_path_factory.mktemp("bundles"), {}

    def make(kind: str) -> Path:
        if kind not in known:
            name = kind.replace(" ", "_")
            known[kind] = bundles.write_bundle(root / name, KINDS[kind][0]())
        return known[kind]

    return make


def segmented(image: Path, model: Path, out: Path, **settings: Any) -> Any:
    """Return the labels of a volume, (x, y, z)."""
    tiledseg.segment(image, model, out, output={"report": False}, **settings)
    return np.asarray(nib.load(out).dataobj)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", KINDS)
def test_labels_are_those_of_monai(
    tmp_path: Path, made: Callable[[str], Path], kind: str, place: str
) -> None:
    """At 0.75 and 1.125 mm many samples lie half-way between two of the model's.

    MONAI's axes of an oblique image are parallel to the image's but for what float32 left of them:
    1e-8 of an index along one axis is added to that along another. tiledseg leaves that out. So
    the nearest label of a sample that is half-way between two may be the other one (elsewhere all
    are equal), and a sample beside one that is exactly 0 may be 0 in one tool and 1e-6 in the
    other, which matters where statistics are of samples that are not 0: there are none here.
    """
    bundle, (spacing, degrees, flips) = made(kind), PLACES[place]
    affine = bundles.affine(spacing or KINDS[kind][1], degrees, flips)
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, affine, zeros=degrees == 0)
    wanted = bundles.run_monai(bundle, image)
    assert len(np.unique(wanted)) > 1
    found = segmented(image, bundle, tmp_path / "out.nii.gz")
    assert found.dtype == np.uint8
    same, half_way = found == wanted, np.zeros(wanted.shape, bool)
    if kind == "whole body" and spacing is not None and degrees:
        half_way = between_two(image, bundle)
        assert 0 < half_way.mean() < 0.25
        assert same[half_way].mean() > 0.7
    assert same[~half_way].mean() >= 0.999


@pytest.mark.parametrize("name", bundles.NETWORKS)
def test_labels_of_other_networks_are_those_of_monai(tmp_path: Path, name: str) -> None:
    bundle = bundles.write_bundle(tmp_path / "b", bundles.of_network(name))
    affine = bundles.affine((1.3, 1.1, 2.6), 0.0, "xz")
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, affine)
    wanted = bundles.run_monai(bundle, image)
    assert len(np.unique(wanted)) == 3
    found = segmented(image, bundle, tmp_path / "out.nii.gz")
    assert (found == wanted).mean() >= 0.999
    assert find_card(bundle).architecture["name"] in ("dynunet", "unetr", "swin_unetr")


def between_two(image: Path, model: Path) -> Any:
    """Return which samples of a volume, (x, y, z), lie half-way between two of the model's."""
    with tiledseg.plan(image, model) as job:
        target = job.plan.target
    assert target is not None
    found = np.zeros(target.grid.shape, bool)
    for axis, n in enumerate(target.grid.shape):
        place = target.scaling.centres(axis, 0, n)
        found |= (np.abs(place % 1 - 0.5) < 1e-5).reshape(np.roll([n, 1, 1], axis))
    stored = nib.load(image).affine
    turned = nib.orientations.axcodes2ornt("RAS")
    back = nib.orientations.ornt_transform(turned, nib.orientations.io_orientation(stored))
    return nib.orientations.apply_orientation(found, back)


@pytest.mark.parametrize("spacing", [None, (1.0, 1.0, 2.0)])
def test_without_an_orientation_axes_are_those_of_the_file(
    tmp_path: Path, spacing: tuple[float, ...] | None
) -> None:
    """As `brats_mri_segmentation`: MONAI's arrays have x first, whatever way it runs."""
    config = bundles.spleen()
    normalize = {"_target_": "NormalizeIntensityd", "nonzero": True, "channel_wise": True}
    transforms = config["preprocessing"]["transforms"]
    resampled = [] if spacing is None else [bundles.spacing(list(spacing))]
    config["preprocessing"]["transforms"] = [
        *transforms[:2],
        *resampled,
        {**normalize, "keys": "image"},
    ]
    config["inferer"]["roi_size"] = [32, 24, 16]
    bundle = bundles.write_bundle(tmp_path / "b", config)
    affine = bundles.affine((1.0, 1.0, 3.0), 0.0, "x")
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, affine)
    wanted = bundles.run_monai(bundle, image)
    found = segmented(image, bundle, tmp_path / "out.nii.gz")
    assert (found == wanted).mean() >= 0.999


def test_pictures_have_x_first_too(tmp_path: Path) -> None:
    scaled = {"_target_": "ScaleIntensityd", "keys": "image"}
    bundle, image = bundles.write_picture_bundle(tmp_path, scaled)
    wanted = bundles.run_monai(bundle, image)
    assert len(np.unique(wanted)) == 3
    out = tmp_path / "out.tif"
    tiledseg.segment(image, bundle, out, output={"report": False})
    with tiledseg.open_source(out) as source:
        found = source.read(source.grid.box)[0]
    assert (found == wanted).mean() >= 0.999


def test_images_smaller_than_a_window_are_padded_as_monai_pads(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    for kind in KINDS:  # with 0 after the normalisation, and with the outermost samples
        affine = bundles.affine(KINDS[kind][1])
        image = bundles.write_volume(tmp_path / f"{kind}.nii.gz", (19, 30, 14), affine)
        wanted = bundles.run_monai(made(kind), image)
        found = segmented(image, made(kind), tmp_path / f"{kind}_out.nii.gz")
        assert (found == wanted).mean() >= 0.999


def test_a_zip_an_import_and_the_shell_give_the_same(
    tmp_path: Path, made: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = made("spleen")
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, bundles.affine((1.5, 1.5, 2.0)))
    wanted = segmented(image, bundle, tmp_path / "wanted.nii.gz")
    archive = zipped(bundle, tmp_path / "spleen.zip")
    np.testing.assert_array_equal(segmented(image, archive, tmp_path / "zip.nii.gz"), wanted)
    native, shell = tmp_path / "native", tmp_path / "shell.nii.gz"
    assert run(["import", str(bundle), "--out", str(native)]) == 0
    told = capsys.readouterr().out
    assert "MONAI bundle" in told
    assert "1.5 x 1.5 x 2 mm" in told
    assert run(["segment", str(image), "-m", str(native), "-q", "-o", str(shell)]) == 0
    np.testing.assert_array_equal(np.asarray(nib.load(shell).dataobj), wanted)


def test_the_card_says_what_the_bundle_says(made: Callable[[str], Path]) -> None:
    card = find_card(made("whole body"))
    names = [entry["name"] for entry in card.schema.to_dict()["classes"]]
    assert names == ["background", *(f"organ {i}" for i in range(1, 7))]
    assert card.schema.background == 0
    assert card.channels == ("image",)
    assert card.orientation == "RAS"
    assert card.spacing == (1.5, 1.5, 1.5)
    assert card.tiling.given() == {
        "stride": (18, 18, 18),
        "margin": 0,
        "taper": "monai",
        "lattice": "clamped",
        "padding": "edge",
        "blend": "logits",
    }
    assert "authors Nobody" in card.provenance
    assert card.sha256 != find_card(made("spleen")).sha256


def test_weights_may_be_nested_or_named_by_the_loader(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    plain = understand(made("spleen")).states[0]()
    config = bundles.spleen()
    config["checkpointloader"]["load_path"] = "$@bundle_root + '/models/best.pt'"
    config["checkpointloader"]["load_dict"] = {"brain": "@network"}
    bundle = bundles.write_bundle(tmp_path / "b", config)
    (bundle / "models/model.pt").unlink()
    torch.save({"epoch": 3, "brain": plain}, bundle / "models/best.pt")
    found = understand(bundle).states[0]()
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[k], plain[k]) for k in plain)


def test_a_network_of_the_bundles_own_is_its_torchscript(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    config = bundles.spleen()
    bundle = bundles.write_bundle(tmp_path / "b", config)
    network = create_network(find_card(bundle))
    network.load_state_dict(understand(bundle).states[0]())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch: take torch.export
        torch.jit.script(network.eval()).save(bundle / "models/model.ts")
    config["network_def"] = {"_target_": "scripts.networks.Own", "depth": "$lambda: 0"}
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    (bundle / "models/model.pt").unlink()
    assert find_card(bundle).format == "torchscript"
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, bundles.affine((1.5, 1.5, 2.0)))
    found = segmented(image, bundle, tmp_path / "a.nii.gz")
    wanted = segmented(image, made("spleen"), tmp_path / "b.nii.gz")
    assert (found == wanted).mean() > 0.9999


# --------------------------------------------------------------------- other ways to write it


def test_yaml_macros_and_relative_references(tmp_path: Path, made: Callable[[str], Path]) -> None:
    config = bundles.spleen()
    config["inferer"]["sw_batch_size"] = "@#overlap"
    config["roi"] = [24, 24, 24]
    config["inferer"]["roi_size"] = "@roi"
    config["network_def"]["channels"] = "%configs/more.json::wide::0"
    config["network_def"]["out_channels"] = (
        "$len(@_meta_#network_data_format#outputs#pred#channel_def.keys())"
    )
    config["network_def"]["out_channels"] = (
        "@_meta_::network_data_format::outputs::pred::num_channels"
    )
    config["preprocessing"]["transforms"].insert(
        0, {"_target_": "monai.transforms.Lambdad", "_disabled_": "$not False"}
    )
    folder = bundles.write_bundle(tmp_path / "b", bundles.spleen())
    (folder / "configs/inference.json").unlink()
    (folder / "configs/inference.yaml").write_text(yaml.safe_dump(config))
    (folder / "configs/more.json").write_text(json.dumps({"wide": [[4, 8, 16]]}))
    found, wanted = find_card(folder), find_card(made("spleen"))
    assert found.architecture == wanted.architecture
    assert found.normalization == wanted.normalization
    assert found.tiling == wanted.tiling


# --------------------------------------------------------------------- refusals


def changed(path: Path, change: Change) -> Path:
    """Write a bundle with a change, but for the weights."""
    config = bundles.spleen()
    change(config)
    bundle = bundles.write_bundle(path, bundles.spleen())
    (bundle / "configs/inference.json").write_text(json.dumps(config))
    return bundle


def zipped(bundle: Path, archive: Path, top: str = "spleen/") -> Path:
    """Pack a bundle."""
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted(bundle.rglob("*")):
            if file.is_file() and "eval" not in file.parts:
                out.write(file, top + file.relative_to(bundle).as_posix())
    return archive


def transform(place: str, **values: Any) -> Change:
    """Return a change that puts a transform in front."""
    return lambda c: c[place]["transforms"].insert(0, values)


REFUSED: dict[str, tuple[Change, str]] = {
    "code where a value is needed": (
        lambda c: c["network_def"].update(channels="$__import__('os').system('touch SENTINEL')"),
        r"\$__import__\('os'\)\.system\('touch SENTINEL'\) at network_def::channels is code",
    ),
    "an import where a value is needed": (
        lambda c: c["inferer"].update(overlap="$import os"),
        r"the expression \$import os at inferer::overlap is code",
    ),
    "a comprehension": (
        lambda c: c["network_def"].update(channels="$[open('SENTINEL', 'w') for _ in '1']"),
        "ListComp",
    ),
    "a lambda": (
        transform("postprocessing", _target_="Lambdad", keys="pred", func="$lambda x: x[1:]"),
        r"postprocessing::transforms::0: transform 'Lambdad' is not known; known are Activationsd",
    ),
    "a function of the system as a target": (
        transform("preprocessing", _target_="os.system", command="touch SENTINEL"),
        "preprocessing::transforms::0: transform 'os.system' is not known; known are LoadImaged",
    ),
    "a function of the system as a network": (
        lambda c: c["network_def"].update(_target_="subprocess.run"),
        "network_def: network 'subprocess.run' is not known; known are UNet",
    ),
    "a network of the bundle's own": (
        lambda c: c["network_def"].update(_target_="scripts.networks.UNet"),
        "network 'scripts.networks.UNet' is not known",
    ),
    "a target that is code": (
        lambda c: c["network_def"].update(_target_="$@evaluator.run"),
        r"the expression \$@evaluator.run at network_def::_target_ is code",
    ),
    "an argument that is not known": (
        lambda c: c["preprocessing"]["transforms"][3].update(max_pixdim=3.0),
        "argument max_pixdim of Spacingd is not known",
    ),
    "a crop": (
        transform("preprocessing", _target_="CropForegroundd", keys="image"),
        "transform 'CropForegroundd' is not known",
    ),
    "whole images": (
        lambda c: c.update(inferer={"_target_": "SimpleInferer"}),
        "inferer: 'SimpleInferer' is not known: tiledseg cuts windows as SlidingWindowInferer",
    ),
    "clipping before resampling": (
        lambda c: c["preprocessing"]["transforms"].insert(
            3, c["preprocessing"]["transforms"].pop(4)
        ),
        "Spacingd after intensities were clipped",
    ),
    "a circle": (lambda c: c.update(inferer="@network_def", network_def="@inferer"), "to itself"),
    "a reference to nothing": (lambda c: c.update(inferer="@nowhere"), "@nowhere is referred to"),
    "weights outside": (
        lambda c: c["checkpointloader"].update(load_path="$@bundle_root + '/../../model.pt'"),
        r"file '\./\.\./\.\./model\.pt' lies outside the bundle",
    ),
    "a macro outside": (lambda c: c.update(inferer="%/etc/x.json::a"), "lies outside the bundle"),
    "many values": (
        lambda c: c.update(
            network_def="@n0", **{f"n{i}": [f"@n{i + 1}"] * 10 for i in range(9)}, n9=1
        ),
        "stands for more than",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_known_is_refused_in_one_sentence_and_nothing_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    change, told = REFUSED[name]
    bundle = changed(tmp_path / "b", change)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=told) as refused:
        find_card(bundle)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 700
    assert not (tmp_path / "SENTINEL").exists()


def test_code_that_nobody_asks_for_is_neither_run_nor_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Callable[[str], Path]
) -> None:
    payload = "$__import__('os').system('touch SENTINEL')"

    def change(config: dict[str, Any]) -> None:
        config["imports"] += ["$import os", payload]
        config["initialize"].insert(0, payload)
        config["datalist"] = config["output_dir"] = payload
        config["preprocessing"]["transforms"][0]["meta_keys"] = payload

    bundle = changed(tmp_path / "b", change)
    monkeypatch.chdir(tmp_path)
    image = bundles.write_volume(tmp_path / "ct.nii.gz", SHAPE, bundles.affine((1.5, 1.5, 2.0)))
    found = segmented(image, bundle, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found, segmented(image, made("spleen"), tmp_path / "b.nii.gz"))
    assert not (tmp_path / "SENTINEL").exists()


JUNK = (7, -1, 1e99, "x", "", None, True, [], {}, [[]], {"a": [1]}, ["x"], [None], "@_meta_")


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where in lists and dicts there is something."""
    if place:
        yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inner, (*place, key))


def put(value: Any, place: tuple[Any, ...], junk: Any) -> Any:
    """Return a copy of lists and dicts with something else at a place."""
    made = copy.deepcopy(value)
    inner = made
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = junk
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_values_of_a_wrong_kind_are_told_in_a_sentence(
    tmp_path: Path, made: Callable[[str], Path], kind: str
) -> None:
    """Every value of both files in turn, replaced by each of a dozen that do not belong there."""
    files = {name: made(kind) / "configs" / name for name in ("inference.json", "metadata.json")}
    plain = {name: json.loads(file.read_text()) for name, file in files.items()}
    bundle = shutil.copytree(made(kind), tmp_path / "b", ignore=lambda *_: ["eval"])
    told = []
    for name, values in plain.items():
        for place in places(values):
            for junk in JUNK:
                text = json.dumps(put(values, place, junk))
                (bundle / "configs" / name).write_text(text)
                try:
                    complete(understand(bundle), bundle)
                except (ConfigError, DamagedInput) as error:
                    told.append(str(error))
        (bundle / "configs" / name).write_text(json.dumps(values))
    assert len(told) > 300
    assert not [text for text in told if "\n" in text]


def test_transforms_that_are_no_list_are_damage(tmp_path: Path) -> None:
    def change(config: dict[str, Any]) -> None:
        config["preprocessing"] = {"_target_": "Compose", "transforms": 7}

    with pytest.raises(
        DamagedInput, match=r"preprocessing: expected a list of transforms, found 7"
    ):
        find_card(changed(tmp_path / "b", change))


def test_weights_that_ask_for_code_are_refused(tmp_path: Path, payload: Any) -> None:
    bundle = bundles.write_bundle(tmp_path / "b", bundles.spleen())
    torch.save({"model": payload}, bundle / "models/model.pt")
    with pytest.raises(DamagedInput, match="getattr would have to be run"):
        tiledseg.load_model(bundle)
    assert not payload.sentinel.exists()


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "spleen/../../evil", "..\\evil"])
def test_an_archive_whose_names_lead_out_of_it_is_refused(
    tmp_path: Path, made: Callable[[str], Path], name: str
) -> None:
    archive = zipped(made("spleen"), tmp_path / "bundle.zip")
    with zipfile.ZipFile(archive, "a") as out:
        out.writestr(name, "evil")
    with pytest.raises(DamagedInput, match=r"is refused: .*evil.* leads out of its folder"):
        find_card(archive)


def test_an_archive_that_unpacks_to_far_more_is_refused(
    tmp_path: Path, made: Callable[[str], Path]
) -> None:
    archive = zipped(made("spleen"), tmp_path / "bundle.zip")
    with zipfile.ZipFile(archive, "a", zipfile.ZIP_DEFLATED) as out:
        out.writestr("spleen/configs/huge.json", " " * 20_000_000)
    with pytest.raises(DamagedInput, match="would unpack"):
        find_card(archive)
    bundle = changed(tmp_path / "b", lambda c: c.update(inferer="%configs/huge.json::a"))
    (bundle / "configs/huge.json").write_text(" " * 20_000_000)
    with pytest.raises(DamagedInput, match=r"huge\.json is larger than 16000000 bytes"):
        find_card(bundle)


def test_other_folders_and_archives_are_no_bundles(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/metadata.json").write_text("{}")
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04 and nothing more")
    assert find_reader(tmp_path) is None
    assert find_reader(tmp_path / "a.zip") is None
