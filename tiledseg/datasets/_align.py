"""Labels brought onto the grid of their image, as far as nothing has to be interpolated."""

from __future__ import annotations

from ..errors import GridMismatch
from ..grid import Grid, SpaceKind
from ..io import CroppedSource, Source, oriented


class PlacedSource(CroppedSource):
    """All of an image without a reference, taken to lie where another of its size does."""

    def __init__(self, inner: Source, grid: Grid) -> None:
        super().__init__(inner, inner.grid.box)
        self.grid, self.palette = grid, inner.palette


def aligned(labels: Source, grid: Grid) -> Source:
    """Return labels on the grid of their image.

    A volume may be stored along other axes. Labels, or an image, without any reference are taken to
    lie on the other where their shapes agree.

    Raises:
        GridMismatch: They lie elsewhere, or have another size or spacing.
    """
    placed, _ = oriented(labels, grid.orientation)
    if grid.like(placed.grid):
        return placed
    kinds = (grid.space.kind, placed.grid.space.kind)
    if grid.shape == placed.grid.shape and SpaceKind.LOCAL in kinds:
        return PlacedSource(placed, grid)
    raise GridMismatch(
        f"labels {labels.uri} must lie on the grid of their image: found {told(placed.grid)}; "
        f"expected {told(grid)}; resample them first by nearest neighbour (gdalwarp -r near, or "
        "resample in 3D Slicer)"
    )


def told(grid: Grid) -> str:
    """Return a grid as a message tells it."""
    shape = " x ".join(map(str, grid.shape))
    spacing = " x ".join(f"{s:.6g}" for s in grid.spacing)
    low = ", ".join(f"{pair[0]:.8g}" for pair in grid.bounds)
    return f"{shape} samples of {spacing} from ({low}), {grid.space.kind}"
