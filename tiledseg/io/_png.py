"""Id maps as PNG, row by row: an id is the colour R + 256 G + 65536 B, as in COCO's panoptic files.

The form is that of the W3C's PNG specification, third edition: a signature, then chunks of length,
name, data and checksum (section 5), of which IHDR, IDAT and IEND are needed; rows are unfiltered
(section 9.2: filter 0) and one stream of zlib.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ._base import Sink, SinkSpec
from ._files import remove, require_place, settle, temporary_beside, writing

#: The largest id that three bytes hold.
PNG_LARGEST = 2**24 - 1
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Rows and columns are 31-bit numbers there; decoders of today refuse images beyond 10^6.
_LONGEST = 10**6
#: 8 bits per sample, colour, and the only compression, filters and order that there are.
_RGB = (8, 2, 0, 0, 0)
_LEVEL = 6


class IdPngSink(Sink):
    """A PNG of ids; the image's place in the world is lost.

    Args:
        path: Final name.
        spec: What comes: one band of ids, 0 to `PNG_LARGEST`; whole rows, from the top.

    Raises:
        ConfigError: The image is a volume, or too large for a PNG.
        OutputFailed: The folder is not there or cannot be written.
    """

    def __init__(self, path: Path, spec: SinkSpec) -> None:
        super().__init__(path, spec)
        shape = spec.grid.shape
        if len(shape) != 2 or max(shape) > _LONGEST:
            raise ConfigError(
                f"cannot write {' x '.join(map(str, shape))} samples to {path}: a PNG holds scenes "
                f"of up to {_LONGEST:,} rows and columns; take .tif, or .nii.gz for volumes"
            )
        require_place(path)
        self._file: BinaryIO | None = None
        self._packer = zlib.compressobj(_LEVEL)
        self._row = 0

    def prepare(self) -> None:
        """Create the temporary file."""
        rows, columns = self.spec.grid.shape
        partial = temporary_beside(self.path)
        with writing(self.path):
            partial.unlink(missing_ok=True)  # a link is not followed
            self._file = partial.open("wb")
            self._file.write(_SIGNATURE)
            self._chunk(b"IHDR", struct.pack(">2I5B", columns, rows, *_RGB))

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store rows, which follow those before."""
        rows, columns = values[0].shape
        if box.start != (self._row, 0) or columns != self.spec.grid.shape[1]:
            raise RuntimeError("whole rows are written from the top")
        self._row = box.stop[0]
        packed = np.zeros((rows, 1 + 3 * columns), np.uint8)
        for byte in range(3):
            packed[:, 1 + byte :: 3] = (values[0] >> np.uint32(8 * byte)) & np.uint32(255)
        with writing(self.path):
            self._chunk(b"IDAT", self._packer.compress(packed.data))

    def commit(self) -> list[Path]:
        """Finish and rename."""
        partial = temporary_beside(self.path)
        with writing(self.path):
            self._chunk(b"IDAT", self._packer.flush())
            self._chunk(b"IEND", b"")
            self._close()
            settle(partial, self.path)
        return [self.path]

    def abort(self) -> None:
        """Remove the temporary file."""
        self._close()
        remove(temporary_beside(self.path))

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _chunk(self, name: bytes, data: bytes) -> None:
        if self._file is None:
            raise RuntimeError("prepare comes before write")
        if data or name == b"IEND":
            named = name + data
            self._file.write(struct.pack(">I", len(data)) + named)
            self._file.write(struct.pack(">I", zlib.crc32(named)))
