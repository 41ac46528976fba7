"""The commands between maps and shapes: surfaces, contours and rasterize."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ._commands import app
from ._options import Json, Memory, Quiet, parts
from ._tell import tell_result


@app.command()
def surfaces(
    labels: Annotated[str, typer.Argument(help="Label volume of any tool.")],
    out: Annotated[
        str,
        typer.Option("--out", "-o", help="Folder for a file per class, or one scene: NAME.glb."),
    ],
    file_format: Annotated[
        Literal["stl", "ply", "obj"] | None,
        typer.Option("--format", help="Of files in a folder; else stl."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Some of them, by name or label: liver,5")
    ] = None,
    smooth: Annotated[
        int, typer.Option(help="Passes of Taubin smoothing, which takes the stairs off: 10")
    ] = 0,
    decimate: Annotated[
        float, typer.Option(help="Share of the triangles to do without, 0 to 0.99.")
    ] = 0.0,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Move surfaces until they enclose the volume of their voxels, as smoothed and "
            "decimated ones are anyway.",
        ),
    ] = False,
    memory: Memory = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Turn the classes of a label volume into closed surfaces (STL, PLY, OBJ, GLB)."""
    from .. import pipeline
    from ._progress import Share

    with Share("making surfaces", quiet) as share:
        made = pipeline.surfaces(
            labels,
            out,
            file_format=file_format,
            classes=parts(classes),
            smooth=smooth,
            decimate=decimate,
            fit=fit,
            memory=memory,
            on_share=share,
        )
    tell_result(made, quiet, as_json)


@app.command()
def contours(
    labels: Annotated[str, typer.Argument(help="Label volume of any tool.")],
    out: Annotated[str, typer.Option("--out", "-o", help="DICOM structure set: NAME.dcm.")],
    images: Annotated[
        str | None,
        typer.Option(help="Folder of the DICOM series that the labels belong to."),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Some of them, by name or label: liver,5")
    ] = None,
    memory: Memory = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Draw the classes of a label volume as contours in every slice (RTSTRUCT)."""
    from .. import pipeline
    from ._progress import Share

    with Share("drawing contours", quiet) as share:
        made = pipeline.contours(
            labels, out, images=images, classes=parts(classes), memory=memory, on_share=share
        )
    tell_result(made, quiet, as_json)


@app.command()
def rasterize(
    polygons: Annotated[str, typer.Argument(help="Vector file: .gpkg, .geojson, .fgb, .shp ...")],
    like: Annotated[str, typer.Option(help="Image whose grid is taken.")],
    out: Annotated[str, typer.Option("--out", "-o", help="Class map: .tif, .zarr")],
    attribute: Annotated[
        str | None,
        typer.Option(
            help="Field that holds the class, by label or name; else that of tiledseg's polygons, "
            "or all are one class."
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of classes 1, 2 ...: house,tree; or a YAML that lists classes."),
    ] = None,
    all_touched: Annotated[
        bool, typer.Option("--all-touched", help="Take samples that are covered in part, too.")
    ] = False,
    outside: Annotated[
        Literal["background", "nodata"], typer.Option(help="What samples in no polygon become.")
    ] = "background",
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Burn polygons on the grid of an image, as class map or labels for training."""
    from .. import pipeline
    from ._progress import Share

    listed = classes is not None and classes.lower().endswith((".yaml", ".yml"))
    with Share("burning", quiet) as share:
        made = pipeline.rasterize(
            polygons,
            like,
            out,
            attribute=attribute,
            classes=classes if listed else parts(classes),
            all_touched=all_touched,
            outside=outside,
            on_share=share,
        )
    tell_result(made, quiet, as_json)
