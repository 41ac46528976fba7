"""Class map -> id map, objects, panoptic segments."""

from ._instances import instances
from ._result import Instances

__all__ = ["Instances", "instances"]
