"""Where the samples of an image lie in the world."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..box import Box
from ..errors import ConfigError, GridMismatch
from ._axes import AxisMap
from ._space import LOCAL, Space, SpaceKind

Affine = tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class ControlPoint:
    """A ground control point: (row, column), edge registered, and its world (x, y, z)."""

    row: float
    column: float
    x: float
    y: float
    z: float = 0.0


@dataclass(frozen=True)
class Grid:
    """Sampling lattice of an image: shape, edge-registered affine, space.

    Args:
        shape: Samples per axis in array order (y, x) or (z, y, x); every axis at least 1.
        affine: (n+1) x (n+1) rows, continuous edge-registered (x, y[, z]) index -> world.
        space: What the world coordinates mean.
        control: Ground control points where the file has them instead of an affine; the
            affine is then their least-squares fit.

    Raises:
        ConfigError: An empty axis, or an affine that is not finite, of another size or singular.

    >>> g = Grid.from_centers((2, 4), origin=(0.5, 0.5), spacing=(1.0, 1.0))
    >>> g.bounds
    ((0.0, 4.0), (0.0, 2.0))
    """

    shape: tuple[int, ...]
    affine: Affine
    space: Space = LOCAL
    control: tuple[ControlPoint, ...] = ()

    def __post_init__(self) -> None:
        n = len(self.shape)
        if n not in (2, 3) or any(s < 1 for s in self.shape):
            raise ConfigError(f"a grid needs 2 or 3 axes of at least 1 sample, got {self.shape}")
        if len(self.affine) != n + 1 or any(len(row) != n + 1 for row in self.affine):
            raise ConfigError(f"the affine of a {n}-D grid is {n + 1} x {n + 1}")
        if not np.isfinite(self.matrix).all():
            raise ConfigError("the image's affine holds values that are not finite")
        lengths = np.linalg.norm(self.matrix[:n, :n], axis=0)
        if (lengths == 0).any() or abs(np.linalg.det(self.matrix[:n, :n] / lengths)) < 1e-6:
            raise ConfigError("the image's affine is singular: two axes are parallel or one is 0")

    # ----------------------------------------------------------------- made from

    @classmethod
    def from_matrix(cls, shape: tuple[int, ...], matrix: ArrayLike, space: Space = LOCAL) -> Grid:
        """Return the grid of an edge-registered (n+1) x (n+1) matrix."""
        rows = np.asarray(matrix, dtype=np.float64)
        return cls(tuple(map(int, shape)), tuple(tuple(map(float, r)) for r in rows), space)

    @classmethod
    def from_centers(
        cls,
        shape: tuple[int, ...],
        origin: tuple[float, ...],
        spacing: tuple[float, ...],
        direction: ArrayLike | None = None,
        space: Space = LOCAL,
    ) -> Grid:
        """Return the grid whose first sample's *centre* lies at ``origin``.

        Args:
            shape: Samples per axis, array order.
            origin: World (x, y[, z]) of the first sample's centre.
            spacing: Distance between centres, (x, y[, z]) order as in ITK.
            direction: n x n matrix whose columns are the world directions of the index axes
                (ITK's convention); identity by default.
            space: What the world coordinates mean.
        """
        n = len(shape)
        linear = (np.eye(n) if direction is None else np.asarray(direction, float)) * spacing
        matrix = np.eye(n + 1)
        matrix[:n, :n] = linear
        matrix[:n, n] = np.asarray(origin, float) - linear @ np.full(n, 0.5)
        return cls.from_matrix(shape, matrix, space)

    @classmethod
    def local(cls, shape: tuple[int, ...]) -> Grid:
        """Return the grid of an image without any reference: index is world."""
        return cls.from_matrix(shape, np.eye(len(shape) + 1))

    # ----------------------------------------------------------------- answers

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a float64 array, (n+1, n+1)."""
        return np.array(self.affine, dtype=np.float64)

    @property
    def ndim(self) -> int:
        """Number of axes, 2 or 3."""
        return len(self.shape)

    @property
    def box(self) -> Box:
        """The whole image as a box."""
        return Box.of_shape(self.shape)

    def centers(self) -> NDArray[np.float64]:
        """Return the affine registered at sample centres, as ITK and NIfTI use it."""
        matrix = self.matrix.copy()
        matrix[:-1, -1] += self.matrix[:-1, :-1] @ np.full(self.ndim, 0.5)
        return matrix

    @property
    def spacing(self) -> tuple[float, ...]:
        """Distance between sample centres in world units, array order."""
        return tuple(float(s) for s in np.linalg.norm(self.matrix[:-1, :-1], axis=0)[::-1])

    @property
    def direction(self) -> NDArray[np.float64]:
        """Unit world directions of the (x, y[, z]) index axes, as columns."""
        linear = self.matrix[:-1, :-1]
        unit: NDArray[np.float64] = linear / np.linalg.norm(linear, axis=0)
        return unit

    @property
    def sample_measure(self) -> float:
        """World area (2-D) or volume (3-D) of one sample."""
        return float(abs(np.linalg.det(self.matrix[:-1, :-1])))

    @property
    def bounds(self) -> tuple[tuple[float, float], ...]:
        """(low, high) world extent per world axis (x, y[, z]), outer corners included."""
        corners = np.array(np.meshgrid(*[(0, s) for s in self.shape], indexing="ij"))
        world = self.index_to_world(corners.reshape(self.ndim, -1).T)
        pairs = zip(world.min(axis=0), world.max(axis=0), strict=True)
        return tuple((float(low), float(high)) for low, high in pairs)

    def index_to_world(self, index: ArrayLike) -> NDArray[np.float64]:
        """Map continuous edge-registered indices, (..., n) array order, to world (x, y[, z]).

        The centre of sample ``i`` is ``i + 0.5``.
        """
        xyz = np.asarray(index, dtype=np.float64)[..., ::-1]
        mapped: NDArray[np.float64] = xyz @ self.matrix[:-1, :-1].T + self.matrix[:-1, -1]
        return mapped

    def world_to_index(self, world: ArrayLike) -> NDArray[np.float64]:
        """Map world (..., n) points (x, y[, z]) to continuous indices in array order."""
        centred = np.asarray(world, dtype=np.float64) - self.matrix[:-1, -1]
        index: NDArray[np.float64] = centred @ np.linalg.inv(self.matrix[:-1, :-1]).T
        return index[..., ::-1]

    def like(self, other: Grid, tolerance: float = 0.01) -> bool:
        """Whether both have the same shape and space, and corners within ``tolerance`` samples."""
        if self.shape != other.shape or self.space != other.space:
            return False
        corners = np.stack([np.zeros(self.ndim), *np.diag(self.shape)])
        apart = other.world_to_index(self.index_to_world(corners)) - corners
        return bool(np.abs(apart).max() <= tolerance)

    def require_like(self, other: Grid, name: str) -> None:
        """Raise `GridMismatch` unless ``other`` (called ``name``) lies on this grid."""
        if not self.like(other):
            raise GridMismatch(
                f"{name} must lie on the grid of the first image: found shape {other.shape}, "
                f"bounds {other.bounds}; expected {self.shape}, {self.bounds}; "
                "resample it first (gdalwarp, or resample in 3D Slicer)"
            )

    # ----------------------------------------------------------------- other grids

    def _through(self, shape: tuple[int, ...], index: NDArray[np.float64]) -> Grid:
        """Return the grid whose (x, y[, z]) index goes through ``index`` to this one's."""
        return Grid.from_matrix(shape, self.matrix @ index, self.space)

    def crop(self, box: Box) -> Grid:
        """Return the grid of ``box``, which may stick out; outer corners stay in place."""
        move = np.eye(self.ndim + 1)
        move[:-1, -1] = box.start[::-1]
        shifted = tuple(
            replace(p, row=p.row - box.start[0], column=p.column - box.start[1])
            for p in self.control
        )
        return replace(self._through(box.shape, move), control=shifted)

    def pad(self, samples: int) -> Grid:
        """Return the grid with ``samples`` more on every side."""
        return self.crop(self.box.grow((samples,) * self.ndim))

    def zoom(self, shape: tuple[int, ...]) -> Grid:
        """Return the grid of ``shape`` samples between the same outer corners."""
        factors = [a / b for a, b in zip(self.shape[::-1], shape[::-1], strict=True)]
        return self._through(shape, np.diag([*factors, 1.0]))

    @property
    def orientation(self) -> str | None:
        """Anatomical letters of the array axes (the side each index grows towards), or None.

        As nibabel's axis codes, but in array order: ``"SPL"`` is ITK's own LPS image.
        """
        if self.space.kind is not SpaceKind.PATIENT:
            return None
        letters = [""] * 3
        for axis, world, sign in _closest_axes(self.direction):
            letters[2 - axis] = ("RL", "AP", "IS")[world][int(sign > 0)]
        return "".join(letters)

    def reorient(self, codes: str) -> tuple[Grid, AxisMap]:
        """Return this grid with array axes that run as ``codes`` says, and the map there.

        Args:
            codes: Three letters, one of R/L, A/P and I/S each, in array order.

        Raises:
            ConfigError: The space is not patient space, or the letters do not name three axes.
        """
        mine = self.orientation
        if mine is None:
            raise ConfigError(
                f"orientation {codes!r} asks for patient space, this image is {self.space.kind}"
            )
        pairs = [next((p for p in ("RL", "AP", "IS") if c in p), c) for c in codes.upper()]
        if sorted(pairs) != ["AP", "IS", "RL"]:
            raise ConfigError(f"orientation {codes!r} must name one of R/L, A/P and I/S each")
        order = tuple(next(i for i, c in enumerate(mine) if c in pair) for pair in pairs)
        flips = tuple(mine[o] != c for o, c in zip(order, codes.upper(), strict=True))
        axes = AxisMap(order, flips)
        return self.turn(axes), axes

    def turn(self, axes: AxisMap) -> Grid:
        """Return this grid along other axes, ground control points left out."""
        n = self.ndim
        index = np.zeros((n + 1, n + 1))
        index[n, n] = 1
        for new, (old, flip) in enumerate(zip(axes.order, axes.flips, strict=True)):
            index[n - 1 - old, n - 1 - new] = -1 if flip else 1
            index[n - 1 - old, n] = self.shape[old] if flip else 0
        return self._through(tuple(self.shape[o] for o in axes.order), index)

    # ----------------------------------------------------------------- JSON

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `from_dict` turns back into this grid."""
        space = {"kind": str(self.space.kind), "crs": self.space.crs, "unit": self.space.unit}
        points = [[p.row, p.column, p.x, p.y, p.z] for p in self.control]
        return {
            "shape": list(self.shape),
            "affine": [list(row) for row in self.affine],
            "space": space,
            "control": points,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Grid:
        """Return the grid `to_dict` described."""
        space = values["space"]
        return cls(
            tuple(values["shape"]),
            tuple(tuple(row) for row in values["affine"]),
            Space(SpaceKind(space["kind"]), space["crs"], space["unit"]),
            tuple(ControlPoint(*p) for p in values["control"]),
        )


def _closest_axes(direction: NDArray[np.float64]) -> list[tuple[int, int, float]]:
    """Pair index axes with world axes, the most parallel pair first: (axis, world, sign)."""
    left = np.abs(direction)
    pairs = []
    for _ in range(len(direction)):
        world, axis = np.unravel_index(int(left.argmax()), left.shape)
        pairs.append((int(axis), int(world), float(np.sign(direction[world, axis]))))
        left = left.copy()
        left[world, :] = -1
        left[:, axis] = -1
    return pairs
