"""Models whose grid has an extent of its own: the image lies in the middle of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

import tiledseg
from tiledseg.errors import ConfigError
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec, create_sink, open_source
from tiledseg.models import load_model
from tiledseg.resampling import Resampling

MakeModel = Callable[..., Path]
EXTENT = (31, 34, 28)


def model(make_model: MakeModel, **changes: Any) -> Path:
    """Write a small MeshNet, which sees four samples far, for volumes of 1 mm."""
    return make_model(
        dims=3,
        channels=1,
        classes=3,
        architecture={"name": "meshnet", "features": 4, "dilations": [1, 2, 1]},
        multiple=1,
        margin=4,
        spacing=(1.0, 1.0, 1.0),
        resampling=Resampling(**{"extent": EXTENT, **changes}),
    )


def volume(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...]) -> Path:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, [n // 3 + 1 for n in shape]).astype(np.float32)
    for axis in range(3):
        coarse = coarse.repeat(3, axis)
    grid = Grid.from_centers(shape, (5, -7, 110), spacing, np.eye(3), PATIENT)
    sink = create_sink(path, SinkSpec(grid, coarse.dtype, ("t1",), None))
    sink.prepare()
    sink.write(grid.box, coarse[None, *(slice(n) for n in shape)])
    sink.commit()
    return path


def whole(network: Path, samples: Any) -> Any:
    """Return the scores of a volume in model units, put into the middle of zeros."""
    pads = [
        ((n - m) // 2, n - m - (n - m) // 2) for n, m in zip(EXTENT, samples.shape, strict=True)
    ]
    x = torch.from_numpy(np.pad(samples * 0.01 - 1, pads).astype(np.float32))
    scores = load_model(network)(x[None, None])[0].softmax(0).numpy()
    return scores[:, *(slice(a, n - b) for (a, b), n in zip(pads, EXTENT, strict=True))]


@pytest.mark.parametrize("window", [(16, 16, 16), (13, 40, 20)])
def test_tiled_is_the_whole_of_that_extent(
    tmp_path: Path, make_model: MakeModel, window: tuple[int, ...]
) -> None:
    """Beyond the image there is 0, and only beyond the model's grid the network's own padding."""
    network = model(make_model)
    image = volume(tmp_path / "t1.nii.gz", (21, 24, 19), (1.0, 1.0, 1.0))
    scores = tmp_path / "scores.zarr"
    tiledseg.segment(
        image,
        network,
        tmp_path / "map.nii.gz",
        tiling={"window": window, "core": (16, 24, 24)},
        output={"scores": str(scores), "score_type": "float32", "report": False},
    )
    with open_source(image) as source, open_source(scores) as found:
        samples, grid = source.read(source.grid.box)[0], source.grid
        made = found.read(found.grid.box)
    assert_allclose(made, whole(network, samples), atol=2e-6)
    plain = load_model(network)(torch.from_numpy(samples * 0.01 - 1)[None, None])[0].softmax(0)
    assert np.abs(made - plain.numpy()).max() > 0.01  # which is another network's border
    with open_source(tmp_path / "map.nii.gz") as out:
        assert out.grid.like(grid)


def test_an_image_of_another_spacing(tmp_path: Path, make_model: MakeModel) -> None:
    """As without an extent where the network sees no border; and on the model's grid."""
    image = volume(tmp_path / "t1.nii.gz", (11, 30, 19), (1.0, 0.8, 2.0))
    found = []
    for extent in (EXTENT, None):
        out = tmp_path / f"{extent is None}.nii.gz"
        settings = {"scores": str(tmp_path / "s.zarr"), "score_type": "float32", "report": False}
        network = model(make_model, extent=extent)
        tiledseg.segment(image, network, out, output=settings, tiling={"window": (16, 16, 16)})
        with open_source(tmp_path / "s.zarr") as source:
            found.append(source.read(source.grid.box)[:, 3:-3, 6:-6, 5:-5])
    assert_allclose(*found, atol=2e-6)
    out = tmp_path / "model.nii.gz"
    settings = {"grid": "model", "report": False}
    tiledseg.segment(image, model(make_model), out, output=settings)
    with open_source(out) as source:
        assert source.grid.shape == EXTENT
        labels = source.read(source.grid.box)[0]
    assert (labels != 255).sum() == 22 * 24 * 19
    assert (labels[4:26, 5:29, 4:23] != 255).all()


def test_what_is_larger_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    image = volume(tmp_path / "t1.nii.gz", (21, 24, 40), (1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match=r"has \(21, 24, 40\) samples .* only \(31, 34, 28\)"):
        tiledseg.segment(image, model(make_model))


@pytest.mark.parametrize("changes", [{"extent": (3, 3)}, {"extent": (0, 3, 3)}, {"align": "monai"}])
def test_an_extent_must_fit_the_model(changes: dict[str, Any]) -> None:
    found = Resampling(**{"extent": EXTENT, **changes}).problem(3)
    assert found is not None
    assert "resampling.extent: expected 3 positive numbers, and align corners" in found
