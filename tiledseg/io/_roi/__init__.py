"""Region of interest: the part of an image that is wanted, asked for box by box.

A sample's answer depends on the sample alone, never on the box it is asked in: arithmetic is done
on indices of the whole image, so that tiles of every size agree.
"""

from ._base import Roi
from ._box import BoxRoi
from ._mask import MaskRoi
from ._polygons import PolygonRoi

__all__ = ["BoxRoi", "MaskRoi", "PolygonRoi", "Roi"]
