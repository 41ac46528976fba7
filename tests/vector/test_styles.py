"""A GeoPackage opens in QGIS in the colours of its map."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

import numpy as np
import pyogrio
import pytest

from tiledseg.box import Box
from tiledseg.grid import Grid
from tiledseg.io import CroppedSource, MemorySource, Source, open_source
from tiledseg.labels import ClassInfo, ClassSchema
from tiledseg.vector import PolygonSpec, write_polygons

SCHEMA = ClassSchema(
    (
        ClassInfo(0, "nothing", (0, 0, 0)),
        ClassInfo(2, "wood & <heath>", (1, 120, 30)),
        ClassInfo(7, "sea\x01side", (10, 20, 230)),
        ClassInfo(9, "absent", (200, 0, 0)),
    ),
    background=0,
)
OGC = {name: f"http://www.opengis.net/{name}" for name in ("sld", "ogc", "se")}


def little() -> MemorySource:
    """Return a map of 0, 2 and 7."""
    labels = np.array([[0, 2, 2], [7, 7, 2]], np.uint8)
    return MemorySource(labels[np.newaxis], Grid.from_matrix(labels.shape, np.diag([1.0, -1, 1])))


def style(path: Path) -> dict[str, str]:
    """Return the one row of the table of styles."""
    meta, _, shapes, fields = pyogrio.raw.read(path, layer="layer_styles")
    assert shapes is None
    assert [len(values) for values in fields] == [1] * len(fields)
    return {name: values[0] for name, values in zip(meta["fields"], fields, strict=True)}


def categories(text: str) -> dict[int, tuple[str, str]]:
    """Return name and colour of every class in a style of QGIS."""
    renderer = Xml.fromstring(text).find("renderer-v2")
    assert renderer is not None
    assert (renderer.get("type"), renderer.get("attr")) == ("categorizedSymbol", "class_id")
    colors = {}
    for symbol in renderer.iterfind("symbols/symbol"):
        new, old = symbol.find("layer/Option/Option[@name='color']"), symbol.find("layer/prop")
        assert new is not None
        assert old is not None
        assert (new.get("value"), old.get("k")) == (old.get("v"), "color")
        colors[symbol.get("name")] = str(new.get("value"))
    return {
        int(str(one.get("value"))): (str(one.get("label")), colors[one.get("symbol")])
        for one in renderer.iterfind("categories/category")
    }


def test_the_layer_is_styled_by_class(tmp_path: Path) -> None:
    path = tmp_path / "parcels.gpkg"
    write_polygons(little(), path, PolygonSpec(), schema=SCHEMA)
    assert pyogrio.list_layers(path).tolist() == [["parcels", "Polygon"], ["layer_styles", None]]
    row = style(path)
    info = pyogrio.read_info(path, layer="parcels")
    assert (row["f_table_name"], row["f_geometry_column"]) == ("parcels", info["geometry_name"])
    assert (row["f_table_catalog"], row["f_table_schema"], row["useAsDefault"]) == ("", "", True)
    assert categories(row["styleQML"]) == {
        2: ("wood & <heath>", "1,120,30,255"),
        7: ("sea side", "10,20,230,255"),
    }
    rules = Xml.fromstring(row["styleSLD"]).findall(".//se:Rule", OGC)
    told = [
        (rule.findtext("se:Name", "", OGC), rule.findtext(".//ogc:Literal", "", OGC))
        for rule in rules
    ]
    assert told == [("wood & <heath>", "2"), ("sea side", "7")]
    colors = [rule.findtext(".//se:SvgParameter[@name='fill']", "", OGC) for rule in rules]
    assert colors == ["#01781e", "#0a14e6"]


@pytest.mark.parametrize("name", ["layer_styles.gpkg", "a.fgb"])
def test_where_a_style_has_no_place_there_is_none(tmp_path: Path, name: str) -> None:
    write_polygons(little(), tmp_path / name, PolygonSpec(), schema=SCHEMA)
    assert pyogrio.list_layers(tmp_path / name).tolist() == [[Path(name).stem, "Polygon"]]


def test_a_map_without_colours_has_no_style(tmp_path: Path) -> None:
    write_polygons(little(), tmp_path / "a.gpkg", PolygonSpec())
    assert pyogrio.list_layers(tmp_path / "a.gpkg").tolist() == [["a", "Polygon"]]


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "corner"), [("cog_cmap", (3000, 2500)), ("landcover_polygon_1m", (1300, 3050))]
)
def test_palettes_of_real_maps(
    data: Path, tmp_path: Path, name: str, corner: tuple[int, int]
) -> None:
    path, end = tmp_path / f"{name}.gpkg", (corner[0] + 400, corner[1] + 500)
    with open_source(next(data.rglob(f"{name}.tif"))) as whole:
        palette = whole.palette
        part: Source = CroppedSource(whole, Box(corner, end))
        part.palette = palette
        count = write_polygons(part, path, PolygonSpec())
    assert palette is not None
    _, _, shapes, fields = pyogrio.raw.read(path, layer=name, columns=["class_id"])
    assert len(shapes) == count > 20
    shown = categories(style(path)["styleQML"])
    assert sorted(shown) == np.unique(fields[0]).tolist()
    for label, (called, color) in shown.items():
        assert called == f"class {label}"
        assert color == ",".join(map(str, [*palette[label].tolist(), 255]))
