"""The commands that number objects: of a class map (instances), or of an image (detect)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import ConfigError
from ._commands import app
from ._options import Json, Memory, Quiet, numbers, parts
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


@app.command()
def detect(
    image: Annotated[str, typer.Argument(help="Scene of any size.")],
    weights: Annotated[
        str, typer.Option(help="Weights of torchvision's Mask R-CNN: .safetensors, .pth.")
    ],
    classes: Annotated[str, typer.Option(help="Names of its classes 1, 2 ...: house,pool")],
    out: Annotated[str, typer.Option("--out", "-o", help="Id map: .tif ..., or .png as in COCO.")],
    objects: Annotated[
        str | None, typer.Option(help="Table of the objects: .csv, .gpkg, .geojson, .fgb")
    ] = None,
    window: Annotated[int, typer.Option(help="Extent of a window, in samples.")] = 1024,
    overlap: Annotated[int, typer.Option(help="Samples that windows share.")] = 256,
    threshold: Annotated[float, typer.Option(help="Least score of an object.")] = 0.5,
    agree: Annotated[
        float, typer.Option(help="Intersection over union from which two finds are one object.")
    ] = 0.5,
    scale: Annotated[
        float | None, typer.Option(help="What numbers are divided by; else their type's largest.")
    ] = None,
    size: Annotated[
        str, typer.Option(help="Extents that the network resizes windows to: shorter,longer.")
    ] = "800,1333",
    panoptic: Annotated[
        bool, typer.Option("--panoptic", help="Write COCO's JSON beside, too.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:N")] = "cpu",
    memory: Memory = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Find the objects of a scene with a Mask R-CNN, joined and numbered over all windows."""
    from .. import pipeline
    from ..io import open_source
    from ..models import mask_rcnn
    from ._progress import Share

    names = parts(classes) or ()
    sides = numbers(size, int, "size") or ()
    if len(sides) != 2:
        raise ConfigError(f"size {size!r:.40} is not two extents, like 800,1333")
    with open_source(image, dims=2) as source:
        channels = len(source.channels)
    network = mask_rcnn(Path(weights), len(names), channels, (sides[0], sides[1]))
    with Share("finding", quiet) as share:
        made = pipeline.detect(
            image,
            network,
            out,
            objects,
            classes=names,
            device=device,
            panoptic=panoptic,
            memory=memory,
            on_share=share,
            window=window,
            overlap=overlap,
            threshold=threshold,
            agree=agree,
            scale=scale,
        )
    tell_result(made, quiet, as_json)
