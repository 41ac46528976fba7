"""Loops that are compiled: the only door to numba."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(loop: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a loop that needs no lock of Python; division by zero gives infinity, no error."""
    settings = {"nogil": True, "error_model": "numpy"}
    try:
        compiled: Callable[..., Any] = numba.njit(**settings, cache=True)(loop)
    except RuntimeError:  # neither the package nor the user's cache can be written
        compiled = numba.njit(**settings)(loop)
    return compiled
