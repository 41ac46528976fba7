"""QGIS style of a class map: a .qml beside the raster, found by QGIS by its name."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as Xml

from ..labels import ClassSchema
from ._files import write_text

#: How the file begins; QGIS itself writes its own version there.
OPENING = (
    "<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n"
    '<qgis version="3.28" styleCategories="Symbology">'
)


def qml_path(raster: Path) -> Path:
    """Return where QGIS looks for the style of a raster."""
    return raster.with_suffix(".qml")


def write_qml(raster: Path, schema: ClassSchema) -> Path:
    """Write the paletted style of ``raster`` and return its path."""
    root = Xml.Element("qgis", version="3.28", styleCategories="Symbology")
    pipe = Xml.SubElement(root, "pipe")
    renderer = Xml.SubElement(
        pipe, "rasterrenderer", type="paletted", band="1", opacity="1", alphaBand="-1"
    )
    palette = Xml.SubElement(renderer, "colorPalette")
    for c in schema.unique:
        color = "#{:02x}{:02x}{:02x}".format(*c.color)
        Xml.SubElement(
            palette, "paletteEntry", value=str(c.id), label=c.name, color=color, alpha="255"
        )
    path = qml_path(raster)
    text = Xml.tostring(root, encoding="unicode")
    write_text(path, f"<!DOCTYPE qgis PUBLIC 'http://mrcc.com/qgis.dtd' 'SYSTEM'>\n{text}\n")
    return path
