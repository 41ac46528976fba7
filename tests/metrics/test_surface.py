"""Surface distances: MONAI's metrics as the oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from monai.metrics import (
    compute_average_surface_distance,
    compute_hausdorff_distance,
    compute_surface_dice,
)
from monai.metrics.utils import get_edge_surface_distance
from scipy.ndimage import gaussian_filter

from tiledseg.metrics import surface_distances

#: MONAI 1.6 warns of an argument that it gives itself.
pytestmark = pytest.mark.filterwarnings("ignore:monai.metrics.utils get_mask_edges")
SPACINGS = {2: [(1.0, 1.0), (0.3, 1.7)], 3: [(1.0, 1.0, 1.0), (2.5, 0.8, 0.7)]}


def blobs(seed: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Two smooth masks that overlap in part and may touch the border."""
    rng = np.random.default_rng(seed)
    shape = (21, 17, 13)[:dims] if dims == 3 else (31, 27)
    fields = [gaussian_filter(rng.standard_normal(shape), 2.0) for _ in range(2)]
    mixed = 0.7 * fields[0] + 0.3 * fields[1]
    level = rng.uniform(-0.3, 1.0)
    return tuple(f > level * f.std() for f in (fields[0], mixed))


def one_hot(mask: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.stack([~mask, mask])[None].astype(np.float32))


def float32_error(distances: np.ndarray, share: float) -> float:
    """How far a quantile may be off whose rank is computed in float32: share and product round."""
    ordered, rank = np.sort(distances), share * (len(distances) - 1)
    steps = np.diff(ordered[max(0, int(rank) - 1) : int(rank) + 3])
    return rank * float(np.finfo(np.float32).eps) * float(steps.max(initial=0.0))


@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.integers(0, 1))
@example(549169, 3, 0)  # 1405 distances: the rank is off by 7e-5, the distance by 2.3e-5
@settings(max_examples=40, deadline=None)
def test_every_figure_is_that_of_monai(seed, dims, which) -> None:
    truth, found = blobs(seed, dims)
    if not truth.any() or not found.any():
        return
    spacing = SPACINGS[dims][which]
    measured = surface_distances(truth, found, spacing)
    y_pred, y = one_hot(found), one_hot(truth)
    options = {"spacing": spacing, "symmetric": True}
    _, distances, _ = get_edge_surface_distance(y_pred[0, 1], y[0, 1], **options)
    for mine, theirs in zip((measured.from_map, measured.from_truth), distances, strict=True):
        assert (np.sort(mine) == np.sort(theirs.numpy())).all()
    for percentile, ours in ((95, measured.hausdorff()), (100, measured.hausdorff(100))):
        # MONAI's own, as exactly as its float32 rank allows, and the same in float64
        theirs = compute_hausdorff_distance(y_pred, y, percentile=percentile, spacing=spacing)
        rank = max(float32_error(d.numpy(), percentile / 100) for d in distances)
        assert ours == pytest.approx(float(theirs[0, 0]), rel=1e-6, abs=rank)
        exact = max(float(torch.quantile(d.double(), percentile / 100)) for d in distances)
        assert ours == pytest.approx(exact, rel=1e-9)
    average = compute_average_surface_distance(y_pred, y, symmetric=True, spacing=spacing)
    assert measured.average() == pytest.approx(float(average[0, 0]), rel=2e-6, abs=1e-6)
    for tolerance in (0.0, 0.3, 0.7, 1.0, 1.6, 2.5):
        theirs = compute_surface_dice(y_pred, y, [tolerance], spacing=spacing)
        assert measured.normalised(tolerance) == pytest.approx(float(theirs[0, 0]), abs=1e-6)


@pytest.mark.filterwarnings("ignore:the (ground truth|prediction) of class")
def test_empty_masks_are_told_as_monai_tells_them() -> None:
    nothing, something = np.zeros((9, 9, 9), bool), np.zeros((9, 9, 9), bool)
    something[2:5, 3:6, 4:7] = True
    for truth, found in ((nothing, something), (something, nothing)):
        measured = surface_distances(truth, found, (1, 1, 1))
        y_pred, y = one_hot(found), one_hot(truth)
        assert measured.hausdorff() == measured.average() == np.inf
        assert float(compute_hausdorff_distance(y_pred, y)[0, 0]) == np.inf
        assert measured.normalised(2) == float(compute_surface_dice(y_pred, y, [2.0])[0, 0]) == 0
    neither = surface_distances(nothing, nothing, (1, 1, 1))
    assert np.isnan([neither.hausdorff(), neither.average(), neither.normalised(1)]).all()
    empty = one_hot(nothing)
    assert torch.isnan(compute_hausdorff_distance(empty, empty)).all()
    assert torch.isnan(compute_surface_dice(empty, empty, [1.0])).all()


@given(st.integers(0, 10**6))
@settings(max_examples=20, deadline=None)
def test_a_bounding_box_is_enough_and_both_sides_count_alike(seed) -> None:
    truth, found = blobs(seed, 3)
    if not (truth | found).any():
        return
    at = np.argwhere(truth | found)
    box = tuple(slice(a, b + 1) for a, b in zip(at.min(axis=0), at.max(axis=0), strict=True))
    spacing = SPACINGS[3][1]
    whole = surface_distances(truth, found, spacing)
    cut = surface_distances(truth[box], found[box], spacing)
    turned = surface_distances(found, truth, spacing)
    for figure in ("hausdorff", "average"):
        assert getattr(whole, figure)() == getattr(cut, figure)()
        assert getattr(whole, figure)() == pytest.approx(getattr(turned, figure)(), rel=1e-6)
    assert 0 <= whole.normalised(1.0) <= 1


def test_a_distance_that_equals_the_tolerance_counts() -> None:
    truth, found = np.zeros((20, 5, 5), bool), np.zeros((20, 5, 5), bool)
    truth[4:8], found[7:11] = True, True
    measured = surface_distances(truth, found, (0.1, 1, 1))  # 3 samples of 0.1: 0.30000000000000004
    assert measured.normalised(0.3) == 1
