"""Images made of another image, and sinks that hand on to another sink."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..box import Box
from ._base import Mask, Sink, Source


class DerivedSource(Source):
    """An image made of another: what a subclass does not say anew is that of the other.

    Args:
        inner: The other image; it is closed with this one.
    """

    def __init__(self, inner: Source) -> None:
        self.inner = inner
        self.uri, self.grid, self.channels = inner.uri, inner.grid, inner.channels
        self.dtype, self.nodata, self.blocks = inner.dtype, inner.nodata, inner.blocks
        self.lengths, self.working_bytes = inner.lengths, inner.working_bytes

    def valid(self, box: Box) -> Mask:
        """Return where samples of ``box`` were measured."""
        return self.inner.valid(box)

    def fingerprint(self) -> dict[str, Any]:
        """Return the identity of the other image."""
        return self.inner.fingerprint()

    def files(self) -> list[Path]:
        """Return the files of the other image."""
        return self.inner.files()

    def close(self) -> None:
        """Close the other image."""
        self.inner.close()


class DerivedSink(Sink):
    """Takes boxes in a frame of its own; what becomes of the file is the inner sink's.

    Args:
        inner: Where boxes go, turned or moved.
    """

    def __init__(self, inner: Sink) -> None:
        super().__init__(inner.path, inner.spec)
        self.inner = inner

    def prepare(self) -> None:
        """Prepare the inner sink."""
        self.inner.prepare()

    def commit(self) -> list[Path]:
        """Commit the inner sink."""
        return self.inner.commit()

    def abort(self) -> None:
        """Abort the inner sink."""
        self.inner.abort()
