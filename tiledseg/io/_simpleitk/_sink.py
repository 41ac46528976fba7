"""Label volumes and scores as NIfTI, NRRD or MHA, with the source's exact geometry."""

from __future__ import annotations

import json
import tempfile
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...errors import ConfigError
from ...labels import ClassSchema
from .._base import Sink, SinkSpec
from .._deflate import deflated
from .._files import (
    remove,
    require_own,
    require_room,
    settle,
    temporary_beside,
    write_text,
    writing,
)
from ._new_headers import NIFTI_LONGEST, NIFTI_OFFSET, meta_header, nifti_header, nrrd_header
from ._new_samples import NewSamples

_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".mha")
#: How the colour table and the class names begin.
_OPENINGS = ("# Color table, ", '{\n  "classes": [')
#: Cosine of two axes above which they do not count as perpendicular.
_SLANT = 1e-4


class VolumeSink(Sink):
    """A volume file, written plane by plane; no more than a plane of all bands is held.

    What is compressed waits in a nameless file in the same folder, for as much room there as the
    samples take. Label maps also get a colour table for 3D Slicer (``labels.ctbl``) and their class
    names as JSON (``labels.json``).

    Args:
        path: Final name.
        spec: What comes.
        threads: Threads that compress.

    Raises:
        ConfigError: NIfTI was asked for, and cannot hold the grid.
        OutputFailed: There is no room, or one of the sidecars was not written by tiledseg.
    """

    def __init__(self, path: Path, spec: SinkSpec, threads: int = 1) -> None:
        super().__init__(path, spec)
        self._threads = threads
        self._nifti = path.name.lower().endswith((".nii", ".nii.gz"))
        self._plain = path.name.lower().endswith(".nii")
        if self._nifti:
            _require_nifti(path, spec)
        if spec.schema is not None:
            for sidecar, opening in zip(self._sidecar_paths(), _OPENINGS, strict=True):
                require_own(sidecar, opening)
        self._bytes = spec.grid.box.size * len(spec.bands) * spec.dtype.itemsize
        require_room(path, self._bytes)
        self._samples: NewSamples | None = None

    def prepare(self) -> None:
        """Make the temporary files."""
        self.abort()
        offset = NIFTI_OFFSET if self._plain else 0
        with writing(self.path):
            temporary_beside(self.path).unlink(missing_ok=True)  # a link is not followed
            partial = temporary_beside(self.path).open("w+b")
            if self._plain:
                partial.write(nifti_header(self.spec))
                file = partial
            else:
                partial.close()
                file = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 - kept open
            self._samples = NewSamples(file, self.spec, offset, interleaved=not self._nifti)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store samples."""
        if self._samples is None:
            raise RuntimeError("prepare comes before write")
        with writing(self.path):
            self._samples.write(box, values)

    def commit(self) -> list[Path]:
        """Compress, rename, and write the sidecars of a label map."""
        samples, self._samples = self._samples, None
        if samples is None:
            raise RuntimeError("prepare comes before commit")
        partial = temporary_beside(self.path)
        with writing(self.path), samples:
            samples.flush()
            if not self._plain:
                with partial.open("wb") as file:
                    self._compress(samples, file)
        with writing(self.path):
            settle(partial, self.path)
        return [self.path, *self._sidecars()]

    def _compress(self, samples: NewSamples, file: BinaryIO) -> None:
        if self._nifti:
            pieces = chain([nifti_header(self.spec)], samples.pieces())
            file.writelines(deflated(pieces, "gzip", self._threads))
            return
        is_nrrd = self.path.name.lower().endswith(".nrrd")
        file.write(nrrd_header(self.spec) if is_nrrd else meta_header(self.spec, 0))
        begin = file.tell()
        kind: Literal["gzip", "zlib"] = "gzip" if is_nrrd else "zlib"
        file.writelines(deflated(samples.pieces(), kind, self._threads))
        if not is_nrrd:
            packed = file.tell() - begin
            file.seek(0)
            file.write(meta_header(self.spec, packed))

    def abort(self) -> None:
        """Remove the temporary files."""
        samples, self._samples = self._samples, None
        if samples is not None:
            with suppress(OSError):  # what is buffered may find no room
                samples.close()
        for path in (self.path, *self._sidecar_paths()):
            remove(temporary_beside(path))

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


def _require_nifti(path: Path, spec: SinkSpec) -> None:
    """Refuse what NIfTI-1 cannot hold.

    Raises:
        ConfigError: The axes are not perpendicular, or one is too long.
    """
    direction = spec.grid.direction
    slant = float(np.abs(direction.T @ direction - np.eye(3)).max())
    if slant > _SLANT:
        raise ConfigError(
            f"cannot write {path}: NIfTI holds perpendicular axes only, these are off by "
            f"{slant:.2g}; take .nrrd or .mha"
        )
    if max(*spec.grid.shape, len(spec.bands)) > NIFTI_LONGEST:
        raise ConfigError(
            f"cannot write {path}: NIfTI holds at most {NIFTI_LONGEST} samples along an axis, "
            f"there are {spec.grid.shape}; take .nrrd or .mha"
        )


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
    """Return the classes of a label map's sidecar, JSON or colour table, or None."""
    if not path.name.lower().endswith(_SUFFIXES):
        return None
    stem = path.name[: -len(_suffix(path))]
    try:
        text = path.with_name(f"{stem}.json").read_text(encoding="utf-8")
        found = ClassSchema.from_file(json.loads(text))
    except (OSError, ValueError, RecursionError):
        found = None
    return found or _read_color_table(path.with_name(f"{stem}.ctbl"))


def _read_color_table(path: Path) -> ClassSchema | None:
    """Return the classes of a colour table as 3D Slicer writes it, or None."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line.split() for line in lines if line.strip() and not line.startswith("#")]
        classes = [
            {"id": int(number), "name": name, "color": (int(r), int(g), int(b))}
            for number, name, r, g, b, _ in rows
            if (number, name) not in (("255", "nodata"), ("65535", "nodata"))  # as tiledseg has it
        ]
    except (OSError, ValueError):
        return None
    background = 0 if any(c["id"] == 0 for c in classes) else None
    return ClassSchema.from_file({"classes": classes, "background": background})
