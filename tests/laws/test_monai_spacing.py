"""The grid for another spacing is that of the tool whose rule it is."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

import tiledseg
from tests.models import bundles
from tiledseg.resampling import Scaling
from tiledseg.resampling._monai import monai_spaced

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.transforms import LoadImage, Orientation, Spacing


@pytest.mark.parametrize("oblique", [False, True])
def test_shape_and_place_are_monais(tmp_path: Path, oblique: bool) -> None:
    """Through a file, because the choice hangs on how its float32 numbers are rounded."""
    generator = np.random.default_rng(5)
    first_kept = 0
    for _ in range(16):
        old, new = generator.uniform(0.5, 3, 3), tuple(generator.uniform(0.6, 3, 3))
        turn = float(generator.uniform(1, 170)) if oblique else 0.0
        flips = "".join(c for c in "xyz" if generator.random() < 0.5)
        shape = tuple(int(n) for n in generator.integers(2, 40, 3))
        affine = bundles.affine(tuple(old), turn, flips)
        path = bundles.write_volume(tmp_path / "ct.nii.gz", shape, affine)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = Orientation("RAS")(LoadImage(ensure_channel_first=True)(path))
            wanted = Spacing(new)(image)
        with tiledseg.open_source(path) as source:
            found = monai_spaced(source.grid.reorient("RAS")[0], new)
        assert found.shape == tuple(wanted.shape[1:])
        between = np.linalg.solve(image.affine.numpy(), wanted.affine.numpy())
        told = Scaling.of_centres(np.diag(between)[:3].tolist(), between[:3, 3].tolist())
        np.testing.assert_allclose(found.scaling.scale, told.scale, atol=1e-6)
        np.testing.assert_allclose(found.scaling.offset, told.offset, atol=2e-5)
        first_kept += bool(np.abs(between[:3, 3]).max() < 1e-6)
    assert first_kept == 16 if not oblique else 0 < first_kept < 16  # both rules are met
