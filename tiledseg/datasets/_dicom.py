"""Labels in DICOM: segmentation objects (SEG) and contours (RTSTRUCT), read through pydicom.

The objects are those of DICOM PS3.3: A.51 and C.8.20 (Segmentation), A.19 and C.8.8 (RT Structure
Set). Positions are LPS mm, as those of volumes here. A volume of class ids is held in memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError, DamagedInput, GridMismatch, MissingBackend, TiledsegError
from ..grid import Grid, SpaceKind
from ..io import burn_values, moved_to
from ..labels import ClassSchema
from ._held import HeldLabels
from ._legend import Legend

_KINDS = ("SEG", "RTSTRUCT")
#: Contours that enclose something (C.8.8.6.3); one within another is a hole.
_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Samples by which a frame or contour may lie beside the image's grid.
_BESIDE = 0.1


def holds_segments(path: str) -> bool:
    """Whether a .dcm file is a segmentation object or contours, not an image.

    Raises:
        MissingBackend: pydicom is not installed.
    """
    if not Path(path).is_file():
        return False
    try:
        return str(_read(path, ["Modality"]).get("Modality")) in _KINDS
    except DamagedInput:
        return False  # whoever reads images says what is wrong


def open_segments(
    path: str, grid: Grid, schema: ClassSchema, legend: Legend, rest: int
) -> HeldLabels:
    """Return the labels of a segmentation object or of contours.

    Where segments overlap, the one of the higher number counts, of contours the later structure.
    Fractional segments count from one half. A contour within another of its structure is a hole.
    A sample is in a contour where its centre is.

    Args:
        path: The file.
        grid: Grid of the image, a volume.
        schema: The classes.
        legend: What labels of segments, names of structures, or their numbers stand for.
        rest: Class id of samples in none.

    Raises:
        DamagedInput: It is not what it claims to be.
        GridMismatch: It lies on another grid.
        MissingBackend: pydicom is not installed.
    """
    if grid.ndim != 3 or grid.space.kind != SpaceKind.PATIENT:
        raise ConfigError(f"labels {path} are of a patient, which needs a volume in patient space")
    ids = np.full(grid.shape, rest, schema.dtype)
    strange = Counter[str]()
    try:
        file = _read(path)
        draw = _segments if str(file.Modality) == "SEG" else _contours
        for name, number, samples in draw(file, path, grid):
            known = next((mark for mark in (name, number) if mark in legend.classes), None)
            target = None if known is None else legend.classes[known]
            if known is None:
                strange[name] += len(samples)
            ids[tuple(samples.T)] = schema.nodata if target is None else target
    except TiledsegError:
        raise
    except Exception as error:  # pydicom raises of every kind where a value is missing or odd
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"labels {path} cannot be read as DICOM segments: {told}") from error
    held = HeldLabels(ids, grid, schema, path)
    held.strange = strange
    return held


def _read(path: str, tags: list[str] | None = None) -> Any:
    try:
        import pydicom
    except ImportError:
        raise MissingBackend("pydicom", "dicom", f"reading labels from {path}") from None
    try:
        return pydicom.dcmread(path, stop_before_pixels=tags is not None, specific_tags=tags)
    except Exception as error:  # InvalidDicomError, but of a cut file anything
        told = " ".join(str(error).split())[:200]
        raise DamagedInput(f"{path} cannot be read as DICOM: {told}") from error


def _segments(file: Any, path: str, grid: Grid) -> Iterator[tuple[str, int, NDArray[np.int64]]]:
    """Yield label, number and samples (n, 3) of every frame, by number of the segment."""
    names = {int(s.SegmentNumber): str(s.SegmentLabel) for s in file.SegmentSequence}
    frames = np.asarray(file.pixel_array).reshape(-1, int(file.Rows), int(file.Columns))
    full = int(file.get("MaximumFractionalValue", 1))
    shared = file.SharedFunctionalGroupsSequence[0]
    of = list(file.PerFrameFunctionalGroupsSequence)
    numbers = [
        int(_group(f, shared, "SegmentIdentificationSequence").ReferencedSegmentNumber) for f in of
    ]
    for place in np.argsort(numbers, kind="stable"):
        first, down, right = _placed(of[place], shared, grid, path)
        on = np.argwhere(2 * frames[place].astype(np.int64) >= full)
        samples = first + on[:, :1] * down + on[:, 1:] * right
        if (samples < 0).any() or (samples >= grid.shape).any():
            raise GridMismatch(f"labels {path} reach beyond their image of {grid.shape} samples")
        number = numbers[place]
        yield names.get(number, str(number)), number, samples


def _group(frame: Any, shared: Any, name: str) -> Any:
    """Return a functional group of a frame: its own, or that of all."""
    return (frame[name].value if name in frame else shared[name].value)[0]


def _placed(
    frame: Any, shared: Any, grid: Grid, path: str
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the sample of a frame's first pixel, and the steps to the next row and column."""
    position = _group(frame, shared, "PlanePositionSequence").ImagePositionPatient
    origin = np.array(position, float)
    cosines = _group(frame, shared, "PlaneOrientationSequence").ImageOrientationPatient
    along, across = np.array(cosines, float).reshape(2, 3)  # of columns, of rows
    spacing = _group(frame, shared, "PixelMeasuresSequence").PixelSpacing
    height, width = (float(s) for s in spacing)
    world = np.stack([origin, origin + height * across, origin + width * along])
    places = grid.world_to_index(world) - 0.5
    steps = places[1:] - places[0]
    exact = (np.round(places[0]), *np.round(steps))
    beside = np.abs(np.concatenate([places[:1] - exact[0], steps - np.stack(exact[1:])])).max()
    if beside > _BESIDE or not all(np.abs(step).sum() == 1 for step in exact[1:]):
        raise GridMismatch(
            f"labels {path} must lie on the samples of their image, found a frame that is "
            f"{beside:.2g} of a sample beside, or of other pixels; resample it (3D Slicer)"
        )
    first, down, right = (step.astype(np.int64) for step in exact)
    return first, down, right


def _contours(file: Any, path: str, grid: Grid) -> Iterator[tuple[str, int, NDArray[np.int64]]]:
    """Yield name, number and samples (n, 3) of every structure in every plane."""
    names = {int(s.ROINumber): str(s.ROIName) for s in file.StructureSetROISequence}
    for structure in file.ROIContourSequence:
        number = int(structure.ReferencedROINumber)
        inside: dict[tuple[int, int], NDArray[np.bool_]] = {}
        for contour in structure.get("ContourSequence", ()):
            if str(contour.ContourGeometricType) not in _CLOSED:
                continue
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            plane, mask = _burnt(grid.world_to_index(points), grid, path)
            inside[plane] = inside[plane] ^ mask if plane in inside else mask
        for (axis, at), mask in inside.items():
            yield names.get(number, str(number)), number, np.insert(np.argwhere(mask), axis, at, 1)


def _burnt(
    points: NDArray[np.float64], grid: Grid, path: str
) -> tuple[tuple[int, int], NDArray[np.bool_]]:
    """Return the plane (axis, index) of a contour, and the samples in it."""
    spread = np.ptp(points, axis=0)
    axis = int(spread.argmin())
    at = int(np.floor(points[:, axis].mean()))
    if spread[axis] > _BESIDE or not 0 <= at < grid.shape[axis]:
        raise GridMismatch(
            f"labels {path} have a contour that lies in no plane of samples of their image, which "
            f"has {grid.shape}; it belongs to another image"
        )
    shape = tuple(n for i, n in enumerate(grid.shape) if i != axis)
    ring = np.delete(points, axis, axis=1)[:, ::-1]
    if len(ring) < 3:
        return (axis, at), np.zeros(shape, np.bool_)
    burnt = burn_values([shapely.Polygon(ring)], [1], shape, moved_to(Box.of_shape(shape)), 0)
    return (axis, at), np.asarray(burnt == 1)
