"""The work store: unfinished results, and a receipt for every finished tile.

    landcover.tif.work/    a folder on a disk, or a prefix of an object store
      plan.json            the plan, the identity of input, model and settings, and the config
      labels.zarr          class map; chunks never cross a core, so each has one writer
      scores.zarr          where scores were asked for
      stages/              what one pass of the post-processing leaves for the next
      receipts/17.json     tile 17 is whole in the store
      progress/            how every process at work on it is getting on

``plan.json`` is what makes a store: of several processes that begin at once, the one that creates
it has made the store, and whoever opens it makes what else is missing, which follows from it.

Receipts are the truth: a tile without one, or whose class map or scores no longer have the
receipt's checksums, is computed again.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import chunk_shape
from ..errors import DamagedInput, OutputFailed, PlanChanged, TiledsegError
from ..io import Folder, create_array, open_array, open_folder
from ..tiling import Tile, TilePlan
from ._checksum import Checksum
from ._events import Receipt
from ._stored import PLAN, Stored, stored, unreadable
from ._sweep import ScoreCoding, Slab

#: What reading stored chunks raises where they are damaged.
_DAMAGE = (ValueError, TypeError, RuntimeError, OSError, KeyError, EOFError, zlib.error)


@contextmanager
def locked(where: str | Path | Folder, shared: bool = False) -> Iterator[Folder]:
    """Keep other runs from a work store for as long as the context lasts.

    Args:
        where: The store; it need not be there yet.
        shared: Let those in that share it too, for jobs that compute some of the tiles.

    Raises:
        PlanChanged: Another process holds it.
    """
    folder = open_folder(where)
    with folder.lock(shared):
        yield folder


def discard(folder: Folder) -> None:
    """Delete a work store, whatever state it is in; files that are not its own stay."""
    folder.remove(
        *("receipts", "progress", "stages", "labels.zarr", "scores.zarr", "zarr.json", PLAN)
    )


class WorkStore:
    """Results of a plan's tiles. Make one with `create` or `open`."""

    def __init__(self, folder: Folder, made_for: Stored) -> None:
        self.folder, self.plan, self.config = folder, made_for.plan, made_for.config
        self.identity = made_for.identity
        self.digest = hashlib.sha256(made_for.to_json()).hexdigest()
        shape, chunks = self.plan.output.shape, chunk_shape(self.plan)
        self._chunk_rows = chunks[0]
        self._labels = self._array("labels.zarr", shape, chunks, *made_for.labels)
        self.coding: ScoreCoding | None = None
        self._scores = None
        if made_for.scores is not None:
            coding, channels = made_for.scores
            self.coding = coding
            sizes = (channels, *shape), (1, *chunks)
            self._scores = self._array("scores.zarr", *sizes, coding.dtype, coding.nodata)

    # ----------------------------------------------------------------- life

    @classmethod
    def create(
        cls,
        where: str | Path | Folder,
        plan: TilePlan,
        identity: dict[str, Any],
        config: dict[str, Any],
        labels: tuple[np.dtype[Any], int],
        scores: tuple[ScoreCoding, int] | None,
    ) -> WorkStore:
        """Start an empty store; one that is there, or that another process made first, is opened.

        Args:
            where: A folder, or a URL like ``s3://bucket/prefix``.
            plan: The plan; compare it with that of the store returned.
            identity: JSON values of everything else the bytes depend on.
            config: The settings of the run, as JSON values.
            labels: dtype and nodata value of the class map.
            scores: How scores are stored and the number of channels, or None.
        """
        folder = open_folder(where)
        folder.create(PLAN, Stored(plan, identity, config, labels, scores).to_json())
        return cls.open(folder)

    @classmethod
    def open(cls, where: str | Path | Folder) -> WorkStore:
        """Open a store.

        Raises:
            PlanChanged: There is none, or it cannot be understood.
        """
        folder = open_folder(where)
        made_for = stored(folder)
        if made_for is None:
            raise PlanChanged(f"there is no unfinished work in {folder.uri}")
        return cls(folder, made_for)

    def _array(
        self,
        name: str,
        shape: tuple[int, ...],
        chunks: tuple[int, ...],
        dtype: np.dtype[Any],
        fill_value: float,
    ) -> Any:
        """Open an array of the store, making it where it is missing."""
        place = self.folder.array(name)
        with self.folder.reading():
            try:
                try:
                    array = open_array(place, writable=True)
                except FileNotFoundError:
                    with self.folder.writing():
                        _create(place, shape, chunks, dtype, fill_value)
                    array = open_array(place, writable=True)
            except DamagedInput as error:
                raise unreadable(self.folder, error) from error
        same = np.array_equal([array.fill_value], [fill_value], equal_nan=True)
        if (array.shape, array.chunks, array.dtype) != (shape, chunks, dtype) or not same:
            raise unreadable(self.folder, f"{name} is not the array that the plan asks for")
        return array

    def remove(self) -> None:
        """Delete the store."""
        discard(self.folder)

    # ----------------------------------------------------------------- tiles

    def writer(self, tile: Tile) -> TileWriter:
        """Return what takes a tile's slabs."""
        return TileWriter(self, tile)

    def keep(self, receipt: Receipt) -> None:
        """Store the receipt of a tile whose data are written."""
        self._require_current()
        values = {"made_for": self.digest, **receipt.to_dict()}
        self.folder.write(_receipt(receipt.tile), json.dumps(values).encode())

    def _require_current(self) -> None:
        """Refuse to write into the store of another run.

        A worker that nobody could stop may end its tile after its store was discarded, and another
        one made in its place.

        Raises:
            PlanChanged: This store is not there any more.
        """
        self.folder.check()
        with suppress(FileNotFoundError):
            if hashlib.sha256(self.folder.read(PLAN)).hexdigest() == self.digest:
                return
        raise PlanChanged(f"the unfinished work in {self.folder.uri} was discarded meanwhile")

    def finished(self) -> list[int]:
        """Return the ascending numbers of tiles that have a receipt, whole or not."""
        return finished(self.folder)

    def receipts(self, tiles: range | None = None) -> Iterator[Receipt]:
        """Yield the receipts of tiles whose stored data still have their checksums.

        Args:
            tiles: Look at these only.
        """
        for number in self.finished():
            if number < len(self.plan) and (tiles is None or number in tiles):
                receipt = self.receipt(number)
                if receipt is not None:
                    yield receipt

    def receipt(self, number: int) -> Receipt | None:
        """Return the receipt of a tile; None where its stored data do not have its checksums."""
        try:
            values = json.loads(self.folder.read(_receipt(number)))
            if values.pop("made_for") != self.digest:
                return None
            receipt = Receipt.from_dict(values)
            found = self.checksum(self.plan[number].core)
        except OutputFailed:  # the place cannot be reached: that says nothing of the tile
            raise
        except (*_DAMAGE, AttributeError, IndexError):
            return None  # none, or torn by a crash: the tile is simply computed
        sums = (number, found.labels, found.scores)
        whole = sums == (receipt.tile, receipt.checksum, receipt.score_checksum)
        return receipt if whole else None

    def checksum(self, core: Box) -> Checksum:
        """Return the checksum of what is stored of ``core``."""
        checksum = Checksum()
        for row in range(core.start[0], core.stop[0], self._chunk_rows):
            rows = core.along(0, row, min(row + self._chunk_rows, core.stop[0]))
            scores = None if self._scores is None else self.scores(rows)
            checksum.add(self.labels(rows), scores)
        return checksum

    # ----------------------------------------------------------------- data

    @property
    def chunk_rows(self) -> int:
        """Rows in one chunk: the unit in which the store is read and written best."""
        return self._chunk_rows

    def labels(self, box: Box) -> NDArray[Any]:
        """Return the class map of ``box``; nodata where no tile is done."""
        return self._read(self._labels, box.slices)

    def scores(self, box: Box) -> NDArray[Any]:
        """Return the stored scores of ``box``, (k, *box.shape)."""
        if self._scores is None:
            raise PlanChanged(f"the work store {self.folder.uri} holds no scores")
        return self._read(self._scores, (slice(None), *box.slices))

    def _read(self, array: Any, at: tuple[slice, ...]) -> NDArray[Any]:
        try:
            with self.folder.reading():
                return np.asarray(array[at])
        except TiledsegError:
            raise
        except _DAMAGE as error:
            raise DamagedInput(
                f"unfinished work in {self.folder.uri} is damaged ({error}); run the same command "
                "again to compute it anew"
            ) from error

    def clear(self, box: Box) -> None:
        """Make ``box``, whole cores, nodata again."""
        with self.folder.writing():
            self._labels[box.slices] = self._labels.fill_value
            if self._scores is not None:
                self._scores[(slice(None), *box.slices)] = self._scores.fill_value

    def put(self, slab: Slab) -> None:
        """Write finished rows of whole chunks."""
        self._require_current()
        with self.folder.writing():
            self._labels[slab.box.slices] = slab.labels
            if self._scores is not None and slab.scores is not None:
                self._scores[(slice(None), *slab.box.slices)] = slab.scores


class TileWriter:
    """Gathers a tile's slabs and writes them in whole rows of chunks."""

    def __init__(self, store: WorkStore, tile: Tile) -> None:
        self._store = store
        self._row = tile.core.start[0]
        self._slabs: list[Slab] = []
        self.checksum = Checksum()

    def write(self, slab: Slab) -> None:
        """Take the next slab; write what completes a row of chunks."""
        if not slab.box.size:
            return
        self.checksum.add(slab.labels, slab.scores)
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


def _rows(scores: NDArray[Any] | None, rows: slice) -> NDArray[Any] | None:
    return None if scores is None else scores[:, rows]


def finished(folder: Folder) -> list[int]:
    """Return the ascending numbers of tiles that have a receipt in a store, whole or not."""
    names = (name.removeprefix("receipts/") for name in folder.names("receipts"))
    numbers = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return sorted(int(number) for number in numbers if number.isdecimal())


def _receipt(tile: int) -> str:
    return f"receipts/{tile}.json"


def _create(
    place: Any,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: np.dtype[Any],
    fill_value: float,
) -> None:
    """Make an array; that another process is faster is no error: it makes the same."""
    with suppress(FileExistsError):
        create_array(place, shape=shape, chunks=chunks, dtype=dtype, fill_value=fill_value)
