"""Batches: number i is a function of the seed, i, the cases and the recipe alone; read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ._cases import Cases
from ._data_spec import PatchSpec
from ._sampler import Sampler

#: What the generators of a training are for: their streams never meet.
PLACES, VARIETY, NETWORK = range(3)


@dataclass(frozen=True)
class Batch:
    """Patches of one forward pass, those of this process.

    Args:
        number: Of the batch.
        patches: Numbers of its patches in it.
        image: Model units, float32 (n, c, *s): windows, and the room around them.
        truth: Output channel of every sample's class, int64 (n, *s), -1 where unlabelled.
    """

    number: int
    patches: tuple[int, ...]
    image: torch.Tensor
    truth: torch.Tensor


class Batches:
    """Reads the batches of a training.

    Args:
        cases: Where patches come from.
        sampler: Which samples they hold.
        spec: Window, batch, readers.
        seed: Of the training.
        room: Samples that are read beyond each side of a window, to vary patches with.
        part: Number of this process, and of how many.
    """

    def __init__(
        self,
        cases: Cases,
        sampler: Sampler,
        spec: PatchSpec,
        seed: int,
        room: tuple[int, ...],
        part: tuple[int, int] = (0, 1),
    ) -> None:
        self._cases, self._sampler, self._spec, self._seed = cases, sampler, spec, seed
        self._room = room
        self._numbers = tuple(range(part[0], spec.batch, part[1]))

    def read(self, number: int) -> Batch:
        """Return a batch."""
        pairs = [self._patch(number, patch) for patch in self._numbers]
        image = torch.from_numpy(np.stack([x for x, _ in pairs]))
        truth = torch.from_numpy(np.stack([y for _, y in pairs]))
        return Batch(number, self._numbers, image, truth)

    def ahead(self, first: int) -> Generator[Batch, None, None]:
        """Yield batches from number ``first`` on, without end; threads read the next ones."""
        readers = self._spec.readers
        with ThreadPoolExecutor(readers, "tiledseg-reader") as pool:
            waiting: deque[Future[Batch]] = deque()
            try:
                while True:
                    while len(waiting) <= readers:
                        waiting.append(pool.submit(self.read, first))
                        first += 1
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def close(self) -> None:
        """Close the cases; nothing is read afterwards."""
        self._cases.close()

    def _patch(self, number: int, patch: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rng = np.random.default_rng([self._seed, PLACES, number, patch])
        draw = self._sampler.draw(rng)
        with self._cases.use(draw.case) as case:
            nodata = len(case.lookup) - 1
            stored = draw.find(lambda box: case.own.read(box)[0], nodata)
            box = _around(case.place(stored), self._spec.window, case.image.grid.shape, rng)
            return case.read(box.grow(self._room))


def _around(
    place: tuple[int, ...],
    window: tuple[int, ...],
    shape: tuple[int, ...],
    rng: np.random.Generator,
) -> Box:
    """Return a window that holds a sample, in its middle half where the image reaches.

    Along an axis on which the image is shorter than the window, it lies anywhere in it.
    """
    start = []
    for at, extent, samples in zip(place, window, shape, strict=True):
        low = at - extent // 4 - int(rng.integers(max(1, extent - 2 * (extent // 4))))
        if samples >= extent:
            start.append(min(max(low, 0), samples - extent))
        else:
            start.append(-int(rng.integers(extent - samples + 1)))
    return Box.of_shape(window, tuple(start))
