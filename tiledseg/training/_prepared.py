"""A case as the network will see it: turned, and brought to the recipe's spacing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..datasets import Case, Dataset, Pair
from ..errors import ConfigError
from ..grid import AxisMap
from ..io import Cropped, ResampledSource, Source, fit_to, oriented, read_padded
from ..labels import ClassSchema
from ..normalize import Normalization, measured
from ..resampling import Resampling, Respacing, everywhere, filled, metric_spacing
from ._data_spec import DataSpec
from ._losses import UNLABELLED


@dataclass(frozen=True)
class Prepared:
    """A case on the model's grid.

    Args:
        name: Of the case.
        image: Its image, on the model's grid.
        labels: Class ids on the same grid; the schema's nodata where there is no truth.
        own: Class ids on the case's own grid, as stored.
        axes: From the axes stored to the model's, or None where they agree.
        way: From the turned image's grid to the model's, or None where they agree.
        lane: Normalisation, fitted to the whole image.
        lookup: Output channel of every class id; `UNLABELLED` for what stands for "no truth".
    """

    name: str
    image: Source
    labels: Source
    own: Source
    axes: AxisMap | None
    way: Respacing | None
    lane: Normalization
    lookup: NDArray[np.int64]

    def place(self, stored: tuple[int, ...]) -> tuple[int, ...]:
        """Return the sample of the model's grid nearest to one of the case's own grid."""
        box = Box(stored, tuple(i + 1 for i in stored))
        if self.axes is not None:
            box = self.axes.box(box, self.own.grid.shape)
        if self.way is None:
            return box.start
        centres = (self.way.back.centres(axis, i, i + 1)[0] for axis, i in enumerate(box.start))
        pairs = zip(centres, self.image.grid.shape, strict=True)
        return tuple(int(np.clip(round(float(x)), 0, n - 1)) for x, n in pairs)

    def read(self, box: Box) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return image and labels of a box that may stick out.

        Returns:
            Model units (c, *box.shape), mirrored at the border as in inference; the output channel
            of every sample's class, (*box.shape), `UNLABELLED` where there is no truth: outside,
            and where nothing was measured, too.
        """
        values, valid = read_padded(self.image, box, "reflect")
        valid = measured(values, valid)
        truth = np.full(box.shape, UNLABELLED, np.int64)
        inside = box.intersect(self.image.grid.box)
        if inside.size:
            truth[inside.relative_to(box).slices] = self.lookup[self.labels.read(inside)[0]]
        truth[~valid] = UNLABELLED
        return self.lane(values, valid), truth


def prepare(pair: Pair, spec: DataSpec, lane: Normalization) -> Prepared:
    """Return an open case as the recipe wants it.

    Args:
        pair: Image and labels.
        spec: The recipe's.
        lane: Normalisation, fitted to all of its image.

    Raises:
        ConfigError: It has no spacing in metres or millimetres, but the recipe asks for one.
    """
    image, axes = oriented(pair.image, spec.orientation)
    labels, _ = oriented(pair.labels, spec.orientation)
    way = _way(image, spec)
    if way is not None:
        picks = everywhere("nearest", image.grid.ndim)
        image = ResampledSource(image, way.shape, way.scaling, way.image)
        labels = ResampledSource(labels, way.shape, way.scaling, picks)
    lookup = channel_of(pair.labels.schema)
    return Prepared(pair.case.name, image, labels, pair.labels, axes, way, lane, lookup)


def channel_of(schema: ClassSchema) -> NDArray[np.int64]:
    """Return the output channel of every class id; `UNLABELLED` for what is none.

    Where several channels share an id, it is the first of them.
    """
    lookup = np.full(schema.nodata + 1, UNLABELLED, np.int64)
    for channel, one in reversed(list(enumerate(schema.classes))):
        lookup[one.id] = channel
    return lookup


def fitted_whole(dataset: Dataset, case: Case, spec: DataSpec) -> Normalization:
    """Return the recipe's normalisation fitted to a case's image: of a block, to all of the scene.

    So a block has the model units that it will have when the scene is segmented.

    Raises:
        ConfigError: The image cannot be opened, or has no spacing, but the recipe asks for one.
        DamagedInput: It is not what it claims to be.
    """
    with dataset.open_image(replace(case, box=None)) as whole:
        image, _ = oriented(whole, spec.orientation)
        seen, way = image, _way(image, spec)
        if way is not None:
            seen = ResampledSource(image, way.shape, way.scaling, way.image)
        return fit_to(image, seen, spec.steps, Cropped(image.grid.shape))


def _way(image: Source, spec: DataSpec) -> Respacing | None:
    """Return how an image is brought to the recipe's spacing, or None where it is left as it is.

    Raises:
        ConfigError: It has no spacing.
    """
    if spec.spacing is None:
        return None
    found = metric_spacing(image.grid, image.lengths)
    if found is None:
        raise ConfigError(
            f"data.spacing {list(spec.spacing)}: {image.uri} has no spacing in metres or "
            "millimetres; leave it out, or give the image one"
        )
    own, how = found[0], Resampling()
    wanted = filled(spec.spacing, own)
    return how.respacing(image.grid, own, wanted) if how.differs(own, wanted) else None
