"""Cases, opened when they are needed: small ones are decoded once and kept, within a limit."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..budget import parse_bytes
from ..datasets import Case, Dataset
from ..io import Source
from ..normalize import Normalization
from ._data_spec import DataSpec
from ._prepared import Prepared, fitted_whole, prepare

#: Large cases that are open at a time: a process may open about a thousand files.
_OPEN = 32


class Decoded(Source):
    """An image whose samples are in memory.

    Args:
        inner: Where they came from; it may be closed.
        values: Its samples, (c, *s).
        valid: Where they were measured, (*s).
    """

    def __init__(self, inner: Source, values: NDArray[Any], valid: NDArray[np.bool_]) -> None:
        self.uri, self.grid, self.channels = inner.uri, inner.grid, inner.channels
        self.dtype, self.nodata, self.blocks = values.dtype, inner.nodata, inner.blocks
        self._values, self._valid = values, valid

    @classmethod
    def image(cls, source: Source) -> Decoded:
        """Return a whole image, read."""
        box = source.grid.box
        return cls(source, source.read(box), source.valid(box))

    @classmethod
    def labels(cls, source: Source) -> Decoded:
        """Return whole labels, read once: their nodata tells where they are valid."""
        values = source.read(source.grid.box)
        return cls(source, values, values[0] != source.nodata)

    def read(self, box: Box) -> NDArray[Any]:
        """Return a copy of the samples of ``box``."""
        return self._values[(slice(None), *box.slices)].copy()

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where samples of ``box`` were measured."""
        return self._valid[box.slices].copy()

    def fingerprint(self) -> dict[str, Any]:
        """Return what it is: the arrays of a process."""
        return {"decoded": self.uri}


class Cases:
    """The cases of a dataset, to be read from by several threads.

    Args:
        dataset: The dataset.
        cases: Those that are wanted.
        spec: How they are to be prepared.
        cache: Memory for decoded cases, like ``1GB``.
    """

    def __init__(self, dataset: Dataset, cases: Sequence[Case], spec: DataSpec, cache: str) -> None:
        self._dataset, self._cases, self._spec = dataset, tuple(cases), spec
        self._limit = parse_bytes(cache)
        self._lanes: dict[tuple[str, ...], Normalization] = {}
        self._kept: OrderedDict[int, tuple[Future[Prepared], int]] = OrderedDict()
        self._open: OrderedDict[int, _Shared] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._cases)

    @contextmanager
    def use(self, index: int) -> Iterator[Prepared]:
        """Give a case, decoded if it is small, else open for as long as it is used."""
        with self._lock:
            kept = self._kept.get(index)
            if kept is not None:
                self._kept.move_to_end(index)
        if kept is not None:
            yield kept[0].result()
            return
        with self._opened(index) as opened:
            size = _bytes(opened)
            if size > self._limit // 2:
                yield opened
                return
            decoded = self._decoded(index, opened, size)
        self._forget(index)
        yield decoded

    def close(self) -> None:
        """Close what is open, and forget what is decoded; nothing is in use."""
        with self._lock:
            shared = list(self._open.values())
            self._open.clear()
            self._kept.clear()
        for one in shared:
            one.leave()

    def _decoded(self, index: int, opened: Prepared, size: int) -> Prepared:
        """Return a case with its samples in memory; several threads wait for one."""
        with self._lock:
            kept = self._kept.get(index)
            future: Future[Prepared] = Future() if kept is None else kept[0]
            if kept is None:
                self._kept[index] = (future, size)
                self._make_room(index)
        if kept is not None:
            return future.result()
        try:
            image = Decoded.image(opened.image)
            labels = Decoded.labels(opened.labels)
            moved = opened.way is not None or opened.axes is not None
            own = Decoded.labels(opened.own) if moved else labels
            future.set_result(replace(opened, image=image, labels=labels, own=own))
        except BaseException as error:
            future.set_exception(error)
            raise
        return future.result()

    def _forget(self, index: int) -> None:
        """Close a case, once whoever still uses it is done."""
        with self._lock:
            shared = self._open.pop(index, None)
        if shared is not None:
            shared.leave()

    def _make_room(self, newest: int) -> None:
        """Forget cases that were not used for the longest time, until all fit."""
        total = sum(size for _, size in self._kept.values())
        for index in list(self._kept):
            if total <= self._limit:
                return
            if index != newest:
                total -= self._kept.pop(index)[1]

    @contextmanager
    def _opened(self, index: int) -> Iterator[Prepared]:
        with self._lock:
            shared = self._open.get(index)
            if shared is None:
                shared = self._open[index] = _Shared()
            self._open.move_to_end(index)
            shared.users += 1
            spare = []
            while len(self._open) > _OPEN:
                spare.append(self._open.popitem(last=False)[1])
        for one in spare:
            one.leave()
        try:
            with shared.lock:
                if shared.prepared is None:
                    case = self._cases[index]
                    lane = self._lane(case)
                    pair = self._dataset.open(case)
                    shared.close = pair.close
                    shared.prepared = prepare(pair, self._spec, lane)
            yield shared.prepared
        finally:
            shared.leave()

    def _lane(self, case: Case) -> Normalization:
        """Return the normalisation of a case's image, which its blocks share."""
        lane = self._lanes.get(case.images)
        if lane is None:  # two blocks at once find the same
            lane = self._lanes[case.images] = fitted_whole(self._dataset, case, self._spec)
        return lane


class _Shared:
    """A case that is open for as long as somebody uses it, or it is among the last used."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.prepared: Prepared | None = None
        self.close: Any = None
        self.users = 1  # the list of the last used counts as one

    def leave(self) -> None:
        """Take note that a user is done; the last one closes."""
        with self.lock:
            self.users -= 1
            close = self.close if self.users == 0 else None
        if close is not None:
            close()


def _bytes(case: Prepared) -> int:
    """Return the memory that a case takes when it is decoded."""
    samples = prod(case.image.grid.shape)
    each = len(case.image.channels) * case.image.dtype.itemsize + 1
    labels = (case.labels.dtype.itemsize + 1) * samples
    moved = case.way is not None or case.axes is not None
    own = (case.own.dtype.itemsize + 1) * prod(case.own.grid.shape) if moved else 0
    return samples * each + labels + own
