"""What a planner asks of a dataset: typical extent, spacing, intensities, classes.

After nnU-Net's dataset fingerprint (Isensee et al. 2021).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets import Census, Dataset
from ..errors import ConfigError
from ..grid import Space, SpaceKind

#: nnU-Net's threshold of anisotropy, for spacing and for extent.
_ANISOTROPY = 3.0
#: Percentile of an anisotropic axis' spacings that is taken (nnU-Net).
_FINE = 10


@dataclass(frozen=True)
class Fingerprint:
    """What a dataset is like.

    Args:
        dims: Spatial axes.
        channels: Channels of an image.
        classes: Number of classes.
        spacing: To bring images to, array order, m (mm in patient space); None: as they are.
        relative: Spacings of an image's axes for deciding where to pool; ratios matter only.
        extent: Median extent of the images at that spacing, array order.
        samples: Samples of all images at that spacing.
        orientation: The anatomical letters most volumes are stored along, or None.
        spaced: How the spacing was found, in words.
        groups: Number of groups of labelled cases.
    """

    dims: int
    channels: int
    classes: int
    spacing: tuple[float, ...] | None
    relative: tuple[float, ...]
    extent: tuple[int, ...]
    samples: float
    orientation: str | None
    spaced: str
    groups: int


def fingerprint(dataset: Dataset, census: Census) -> Fingerprint:
    """Return what a dataset is like.

    Raises:
        ConfigError: No case has labels, or images differ in axes or channels.
    """
    cases = list(census.cases.values())
    if not cases:
        raise ConfigError(f"dataset {dataset.name} has no labelled cases to plan a training for")
    kinds = {(len(c.shape), len(c.facts["channels"])) for c in cases}
    if len(kinds) > 1:
        raise ConfigError(
            f"dataset {dataset.name} has images of several numbers of axes and channels "
            f"{sorted(kinds)}; choose channels, or leave cases out (tiledseg check tells which)"
        )
    dims, channels = kinds.pop()
    shapes = np.array([c.shape for c in cases], float)
    own = np.array([c.facts["spacing"] for c in cases], float)
    spaces = [Space(SpaceKind(c.facts["space"]), unit=c.facts["unit"]) for c in cases]
    units = [length[0] for space in spaces if (length := space.length)]  # m, or mm
    if len(units) < len(cases):
        spacing, relative, spaced = None, tuple(np.median(own, axis=0).tolist()), _UNPLACED
        extent = np.median(shapes, axis=0)
        samples = float(shapes.prod(axis=1).sum())
    else:
        real = own * np.array(units, float)[:, None]
        target, spaced = target_spacing(real, shapes)
        there = np.round(shapes * real / target)
        spacing = relative = tuple(float(f"{s:.6g}") for s in target)
        extent, samples = np.median(there, axis=0), float(there.prod(axis=1).sum())
    letters = Counter(c.facts["orientation"] for c in cases).most_common(1)[0][0]
    return Fingerprint(
        dims=dims,
        channels=channels,
        classes=len(dataset.schema.unique),
        spacing=spacing,
        relative=relative,
        extent=tuple(int(n) for n in np.maximum(np.round(extent), 1)),
        samples=samples,
        orientation=letters,
        spaced=spaced,
        groups=len({c.group for c in dataset.learnable}),
    )


_UNPLACED = "images without a reference in metres or mm stay as they are"


def target_spacing(
    spacings: NDArray[np.float64], shapes: NDArray[np.float64]
) -> tuple[NDArray[np.float64], str]:
    """Return the spacing to bring images to, as nnU-Net chooses it, and why.

    The median along every axis; along one that is more than 3 times as coarse as the others and
    has less than a third of their samples, the 10th percentile, but no less than the others'.

    Args:
        spacings: (cases, axes).
        shapes: (cases, axes).
    """
    target = np.median(spacings, axis=0)
    extent = np.median(shapes, axis=0)
    worst = int(target.argmax())
    others = np.delete(target, worst)
    coarse = target[worst] > _ANISOTROPY * others.max()
    short = extent[worst] * _ANISOTROPY < np.delete(extent, worst).min()
    if not (coarse and short):
        return target, "the median of the images (nnU-Net)"
    fine = np.percentile(spacings[:, worst], _FINE)
    target[worst] = max(float(fine), float(others.max()))
    return target, (
        f"the median of the images; along the coarse axis {worst} the {_FINE}th percentile, as "
        "there it is more than 3 times as coarse (nnU-Net)"
    )
