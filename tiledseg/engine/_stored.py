"""What a work store says of itself, in ``plan.json``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..errors import OutputFailed, PlanChanged, TiledsegError
from ..io import Folder, open_folder
from ..lattice import Lattice
from ..resampling import Target
from ..tiling import Blend, Padding, TilePlan
from ._sweep import ScoreCoding

PLAN = "plan.json"
_VERSION = 3


@dataclass(frozen=True)
class Stored:
    """What a work store was made for; everything in it follows from this.

    Args:
        plan: The plan.
        identity: JSON values of everything else the bytes depend on.
        config: The settings of the run, every default written out, as JSON values.
        labels: dtype and nodata value of the class map.
        scores: How scores are stored and the number of channels, or None.
    """

    plan: TilePlan
    identity: dict[str, Any]
    config: dict[str, Any]
    labels: tuple[np.dtype[Any], int]
    scores: tuple[ScoreCoding, int] | None

    def to_json(self) -> bytes:
        """Return what `from_json` turns back into this."""
        scores = None
        if self.scores is not None:
            coding, channels = self.scores
            scores = [coding.dtype.name, coding.scale, repr(coding.nodata), channels]
        values = {
            "version": _VERSION,
            "plan": self.plan.to_dict(),
            "identity": self.identity,
            "config": self.config,
            "labels": [self.labels[0].name, self.labels[1]],
            "scores": scores,
        }
        return json.dumps(values).encode()

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Stored:
        """Return what `to_json` described.

        Raises:
            ValueError, TypeError, KeyError, AttributeError: The values are not that.
        """
        plan = TilePlan.from_dict(values["plan"])
        _check_plan(plan)
        if json.loads(json.dumps(plan.to_dict())) != values["plan"]:
            raise ValueError("the plan has values of the wrong kind")
        for name in ("identity", "config"):
            if not isinstance(values[name], dict):
                raise TypeError(f"{name} is not a mapping")
        kind, nodata = values["labels"]
        scores = None
        if values["scores"] is not None:
            name, scale, empty, channels = values["scores"]
            _check_numbers("scores", (channels,), 1)
            scores = (ScoreCoding(np.dtype(name), scale, float(empty)), channels)
        labels = (np.dtype(kind), int(nodata))
        return cls(plan, values["identity"], values["config"], labels, scores)


def stored(where: str | Path | Folder) -> Stored | None:
    """Return what the work store in ``where`` was made for, or None where there is none.

    Raises:
        PlanChanged: There is a store, but it cannot be understood.
        OutputFailed: The place cannot be reached.
    """
    folder = open_folder(where)
    try:
        values = json.loads(folder.read(PLAN))
        if not isinstance(values, dict):
            raise TypeError(f"{PLAN} is not a mapping")
        if values.get("version") == _VERSION:
            return Stored.from_json(values)
    except FileNotFoundError:
        return None
    except OutputFailed:
        raise
    except (
        *(OSError, ValueError, TypeError, KeyError, AttributeError, IndexError),
        *(ArithmeticError, RecursionError, TiledsegError),
    ) as error:
        raise unreadable(folder, error) from error
    raise PlanChanged(
        f"unfinished work in {folder.uri} was made by another version of tiledseg; finish it "
        "there or discard it with --fresh"
    )


def unreadable(folder: Folder, error: object) -> PlanChanged:
    """Return the refusal of a store that cannot be understood."""
    reason = " ".join(str(error).split())[:200]
    if isinstance(error, Exception):
        reason = f"{type(error).__name__}: {reason}"
    return PlanChanged(
        f"unfinished work in {folder.uri} cannot be read ({reason}); discard it with --fresh"
    )


def _check_plan(plan: TilePlan) -> None:
    ndim = len(plan.grid.shape)
    for name in ("window", "stride", "core"):
        numbers = getattr(plan, name)
        if name == "stride" and plan.lattice is Lattice.EVEN:
            numbers = tuple(int(n) if isinstance(n, float) else n for n in numbers)
        _check_numbers(name, numbers, 1)
        if len(getattr(plan, name)) != ndim:
            raise ValueError(f"{name} is not of {ndim} axes")
    _check_numbers("shape", plan.grid.shape, 1)
    if plan.target is not None:
        _check_target(plan.target, plan.grid.shape)
    for name in ("multiple", "microbatch", "threads"):
        _check_numbers(name, (getattr(plan, name),), 1)
    _check_numbers("margin", (plan.margin,), 0)
    for name, words in (("padding", get_args(Padding)), ("blend", get_args(Blend))):
        if getattr(plan, name) not in words:
            raise ValueError(f"{name} is {getattr(plan, name)!r}, not one of {', '.join(words)}")
    for name in ("runtime", "precision"):
        if not isinstance(getattr(plan, name), str):
            raise TypeError(f"{name} is not a word")


def _check_target(target: Target, extent: tuple[int, ...]) -> None:
    scale, offset = target.scaling.scale, target.scaling.offset
    _check_numbers("shape", target.grid.shape, 1)
    if target.extent != extent or {len(extent)} != set(
        map(len, (target.grid.shape, scale, offset, target.methods))
    ):
        raise ValueError("the result's grid does not fit the model's")
    if not all(isfinite(v) for v in (*scale, *offset)) or min(scale) <= 0:
        raise ValueError(f"the result's grid is scaled by {scale}, {offset}")
    if not isinstance(target.logits, bool):
        raise TypeError(f"logits is {target.logits!r}, not true or false")
    if not set(target.methods) <= {"nearest", "linear"}:
        raise ValueError(f"scores are interpolated by {target.methods}")


def _check_numbers(name: str, numbers: Any, least: int) -> None:
    if not isinstance(numbers, tuple) or not all(
        isinstance(n, int) and not isinstance(n, bool) and n >= least for n in numbers
    ):
        raise TypeError(f"{name} is {numbers!r}, not whole numbers from {least}")
