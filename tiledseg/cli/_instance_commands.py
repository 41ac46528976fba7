"""The command that numbers the objects of a class map: instances."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import ConfigError
from ._commands import app
from ._options import Json, Memory, Quiet, parts
from ._tell import tell_result


@app.command()
def instances(
    class_map: Annotated[str, typer.Argument(metavar="MAP", help="Class map of any tool.")],
    out: Annotated[
        str, typer.Option("--out", "-o", help="Id map: .tif, .nii.gz ..., or .png as in COCO.")
    ],
    objects: Annotated[
        str | None, typer.Option(help="Table of the objects: .csv, .gpkg, .geojson, .fgb")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Whose objects: building,tree; else the map's things.")
    ] = None,
    connectivity: Annotated[
        int | None, typer.Option(help="Neighbours: 4 or 8; of volumes 6, 18 or 26.")
    ] = None,
    min_area: Annotated[
        float | None, typer.Option(help="Leave out smaller objects, in m2.")
    ] = None,
    min_volume: Annotated[float | None, typer.Option(help="Leave out smaller ones, mm3.")] = None,
    min_samples: Annotated[
        int | None, typer.Option(help="Leave out objects of fewer samples.")
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Part what touches: distance, or FILE:CHANNEL, high in the middles."),
    ] = None,
    boundaries: Annotated[
        bool, typer.Option("--boundaries", help="The channel is high along borders instead.")
    ] = False,
    depth: Annotated[
        float | None, typer.Option(help="Rise of a middle above the neck to the next; 1, or 0.1.")
    ] = None,
    centres: Annotated[
        str | None,
        typer.Option(help="FILE:CHANNELS of a centre head and offsets (z,) y, x in samples."),
    ] = None,
    threshold: Annotated[float, typer.Option(help="Least value of a centre.")] = 0.1,
    window: Annotated[int, typer.Option(help="Samples in which a centre is the largest.")] = 7,
    scores: Annotated[
        str | None, typer.Option(help="FILE:CHANNEL, or one channel per class: mean scores.")
    ] = None,
    panoptic: Annotated[
        bool, typer.Option("--panoptic", help="Number stuff, too, and write COCO's JSON beside.")
    ] = False,
    memory: Memory = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Number the objects of a class map, whatever its size."""
    from .. import pipeline
    from ._progress import Share

    sizes = {"m2": min_area, "mm3": min_volume, "samples": min_samples}
    least = {unit: size for unit, size in sizes.items() if size is not None}
    if len(least) > 1:
        raise ConfigError("give one least size: --min-area, --min-volume or --min-samples")
    unit, size = next(iter(least.items()), ("samples", 0))
    with Share("numbering", quiet) as share:
        made = pipeline.instances(
            class_map,
            out,
            objects,
            on_share=share,
            classes=parts(classes) or (),
            connectivity=connectivity,
            least=size,
            unit=unit,
            split=split,
            boundaries=boundaries,
            depth=depth,
            centres=centres,
            threshold=threshold,
            window=window,
            scores=scores,
            panoptic=panoptic,
            memory=memory,
        )
    tell_result(made, quiet, as_json)
