"""Connected components of class maps of any size, and what is told from them.

`find_components` reads a map block by block; `component_table` lists its objects; `applied` does a
step of `tiledseg.steps` component by component, and `Components.rewritten` yields the map that
comes of it. `smoothed` is the step that looks at samples.
"""

from __future__ import annotations

from ._apply import ComponentStep, MapFacts, applied, check_classes, check_steps, require_sizes
from ._faces import block_boxes
from ._find import FINDING_BYTES, PIECE_BYTES, Components, find_components
from ._graph import Graph
from ._objects import Objects, component_table
from ._pieces import NODATA, Pieces
from ._read import BLOCK, read_labels, read_scores, require_class_map, rows_of
from ._smooth import SMOOTHING_BYTES, Ball, smoothed
from ._table import SCORE_PARTS, Amounts, Table, enough, table_of
from ._union import groups_of, root_of

__all__ = [
    "BLOCK",
    "FINDING_BYTES",
    "NODATA",
    "PIECE_BYTES",
    "SCORE_PARTS",
    "SMOOTHING_BYTES",
    "Amounts",
    "Ball",
    "ComponentStep",
    "Components",
    "Graph",
    "MapFacts",
    "Objects",
    "Pieces",
    "Table",
    "applied",
    "block_boxes",
    "check_classes",
    "check_steps",
    "component_table",
    "enough",
    "find_components",
    "groups_of",
    "read_labels",
    "read_scores",
    "require_class_map",
    "require_sizes",
    "root_of",
    "rows_of",
    "smoothed",
    "table_of",
]
