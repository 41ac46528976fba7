"""Bytes of memory a run needs, and the largest core that fits; refuses before any work.

Host and device are counted apart. On the CPU the device is the host, and all counts there.
"""

from ._core import Budget, check_core, fit_core, fits
from ._cost import Cost, device_bytes, end_bytes, total_bytes
from ._rows import HALF_ROOM, chunk_shape, result_rows, strip_rows
from ._text import format_bytes, parse_bytes

__all__ = [
    "HALF_ROOM",
    "Budget",
    "Cost",
    "check_core",
    "chunk_shape",
    "device_bytes",
    "end_bytes",
    "fit_core",
    "fits",
    "format_bytes",
    "parse_bytes",
    "result_rows",
    "strip_rows",
    "total_bytes",
]
