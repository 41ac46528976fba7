"""Label volumes and scores as NIfTI, NRRD or MHA, with the source's exact geometry."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError, OutputFailed
from ...labels import ClassSchema
from .._base import Sink, SinkSpec
from .._files import require_own, settle, temporary_beside, write_text, writing
from ._itk import reason

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
#: Byte at which ITK writes the samples of a NIfTI file.
_NIFTI_1_OFFSET = 352
#: How the colour table and the class names begin.
_OPENINGS = ("# Color table, ", '{\n  "classes": [')
#: Cosine of two axes above which they do not count as perpendicular.
_SLANT = 1e-4


class VolumeSink(Sink):
    """A volume file; the samples are held in memory until `commit`.

    Label maps also get a colour table for 3D Slicer (``labels.ctbl``) and their class names as
    JSON (``labels.json``).

    Raises:
        OutputFailed: One of these was not written by tiledseg.
    """

    def __init__(self, path: Path, spec: SinkSpec) -> None:
        super().__init__(path, spec)
        self._array: NDArray[Any] | None = None
        if spec.schema is not None:
            for sidecar, opening in zip(self._sidecar_paths(), _OPENINGS, strict=True):
                require_own(sidecar, opening)

    def prepare(self) -> None:
        """Make room in memory, and see that the file can be made and can hold the geometry.

        Raises:
            ConfigError: NIfTI was asked for, and the axes are not perpendicular.
        """
        direction = self.spec.grid.direction
        slant = float(np.abs(direction.T @ direction - np.eye(3)).max())
        if slant > _SLANT and _is_nifti(self.path):
            raise ConfigError(
                f"cannot write {self.path}: NIfTI holds perpendicular axes only, these are off by "
                f"{slant:.2g}; take .nrrd or .mha"
            )
        with writing(self.path):
            temporary_beside(self.path).touch()
        self._array = np.zeros((len(self.spec.bands), *self.spec.grid.shape), self.spec.dtype)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store samples."""
        if self._array is None:
            raise RuntimeError("prepare comes before write")
        self._array[(slice(None), *box.slices)] = values

    def commit(self) -> list[Path]:
        """Write the file, rename it, and write the sidecars of a label map."""
        partial = temporary_beside(self.path)
        image = self._image()
        self._array = None
        try:
            sitk.WriteImage(image, str(partial), useCompression=not self.path.name.endswith(".nii"))
        except RuntimeError as error:
            raise OutputFailed(
                f"cannot write {self.path}: {reason(error)}; make room and run again to go on"
            ) from error
        with writing(self.path):
            _check_whole(partial, self.spec)
            settle(partial, self.path)
        return [self.path, *self._sidecars()]

    def abort(self) -> None:
        """Remove the temporary file."""
        self._array = None
        for path in (self.path, *self._sidecar_paths()):
            temporary_beside(path).unlink(missing_ok=True)

    def _image(self) -> sitk.Image:
        array = self._array
        if array is None:
            raise RuntimeError("prepare comes before commit")
        if len(array) == 1:
            image = sitk.GetImageFromArray(array[0])
        else:
            image = sitk.GetImageFromArray(np.moveaxis(array, 0, -1), isVector=True)
        grid = self.spec.grid
        centers = grid.centers()
        linear = centers[:3, :3]
        spacing = np.linalg.norm(linear, axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(centers[:3, 3].tolist())
        try:
            image.SetDirection((linear / spacing).ravel().tolist())
        except RuntimeError as error:
            raise ConfigError(f"cannot write {self.path}: {reason(error)}") from error
        return image

    def _sidecars(self) -> list[Path]:
        schema = self.spec.schema
        if schema is None:
            return []
        table, names = self._sidecar_paths()
        write_text(table, _color_table(schema, self.spec.nodata))
        values = {**schema.to_dict(), "nodata": self.spec.nodata}
        write_text(names, json.dumps(values, indent=2))
        return [table, names]

    def _sidecar_paths(self) -> tuple[Path, Path]:
        stem = self.path.name[: -len(_suffix(self.path))]
        return self.path.with_name(f"{stem}.ctbl"), self.path.with_name(f"{stem}.json")


def _check_whole(path: Path, spec: SinkSpec) -> None:
    """Count what was written: ITK reports a full disk for NRRD and MHA, but not for NIfTI."""
    if not _is_nifti(path):
        return
    expected = spec.grid.box.size * len(spec.bands) * spec.dtype.itemsize
    found = -_NIFTI_1_OFFSET
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else path.open("rb") as file:
            while piece := file.read(2**20):
                found += len(piece)
    except (EOFError, zlib.error) as error:
        raise OSError(f"the file on disk is not whole ({error})") from error
    if found < expected:
        raise OSError(f"only {max(0, found)} of {expected} bytes are on disk; make room")


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def _suffix(path: Path) -> str:
    return next(s for s in _SUFFIXES if path.name.lower().endswith(s))


def _color_table(schema: ClassSchema, nodata: float | None) -> str:
    """Return a colour table as 3D Slicer reads it: id, name without blanks, r, g, b, a."""
    lines = ["# Color table, " + str(len(schema.unique)) + " classes"]
    for c in schema.unique:
        alpha = 0 if c.id == schema.background else 255
        lines.append(f"{c.id} {'_'.join(c.name.split())} {' '.join(map(str, c.color))} {alpha}")
    if nodata is not None:
        lines.append(f"{int(nodata)} nodata 0 0 0 0")
    return "\n".join(lines) + "\n"


def read_schema(path: Path) -> ClassSchema | None:
    """Return the classes of the JSON sidecar of a label map, or None."""
    if not path.name.lower().endswith(_SUFFIXES):
        return None
    sidecar = path.with_name(path.name[: -len(_suffix(path))] + ".json")
    try:
        return ClassSchema.from_dict(json.loads(sidecar.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
