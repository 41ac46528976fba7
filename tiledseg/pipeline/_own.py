"""A MONAI bundle's own code before and after the network, on a whole image in memory.

The sweep is tiledseg's: it takes what the bundle's preprocessing made of the image, an array, and
its raw scores are kept for the bundle's postprocessing. What comes out of that is the class map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..budget import Cost, format_bytes
from ..config import InputSpec, RunConfig
from ..engine import ScoreCoding
from ..errors import BudgetExceeded, ConfigError
from ..grid import SpaceKind
from ..io import MemorySource, Source, open_source
from ..models import Model, own_bundle
from ._runners import memory_of

if TYPE_CHECKING:
    from ..models import Case, OwnBundle

#: How raw scores are kept.
RAW = ScoreCoding(np.dtype(np.float32), None, float("nan"))
#: Bytes that MONAI holds while it resamples, in float64: for every sample of the stored image where
#: that lies (`torch.nn.functional.grid_sample` wants three numbers), for every value of it, for
#: every score on the model's grid and on the image's. Measured: 100 for a volume of one channel;
#: 1.0 GB for 2 scores on 10.6 million samples, of an image of 8 million.
_PLACED, _READ, _SCORED, _BACK = 70, 40, 16, 12


@dataclass(frozen=True)
class Own:
    """What a bundle's own code made of an image, and what makes labels of its scores.

    Args:
        bundle: The bundle.
        case: The image after its preprocessing.
        model: The network.
        source: The image as stored; the class map lies on its grid.
    """

    bundle: OwnBundle
    case: Case
    model: Model
    source: Source

    @cached_property
    def image(self) -> MemorySource:
        """What the network sees."""
        names = self.model.card.channels
        found = MemorySource(self.case.samples, channels=names, uri=self.source.uri)
        found.working_bytes = self.case.samples.nbytes
        return found

    @property
    def warning(self) -> str:
        """What the user should know."""
        return (
            f"code of {self.bundle.path} was run, as --trust-code asks for; image and scores are "
            "held in memory whole"
        )

    def cost(self, cost: Cost) -> Cost:
        """Return what a run costs, what scores and postprocessing hold included."""
        there, back = prod(self.image.grid.shape), prod(self.source.grid.shape)
        after = cost.outputs * (_SCORED * there + _BACK * back) + _PLACED * back
        return replace(cost, score_bytes=RAW.dtype.itemsize, after=cost.after + after)

    def labels(self, scores: NDArray[np.float32]) -> NDArray[Any]:
        """Return the class map on the grid of the image, integers.

        Raises:
            ConfigError: The bundle's code fails, or its labels lie on another grid.
        """
        found = self.bundle.after(self.case, scores)
        if found.shape != self.source.grid.shape:
            raise ConfigError(
                f"{self.bundle.path}: its own postprocessing gives labels of {found.shape} "
                f"samples, the image has {self.source.grid.shape}"
            )
        return found

    def close(self) -> None:
        """Give back the image as stored."""
        self.source.close()


def open_own(config: RunConfig, image: Any, model: Any) -> Own:
    """Run a bundle's preprocessing on an image.

    Args:
        config: The settings.
        image: Its files.
        model: The bundle.

    Raises:
        ConfigError: It is no bundle, its code fails, or a setting does not go with it.
        BudgetExceeded: The image does not fit into memory whole.
    """
    images = [str(one) for one in (image if isinstance(image, list | tuple) else [image])]
    _check(config, image, model)
    bundle = own_bundle(model)
    source = open_source(image)
    try:
        need = (_PLACED + _READ * len(source.channels)) * prod(source.grid.shape)
        _require(need, memory_of(config), f"{source.uri} of {source.grid.shape} samples")
        case = bundle.before(images)
        _require_one_grid(bundle, case, source)
        network = bundle.model(case, config.runtime.device or "cpu")
    except BaseException:
        source.close()
        raise
    return Own(bundle, case, network, source)


def _check(config: RunConfig, image: Any, model: Any) -> None:
    """Refuse what does not go with a bundle's own code.

    Raises:
        ConfigError: Something does not.
    """
    runtime, output = config.runtime, config.output
    images = image if isinstance(image, list | tuple) else [image]
    others: Sequence[tuple[bool, str]] = (
        (not isinstance(model, str | Path), "one model by its path, and no other"),
        (not all(isinstance(one, str | Path) for one in images), "images that are files"),
        (config.input != InputSpec(), "no setting of input: the bundle reads the image itself"),
        (output.scores is not None, "no output.scores"),
        (output.grid != "source", "no output.grid"),
        (runtime.distributed, "tiles computed in this process"),
        (
            runtime.runtime not in ("auto", "torch") or runtime.precision not in (None, "fp32"),
            "runtime torch in fp32",
        ),
    )
    wrong = [told for is_wrong, told in others if is_wrong]
    if wrong:
        raise ConfigError(f"--trust-code takes {'; '.join(wrong)}")


def _require_one_grid(bundle: OwnBundle, case: Case, source: Source) -> None:
    """Refuse an image whose samples MONAI has elsewhere, such as slices in the other order.

    Half a sample is let pass: tools differ as much in how they read an inexact header.

    Raises:
        ConfigError: They lie elsewhere.
    """
    grid = source.grid
    if case.affine is None or grid.space.kind is not SpaceKind.PATIENT or grid.ndim != 3:
        return
    corners = np.array(list(product(*((0, n - 1) for n in grid.shape))), np.float64)
    world = corners[:, ::-1] @ case.affine[:3, :3].T + case.affine[:3, 3]
    off = np.abs(grid.world_to_index(world) - (corners + 0.5)).max()
    if not off <= 0.5:
        raise ConfigError(
            f"{bundle.path}: MONAI reads {source.uri} on another grid, up to {off:.1f} samples "
            "off, and so would its labels lie; write the image as NIfTI and segment that"
        )


def _require(need: int, budget: int, what: str) -> None:
    """Refuse what does not fit.

    Raises:
        BudgetExceeded: It does not.
    """
    if need > budget:
        raise BudgetExceeded(
            f"--trust-code has MONAI hold {what} in memory whole, which takes about "
            f"{format_bytes(need)}, budget is {format_bytes(budget)}: raise budget.memory"
        )
