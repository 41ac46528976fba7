"""A mesh of triangles, what is measured on it, and how it is made smoother and smaller."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ._kernels import neighbour_sums

Points = NDArray[np.float64]
#: Bytes that a surface takes per cube it passes through, while it is welded, smoothed, fitted and
#: written (200 were measured), and those that decimation takes besides (450 to 650).
BYTES_PER_CUBE, DECIMATING_BYTES = 250, 800
#: Triangles of a tetrahedron, the least that a closed surface has.
_FEWEST = 4
#: Triangles that are looked at together.
_CHUNK = 1 << 16
#: Taubin, "A signal processing approach to fair surface design" (1995): steps forth (lambda) and
#: back (mu) with 1 / lambda + 1 / mu = the pass-band frequency, for which he takes 0.1.
_FORTH = 0.5
_BACK = 1 / (0.1 - 1 / _FORTH)
#: Part of a volume by which a fitted one may be off, and steps that are taken to come as close.
_CLOSE, _STEPS = 1e-6, 12


@dataclass(frozen=True)
class Mesh:
    """A closed surface.

    Args:
        vertices: World (x, y, z), float64 (n, 3).
        faces: Vertices of every triangle, counterclockwise as seen from outside, int32 (m, 3).
    """

    vertices: Points = field(repr=False)
    faces: NDArray[np.int32] = field(repr=False)

    @cached_property
    def volume(self) -> float:
        """What it encloses, in world units: a sum over the triangles (Gauss's theorem)."""
        if not len(self.vertices):
            return 0.0
        middle = self.vertices.mean(axis=0)
        return sum(
            float(np.einsum("ij,ij->", a - middle, np.cross(b - middle, c - middle))) / 6
            for a, b, c in self.triangles()
        )

    @cached_property
    def area(self) -> float:
        """Its area, in world units."""
        return sum(
            float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum()) / 2
            for a, b, c in self.triangles()
        )

    def triangles(self) -> Iterator[tuple[Points, Points, Points]]:
        """Yield the corners of triangles, (t, 3) each, chunk by chunk."""
        for first in range(0, len(self.faces), _CHUNK):
            some = self.vertices[self.faces[first : first + _CHUNK]]
            yield some[:, 0], some[:, 1], some[:, 2]

    def normals(self) -> NDArray[np.float32]:
        """Return the unit normal of every vertex: those of its triangles by their areas, (n, 3)."""
        sums, count = np.zeros((3, len(self.vertices))), len(self.vertices)
        for first, (a, b, c) in zip(
            range(0, len(self.faces), _CHUNK), self.triangles(), strict=True
        ):
            across = np.cross(b - a, c - a)
            at = self.faces[first : first + _CHUNK].ravel()
            for axis in range(3):
                sums[axis] += np.bincount(at, np.repeat(across[:, axis], 3), count)
        lengths = np.linalg.norm(sums, axis=0)
        sums[2, lengths == 0] = 1  # where triangles cancel out, any unit vector does
        return np.asarray((sums / np.where(lengths == 0, 1, lengths)).T, np.float32)

    def smoothed(self, passes: int) -> Mesh:
        """Return the mesh without its stairs, of about the same volume (Taubin smoothing).

        A pass moves every vertex half way to the mean of its neighbours, then back by a little
        more. Surfaces that touch are moved each on its own.
        """
        vertices = self.vertices
        for _ in range(passes):
            for step in (_FORTH, _BACK):
                sums = np.zeros((len(vertices), 4))
                neighbour_sums(self.faces, vertices, sums)
                vertices = vertices + step * (sums[:, :3] / sums[:, 3:] - vertices)
        return Mesh(vertices, self.faces)

    def decimated(self, share: float) -> Mesh:
        """Return the mesh without this share of its triangles, those that matter least.

        Edges are collapsed by quadric error (Garland and Heckbert 1997, as fast-simplification
        does it). The surface stays closed; where thin parts meet, an edge can come to have four
        triangles. One so small that nothing closed would be left of it stays as it is.

        Raises:
            MissingBackend: fast-simplification is not installed.
        """
        from ._decimate import simplify

        vertices, faces = simplify(self.vertices, self.faces, share)
        return Mesh(vertices, faces) if len(faces) >= _FEWEST else self

    def fitted(self, volume: float, most: float) -> Mesh:
        """Return the mesh moved out, or in, along its normals until it encloses a volume.

        Every vertex is moved by the same distance, which is found by secants; the first step is the
        missing volume over the area.

        Args:
            volume: What it is to enclose, in world units.
            most: The farthest that vertices are moved; the volume is then missed.
        """
        normals, area = self.normals().astype(np.float64), self.area
        best, slope, away = self, area, 0.0
        for _ in range(_STEPS):
            missing = volume - best.volume
            if abs(missing) <= _CLOSE * volume or not slope > 0:
                break
            step = float(np.clip(away + missing / slope, -most, most)) - away
            if not step:
                break
            moved = Mesh(self.vertices + (away + step) * normals, self.faces)
            slope, best, away = (moved.volume - best.volume) / step, moved, away + step
        return best
