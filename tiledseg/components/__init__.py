"""Connected components of class maps of any size, and what is told from them.

`find_components` reads a map block by block; `component_table` lists its objects; the steps
(`KeepLargest`, `RemoveSmall`, `FillHoles`) change labels component by component, and
`Components.rewritten` yields the map that comes of it.
"""

from __future__ import annotations

from ._find import Components, find_components, require_class_map
from ._graph import Graph
from ._objects import Objects, component_table
from ._pieces import NODATA
from ._steps import FillHoles, KeepLargest, Legend, RemoveSmall, Step

__all__ = [
    "NODATA",
    "Components",
    "FillHoles",
    "Graph",
    "KeepLargest",
    "Legend",
    "Objects",
    "RemoveSmall",
    "Step",
    "component_table",
    "find_components",
    "require_class_map",
]
