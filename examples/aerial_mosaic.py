"""Segment a whole aerial scene that is stored in 3 x 3 parts, and draw an overview.

    python examples/aerial_mosaic.py $TILEDSEG_DATA/geo/dubai_landcover/tile_7 mosaic

The parts are joined into one GeoTIFF (5450 x 6184 samples for tile_7), row by row of parts, and
segmented in one run, so the class map has no seams where parts meet. Of the five scenes
`aerial-landcover` has not seen tile_5; for another one, name the model of the fold that left it out
(see aerial-landcover.yaml) with --model.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import rasterio
from PIL import Image
from rasterio.windows import Window

import tiledseg

#: Rows and columns of parts.
_ACROSS = 3
#: Samples along the longer side of each half of the overview, and between the halves.
_LONGEST, _BETWEEN = 900, 8


def join(scene: Path, out: Path) -> None:
    """Write the parts of a scene as one GeoTIFF, one part in memory at a time."""
    parts = sorted((scene / "images").glob("*.jpg"))
    sizes = []
    for part in parts:
        with Image.open(part) as opened:
            sizes.append(opened.size)
    widths = [width for width, _ in sizes[:_ACROSS]]
    heights = [height for _, height in sizes[::_ACROSS]]
    profile = {
        "driver": "GTiff",
        "dtype": "uint8",
        "count": 3,
        "photometric": "rgb",
        "width": sum(widths),
        "height": sum(heights),
        "compress": "deflate",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
    }
    with rasterio.open(out, "w", **profile) as made:
        for number, part in enumerate(parts):
            row, column = divmod(number, _ACROSS)
            height, width = heights[row], widths[column]
            with Image.open(part) as opened:
                pixels = np.asarray(opened.convert("RGB"))[:height, :width]
            window = Window(sum(widths[:column]), sum(heights[:row]), *pixels.shape[1::-1])
            made.write(pixels.transpose(2, 0, 1), window=window)


def draw(image: Path, labels: Path, model: str, out: Path) -> None:
    """Draw the scene and its class map beside each other."""
    with rasterio.open(image) as scene, rasterio.open(labels) as found:
        scale = _LONGEST / max(scene.shape)
        shape = tuple(round(extent * scale) for extent in scene.shape)
        average = rasterio.enums.Resampling.average
        left = scene.read(out_shape=(3, *shape), resampling=average).transpose(1, 2, 0)
        classes = found.read(1, out_shape=shape)
    colors = np.zeros((256, 3), np.uint8)
    for one in tiledseg.load_model(model).card.schema.classes:
        colors[one.id] = one.color
    between = np.full((shape[0], _BETWEEN, 3), 255, np.uint8)
    picture = np.concatenate([left, between, colors[classes]], 1)
    Image.fromarray(picture).save(out, quality=80)


def main() -> None:
    """Join, segment and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scene", type=Path, help="folder of a scene")
    parser.add_argument("out", type=Path, help="folder for what is made")
    parser.add_argument("--model", default="aerial-landcover")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    image, labels = given.out / "scene.tif", given.out / "landcover.tif"
    join(given.scene, image)
    print(tiledseg.segment(image, given.model, labels).summary())
    draw(image, labels, given.model, given.out / "overview.jpg")


if __name__ == "__main__":
    main()
