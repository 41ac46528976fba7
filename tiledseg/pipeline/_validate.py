"""Validation of a training: held-out cases segmented by the engine, as users will, and counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite, prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..box import Box
from ..datasets import Case, Pair
from ..io import open_source
from ..labels import ClassSchema
from ..metrics import Confusion, mean_of
from ..models import Model, ModelCard, Runtime, create_network, torch_model
from ..training import Job, OnCase

#: Samples beyond which a class map is written to disk rather than kept in memory.
_MOST = 2**27
#: Samples of truth and class map compared at a time.
_COMPARED = 2**22

Weights = dict[str, torch.Tensor]
#: Segments an image with a loaded model: writes the class map, or returns it where None is given;
#: in so many threads per call of the model.
Segment = Callable[[Any, Model, Path | None, int], NDArray[Any] | None]


class Validator:
    """Segments the held-out cases of a training.

    Args:
        job: The training.
        card: Of its model.
        device: Where.
        folder: For class maps that are large.
        segment: Does it.
    """

    def __init__(
        self, job: Job, card: ModelCard, device: str, folder: Path, segment: Segment
    ) -> None:
        self._job, self._card, self._device = job, card, device
        self._folder, self._segment = folder, segment

    def __call__(self, weights: Weights, on_case: OnCase) -> tuple[float, dict[str, Any]]:
        """Return the mean Dice of the classes but the background, and the figures of each.

        Args:
            weights: Of the network.
            on_case: Told of every case before it is segmented.
        """
        network = create_network(self._card)
        network.load_state_dict(weights)
        schema = self._job.dataset.schema
        confusion = Confusion(c.id for c in schema.unique)
        cases = self._job.held_out
        for number, case in enumerate(cases, 1):
            on_case(number, len(cases))
            card = self._card_for(case)
            model = torch_model(card, network, self._device, Runtime("torch"))
            with self._job.dataset.open(case) as pair, self._class_map(pair, model) as read:
                count(confusion, pair, read)
        return figures(confusion, schema)

    def _card_for(self, case: Case) -> ModelCard:
        """Return the card; for a block, with the statistics of the scene it was cut from."""
        if case.box is None or self._card.normalization.fitted:
            return self._card
        return replace(self._card, normalization=self._job.lane(case))

    @contextmanager
    def _class_map(self, pair: Pair, model: Model) -> Iterator[Callable[[Box], NDArray[Any]]]:
        """Give what reads labels (*box.shape) of a segmented case."""
        threads = torch.get_num_threads()  # those of the training
        if prod(pair.grid.shape) <= _MOST:
            found = self._segment(pair.image, model, None, threads)
            assert found is not None  # noqa: S101  # kept in memory
            yield lambda box: found[box.slices]
            return
        with TemporaryDirectory(prefix="held_out-", dir=self._folder) as folder:
            path = Path(folder) / ("map.tif" if pair.grid.ndim == 2 else "map.nii.gz")
            self._segment(pair.image, model, path, threads)
            with open_source(path) as made:
                yield lambda box: made.read(box)[0]


def count(confusion: Confusion, pair: Pair, read: Callable[[Box], NDArray[Any]]) -> None:
    """Count the labelled samples of a case, some rows at a time.

    Args:
        confusion: Where to.
        pair: The case.
        read: Reads its class map, (*box.shape).
    """
    whole, nodata = pair.grid.box, pair.labels.schema.nodata
    rows = max(1, _COMPARED // prod(whole.shape[1:]))
    for row in range(0, whole.shape[0], rows):
        box = whole.along(0, row, min(row + rows, whole.shape[0]))
        truth, found = pair.labels.read(box)[0], read(box)
        confusion.add(truth, found, truth != nodata, found != nodata)


def figures(confusion: Confusion, schema: ClassSchema) -> tuple[float, dict[str, Any]]:
    """Return the mean Dice of the classes but the background, and Dice and IoU of each.

    They are of all held-out samples together; a class that is neither there nor found has none.
    """
    dice, iou = confusion.f1(), confusion.iou()
    wanted = np.array([c.id != schema.background for c in schema.unique])
    mean = mean_of(dice[wanted]) if not np.isnan(dice[wanted]).all() else 0.0
    told = {
        one.name: {"dice": float(dice[place]), "iou": float(iou[place])}
        for place, one in enumerate(schema.unique)
        if not np.isnan(dice[place])
    }
    accuracy = confusion.accuracy()
    return mean, {"mean dice": mean, "accuracy": accuracy if isfinite(accuracy) else 0.0, **told}
