"""GeoTIFFs written: what other readers find in them, and what happens when there is no room."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pytest
import rasterio
from rasterio.enums import ColorInterp
from rio_cogeo.cogeo import cog_validate

from tiledseg.errors import OutputFailed
from tiledseg.grid import ControlPoint, Grid, Space, SpaceKind
from tiledseg.io import SinkSpec, read_schema
from tiledseg.io._rasterio import RasterSink, open_raster
from tiledseg.labels import ClassInfo, ClassSchema

UTM = Space(SpaceKind.PROJECTED, rasterio.CRS.from_epsg(32633).to_wkt(), 1.0)
NORTH_UP = [[10, 0, 500_000], [0, -10, 5_000_000], [0, 0, 1]]
SCHEMA = ClassSchema.of_names(["nothing", "water", "wood", "Gebäude & <roof>"], background=0)
MANY = ClassSchema(
    (ClassInfo(0, "sea", (1, 2, 3)), ClassInfo(300, "land", (250, 0, 9))), background=0
)
LAYOUTS = pytest.mark.parametrize("layout", ["cog", "gtiff"])


def utm(*shape: int) -> Grid:
    return Grid.from_matrix(shape, NORTH_UP, UTM)


def map_spec(grid: Grid, schema: ClassSchema = SCHEMA) -> SinkSpec:
    return SinkSpec(grid, schema.dtype, ("class",), schema.nodata, schema)


def stored(
    path: Path, spec: SinkSpec, values: np.ndarray, layout: str, threads: int = 1
) -> list[Path]:
    sink = RasterSink(path, spec, layout, threads)
    try:
        sink.prepare()
        for row in range(0, spec.grid.shape[0], 200):
            box = spec.grid.box.along(0, row, min(row + 200, spec.grid.shape[0]))
            sink.write(box, np.ascontiguousarray(values[:, box.start[0] : box.stop[0]]))
        return sink.commit()
    finally:
        sink.abort()


def test_a_style_of_somebody_else_is_not_replaced(tmp_path):
    spec, path = map_spec(utm(60, 50)), tmp_path / "map.tif"
    stored(path, spec, labels(spec), "cog")
    stored(path, spec, labels(spec), "cog")
    doctype = "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>"
    (tmp_path / "map.qml").write_text(f"{doctype}\n<qgis version='3.34.1-Prizren'>")
    with pytest.raises(OutputFailed, match=r"map\.qml would be replaced, and was not written by"):
        RasterSink(path, spec, "cog")


def labels(spec: SinkSpec, seed: int = 1) -> np.ndarray:
    rng = np.random.default_rng(seed)
    values = rng.choice(spec.schema.ids, (1, *spec.grid.shape)).astype(spec.dtype)
    values[:, : spec.grid.shape[0] // 5] = spec.nodata
    return values


# --------------------------------------------------------------------- what is in the file


@LAYOUTS
@pytest.mark.parametrize("schema", [SCHEMA, MANY], ids=["uint8", "uint16"])
def test_class_map(tmp_path, layout, schema):
    path, spec = tmp_path / "landcover.tif", map_spec(utm(700, 900), schema)
    values = labels(spec)
    made = stored(path, spec, values, layout)
    assert made == [path, tmp_path / "landcover.qml"]
    with rasterio.open(path) as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.dtypes == (schema.dtype.name,)
        assert file.nodata == schema.nodata
        assert file.descriptions == ("class",)
        assert file.colorinterp == (ColorInterp.palette,)
        assert file.crs.to_epsg() == 32633
        assert list(file.transform) == [float(v) for row in NORTH_UP for v in row]
        palette = file.colormap(1)
        for known in schema.unique:
            assert palette[known.id] == (*known.color, 255)
        assert palette[schema.nodata][3] == 0
        np.testing.assert_array_equal(file.read_masks(1) > 0, values[0] != schema.nodata)
    assert read_schema(path) == schema
    with open_raster(str(path)) as source:
        assert source.grid.like(spec.grid)
        assert source.grid.matrix.tolist() == spec.grid.matrix.tolist()
        np.testing.assert_array_equal(source.valid(source.grid.box), values[0] != schema.nodata)


@pytest.mark.parametrize("schema", [SCHEMA, None], ids=["class map", "scores"])
def test_cog_is_one_to_its_validator(tmp_path, schema):
    spec = map_spec(utm(1500, 1300))
    if schema is None:
        spec = SinkSpec(utm(1500, 1300), np.dtype(np.uint8), ("water", "wood"), 255, scale=1 / 254)
        values = np.random.default_rng(0).integers(0, 255, (2, 1500, 1300)).astype(np.uint8)
    else:
        values = labels(spec)
    stored(tmp_path / "a.tif", spec, values, "cog")
    valid, errors, warned = cog_validate(tmp_path / "a.tif", strict=True, quiet=True)
    assert (valid, errors, warned) == (True, [], [])


def test_overviews_are_by_mode_for_classes_and_by_mean_for_scores(tmp_path):
    """The third class has the mean colour of the pattern: a mean of colours would choose it."""
    greys = [(0, 0, 0), (252, 252, 252), (63, 63, 63)]
    schema = ClassSchema(tuple(ClassInfo(i, f"grey {i}", g) for i, g in enumerate(greys)))
    spec = map_spec(utm(1200, 1200), schema)
    pattern = np.array([[0, 1], [0, 0]], np.uint8)
    stored(tmp_path / "map.tif", spec, np.tile(pattern, (600, 600))[None], "cog")
    with rasterio.open(tmp_path / "map.tif", overview_level=0) as half:
        assert half.shape == (600, 600)
        assert not half.read().any()
    scores = SinkSpec(utm(1200, 1200), np.dtype(np.float32), ("wood",), np.nan)
    stored(tmp_path / "score.tif", scores, np.tile(pattern, (600, 600))[None].astype("f4"), "cog")
    with rasterio.open(tmp_path / "score.tif", overview_level=0) as half:
        np.testing.assert_allclose(half.read(), 0.25)


@LAYOUTS
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_scores_carry_names_scale_and_nodata(tmp_path, layout, dtype):
    kind = np.dtype(dtype)
    nodata = np.nan if kind.kind == "f" else float(np.iinfo(kind).max)
    scale = None if kind.kind == "f" else 1 / (nodata - 1)
    spec = SinkSpec(utm(300, 600), kind, ("water", "wood"), nodata, scale=scale)
    values = np.random.default_rng(2).uniform(0, 200, (2, 300, 600)).astype(kind)
    values[:, :9] = nodata
    assert stored(tmp_path / "a.tif", spec, values, layout) == [tmp_path / "a.tif"]
    with rasterio.open(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.read(), values)
        assert file.descriptions == ("water", "wood")
        assert file.scales == (scale or 1.0,) * 2
        np.testing.assert_equal(file.nodata, nodata)
        assert not file.read_masks(1)[:9].any()
        assert file.read_masks(1)[9:].all()
    assert read_schema(tmp_path / "a.tif") is None
    with open_raster(str(tmp_path / "a.tif")) as source:
        assert source.scale == scale


@LAYOUTS
@pytest.mark.parametrize("bands", [3, 4])
def test_scores_of_a_few_classes_are_no_colours(tmp_path, layout, bands):
    """Else the last of four would be read as what tells where there is something."""
    names = ("water", "wood", "sand", "road")[:bands]
    spec = SinkSpec(utm(30, 60), np.dtype(np.uint8), names, 255, scale=1 / 254)
    values = np.random.default_rng(2).integers(0, 255, (bands, 30, 60)).astype(np.uint8)
    stored(tmp_path / "a.tif", spec, values, layout)
    with open_raster(str(tmp_path / "a.tif")) as source:
        assert source.channels == names
        np.testing.assert_array_equal(source.read(source.grid.box), values)
        assert source.valid(source.grid.box).all()


@LAYOUTS
def test_bytes_do_not_depend_on_threads(tmp_path, layout):
    """Of class maps and of scores, in several bands and blocks."""
    rng = np.random.default_rng(5)
    classes = map_spec(utm(1700, 1500))
    scores = SinkSpec(utm(1700, 1500), np.dtype("f4"), ("a", "b"), np.nan)
    noise = rng.random((2, 1700, 1500), np.float32)
    for spec, values in ((classes, (noise[:1] * 4).astype("u1")), (scores, noise)):
        made = set()
        for threads in (1, 2, 5):
            stored(tmp_path / "a.tif", spec, values, layout, threads)
            made.add((tmp_path / "a.tif").read_bytes())
        assert len(made) == 1


@LAYOUTS
def test_affine_of_any_turn_comes_back(tmp_path, layout):
    for name, matrix in {
        "rotated": [[1.5, 2, 7], [2, -1.5, 9], [0, 0, 1]],
        "south up": [[2, 0, 7], [0, 3, 9], [0, 0, 1]],
        "without a reference": np.eye(3),
    }.items():
        for space in (UTM, Space(SpaceKind.LOCAL)):
            if name == "without a reference" and space is UTM:
                continue
            spec = map_spec(Grid.from_matrix((40, 30), matrix, space))
            stored(tmp_path / "a.tif", spec, labels(spec), layout)
            with open_raster(str(tmp_path / "a.tif")) as source:
                assert source.grid.like(spec.grid, tolerance=1e-9), name


@LAYOUTS
def test_no_reference_is_invented_for_a_local_grid(tmp_path, layout):
    spec = map_spec(Grid.local((40, 30)))
    stored(tmp_path / "a.tif", spec, labels(spec), layout)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        file = rasterio.open(tmp_path / "a.tif")
    with file:
        assert file.crs is None


@LAYOUTS
def test_ground_control_points_come_back(tmp_path, layout):
    points = tuple(
        ControlPoint(r, c, 10 + 0.1 * c + 0.02 * r, 50 - 0.1 * r, 3.5)
        for r, c in [(0.0, 0.0), (0.0, 30.0), (40.0, 0.0), (40.0, 30.0), (17.5, 3.25)]
    )
    space = Space(SpaceKind.GEOGRAPHIC, rasterio.CRS.from_epsg(4326).to_wkt())
    fit = [[0.1, 0.02, 10], [0, -0.1, 50], [0, 0, 1]]
    grid = replace(Grid.from_matrix((40, 30), fit, space), control=points)
    stored(tmp_path / "a.tif", map_spec(grid), labels(map_spec(grid)), layout)
    with open_raster(str(tmp_path / "a.tif")) as source:
        assert source.grid.control == points
        assert source.grid.like(grid, tolerance=1e-6)


@pytest.mark.data
@pytest.mark.parametrize("name", ["cog_nonearth", "cog_dateline", "cog_gcps", "inverted_lat"])
def test_real_grids_come_back(data, tmp_path, name):
    with open_raster(str(data / f"geo/rio-tiler/{name}.tif")) as source:
        spec = map_spec(source.grid)
    stored(tmp_path / "a.tif", spec, labels(spec), "cog")
    with open_raster(str(tmp_path / "a.tif")) as again:
        assert again.grid == spec.grid


def test_qgis_style_names_and_colours_every_class(tmp_path):
    spec = map_spec(utm(40, 30))
    _, style = stored(tmp_path / "land.cover.tif", spec, labels(spec), "gtiff")
    assert style == tmp_path / "land.cover.qml"
    root = Xml.parse(style).getroot()
    assert root.tag == "qgis"
    assert root.find("pipe/rasterrenderer").get("type") == "paletted"
    entries = root.findall("pipe/rasterrenderer/colorPalette/paletteEntry")
    assert [(int(e.get("value")), e.get("label")) for e in entries] == [
        (c.id, c.name) for c in SCHEMA.classes
    ]
    colors = [tuple(bytes.fromhex(e.get("color")[1:])) for e in entries]
    assert colors == [c.color for c in SCHEMA.classes]


@pytest.mark.parametrize(
    "text", ["no json", "{}", "[]", '{"classes": [1]}', '{"classes": 3}', '{"classes": []}']
)
def test_a_foreign_or_spoilt_tag_is_no_schema(tmp_path, text):
    spec = map_spec(utm(40, 30))
    stored(tmp_path / "a.tif", spec, labels(spec), "gtiff")
    with rasterio.open(tmp_path / "a.tif", "r+") as file:
        file.update_tags(TILEDSEG_CLASSES=text)
    assert read_schema(tmp_path / "a.tif") is None
    assert read_schema(tmp_path / "absent.tif") is None


# --------------------------------------------------------------------- no room


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """Let writing beyond ``size`` bytes fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@LAYOUTS
def test_without_room_for_all_nothing_appears(tmp_path, layout):
    """Cut anywhere, first and last bytes included; cheap blocks that would fit come last."""
    folder, spec = tmp_path / "out", map_spec(utm(1600, 1600))
    folder.mkdir()
    values = labels(spec)
    values[:, 1100:] = 3
    others = 3 - values.clip(0, 3)
    path = folder / "a.tif"
    stored(path, spec, others, "cog")
    whole = [path.stat().st_size]
    stored(path, spec, others, "gtiff")
    whole.append(path.stat().st_size)
    needed = max(whole) if layout == "cog" else whole[1]
    stored(path, spec, values, layout)
    before = path.read_bytes()
    for size in (*np.linspace(10, needed - 4096, 12).astype(int).tolist(), min(whole) - 1):
        if layout == "gtiff" and size >= whole[1]:
            continue
        with (
            files_no_larger_than(size),
            pytest.raises(OutputFailed, match=r"cannot write .*a\.tif: .*run the same command"),
        ):
            stored(path, spec, others, layout)
        assert sorted(p.name for p in folder.iterdir()) == ["a.qml", "a.tif"], size
        assert path.read_bytes() == before, size
    stored(path, spec, values, layout)
    assert path.read_bytes() == before


@LAYOUTS
def test_a_folder_that_is_not_there(tmp_path, layout):
    path = tmp_path / "nowhere" / "a.tif"
    sink = RasterSink(path, map_spec(utm(40, 30)), layout)
    with pytest.raises(OutputFailed, match=f"cannot write {path}"):
        sink.prepare()
    sink.abort()
    assert not path.parent.exists()


@LAYOUTS
def test_what_lies_in_the_place_of_temporary_files(tmp_path, layout):
    """A link is not followed; a folder is told of and left."""
    path, spec = tmp_path / "a.tif", map_spec(utm(40, 30))
    (tmp_path / "other").write_text("precious")
    for name in (".partial.tiled.a.tif", ".partial.a.tif"):
        (tmp_path / name).symlink_to("other")
    stored(path, spec, labels(spec), layout)
    assert (tmp_path / "other").read_text() == "precious"
    (tmp_path / ".partial.tiled.a.tif").mkdir()
    sink = RasterSink(path, spec, layout)
    with pytest.raises(OutputFailed, match=r"cannot write .*a\.tif"):
        sink.prepare()
    sink.abort()
    assert (tmp_path / ".partial.tiled.a.tif").is_dir()


@pytest.mark.slow
@LAYOUTS
def test_400_megapixels_are_written_in_little_memory(tmp_path, layout):
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec
from tiledseg.io._rasterio import RasterSink
from tiledseg.labels import ClassSchema
schema = ClassSchema.of_names(list("abcdef"))
grid = Grid.local((20_000, 20_000))
sink = RasterSink(Path(sys.argv[1]), SinkSpec(grid, schema.dtype, ("c",), 255, schema), sys.argv[2])
rows = np.kron(np.random.default_rng(0).integers(0, 6, (1, 64, 2500)), np.ones((1, 8, 8)))
rows = rows.astype(np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sink.prepare()
for row in range(0, 20_000, 512):
    box = grid.box.along(0, row, min(row + 512, 20_000))
    sink.write(box, rows[:, : box.shape[0]])
sink.commit()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    run = [sys.executable, "-c", script, str(tmp_path / "a.tif"), layout]
    grown = int(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert grown < 400
