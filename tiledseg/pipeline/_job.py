"""A job: everything decided before any work, and what unfinished work is compared with."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..budget import Budget, Cost, device_bytes, format_bytes, total_bytes
from ..config import RunConfig
from ..engine import Footprint, ScoreCoding, stored
from ..errors import PlanChanged
from ..grid import AxisMap, Grid
from ..io import Folder, Roi, Source, open_folder
from ..models import Model, ModelCard, card_to_dict, versions_behind
from ..tiling import TilePlan
from ._choose import Choice, Chosen
from ._grids import Grids
from ._network import Networks
from ._own import RAW, Own
from ._stages import Stages
from ._tasks import coding_of

#: Keys of a card that no byte depends on, or whose effect the plan or the identity holds already.
_ELSEWHERE = {
    *("name", "weights", "folds", "sha256", "licence", "provenance", "locality"),
    *("channels", "window", "multiple", "any_size", "margin", "tiling", "mirror", "average"),
    *("normalization", "orientation", "spacing", "thresholds", "postprocess"),
}


@dataclass(frozen=True)
class Shared:
    """What an input of a batch takes over from those before it.

    Args:
        model: The network.
        threads: Threads of its calls.
        chosen: How it is run; None: that is still to be chosen.
        held: Bytes that inputs still in progress hold besides their tiles.
    """

    model: Model
    threads: int
    chosen: Chosen | None = None
    held: int = 0

    @classmethod
    def of(cls, networks: Networks, held: int = 0) -> Shared:
        """Open the model in the first runtime that the settings leave open."""
        return cls(networks.open(networks.candidates[0]), networks.threads, held=held)


@dataclass(frozen=True)
class Job:
    """Everything decided before any work.

    Args:
        config: The config, as given.
        model: The network.
        grids: The image on the grids of the run.
        plan: Lattice and tiles.
        cost: What a tile costs.
        budget: Bytes of host and device memory.
        roi: Where a result is wanted, or None: everywhere.
        choice: How the model is run, and why.
        overview: Decimated image, (c, *s), and where it was measured.
        warnings: What the user should know.
        footprint: What calls of the model hold.
        made_from: Digest of image, model and settings.
        own: The code of a bundle before and after the network, or None: there is none.
        stages: What is done to the finished class map, or None: nothing.
    """

    config: RunConfig
    model: Model
    grids: Grids
    plan: TilePlan
    cost: Cost
    budget: Budget
    roi: Roi | None
    choice: Choice
    overview: tuple[NDArray[Any], NDArray[np.bool_]]
    warnings: tuple[str, ...]
    footprint: Footprint
    made_from: str
    own: Own | None = None
    stages: Stages | None = None

    @property
    def shared(self) -> Shared:
        """What the next inputs of a batch may take over."""
        chosen = Chosen(self.model, self.choice, self.plan, self.footprint)
        return Shared(self.model, self.plan.threads, chosen)

    @property
    def source(self) -> Source:
        """The image, in the model's orientation and on its grid."""
        return self.grids.source

    @property
    def axes(self) -> AxisMap | None:
        """From the axes of the written result to the model's, or None where they agree."""
        return self.grids.axes

    @property
    def grid(self) -> Grid:
        """Grid of the result as it is written."""
        return self.grids.grid

    @property
    def card(self) -> ModelCard:
        """The model's card."""
        return self.model.card

    @property
    def coding(self) -> ScoreCoding | None:
        """How scores are stored, or None where none are wanted."""
        return coding_of(self.config) if self.own is None else RAW

    @property
    def identity(self) -> dict[str, Any]:
        """Everything besides the plan that the result's bytes depend on, as JSON values."""
        return {
            "input": self.source.fingerprint(),
            "nodata": repr(self.source.nodata),
            "samples": [zlib.crc32(a.tobytes()) for a in self.overview],
            "channels": list(self.source.channels),
            "model": self.card.sha256,
            **{k: v for k, v in card_to_dict(self.card).items() if k not in _ELSEWHERE},
            "normalization": self.grids.normalization.to_list(),
            "frame": None if self.grids.frame is None else self.grids.frame.to_dict(),
            "device": str(self.model.device),
            "libraries": versions_behind(self.model.runtime, self.card),
            "scores": self.config.output.score_type if self.config.output.scores else None,
            "thresholds": self.config.output.thresholds or None,
            "roi": None if self.roi is None else self.roi.fingerprint(),
            "skip_below": self.config.input.skip_below,
            "own_code": None if self.own is None else True,
        }

    def close(self) -> None:
        """Give back the image, the roi and the image as stored."""
        self.source.close()
        for held in (self.roi, self.own):
            if held is not None:
                held.close()

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def describe(self) -> dict[str, Any]:
        """Return the figures a person wants before a long run."""
        figures = self.plan.describe()
        if self.grids.told is not None:
            figures["resampled"] = self.grids.told
        figures["memory"] = format_bytes(total_bytes(self.plan, self.cost))
        figures["budget"] = format_bytes(self.budget.host)
        if self.budget.device is not None:
            figures["device_memory"] = format_bytes(device_bytes(self.plan, self.cost))
            figures["device_budget"] = format_bytes(self.budget.device)
        return {**figures, **self.choice.describe()}


def require_same(job: Job, where: str | Path | Folder) -> None:
    """Refuse unfinished work that was made under another plan, input or model.

    Raises:
        PlanChanged: The sentence says what differs.
    """
    found = stored(where)
    if found is None:
        return
    before = json.loads(json.dumps({**found.plan.to_dict(), **found.identity}))
    now = json.loads(json.dumps({**job.plan.to_dict(), **job.identity}))
    refuse_changes(open_folder(where), before, now)


def refuse_changes(folder: Folder, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse unfinished work that was made for something else.

    Args:
        folder: Where it is.
        before: JSON values of what it was made for.
        now: Those of what is asked for.

    Raises:
        PlanChanged: The sentence says what differs.
    """
    changed = [key for key in now if before.get(key) != now[key]]
    if changed:
        told = "; ".join(f"{k} was {_short(before.get(k))}, is {_short(now[k])}" for k in changed)
        raise PlanChanged(
            f"unfinished work in {folder.uri} belongs to another run: {told}; "
            "run it with the former settings, or discard it with --fresh"
        )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
