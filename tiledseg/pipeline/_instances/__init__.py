"""Class map -> id map, objects, panoptic segments."""

from ._detect import detect
from ._instances import instances
from ._result import Instances

__all__ = ["Instances", "detect", "instances"]
