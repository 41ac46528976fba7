"""The grid that MONAI gives an image whose samples are to lie at other distances.

Tools agree on the scale of every axis, but not on how many samples there are and where the first
one lies. Networks have seen grids of their tool only, so the tool's own rule is followed here, in
its own order of operations: where a sample lies half-way between two others, the last bit decides
which of them is the nearest.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid, SpaceKind
from ._scaling import Scaling
from ._torch_axis import TorchAxis

Floats = NDArray[np.floating[Any]]

#: Corners that are this far apart count as one (numpy.allclose's ``atol``, see `monai_spaced`).
_APART = 1e-8
#: MONAI's AFFINE_TOL: mm up to which a spacing is left as it is, and what an affine may differ by
#: for an image to be left as it is.
_SAME = 1e-3


class Spaced(NamedTuple):
    """Shape of another grid, the scaling from it to the image's, and that back."""

    shape: tuple[int, ...]
    scaling: Scaling
    back: Scaling


def monai_spaced(grid: Grid, spacing: tuple[float, ...]) -> Spaced | None:
    """Return the grid that MONAI's ``Spacing(pixdim, diagonal=False)`` gives an image.

    Shape: ``round((n - 1) * old / new + 1)``. First sample: that of the image, if the new grid's
    corners lie as the old one's, to 1e-8 samples. They do where axes run along the world's. An
    oblique affine was rounded to float32 in its file, so that its axes are not quite at right
    angles; MONAI's new axes are, and most such corners differ by more. Then the two grids share
    another point: half the extent, counted from the first centre (monai.data.utils: zoom_affine,
    compute_shape_offset; MONAI 1.6.1, where ``rtol`` is relative to 0 and so does nothing).

    Args:
        grid: Of the image, along the axes of the array that MONAI sees.
        spacing: Distance between centres, array order.

    Returns:
        None where MONAI leaves the image as it is.
    """
    n = grid.ndim
    affine = _monai_affine(grid)
    own = np.sqrt((affine[:n, :n] ** 2).sum(axis=0))
    wanted = np.where(np.abs(own - spacing) <= _SAME, own, spacing)
    new, shape = _spaced(affine, np.array(grid.shape, np.float64), wanted)
    between = np.linalg.solve(affine, new)
    if shape == grid.shape and (_close(affine, new) or _close(between, np.eye(n + 1))):
        return None
    # As MONAI leads back: from the affine that it has noted for the resampled image.
    back = np.linalg.solve(affine @ between, affine)
    there = _scaling(between, to=shape, of=grid.shape)
    return Spaced(shape, there, _scaling(back, to=grid.shape, of=shape))


def _spaced(affine: Floats, shape: Floats, spacing: Floats) -> tuple[Floats, tuple[int, ...]]:
    """Return affine and shape of the new grid."""
    n = len(shape)
    linear = affine[:n, :n]
    upper = np.linalg.cholesky(linear.T @ linear).T
    rotation = linear @ np.linalg.inv(upper)
    new = np.eye(n + 1)
    new[:n, :n] = rotation @ np.diag(np.sign(np.diag(upper)) * spacing)
    ends = np.meshgrid(*((0.0, extent - 1.0) for extent in shape), indexing="ij")
    corners = np.vstack([np.reshape(ends, (n, -1)), np.ones((1, 2**n))])
    found = (np.linalg.solve(new, affine) @ corners)[:n]
    count = np.round(np.ptp(found, axis=1) + 1.0)
    origin = linear @ (shape / 2) + affine[:n, n] - new[:n, :n] @ (count / 2)
    for corner, at in zip(found.T, (affine @ corners)[:n].T, strict=True):
        if np.abs(np.min(found - corner[:, None], axis=1)).max() <= _APART:
            origin = at
            break
    new[:n, n] = origin
    return new, tuple(int(c) for c in count)


def _monai_affine(grid: Grid) -> Floats:
    """Return the affine as MONAI has it: of centres, the first axis first, to RAS."""
    matrix = grid.centers()
    order = [*range(grid.ndim)[::-1], grid.ndim]
    if grid.space.kind is SpaceKind.PATIENT:
        matrix = np.diag([-1.0, -1.0, *[1.0] * (grid.ndim - 1)]) @ matrix  # LPS to RAS
    return np.asarray(matrix[:, order])


def _scaling(matrix: Floats, to: tuple[int, ...], of: tuple[int, ...]) -> Scaling:
    """Return the scaling of a matrix between indices of two grids, as torch does it.

    Axes of oblique images are parallel but for what float32 left of them: 1e-8 of an index along
    one axis is added to that along another. That is left out, so where a sample of an oblique image
    lies half-way between two, the nearest may be the other one.
    """
    n = len(to)
    scale, offset = np.diag(matrix)[:n].tolist(), matrix[:n, n].tolist()
    return Scaling.of_torch([TorchAxis(*axis) for axis in zip(to, of, scale, offset, strict=True)])


def _close(one: Floats, other: Floats) -> bool:
    return np.allclose(one, other, rtol=1e-5, atol=_SAME)
