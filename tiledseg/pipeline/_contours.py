"""A label volume -> the contours of its classes in every slice, as a DICOM structure set."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..budget import format_bytes
from ..engine import machine
from ..errors import BudgetExceeded, ConfigError, UnknownFormat
from ..grid import SpaceKind
from ..io import Source, open_source, oriented, read_schema
from ..rings import Slices, StructureWriter, contours_need, find_contours
from ._names import Output, check_outputs, output_path, spare_inputs
from ._settings import OnShare, ignore, several
from ._volume_classes import chosen_labels, infos_of, wanted_labels

#: Array axes of a patient's volume whose planes are axial, as DICOM draws contours.
_AXIAL = "SPL"
#: Share of the time that finding takes.
_FOUND = 0.9


@dataclass(frozen=True)
class DrawnClass:
    """A class that was drawn.

    Args:
        id: Label of the class.
        name: Its name.
        contours: How many there are.
        planes: In how many slices.
        voxels: That they enclose.
        volume: Of these, in ml: the areas of the contours times the distance of slices.
    """

    id: int
    name: str
    contours: int
    planes: int
    voxels: int
    volume: float


@dataclass(frozen=True)
class Contours:
    """Contours that were written.

    Args:
        outputs: The file made.
        classes: By class id.
        absent: Names of classes that were asked for and have no voxel.
    """

    outputs: list[Path]
    classes: tuple[DrawnClass, ...]
    absent: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "outputs": [str(path) for path in self.outputs],
            "classes": [
                {
                    "id": c.id,
                    "name": c.name,
                    "contours": c.contours,
                    "slices": c.planes,
                    "voxels": c.voxels,
                    "ml": c.volume,
                }
                for c in self.classes
            ],
            "absent": list(self.absent),
        }

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(len(c.name) for c in self.classes)
        lines = [
            f"  {c.name:{width}}  {c.volume:12,.2f} ml, {c.contours:,} contours in {c.planes:,} "
            "slices"
            for c in self.classes
        ]
        if self.absent:
            lines.append(f"no voxel of {', '.join(self.absent)}")
        return "\n".join([*lines, *(f"wrote {path}" for path in self.outputs)])


def contours(
    labels: Any,
    out: str | Path,
    *,
    images: str | Path | None = None,
    classes: Sequence[str | int] | str | int | None = None,
    memory: str | None = None,
    on_share: OnShare | None = None,
) -> Contours:
    """Draw the classes of a label volume as closed contours in every slice, a DICOM RTSTRUCT.

    Contours run along the sides of voxels, in patient millimetres along LPS, so they enclose the
    voxels exactly and classes that touch share their border. Slices are those of ``images``, or
    axial. Memory: some slices, and 12 kB for a contour with 80 bytes for a corner, within the
    budget.

    Args:
        labels: Label volume of any tool in patient space, one channel. Names and colours are taken
            from it where it has them; else classes are named by their label, and 0 is background.
        out: File to write, ``NAME.dcm``.
        images: Folder of the DICOM series that the labels belong to: contours are then drawn on its
            slices and refer to them, its patient, study and frame of reference.
        classes: Names or labels, or one; None, or no name, takes all but the background.
        memory: Host memory of the process, like ``6GB``; None takes half of what is free.
        on_share: Told the share that is done, 0 to 1.

    Raises:
        ConfigError: It is no volume of labels in patient space, there is no such class, or nothing
            to draw.
        UnknownFormat: The name does not end with .dcm.
        GridMismatch: The images lie elsewhere.
        BudgetExceeded: There are more contours than there is room for.
        MissingBackend: pydicom is not installed.
        DamagedInput: The volume or the images cannot be read.
        OutputFailed: The file cannot be written.
    """
    target, tell = output_path("out", str(out)), on_share or ignore
    if target.suffix.lower() != ".dcm":
        raise UnknownFormat(f"cannot write contours to {target}: name a file NAME.dcm (RTSTRUCT)")
    classes = None if classes is None else several(classes) or None
    with ExitStack() as stack:
        source = stack.enter_context(open_source(labels, dims=3))
        outputs = [Output("out", target)]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        if source.grid.space.kind is not SpaceKind.PATIENT:
            raise ConfigError(f"{source.uri} is no volume of a patient, as contours in DICOM are")
        schema = read_schema(labels) if isinstance(labels, str | Path) else None
        some = None if classes is None else chosen_labels(classes, schema, source.uri)
        wanted = wanted_labels(schema, source, some)
        turned, slices = _on_slices(source, images, stack)
        spare_inputs(outputs, [] if slices is None else slices.files)
        room = machine.limit(memory) - machine.resident() - source.working_bytes
        writer = StructureWriter(target, slices)
        counts = _draw(turned, wanted, writer, room, lambda share: tell(_FOUND * share))
        infos = infos_of(sorted(counts), schema)
        if not infos:
            asked = "" if classes is None else f" of {', '.join(map(str, classes))}"
            raise ConfigError(f"{source.uri} holds no voxel{asked} to draw contours around")
        writer.write(infos)
        tell(1.0)
    unit = source.grid.sample_measure / 1000
    made = [DrawnClass(c.id, c.name, *counts[c.id], counts[c.id][2] * unit) for c in infos]
    absent = [] if some is None else infos_of(sorted({*some} - {*counts}), schema)
    return Contours([target], tuple(made), tuple(c.name for c in absent))


def _on_slices(
    source: Source, images: str | Path | None, stack: ExitStack
) -> tuple[Source, Slices | None]:
    """Return the labels along the axes of the slices, and these."""
    if images is None:
        return oriented(source, _AXIAL)[0], None
    if not Path(images).is_dir():
        raise ConfigError(f"images {images} must be a folder that holds a DICOM series")
    shown = stack.enter_context(open_source(images, dims=3))
    turned = oriented(source, shown.grid.orientation)[0]
    shown.grid.require_like(turned.grid, f"labels {source.uri}")
    return turned, Slices.read(shown.files())


def _draw(
    source: Source, wanted: Any, writer: StructureWriter, room: int, tell: OnShare
) -> dict[int, tuple[int, int, int]]:
    """Draw the contours; return how many there are of every label, in planes, and its voxels."""
    counts: dict[int, tuple[int, int, int]] = {}
    last: dict[int, int] = {}
    needed = contours_need(source.grid.shape)
    _require_room(needed, room, source, 0)
    for contour in find_contours(source, wanted, tell):
        label, plane = contour.label, contour.plane
        many, planes, voxels = counts.get(label, (0, 0, 0))
        another = last.get(label) != plane
        counts[label] = (many + 1, planes + another, voxels + round(contour.area))
        last[label] = plane
        writer.add(label, plane, contour.points(source.grid))
        _require_room(needed + writer.bytes, room, source, plane)
    return counts


def _require_room(need: int, room: int, source: Source, plane: int) -> None:
    if need > room:
        raise BudgetExceeded(
            f"the contours of the first {plane + 1:,} of {source.grid.shape[0]:,} slices of "
            f"{source.uri} need {format_bytes(need)}, and {format_bytes(max(room, 0))} of the "
            "budget are left: raise the budget, name fewer classes, or take noise out of the map "
            "first (tiledseg postprocess)"
        )
