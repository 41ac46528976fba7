"""The commands, but for those that have a module of their own, and the app that they belong to."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config import RunConfig
from ..document import apply_change
from ._learning import train
from ._options import Device, Json, Quiet, Series, Threads, Work
from ._run_commands import plan, run, segment
from ._tell import show_values, tell

app = typer.Typer(
    name="tiledseg",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (segment, run, plan):
    app.command()(command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tiledseg {version('tiledseg')}")
        raise typer.Exit


@app.callback()
def _options(
    shown: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version)
    ] = False,
) -> None:
    """Segment images too large for one model call or for memory."""


@app.command()
def info(
    path: Annotated[str, typer.Argument(help="Image, model, class map or report folder.")],
    series: Series = None,
    as_json: Json = False,
) -> None:
    """Print what a file is."""
    from .. import pipeline

    show_values(pipeline.describe(path, series=series), as_json)


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
    bundled: Annotated[
        bool, typer.Option("--bundled", help="Only the models that come with the package.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the architectures that `create_model` and cards know, and the bundled models."""
    from ._models import show, show_bundled

    if not bundled:
        show(name, as_json)
    if bundled or (name is None and not as_json):
        show_bundled(as_json)


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
        on_message=None if quiet else say,
    )
    if as_json:
        show_values(found.to_dict(), True)
    else:
        show(found, kept)


app.command()(train)


@app.command()
def config(
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON schema.")] = False,
    recipe: Annotated[
        bool, typer.Option("--recipe", help="Print the JSON schema of a training's recipe.")
    ] = False,
    dataset: Annotated[
        bool, typer.Option("--dataset", help="Print the JSON schema of a dataset's YAML.")
    ] = False,
) -> None:
    """Print the schema of a config, or an example to start from."""
    if dataset:
        from ..datasets import DatasetDocument

        typer.echo(json.dumps(DatasetDocument.model_json_schema(), indent=2))
    elif recipe:
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


def _silent(line: str) -> None:
    """Say nothing."""
