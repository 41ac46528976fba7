"""What is told of surfaces that were written."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: What the volumes of surface and voxels may differ by, of the voxels'. Marching cubes takes the
#: edges off, so in small and thin classes it may be more: this part of a voxel's longest side, all
#: along the surface.
_CLOSE, EDGES = 0.02, 0.1


@dataclass(frozen=True)
class Surface:
    """The surface of a class.

    Args:
        id: Label of the class.
        name: Its name.
        path: The file it is in.
        voxels: How many voxels it encloses.
        voxel_volume: Their volume.
        volume: What the surface encloses.
        edges: Volume of a tenth of a voxel's longest side all along the surface.
        triangles: How many it is made of.
    """

    id: int
    name: str
    path: Path
    voxels: int
    voxel_volume: float
    volume: float
    edges: float
    triangles: int

    @property
    def difference(self) -> float:
        """How much more the surface encloses than the voxels take, of the voxels' volume."""
        return self.volume / self.voxel_volume - 1

    @property
    def agrees(self) -> bool:
        """Whether that is within 2 %, or within a tenth of a voxel all along the surface."""
        allowed = max(_CLOSE * self.voxel_volume, self.edges)
        return abs(self.volume - self.voxel_volume) <= allowed


@dataclass(frozen=True)
class Surfaces:
    """Surfaces that were written.

    Args:
        outputs: The files made.
        surfaces: By class id.
        absent: Names of classes that were asked for and have no voxel.
        unit: Of volumes: ``ml`` or ``samples``.
    """

    outputs: list[Path]
    surfaces: tuple[Surface, ...]
    absent: tuple[str, ...]
    unit: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "surfaces": [
                {
                    "id": s.id,
                    "name": s.name,
                    "path": str(s.path),
                    "voxels": s.voxels,
                    f"voxels_{self.unit}": s.voxel_volume,
                    f"surface_{self.unit}": s.volume,
                    "triangles": s.triangles,
                    "agrees": s.agrees,
                }
                for s in self.surfaces
            ],
            "absent": list(self.absent),
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(len(s.name) for s in self.surfaces)
        lines = [
            f"  {s.name:{width}}  {s.voxel_volume:12,.2f} {self.unit} of voxels, "
            f"{s.volume:12,.2f} within the surface ({s.difference:+z.1%}), "
            f"{s.triangles:,} triangles"
            for s in self.surfaces
        ]
        if self.absent:
            lines.append(f"no voxel of {', '.join(self.absent)}")
        off = [s.name for s in self.surfaces if not s.agrees]
        lines.append(
            f"{len(off)} of {len(self.surfaces)} volumes differ by more than 2 % and a tenth of a "
            f"voxel: {', '.join(off)}"
            if off
            else f"all {len(self.surfaces)} volumes agree within 2 % or a tenth of a voxel"
        )
        far = sum(abs(s.difference) > _CLOSE for s in self.surfaces) - len(off)
        if far > 0:
            lines.append(f"{far} of them by more than 2 %: --fit moves surfaces until they do")
        one = len(self.outputs) == 1
        place = self.outputs[0] if one else self.outputs[0].parent
        lines.append(f"wrote {place}" if one else f"wrote {len(self.outputs)} files into {place}")
        return "\n".join(lines)
