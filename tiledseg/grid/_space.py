"""What the world coordinates of a grid mean."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class SpaceKind(StrEnum):
    """What the world coordinates of a grid mean."""

    PROJECTED = "projected"
    GEOGRAPHIC = "geographic"
    PATIENT = "patient"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Space:
    """The meaning of world coordinates.

    Args:
        kind: Projected or geographic CRS, patient (LPS, mm), or local (bare sample units).
        crs: WKT of the CRS for projected and geographic spaces, else None.
        unit: Metres per world unit (1.0 metre, 0.001 mm); None for geographic and local spaces.
    """

    kind: SpaceKind
    crs: str | None = None
    unit: float | None = None

    @property
    def length(self) -> tuple[float, str] | None:
        """A world unit in the lengths that people use: so many mm in patient space, else so many m.

        None where a world unit is no length: a degree, a sample.
        """
        if self.unit is None:
            return None
        return (self.unit * 1000, "mm") if self.kind is SpaceKind.PATIENT else (self.unit, "m")


LOCAL = Space(SpaceKind.LOCAL)
PATIENT = Space(SpaceKind.PATIENT, unit=1e-3)
