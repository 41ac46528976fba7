"""Label volumes and scores as NIfTI, NRRD or MHA, with the source's exact geometry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError, OutputFailed
from ...labels import ClassSchema
from .._base import Sink, SinkSpec
from .._files import settle, temporary_beside, write_text, writing
from ._itk import reason

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")


class VolumeSink(Sink):
    """A volume file; the samples are held in memory until `commit`.

    Label maps also get a colour table for 3D Slicer (``labels.ctbl``) and their class names as
    JSON (``labels.json``).
    """

    def __init__(self, path: Path, spec: SinkSpec) -> None:
        super().__init__(path, spec)
        self._array: NDArray[Any] | None = None

    def prepare(self) -> None:
        """Make room in memory, and see that the file can be made."""
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
            _check_whole(partial, image)
            settle(partial, self.path)
        return [self.path, *self._sidecars()]

    def abort(self) -> None:
        """Remove the temporary file."""
        self._array = None
        temporary_beside(self.path).unlink(missing_ok=True)

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
        stem = self.path.name[: -len(_suffix(self.path))]
        table, names = self.path.with_name(f"{stem}.ctbl"), self.path.with_name(f"{stem}.json")
        write_text(table, _color_table(schema))
        values = {**schema.to_dict(), "nodata": self.spec.nodata}
        write_text(names, json.dumps(values, indent=2))
        return [table, names]


def _check_whole(path: Path, image: sitk.Image) -> None:
    """ITK does not notice every full disk: an empty file has no header to read back."""
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetSize() != image.GetSize():
        raise OSError("the file on disk is not whole")


def _suffix(path: Path) -> str:
    return next(s for s in _SUFFIXES if path.name.lower().endswith(s))


def _color_table(schema: ClassSchema) -> str:
    """Return a colour table as 3D Slicer reads it: id, name without blanks, r, g, b, a."""
    lines = ["# Color table, " + str(len(schema.unique)) + " classes"]
    for c in schema.unique:
        alpha = 0 if c.id == schema.background else 255
        lines.append(f"{c.id} {'_'.join(c.name.split())} {' '.join(map(str, c.color))} {alpha}")
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
