"""Views and ensembles in whole runs, in Python and in the shell."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

import tiledseg
from tiledseg.cli import run
from tiledseg.errors import ConfigError
from tiledseg.models import combine, load_model, turns_of

MakeModel = Callable[..., Path]

ONE: dict[str, Any] = {"threads": 1}


@pytest.fixture
def pair(make_model: MakeModel) -> list[Path]:
    """Return two networks of the same classes and other weights."""
    wider = {"name": "unet", "channels": [5, 9], "strides": [2], "norm": "batch"}
    return [make_model(), make_model(architecture=wider)]


def pixels(*shape: int) -> np.ndarray:
    """Return noise with edges, (3, *shape)."""
    rng = np.random.default_rng(3)
    coarse = rng.integers(0, 200, (3, shape[0] // 4 + 1, shape[1] // 4 + 1), np.uint8)
    blocks = coarse.repeat(4, 1).repeat(4, 2)[:, : shape[0], : shape[1]]
    return blocks + rng.integers(0, 55, blocks.shape, np.uint8)


def scene(path: Path, *shape: int) -> Path:
    """Write the pixels as an image file."""
    Image.fromarray(pixels(*shape).transpose(1, 2, 0)).save(path)
    return path


def mean_scores(models: list[Path], values: torch.Tensor) -> torch.Tensor:
    """Return what mirrored views and two models should give, in a few lines of torch."""
    found = []
    for folder in models:
        network = load_model(folder)
        views = ((), (2,), (3,), (2, 3))
        found += [network(values.flip(view)).softmax(1).flip(view)[0] for view in views]
    return torch.stack(found).mean(0)


def test_a_run_of_one_window_is_the_mean_computed_by_hand(tmp_path: Path, pair: list[Path]) -> None:
    image = pixels(64, 64)
    card = load_model(pair[0]).card
    values = card.normalization(image.astype(np.float32), np.ones((64, 64), bool))
    expected = mean_scores(pair, torch.from_numpy(values)[None])
    out = tmp_path / "scores.tif"
    result = tiledseg.segment(
        image,
        pair,
        combine={"mirror": (0, 1)},
        output={"scores": str(out), "score_type": "float32"},
    )
    with tiledseg.open_source(out) as source:
        found = source.read(source.grid.box)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=1e-5)
    top = expected.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-4).numpy()
    assert result.array is not None
    np.testing.assert_array_equal(result.array[clear], expected.argmax(0).numpy()[clear])
    assert clear.mean() > 0.99


@pytest.mark.parametrize("average", ["scores", "logits"])
def test_tiles_do_not_show_in_the_bits_of_a_combined_run(
    tmp_path: Path, pair: list[Path], average: str
) -> None:
    found = []
    for core, workers in (((150, 130), 1), ((64, 40), 2)):
        out = tmp_path / f"{workers}.tif"
        tiledseg.segment(
            pixels(150, 130),
            pair,
            tiling={"window": (34, 34), "core": core},
            combine={"mirror": (0, 1), "quarter_turns": True, "average": average},
            runtime={"workers": workers, "threads": 1, "microbatch": 3},
            output={"scores": str(out), "score_type": "float32"},
        )
        with tiledseg.open_source(out) as source:
            found.append(source.read(source.grid.box))
    assert found[0].std() > 0.1
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("tta", "combined"),
    [
        ("mirror", {"mirror": (0, 1)}),
        ("turns", {"quarter_turns": True}),
        ("all", {"mirror": (0, 1), "quarter_turns": True}),
    ],
)
def test_the_shell_averages_views_and_models(
    tmp_path: Path, pair: list[Path], tta: str, combined: dict[str, Any]
) -> None:
    image, out = scene(tmp_path / "scene.png", 90, 80), tmp_path / "map.tif"
    models = [word for path in pair for word in ("-m", str(path))]
    assert (
        run(["segment", str(image), *models, "-o", str(out), "--tta", tta, "-q", "--threads", "1"])
        == 0
    )
    with tiledseg.open_source(out) as source:
        found = source.read(source.grid.box)[0]
    expected = tiledseg.segment(str(image), pair, combine=combined, runtime=ONE).array
    assert expected is not None
    np.testing.assert_array_equal(found, expected)
    plain = tiledseg.segment(str(image), pair[0], runtime=ONE).array
    alone = tiledseg.segment(str(image), pair[0], combine=combined, runtime=ONE).array
    assert (found != plain).any(), "the views and models must matter"
    assert (found != alone).any(), "the second model must matter"


def test_a_card_with_folds_and_views_is_the_run_that_settings_ask_for(
    tmp_path: Path, make_model: MakeModel
) -> None:
    first, second = (Path(shutil.copytree(make_model(), tmp_path / name)) for name in "ab")
    state = load_file(second / "weights.safetensors")
    changed = {
        name: values * 1.3 if values.is_floating_point() else values
        for name, values in state.items()
    }
    save_file(changed, second / "weights.safetensors")
    image = scene(tmp_path / "a.png", 90, 75)
    asked: dict[str, Any] = {"average": "logits", "mirror": (0,)}
    tiling = {"lattice": "even", "taper": "hann", "stride": (24, 20)}
    runtime = {"threads": 1, "runtime": "torch"}
    told = tiledseg.segment(image, [first, second], combine=asked, tiling=tiling, runtime=runtime)

    (first / "fold_1.safetensors").write_bytes((second / "weights.safetensors").read_bytes())
    card = yaml.safe_load((first / "model.yaml").read_text())
    wishes = {"folds": ["fold_1.safetensors"], "mirror": [0], "average": "logits"}
    own = {k: list(v) if isinstance(v, tuple) else v for k, v in tiling.items()}
    (first / "model.yaml").write_text(yaml.safe_dump({**card, **wishes, "tiling": own}))
    found = tiledseg.segment(image, first, runtime=runtime)
    assert found.ran.planned == told.ran.planned
    assert np.mean(found.array == told.array) > 0.9999  # the order of the sum differs
    plain = tiledseg.segment(image, first, runtime=runtime, combine={"mirror": ()})
    assert not np.array_equal(plain.array, found.array)

    (first / "fold_1.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"no weights at .*fold_1\.safetensors"):
        tiledseg.segment(image, first, runtime=runtime)


def test_the_shell_mirrors_all_axes_of_a_volume(tmp_path: Path, make_model: MakeModel) -> None:
    import SimpleITK as sitk

    image, out = tmp_path / "volume.nii.gz", tmp_path / "map.nii.gz"
    values = np.random.default_rng(5).integers(0, 200, (20, 22, 24)).astype(np.int16)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(image))
    model = make_model(3, channels=1)
    arguments = ["segment", str(image), "-m", str(model), "-o", str(out), "--tta", "mirror", "-q"]
    arguments += ["--threads", "1"]
    assert run(arguments) == 0
    expected = tiledseg.segment(str(image), model, combine={"mirror": (0, 1, 2)}, runtime=ONE).array
    found = sitk.GetArrayFromImage(sitk.ReadImage(str(out)))
    np.testing.assert_array_equal(found, expected)
    other = tiledseg.segment(str(image), model, combine={"mirror": (1, 2)}, runtime=ONE).array
    assert (found != other).any(), "the first axis must matter"


def test_the_shell_refuses_turned_windows_that_are_not_square(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    image = scene(tmp_path / "scene.png", 90, 80)
    model = make_model(any_size=False, window=(64, 32))
    arguments = ["segment", str(image), "-m", str(model), "-o", str(tmp_path / "map.tif")]
    assert run([*arguments, "--tta", "turns"]) == 2
    told = capsys.readouterr().err
    assert "combine.quarter_turns needs windows as high as wide, got (64, 32)" in told
    assert not (tmp_path / "map.tif").exists()


def test_windows_that_are_not_square_are_turned_where_any_size_will_do(
    make_model: MakeModel,
) -> None:
    model = load_model(make_model(), threads=1)
    x = torch.randn(1, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    found = combine([model], turns_of((), True, 2), "scores")(x)
    views = [
        torch.rot90(torch.softmax(model(torch.rot90(x, q, (-2, -1))), 1), -q, (-2, -1))
        for q in range(4)
    ]
    torch.testing.assert_close(found, torch.stack(views).mean(0))


def test_the_shell_refuses_models_of_other_classes(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    image = scene(tmp_path / "scene.png", 90, 80)
    models = [str(make_model()), str(make_model(classes=5))]
    out = tmp_path / "map.tif"
    assert run(["segment", str(image), "-m", models[0], "-m", models[1], "-o", str(out)]) == 2
    assert "cannot be averaged: their schema differ" in capsys.readouterr().err
