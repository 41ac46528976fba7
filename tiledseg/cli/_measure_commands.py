"""The commands that measure maps: evaluate and sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ..errors import ConfigError
from ._commands import app
from ._options import Json, Memory, Quiet, numbers, parts
from ._tell import tell, tell_result

_BAD, _SOME_FAILED, _OVER_BUDGET = 2, 3, 4
Folder = Annotated[
    str | None, typer.Option("--out", "-o", help="Folder for page, tables and pictures.")
]


@app.command()
def evaluate(
    class_map: Annotated[
        str,
        typer.Argument(
            metavar="MAP",
            help="Class map; with {name} in it many; or a table (.csv) with columns map and truth.",
        ),
    ],
    truth: Annotated[
        str | None,
        typer.Option(
            "--truth", "-t", help="Labels on the map's grid: labels/{name}.tif; or a dataset."
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option("--image", help="Image beneath, for the pictures: images/{name}.tif"),
    ] = None,
    points: Annotated[
        str | None,
        typer.Option("--points", help="Points of `tiledseg sample` with truth filled in."),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(help="Some of classes,boundary,surface,amount,panoptic."),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(help="Distances for boundaries and surfaces, in mm, metres or samples: 1,2"),
    ] = None,
    ignore: Annotated[
        str | None, typer.Option(help="Label values of the truth that mean there is none: 0,255")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="YAML that lists the classes, as a model's card does.")
    ] = None,
    divisor: Annotated[
        int | None, typer.Option(help="Panoptic: an id's class is id // divisor (Cityscapes: 1000)")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Of a dataset: the cases of this split.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of the bootstrap over cases; without it 0.")
    ] = None,
    memory: Memory = None,
    out: Folder = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> int:
    """Measure class maps against labels, or against points of a stratified sample."""
    from .. import pipeline

    if points is not None:
        if truth is not None:
            raise ConfigError("give labels (--truth) or points (--points), not both")
        others = {
            "--image": image,
            "--metrics": metrics,
            "--tolerance": tolerance,
            "--ignore": ignore,
            "--classes": classes,
            "--divisor": divisor,
            "--split": split,
            "--seed": seed,
            "--memory": memory,
        }
        for option, value in others.items():
            if value is not None:
                raise ConfigError(f"{option} is for labels (--truth), not for points; leave it out")
        with _telling("reading", quiet) as told:
            found = pipeline.assess(class_map, points, out, on_share=told)
        tell_result(found, quiet, as_json)
        return 0
    settings = {
        "metrics": parts(metrics),
        "tolerance": numbers(tolerance, float, "--tolerance"),
        "ignore": numbers(ignore, int, "--ignore") or (),
        "classes": classes,
        "divisor": divisor,
        "split": split,
        "seed": seed or 0,
        "memory": memory,
    }
    with _telling("measuring", quiet) as told:
        result = pipeline.evaluate(class_map, truth, out, image=image, on_share=told, **settings)
    tell_result(result, quiet, as_json)
    if quiet:
        for case in result.failed:
            tell(f"tiledseg: {case.name} failed: {case.problem}", err=True)
    if result.failed and not result.cases:
        return _OVER_BUDGET if all(case.refused for case in result.failed) else _BAD
    return _SOME_FAILED if result.failed else 0


@app.command()
def sample(
    class_map: Annotated[str, typer.Argument(metavar="MAP", help="Class map of a scene.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Points: .gpkg, .geojson, .fgb")],
    per_class: Annotated[int | None, typer.Option(help="So many points of every class.")] = None,
    total: Annotated[
        int | None, typer.Option(help="So many points together, by the classes' areas.")
    ] = None,
    standard_error: Annotated[
        float | None, typer.Option(help="As many as give the accuracy with this standard error.")
    ] = None,
    minimum: Annotated[
        int | None,
        typer.Option(help="With --total or --standard-error: points of a rare class; else 50."),
    ] = None,
    expected: Annotated[
        float | None,
        typer.Option(help="With --standard-error: accuracy that is expected, 0 to 1; else 0.85."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Another seed draws other points.")] = 0,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw points of every class of a map, whose truth a person then fills in."""
    from .. import pipeline

    settings = {
        "per_class": per_class,
        "total": total,
        "standard_error": standard_error,
        "minimum": minimum,
        "expected": expected,
        "seed": seed,
    }
    with _telling("drawing", quiet) as told:
        found = pipeline.sample(class_map, out, on_share=told, **settings)
    tell_result(found, quiet, as_json)


@contextmanager
def _telling(verb: str, quiet: bool) -> Iterator[Callable[..., None]]:
    """Yield a function that takes the share done, and which case, and shows both."""
    from ._progress import Share

    with Share(verb, quiet) as share:
        yield share
