"""The commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

from ..config import RunConfig
from ..document import apply_change
from ..errors import ConfigError
from ._execute import execute
from ._learning import train
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
    TrustCode,
    Tta,
    Work,
    Workers,
    changed,
    given,
    values_of,
)
from ._tell import plain, tell

app = typer.Typer(
    name="tiledseg",
    help="Segment images too large for one model call or for memory.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command()
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
    )
    values = values_of(image, model, options, changes)
    return execute({**values, "out": out}, fresh, shard, quiet, as_json, trust_code)


@app.command()
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


@app.command()
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
        _print({**job.describe(), "warnings": list(job.warnings)}, as_json)


@app.command()
def info(
    path: Annotated[str, typer.Argument(help="Image, model, class map or report folder.")],
    series: Series = None,
    as_json: Json = False,
) -> None:
    """Print what a file is."""
    from .. import pipeline

    _print(pipeline.describe(path, series=series), as_json)


@app.command(name="import")
def import_(
    source: Annotated[str, typer.Argument(help="Model of another tool: file, folder or URL.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the model.")],
    sha256: Annotated[
        str | None, typer.Option(help="Of a file that is fetched, 64 hexadecimal digits.")
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", help="What the source does not say: channels=[red,green,nir]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a model of another tool as one of tiledseg, and say what was understood."""
    from ..models import import_model
    from ._import import show

    card: dict[str, Any] = {}
    for change in changes or ():
        apply_change(card, change)
    show(import_model(source, out, sha256=sha256, **card), as_json)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="One architecture, with the arguments it takes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the architectures that `create_model` and cards know."""
    from ._models import show

    show(name, as_json)


@app.command()
def status(
    where: Annotated[str, typer.Argument(help="Output of a run, or its work store.")],
    work: Work = None,
    as_json: Json = False,
) -> None:
    """Tell from another shell how a run is getting on."""
    from .. import pipeline

    found = pipeline.status(where, work)
    tell(json.dumps(found.to_dict()) if as_json else found.summary())


@app.command()
def probe(
    model: Annotated[str, typer.Argument(help="Model folder, card or weights.")],
    sample: Annotated[
        str | None,
        typer.Option("--sample", help="Image to measure agreement on; noise is no guide."),
    ] = None,
    tolerance: Annotated[
        float, typer.Option(help="Change of a score that counts as reached by the input.")
    ] = 1e-3,
    device: Device = None,
    threads: Threads = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Measure a model: its reach, and which runtime and precision is the fastest here."""
    from .. import pipeline
    from ._probe import show

    def say(line: str) -> None:
        tell(f"measuring {line} ...", err=True)

    found, kept = pipeline.probe(
        model,
        sample,
        device=device or "cpu",
        threads=threads,
        tolerance=tolerance,
        say=None if quiet else say,
    )
    if as_json:
        _print(found.to_dict(), True)
    else:
        show(found, kept)


app.command()(train)


@app.command()
def vectorize(
    class_map: Annotated[str, typer.Argument(help="Class map, 2-D or 3-D.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Vector file, or folder of surfaces.")],
    surface_format: Annotated[Literal["stl", "ply"], typer.Option("--format")] = "stl",
    memory: Memory = None,
) -> None:
    """Turn a class map into polygons (2-D) or surfaces (3-D)."""
    from .. import pipeline

    for made in pipeline.vectorize(class_map, out, surface_format, memory):
        tell(made)


@app.command()
def config(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the JSON schema of a training's recipe.")
    ] = False,
) -> None:
    """Print the schema of a config, or an example to start from."""
    if recipe:
        from ..training import Recipe

        typer.echo(Recipe.schema_text())
    elif schema:
        typer.echo(RunConfig.schema_text())
    else:
        example = RunConfig(image="scene.tif", model="model.yaml", out="landcover.tif")
        typer.echo(example.to_yaml(), nl=False)


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path(
        "demo-output"
    ),
    quiet: Quiet = False,
) -> None:
    """Make a scene and a volume with known truth, segment both, and print the accuracy."""
    from .. import demo as room

    room.run(out, typer.echo if not quiet else _silent)


# --------------------------------------------------------------------- between shell and Python


def _print(values: dict[str, Any], as_json: bool) -> None:
    values = json.loads(json.dumps(values, default=str))
    if as_json:
        typer.echo(json.dumps(values))
    else:
        text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
        typer.echo(plain(text), nl=False)


def _silent(line: str) -> None:
    """Say nothing."""
