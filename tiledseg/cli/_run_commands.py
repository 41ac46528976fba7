"""The commands that segment: segment, run and plan."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..config import RunConfig
from ..errors import ConfigError
from . import _step_options as step
from ._execute import execute
from ._options import (
    Channels,
    Cluster,
    Device,
    DeviceMemory,
    Fresh,
    Image,
    Json,
    Log,
    Margin,
    Memory,
    ModelPath,
    Numbers,
    Options,
    Out,
    Polygons,
    Precision,
    Quiet,
    Roi,
    Runner,
    Runtime,
    Scheduler,
    Scores,
    Series,
    Set,
    ShardPart,
    SkipBelow,
    Surfaces,
    Threads,
    Thresholds,
    TrustCode,
    Tta,
    Work,
    Workers,
    changed,
    given,
    values_of,
)
from ._tell import show_values


def segment(
    image: Image,
    model: ModelPath,
    out: Out,
    channels: Channels = None,
    series: Series = None,
    window: Numbers = None,
    stride: Numbers = None,
    margin: Margin = None,
    memory: Memory = None,
    workers: Workers = None,
    runner: Runner = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    threads: Threads = None,
    device: Device = None,
    device_memory: DeviceMemory = None,
    runtime: Runtime = None,
    precision: Precision = None,
    roi: Roi = None,
    skip_below: SkipBelow = None,
    tta: Tta = None,
    scores: Scores = None,
    polygons: Polygons = None,
    surfaces: Surfaces = None,
    thresholds: Thresholds = None,
    smooth: step.Smooth = None,
    keep_largest: step.KeepLargest = None,
    min_area: step.MinArea = None,
    min_volume: step.MinVolume = None,
    min_samples: step.MinSamples = None,
    small: step.SmallBecomes = "background",
    classes: step.SmallClasses = None,
    fill_holes: step.FillHoles = False,
    connectivity: step.Connectivity = None,
    steps: step.Steps = None,
    work: Work = None,
    log: Log = None,
    shard: ShardPart = None,
    trust_code: TrustCode = False,
    changes: Set = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Segment an image: class map with the same geometry, report, and vectors if asked."""
    options = Options(
        channels=channels,
        series=series,
        window=window,
        stride=stride,
        margin=margin,
        memory=memory,
        workers=workers,
        runner=runner,
        scheduler=scheduler,
        cluster=cluster,
        threads=threads,
        device=device,
        device_memory=device_memory,
        runtime=runtime,
        precision=precision,
        roi=roi,
        skip_below=skip_below,
        tta=tta,
        scores=scores,
        polygons=polygons,
        surfaces=surfaces,
        work=work,
        log=log,
        thresholds=thresholds,
        steps=step.StepOptions(
            smooth=smooth,
            keep_largest=keep_largest,
            min_area=min_area,
            min_volume=min_volume,
            min_samples=min_samples,
            small=small,
            classes=classes,
            fill_holes=fill_holes,
            connectivity=connectivity,
            steps=steps,
        ),
    )
    values = values_of(image, model, options, changes)
    return execute({**values, "out": out}, fresh, shard, quiet, as_json, trust_code)


def run(
    config: Annotated[Path, typer.Argument(help="YAML file; see `tiledseg config --schema`.")],
    workers: Workers = None,
    runner: Runner = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    threads: Threads = None,
    work: Work = None,
    log: Log = None,
    shard: ShardPart = None,
    trust_code: TrustCode = False,
    changes: Set = None,
    fresh: Fresh = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Run a config file."""
    options = Options(
        workers=workers,
        runner=runner,
        scheduler=scheduler,
        cluster=cluster,
        threads=threads,
        work=work,
        log=log,
    )
    parsed = RunConfig.read(config, changed(changes, options))
    if parsed.out is None:
        raise ConfigError(f"config {config} names no output: add out, or --set out=landcover.tif")
    return execute(given(parsed), fresh, shard, quiet, as_json, trust_code)


def plan(
    image: Annotated[
        list[str], typer.Argument(help="Image (several are stacked), or one config file.")
    ],
    model: Annotated[
        list[str] | None, typer.Option("--model", "-m", help="Model; several are averaged.")
    ] = None,
    channels: Channels = None,
    series: Series = None,
    window: Numbers = None,
    stride: Numbers = None,
    margin: Margin = None,
    memory: Memory = None,
    workers: Workers = None,
    runner: Runner = None,
    scheduler: Scheduler = None,
    cluster: Cluster = None,
    threads: Threads = None,
    device: Device = None,
    device_memory: DeviceMemory = None,
    runtime: Runtime = None,
    precision: Precision = None,
    roi: Roi = None,
    skip_below: SkipBelow = None,
    tta: Tta = None,
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Class map; its unfinished work is continued.")
    ] = None,
    work: Work = None,
    trust_code: TrustCode = False,
    changes: Set = None,
    as_json: Json = False,
) -> None:
    """Print tiles, windows, extra work and memory, and refuse early."""
    from .. import pipeline

    options = Options(
        channels=channels,
        series=series,
        window=window,
        stride=stride,
        margin=margin,
        memory=memory,
        workers=workers,
        runner=runner,
        scheduler=scheduler,
        cluster=cluster,
        threads=threads,
        device=device,
        device_memory=device_memory,
        runtime=runtime,
        precision=precision,
        roi=roi,
        skip_below=skip_below,
        tta=tta,
        work=work,
    )
    if model:
        values = {**values_of(image, model, options, changes), "out": out}
    else:
        values = given(RunConfig.read(image[0], changed(changes, options)))
    job = pipeline.plan(trust_code=trust_code, **values)
    with job:
        show_values({**job.describe(), "warnings": list(job.warnings)}, as_json)
