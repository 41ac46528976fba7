"""A satellite scene with known truth: river, forest, fields, grassland, a town, bare soil."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..grid import Grid, Space, SpaceKind
from ._noise import Floats, field, fractal

CLASSES = ("water", "forest", "crops", "grassland", "built-up", "bare soil")
CHANNELS = ("blue", "green", "red", "nir")
WATER, FOREST, CROPS, GRASS, BUILT, SOIL = range(6)

#: UTM zone 33 north on WGS 84, EPSG:32633.
_UTM = (
    'PROJCS["WGS 84 / UTM zone 33N",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,'
    '298.257223563,AUTHORITY["EPSG","7030"]],AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0],'
    'UNIT["degree",0.0174532925199433],AUTHORITY["EPSG","4326"]],PROJECTION["Transverse_Mercator"],'
    'PARAMETER["latitude_of_origin",0],PARAMETER["central_meridian",15],'
    'PARAMETER["scale_factor",0.9996],PARAMETER["false_easting",500000],'
    'PARAMETER["false_northing",0],UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH],'
    'AUTHORITY["EPSG","32633"]]'
)
_METRES = 10.0
#: Reflectance * 10000 in blue, green, red, near infrared.
_SPECTRA = np.array(
    [
        [620, 560, 380, 260],
        [320, 480, 330, 2700],
        [520, 820, 620, 3300],
        [600, 900, 860, 2300],
        [1250, 1350, 1450, 1900],
        [900, 1250, 1700, 2300],
    ],
    np.float32,
)


@dataclass(frozen=True)
class Scene:
    """A made scene.

    Args:
        image: uint16 (4, y, x), reflectance * 10000; 0 is nodata.
        truth: uint8 (y, x), index into `CLASSES`.
        valid: bool (y, x).
        grid: Where it lies.
    """

    image: NDArray[np.uint16]
    truth: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    grid: Grid


def make_scene(seed: int, size: int = 4096) -> Scene:
    """Make a scene of ``size`` x ``size`` samples of 10 m; the same seed gives the same bytes."""
    rng = np.random.default_rng(seed)
    shape = (size, size)
    truth, shade = _land(rng, shape)
    season = rng.uniform(0.93, 1.07, (len(CLASSES), len(CHANNELS))).astype(np.float32)
    haze = field(rng, shape, 1500) * 60 + rng.uniform(0, 120)
    grain = fractal(rng, shape, 6, 3)
    image = np.empty((len(CHANNELS), *shape), np.uint16)
    valid = _swath(rng, shape)
    for c in range(len(CHANNELS)):
        band = (_SPECTRA * season)[:, c][truth]
        band *= 1 + shade + _texture(truth, grain)
        band += haze * (1.0, 0.8, 0.6, 0.3)[c] + rng.standard_normal(shape, np.float32) * 45
        image[c] = np.where(valid, np.clip(band, 1, 10000), 0)
    matrix = np.diag([_METRES, -_METRES, 1.0])
    matrix[:2, 2] = 399960.0, 5600040.0
    grid = Grid.from_matrix(shape, matrix, Space(SpaceKind.PROJECTED, _UTM, 1.0))
    return Scene(image, truth, valid, grid)


def _land(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[NDArray[np.uint8], Floats]:
    """Return classes, and how much lighter or darker every sample is than its class."""
    hills = fractal(rng, shape, 420, 5)
    damp = fractal(rng, shape, 260, 4)
    truth = np.full(shape, GRASS, np.uint8)
    parcels, rows = _parcels(rng, shape)
    shade = fractal(rng, shape, 40, 3) * 0.06
    farmed = hills < 0.15
    truth[farmed] = CROPS
    fallow = farmed & (parcels < 0.22)
    truth[fallow] = SOIL
    shade += np.where(farmed, (parcels - 0.5) * 0.35 + rows * 0.12, 0)
    truth[damp + 0.4 * hills > 0.42] = FOREST
    town = fractal(rng, shape, 300, 3) > 0.75
    streets = _streets(rng, shape)
    truth[town] = BUILT
    shade = np.where(town, streets * 0.45, shade)
    bend = np.abs(fractal(rng, shape, 900, 4) + 0.12 * fractal(rng, shape, 60, 2))
    truth[(bend < 0.035) | (hills + 0.2 * damp < -1.25)] = WATER
    shade = np.where(truth == WATER, damp * 0.15, shade)
    return truth, shade.astype(np.float32)


def _parcels(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return a value per field parcel in [0, 1), and the rows ploughed in it."""
    angle = rng.uniform(0, np.pi)
    bent = field(rng, shape, 700) * 60
    y, x = np.ogrid[: shape[0], : shape[1]]
    u = (np.cos(angle) * x + np.sin(angle) * y + bent).astype(np.float32)
    v = (-np.sin(angle) * x + np.cos(angle) * y + bent).astype(np.float32)
    column = np.floor(u / 46)
    row = np.floor((v + 31 * (column % 5)) / 29)
    mixed = np.sin(column * 12.9898 + row * 78.233 + angle * 9) * 43758.547
    value = (mixed - np.floor(mixed)).astype(np.float32)
    along = np.where(value > 0.5, u, v)
    return value, np.sin(along * 1.7).astype(np.float32)


def _streets(rng: np.random.Generator, shape: tuple[int, int]) -> Floats:
    """Return roofs (bright), streets and yards (dark) of a bent street grid."""
    angle = rng.uniform(0, np.pi)
    bent = field(rng, shape, 400) * 12
    y, x = np.ogrid[: shape[0], : shape[1]]
    u = (np.cos(angle) * x + np.sin(angle) * y + bent) % 13
    v = (-np.sin(angle) * x + np.cos(angle) * y - bent) % 17
    roofs = ((u > 4) & (v > 3) & (v < 14)).astype(np.float32)
    bright = field(rng, shape, 5) * 0.5
    return np.asarray(roofs * (0.8 + bright) - 0.35, np.float32)


def _texture(truth: NDArray[np.uint8], grain: Floats) -> Floats:
    """Return the grain of every class: forest canopies are rough, water is smooth."""
    rough = np.array([0.03, 0.22, 0.05, 0.08, 0.12, 0.05], np.float32)
    return rough[truth] * grain


def _swath(rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Return where the satellite looked: all but a slanted corner."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    slope = rng.uniform(0.25, 0.4)
    edge: NDArray[np.bool_] = x > (0.18 * shape[1] - slope * y)
    return edge
