"""Carrying out a run, or a shard of one, with progress on the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ..errors import ConfigError
from ._tell import tell

_FAILED_TILES = 3


def execute(
    values: dict[str, Any],
    fresh: bool,
    part: str | None,
    quiet: bool,
    as_json: bool,
    trust_code: bool = False,
) -> int:
    """Run, print what was made, and return the exit status.

    Args:
        values: What `pipeline.plan` takes.
        fresh: Discard unfinished work.
        part: Which shard, like ``2/4``, or None: all of it.
        quiet: Print nothing.
        as_json: Print JSON.
        trust_code: Run a MONAI bundle's own code.
    """
    from .. import pipeline
    from ._progress import Bar

    if pipeline.NAME in str(values["out"]):
        from ._batch import execute_many

        alone = f"--shard {part}" if part is not None else "--trust-code" if trust_code else None
        if alone is not None:
            raise ConfigError(f"{alone} is for one image; run every image of a list by itself")
        return execute_many(values, fresh, quiet, as_json)
    out = Path(values["out"])
    if part is None:
        settings = {} if trust_code else pipeline.staged(fresh=fresh, **values)
        job = pipeline.plan(fresh=fresh, trust_code=trust_code, **{**values, **settings})
        with job, Bar(job.plan.planned, quiet) as bar:
            result = pipeline.execute(job, out, fresh, bar, None if quiet else bar.say)
        return _told(result, result.ran.losses(), quiet, as_json)
    shard = pipeline.Shard.parse(part)
    if fresh:
        raise ConfigError(
            f"--shard {part} with --fresh would discard what other shards have done; leave out one"
        )
    job = pipeline.plan(shard=shard, trust_code=trust_code, **values)
    with job, Bar(job.plan.planned_of(shard.tiles(job.plan)), quiet) as bar:
        done = pipeline.execute_shard(job, out, shard, bar, None if quiet else bar.say)
    return _told(done, done.losses(), quiet, as_json)


def _told(result: Any, losses: tuple[str, ...], quiet: bool, as_json: bool) -> int:
    if as_json:
        typer.echo(json.dumps(result.to_dict()))
    elif not quiet:
        tell(result.summary())
    else:
        for line in losses:
            tell(f"tiledseg: {line}", err=True)
    return _FAILED_TILES if losses else 0
