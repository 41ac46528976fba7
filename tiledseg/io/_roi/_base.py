"""What every region of interest is, the pieces it is asked for in, and its refusals."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from pathlib import Path
from typing import Any

from ...box import Box
from ...errors import ConfigError
from ...grid import Grid
from .._base import Mask

Bounds = tuple[tuple[float, float], ...]

#: Samples judged at a time, so that memory besides the mask does not grow with the box.
PIECE = 2**20


class Roi(ABC):
    """The part of one image that is wanted.

    Attributes:
        working_bytes: Host memory that is held, and that a call takes besides its result.

    ``mask`` may be called from several threads at once; results belong to the caller.
    """

    working_bytes: int = 0

    @abstractmethod
    def mask(self, box: Box) -> Mask:
        """Return where samples of ``box`` are wanted: bool, box.shape.

        The box may stick out of the image, where nothing is wanted.
        """

    @abstractmethod
    def fingerprint(self) -> dict[str, Any]:
        """Return JSON values that change when the roi does."""

    def files(self) -> list[Path]:
        """Return the local files of a mask."""
        return []

    def close(self) -> None:  # noqa: B027 - only an image is held open
        """Give back files; the roi is not used afterwards."""


# ----------------------------------------------------------------- piece by piece


def piece_steps(shape: tuple[int, ...], blocks: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Return the shape of pieces: whole blocks, as many as ``limit`` samples allow, one at least.

    >>> piece_steps((9, 30, 40), (1, 10, 10), 900)
    (1, 20, 40)
    """
    steps = [min(b, n) for b, n in zip(blocks, shape, strict=True)]
    for axis in reversed(range(len(steps))):
        times = max(1, limit // prod(steps))
        steps[axis] = min(shape[axis], steps[axis] * times)
    return tuple(steps)


# ----------------------------------------------------------------- sentences


def outside(grid: Grid, bounds: Bounds, what: str) -> ConfigError:
    """Return the refusal of a roi that misses the image."""
    return ConfigError(
        f"{what} lies outside the image (image bounds {flat(grid.bounds)}, roi "
        f"bounds {flat(bounds)}); give a roi that meets the image, in its own world units"
    )


def flat(bounds: Bounds) -> str:
    """Return bounds as they are given: the low corner, then the high one."""
    corners = [f"{pair[end]:.10g}" for end in (0, 1) for pair in bounds]
    return f"({', '.join(corners)})"
