"""Shards: every N-th tile of a plan, for jobs that share a work store without a scheduler."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ..config import RunConfig
from ..engine import Tally
from ..errors import ConfigError
from ..models import Model
from ..tiling import TilePlan
from ._job import Job
from ._prepare import prepare
from ._store import create_store


class Shard(NamedTuple):
    """Part ``number`` of ``of``, counted from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that ``"2/4"`` means.

        Raises:
            ConfigError: The text is no such part.
        """
        match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text.strip())
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"--shard {text!r}: write part/parts, from 1/4 to 4/4")
        return cls(int(match[1]), int(match[2]))

    def tiles(self, plan: TilePlan) -> range:
        """Return the numbers of its tiles."""
        return range(self.number - 1, len(plan), self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True)
class ShardResult:
    """How a shard went.

    Args:
        shard: Which.
        tiles: Its tiles.
        computed: Those that this run computed.
        kept: Those that were finished before.
        lost: Those that failed, with the reason.
        evaluated: Windows the model saw, those of kept tiles included.
        skipped: Windows it did not need to see.
        seconds: Wall time.
    """

    shard: str
    tiles: int
    computed: int
    kept: int
    lost: dict[int, str]
    evaluated: int
    skipped: int
    seconds: float

    @classmethod
    def of(cls, shard: Shard, tally: Tally, tiles: int, seconds: float) -> ShardResult:
        """Gather what a shard's tally says."""
        return cls(
            str(shard),
            tiles,
            sum(tally.done) - tally.kept,
            tally.kept,
            dict(tally.lost),
            tally.evaluated,
            tally.skipped,
            seconds,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    def losses(self) -> tuple[str, ...]:
        """Return a sentence on the tiles that failed, with the first reason, where some did."""
        if not self.lost:
            return ()
        tile, reason = next(iter(self.lost.items()))
        return (f"shard {self.shard}: {len(self.lost)} tiles failed; tile {tile}: {reason}",)

    def summary(self) -> str:
        """Return a line or two for people."""
        return (
            f"shard {self.shard}: {self.computed} tiles computed, {self.kept} done before, "
            f"{len(self.lost)} failed, in {self.seconds:.1f} s\n"
            "once all shards are done, the same command without --shard writes the outputs"
        )


def prepare_shard(
    config: RunConfig, image: Any, models: Model | Sequence[str | Path], where: str | Path
) -> Job:
    """Prepare a job whose work store is there; of several at once, one decides the plan for all.

    Args and errors are those of `prepare`.
    """
    job = prepare(config, image, models, where)
    try:
        store = create_store(job, where)
    except BaseException:
        job.close()
        raise
    if store.plan == job.plan:
        return job
    job.close()  # another process was faster, and its plan is the one
    return prepare(config, image, models, where)
