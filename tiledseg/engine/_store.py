"""The work store: unfinished results beside the output, and a receipt for every finished tile.

    landcover.tif.work/
      plan.json            the plan, and the identity of input, model and settings
      labels.zarr          class map; chunks never cross a core, so each has one writer
      scores.zarr          where scores were asked for
      receipts/17.json     tile 17 is whole on disk

Receipts on disk are the truth: a tile without one, or whose class map no longer has the receipt's
checksum, is computed again.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import chunk_shape
from ..errors import OutputFailed, PlanChanged
from ..io import create_array, open_array, writing
from ..tiling import Tile, TilePlan
from ._events import Receipt
from ._sweep import ScoreCoding, Slab

_VERSION = 2
#: What a store holds; a folder with anything else in it is somebody else's.
_OWN = {"plan.json", "plan.partial", "labels.zarr", "scores.zarr", "receipts"}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep a second run from the same work store for as long as the context lasts.

    Raises:
        PlanChanged: Another process holds it.
    """
    path = folder.with_name(f".{folder.name}.lock")
    with writing(path), path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PlanChanged(
                f"another run is writing {folder}; wait for it, or choose another output"
            ) from None
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


class WorkStore:
    """Results of a plan's tiles on disk. Make one with `create` or `resume`."""

    def __init__(self, folder: Path, plan: TilePlan) -> None:
        self.folder, self.plan = folder, plan
        self._chunk_rows = chunk_shape(plan)[0]
        self._labels = open_array(folder / "labels.zarr", writable=True)
        scores = folder / "scores.zarr"
        self._scores = open_array(scores, writable=True) if scores.exists() else None

    # ----------------------------------------------------------------- life

    @classmethod
    def create(
        cls,
        folder: Path,
        plan: TilePlan,
        identity: dict[str, Any],
        labels: tuple[np.dtype[Any], int],
        scores: tuple[ScoreCoding, int] | None,
    ) -> WorkStore:
        """Start an empty store.

        Args:
            folder: Where; an older store there is removed.
            plan: The plan.
            identity: JSON values of everything else the bytes depend on.
            labels: dtype and nodata value of the class map.
            scores: How scores are stored and the number of channels, or None.

        Raises:
            OutputFailed: The folder holds what no store holds.
        """
        shape, chunks = plan.grid.shape, chunk_shape(plan)
        with writing(folder):
            _require_own(folder)
            shutil.rmtree(folder, ignore_errors=True)
            (folder / "receipts").mkdir(parents=True)
            create_array(
                folder / "labels.zarr",
                shape=shape,
                chunks=chunks,
                dtype=labels[0],
                fill_value=labels[1],
            )
            if scores is not None:
                coding, channels = scores
                create_array(
                    folder / "scores.zarr",
                    shape=(channels, *shape),
                    chunks=(1, *chunks),
                    dtype=coding.dtype,
                    fill_value=coding.nodata,
                )
            _write_json(
                folder / "plan.json",
                {"version": _VERSION, "plan": plan.to_dict(), "identity": identity},
            )
        return cls(folder, plan)

    @classmethod
    def stored_plan(cls, folder: Path) -> tuple[TilePlan, dict[str, Any]] | None:
        """Return plan and identity of the store in ``folder``, or None where there is none.

        Raises:
            PlanChanged: There is a store, but it cannot be understood.
        """
        try:
            values = json.loads((folder / "plan.json").read_text())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise PlanChanged(
                f"unfinished work in {folder} cannot be read ({error}); discard it with --fresh"
            ) from error
        if values.get("version") != _VERSION:
            raise PlanChanged(
                f"unfinished work in {folder} was made by another version of tiledseg; "
                "finish it there or discard it with --fresh"
            )
        return TilePlan.from_dict(values["plan"]), values["identity"]

    def remove(self) -> None:
        """Delete the store."""
        shutil.rmtree(self.folder, ignore_errors=True)

    # ----------------------------------------------------------------- tiles

    def writer(self, tile: Tile) -> TileWriter:
        """Return what takes a tile's slabs."""
        return TileWriter(self, tile)

    def keep(self, receipt: Receipt) -> None:
        """Store the receipt of a tile whose data are written."""
        with writing(self.folder):
            _write_json(self.folder / "receipts" / f"{receipt.tile}.json", receipt.to_dict())

    def receipts(self) -> Iterator[Receipt]:
        """Yield the receipts of tiles whose class map on disk still has their checksum."""
        for path in (self.folder / "receipts").glob("*.json"):
            try:
                receipt = Receipt.from_dict(json.loads(path.read_text()))
                tile = self.plan[receipt.tile]
                whole = self.checksum(tile.core) == receipt.checksum
            except (ValueError, TypeError, IndexError, OSError, RuntimeError):
                continue  # torn by a crash: the tile is simply computed again
            if whole:
                yield receipt

    def checksum(self, core: Box) -> int:
        """Return the CRC-32 of the class map of ``core``, row-major."""
        checksum = 0
        for row in range(core.start[0], core.stop[0], self._chunk_rows):
            rows = core.along(0, row, min(row + self._chunk_rows, core.stop[0]))
            checksum = zlib.crc32(self.labels(rows).tobytes(), checksum)
        return checksum

    # ----------------------------------------------------------------- data

    @property
    def chunk_rows(self) -> int:
        """Rows in one chunk: the unit in which the store is read and written best."""
        return self._chunk_rows

    def labels(self, box: Box) -> NDArray[Any]:
        """Return the class map of ``box``; nodata where no tile is done."""
        return np.asarray(self._labels[box.slices])

    def scores(self, box: Box) -> NDArray[Any]:
        """Return the stored scores of ``box``, (k, *box.shape)."""
        if self._scores is None:
            raise PlanChanged(f"the work store {self.folder} holds no scores")
        return np.asarray(self._scores[(slice(None), *box.slices)])

    def clear(self, box: Box) -> None:
        """Make ``box``, whole cores, nodata again."""
        with writing(self.folder):
            self._labels[box.slices] = self._labels.fill_value
            if self._scores is not None:
                self._scores[(slice(None), *box.slices)] = self._scores.fill_value

    def put(self, slab: Slab) -> None:
        """Write finished rows of whole chunks."""
        with writing(self.folder):
            self._labels[slab.box.slices] = slab.labels
            if self._scores is not None and slab.scores is not None:
                self._scores[(slice(None), *slab.box.slices)] = slab.scores


class TileWriter:
    """Gathers a tile's slabs and writes them in whole rows of chunks."""

    def __init__(self, store: WorkStore, tile: Tile) -> None:
        self._store = store
        self._row = tile.core.start[0]
        self._slabs: list[Slab] = []

    def write(self, slab: Slab) -> None:
        """Take the next slab; write what completes a row of chunks."""
        if not slab.box.size:
            return
        self._slabs.append(slab)
        stop = slab.box.stop[0]
        whole = stop - stop % self._store.chunk_rows
        if whole > self._row:
            self._flush(whole)

    def finish(self) -> None:
        """Write what is left."""
        if self._slabs:
            self._flush(self._slabs[-1].box.stop[0])

    def _flush(self, stop: int) -> None:
        box = self._slabs[0].box.along(0, self._row, self._slabs[-1].box.stop[0])
        labels = np.concatenate([s.labels for s in self._slabs])
        parts = [s.scores for s in self._slabs if s.scores is not None]
        scores = np.concatenate(parts, axis=1) if parts else None
        cut = stop - self._row
        head = Slab(box.along(0, self._row, stop), labels[:cut], _rows(scores, slice(cut)))
        rest = box.along(0, stop, box.stop[0])
        tail = Slab(rest, labels[cut:], _rows(scores, slice(cut, None)))
        self._store.put(head)
        self._slabs = [tail] if rest.size else []
        self._row = stop


def _require_own(folder: Path) -> None:
    foreign = (
        sorted(p.name for p in folder.iterdir() if p.name not in _OWN) if folder.is_dir() else ()
    )
    if foreign:
        raise OutputFailed(
            f"unfinished work would replace the folder {folder}, which holds {foreign[0]!r:.80} "
            "and was not made by tiledseg; move it, or choose another output"
        )


def _rows(scores: NDArray[Any] | None, rows: slice) -> NDArray[Any] | None:
    return None if scores is None else scores[:, rows]


def _write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    partial = path.with_suffix(".partial")
    with partial.open("w") as file:
        json.dump(values, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
