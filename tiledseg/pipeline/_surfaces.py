"""A label volume of any size -> closed surfaces, class by class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..budget import format_bytes
from ..engine import machine
from ..errors import BudgetExceeded, ConfigError
from ..grid import Grid, SpaceKind
from ..io import Source, open_source, read_schema
from ..labels import ClassInfo, ClassSchema
from ..meshes import (
    BYTES_PER_CUBE,
    DECIMATING_BYTES,
    FORMATS,
    FilesWriter,
    FoundSurfaces,
    MeshWriter,
    SceneWriter,
    find_surfaces,
)
from ._names import Output, check_outputs, is_scene, output_path, spare_inputs
from ._settings import OnShare, ignore, is_number, several
from ._surfaces_made import EDGES, Surface, Surfaces
from ._volume_classes import chosen_labels, infos_of, wanted_labels

_MOST_PASSES = 1000
#: Part of a voxel's shortest side by which a surface may be moved to enclose its voxels' volume.
_FARTHEST = 0.5


@dataclass(frozen=True)
class SurfaceStyle:
    """How surfaces are made.

    Args:
        file_format: Of a file per class: ``stl``, ``ply`` or ``obj``; a scene is GLB anyway.
        smooth: Passes of Taubin smoothing.
        decimate: Share of the triangles to do without, 0 to 0.99.
        fit: Whether surfaces are moved along their normals until they enclose the volume of their
            voxels; those that are smoothed or decimated are anyway.

    Raises:
        ConfigError: A number is none of these.
    """

    file_format: str = "stl"
    smooth: int = 0
    decimate: float = 0.0
    fit: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.smooth, int) and not isinstance(self.smooth, bool)
        if not whole or not 0 <= self.smooth <= _MOST_PASSES:
            raise ConfigError(f"smooth {self.smooth}: give 0 to {_MOST_PASSES} passes, like 10")
        if not (is_number(self.decimate) and 0 <= self.decimate <= 0.99):
            raise ConfigError(
                f"decimate {self.decimate!r:.40}: give the share of triangles to do without, "
                "0 to 0.99"
            )
        if not isinstance(self.fit, bool):
            raise ConfigError(f"fit {self.fit!r:.40} is not true or false")


def surfaces(
    labels: Any,
    out: str | Path,
    *,
    file_format: str | None = None,
    classes: Sequence[str | int] | str | int | None = None,
    smooth: int = 0,
    decimate: float = 0.0,
    fit: bool = False,
    memory: str | None = None,
    on_share: OnShare | None = None,
) -> Surfaces:
    """Turn the classes of a label volume into closed surfaces, whatever the volume's size.

    Triangles are those of marching cubes on the whole volume at one half, whatever it is read in;
    at the border of the volume surfaces are closed. Vertices are in world coordinates: patient
    millimetres along LPS, as SimpleITK has them. Marching cubes takes edges off, so small and thin
    bodies enclose less than their voxels take; ``fit`` makes up for it.

    Memory: a block of the volume, then one surface, with 250 bytes for every cube it passes
    through, 1050 where it is decimated; what does not fit into the budget is refused.

    Args:
        labels: Label volume of any tool, one channel. Names and colours are taken from it where
            it has them; else classes are named by their label, and 0 is background.
        out: Folder for one file per class, or ``NAME.glb`` for one coloured scene.
        file_format: Of files in a folder: ``stl`` (the default), ``ply`` or ``obj``.
        classes: Names or labels, or one; None, or no name, takes all but the background.
        smooth: Passes of Taubin smoothing, which takes the stairs off.
        decimate: Share of the triangles to do without, 0 to 0.99.
        fit: Move surfaces along their normals, by half a voxel at most, until they enclose the
            volume of their voxels; those that are smoothed or decimated are anyway.
        memory: Host memory of the process, like ``6GB``; None takes half of what is free.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: It is no volume of labels, there is no such class, or nothing to make.
        UnknownFormat: There is no such format.
        BudgetExceeded: A row of the volume or the surface of a class does not fit into memory.
        DamagedInput: The volume cannot be read.
        OutputFailed: A file cannot be written; then none is.
    """
    target = output_path("out", str(out))
    style = SurfaceStyle(_format(target, file_format), smooth, decimate, fit)
    limit = machine.limit(memory)
    classes = None if classes is None else several(classes) or None
    with open_source(labels, dims=3) as source:
        outputs = [Output("out", target, "file" if is_scene(target.name) else "folder")]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        schema = read_schema(labels) if isinstance(labels, str | Path) else None
        some = None if classes is None else chosen_labels(classes, schema, source.uri)
        made = write_surfaces(source, schema, target, style, some=some, limit=limit, tell=on_share)
    if not made.surfaces:
        asked = "" if classes is None else f" of {', '.join(map(str, classes))}"
        raise ConfigError(f"{source.uri} holds no voxel{asked} to make a surface of")
    return made


def write_surfaces(
    source: Source,
    schema: ClassSchema | None,
    target: Path,
    style: SurfaceStyle,
    *,
    some: Sequence[int] | None = None,
    limit: int | None = None,
    tell: OnShare | None = None,
) -> Surfaces:
    """Write the surfaces of a volume, all of them or none.

    Args:
        source: The volume.
        schema: Its classes, or None where it names none.
        target: As ``out`` of `surfaces`.
        style: How they are made.
        some: Labels to look at; None takes all but background and nodata.
        limit: Bytes the process may hold.
        tell: Told the share that is done, 0 to 1.

    Raises:
        BudgetExceeded: The surface of a class does not fit.
        DamagedInput: The volume cannot be read.
        OutputFailed: A file cannot be written.
    """
    tell, space = tell or ignore, source.grid.space
    writer: MeshWriter = (
        SceneWriter(target, space)
        if is_scene(target.name)
        else FilesWriter(target, style.file_format, space)
    )
    folder = target.parent if is_scene(target.name) else target
    wanted = wanted_labels(schema, source, some)
    try:
        room = None if limit is None else limit - machine.resident() - source.working_bytes
        with find_surfaces(
            source, wanted, folder, room=room, on_share=lambda share: tell(share / 2)
        ) as found:
            infos = infos_of(np.flatnonzero(found.voxels).tolist(), schema)
            made = []
            for i, info in enumerate(infos):
                if limit is not None:
                    _require_room(int(found.cubes[info.id]), info, style, limit)
                made.append(_write(found, info, style, writer))
                tell(0.5 + (i + 1) / len(infos) / 2)
        outputs = writer.commit() if made else []
    finally:
        writer.abort()
    absent = (
        []
        if some is None
        else [c.name for c in infos_of(sorted({*some} - {s.id for s in made}), schema)]
    )
    return Surfaces(outputs, tuple(made), tuple(absent), _unit(source.grid)[0])


def _write(
    found: FoundSurfaces, info: ClassInfo, style: SurfaceStyle, writer: MeshWriter
) -> Surface:
    mesh = found.mesh(info.id)
    if style.smooth:
        mesh = mesh.smoothed(style.smooth)
    if style.decimate:
        mesh = mesh.decimated(style.decimate)
    grid, voxels = found.grid, int(found.voxels[info.id])
    if style.fit or style.smooth or style.decimate:
        mesh = mesh.fitted(voxels * grid.sample_measure, _FARTHEST * min(grid.spacing))
    unit = _unit(grid)[1]
    return Surface(
        id=info.id,
        name=info.name,
        path=writer.add(info, mesh),
        voxels=voxels,
        voxel_volume=voxels * grid.sample_measure / unit,
        volume=mesh.volume / unit,
        edges=EDGES * max(grid.spacing) * mesh.area / unit,
        triangles=len(mesh.faces),
    )


def _unit(grid: Grid) -> tuple[str, float]:
    """Return what volumes are told in, and how much of the world that is."""
    if grid.space.kind is SpaceKind.PATIENT:
        return "ml", 1000.0
    return "samples", grid.sample_measure


def _require_room(cubes: int, info: ClassInfo, style: SurfaceStyle, limit: int) -> None:
    bytes_ = BYTES_PER_CUBE + (DECIMATING_BYTES if style.decimate else 0)
    need = machine.resident() + cubes * bytes_
    if need > limit:
        raise BudgetExceeded(
            f"the surface of class {info.id} ({info.name}) passes through {cubes:,} cubes and "
            f"needs {format_bytes(need)}, budget is {format_bytes(limit)}: raise the budget, or "
            "take noise out of the map first (tiledseg postprocess)"
        )


def _format(target: Path, file_format: str | None) -> str:
    """Return the format of files in a folder.

    Raises:
        ConfigError: The name is that of a file per class, or of a scene, which has its format.
    """
    if is_scene(target.name):
        if file_format is not None:
            raise ConfigError(
                f"{target} is one scene, which is GLB; for files of {file_format} name a folder"
            )
        return "glb"
    suffix = target.suffix.lower()[1:]
    if suffix in FORMATS:
        raise ConfigError(
            f"out {target} would be one file, and {suffix.upper()} is written per class: name a "
            f"folder, with the format {suffix}, or one scene that ends with .glb"
        )
    return file_format or next(iter(FORMATS))
