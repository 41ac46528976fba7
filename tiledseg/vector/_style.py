"""Styles of polygons in the colours of their classes, as QGIS keeps them in a GeoPackage.

QGIS looks for the row of its table ``layer_styles`` that names the layer and is marked as default
(docs.qgis.org, "Saving and sharing layer properties"). Its own style (QML) is what it takes; the
style that OGC has standardised (SLD 1.1 with symbology encoding 1.1) lies beside it for others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree as Xml

import numpy as np
from numpy.typing import NDArray

from ..labels import ClassInfo

#: The name that QGIS gives the table, and looks for.
TABLE = "layer_styles"
#: The field of polygons that tells their class.
FIELD = "class_id"
#: Width in mm of the line around a polygon, in its own colour: there is no gap between neighbours.
_LINE = "0.1"
_SLD, _OGC, _SE = (f"http://www.opengis.net/{name}" for name in ("sld", "ogc", "se"))


def style_rows(layer: str, geometry: str, classes: Sequence[ClassInfo]) -> dict[str, NDArray[Any]]:
    """Return the row of `TABLE` that styles a layer: field -> value, (1,).

    Args:
        layer: Its name.
        geometry: The name of its geometries.
        classes: The classes that it has.
    """
    texts = {
        "f_table_catalog": "",
        "f_table_schema": "",
        "f_table_name": layer,
        "f_geometry_column": geometry,
        "styleName": layer[:30],
        "styleQML": qml(classes),
        "styleSLD": sld(layer, classes),
    }
    told = {"description": "The colours of the classes", "owner": "", "ui": ""}
    return {
        **{name: np.array([text], object) for name, text in texts.items()},
        "useAsDefault": np.ones(1, np.bool_),
        **{name: np.array([text], object) for name, text in told.items()},
        "update_time": np.array(["NaT"], "datetime64[ms]"),
    }


def qml(classes: Sequence[ClassInfo]) -> str:
    """Return the style of QGIS: a category per class, by its id."""
    root = Xml.Element("qgis", version="3.28", styleCategories="Symbology")
    renderer = Xml.SubElement(
        root, "renderer-v2", type="categorizedSymbol", attr=FIELD, symbollevels="0"
    )
    categories = Xml.SubElement(renderer, "categories")
    symbols = Xml.SubElement(renderer, "symbols")
    for place, one in enumerate(classes):
        entry = {"value": str(one.id), "type": "long", "symbol": str(place), "render": "true"}
        Xml.SubElement(categories, "category", entry, label=_plain(one.name))
        symbol = Xml.SubElement(symbols, "symbol", name=str(place), type="fill", alpha="1")
        fill = {"class": "SimpleFill", "enabled": "1", "locked": "0"}
        layer = Xml.SubElement(symbol, "layer", fill, **{"pass": "0"})
        color = ",".join(map(str, (*one.color, 255)))
        settings = {"color": color, "style": "solid", "outline_color": color}
        settings |= {"outline_style": "solid", "outline_width": _LINE, "outline_width_unit": "MM"}
        listed = Xml.SubElement(layer, "Option", type="Map")
        for name, value in settings.items():  # in the words of QGIS 3.22 and later, and before
            Xml.SubElement(listed, "Option", name=name, value=value, type="QString")
            Xml.SubElement(layer, "prop", k=name, v=value)
    text = Xml.tostring(root, encoding="unicode")
    return f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}"


def sld(layer: str, classes: Sequence[ClassInfo]) -> str:
    """Return the style of OGC: a rule per class, by its id."""
    for prefix, space in (("sld", _SLD), ("ogc", _OGC), ("se", _SE)):
        Xml.register_namespace(prefix, space)
    root = Xml.Element(f"{{{_SLD}}}StyledLayerDescriptor", version="1.1.0")
    named = Xml.SubElement(root, f"{{{_SLD}}}NamedLayer")
    Xml.SubElement(named, f"{{{_SE}}}Name").text = _plain(layer)
    style = Xml.SubElement(
        Xml.SubElement(named, f"{{{_SLD}}}UserStyle"), f"{{{_SE}}}FeatureTypeStyle"
    )
    for one in classes:
        rule = Xml.SubElement(style, f"{{{_SE}}}Rule")
        Xml.SubElement(rule, f"{{{_SE}}}Name").text = _plain(one.name)
        chosen = Xml.SubElement(rule, f"{{{_OGC}}}Filter")
        equal = Xml.SubElement(chosen, f"{{{_OGC}}}PropertyIsEqualTo")
        Xml.SubElement(equal, f"{{{_OGC}}}PropertyName").text = FIELD
        Xml.SubElement(equal, f"{{{_OGC}}}Literal").text = str(one.id)
        fill = Xml.SubElement(Xml.SubElement(rule, f"{{{_SE}}}PolygonSymbolizer"), f"{{{_SE}}}Fill")
        color = Xml.SubElement(fill, f"{{{_SE}}}SvgParameter", name="fill")
        color.text = "#{:02x}{:02x}{:02x}".format(*one.color)
    return Xml.tostring(root, encoding="unicode")


def _plain(text: str) -> str:
    """Return a text without what XML cannot hold, and without the ends of lines."""
    return "".join(c if c.isprintable() else " " for c in text)
