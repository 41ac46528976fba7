"""COCO's run lengths -> masks.

The format is that of the COCO API's ``maskApi`` (github.com/cocodataset/cocoapi, common/maskApi.h
and .c): runs of 0 and 1 by turns, starting with 0, along columns. In JSON they are a list of
numbers, or a text: each number, from the fourth on less the one two before, in groups of 5 bits,
the lowest first, the bit of 32 set where more follow, the sign in the last group's bit of 16; plus
48 to be a letter.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..document import brief
from ..errors import DamagedInput


def decode_rle(counts: Any, size: Any, where: str) -> NDArray[np.bool_]:
    """Return the mask of run lengths.

    Args:
        counts: List of numbers, or COCO's compressed text.
        size: (height, width).
        where: What to call it in messages.

    Returns:
        bool, (height, width).

    Raises:
        DamagedInput: They are not run lengths, or are not those of an image of this size.
    """
    shape = size if isinstance(size, list | tuple) else ()
    if len(shape) != 2 or not all(type(n) is int and 0 < n < 2**20 for n in shape):
        raise DamagedInput(f"{where}: size must be height and width, found {brief(size)}")
    runs = _letters(counts, where) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(n) is int and n >= 0 for n in runs):
        raise DamagedInput(f"{where}: counts must be run lengths, found {brief(counts)}")
    height, width = shape
    if sum(runs) != height * width:
        raise DamagedInput(
            f"{where}: run lengths of {sum(runs)} samples are not those of an image of {height} x "
            f"{width}"
        )
    values = np.arange(len(runs)) % 2 == 1
    return np.repeat(values, np.array(runs, np.int64)).reshape(width, height).T


def _letters(text: str, where: str) -> list[int]:
    """Return the numbers of COCO's compressed text."""
    runs: list[int] = []
    value = shift = 0
    for letter in text:
        group = ord(letter) - 48
        if not 0 <= group < 64 or shift > 60:
            raise DamagedInput(f"{where}: counts hold {letter!r}, which is no run length of COCO")
        value |= (group & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise DamagedInput(f"{where}: counts end within a number")
    return runs


def ring_of(numbers: Any, where: str) -> list[tuple[float, float]]:
    """Return the vertices of one of COCO's polygons, x and y by turns.

    Raises:
        DamagedInput: They are not three pairs of numbers or more.
    """
    fine = isinstance(numbers, Sequence) and len(numbers) >= 6 and len(numbers) % 2 == 0
    if not fine or not all(type(n) in (int, float) and np.isfinite(n) for n in numbers):
        raise DamagedInput(f"{where}: a polygon must be pairs of numbers, found {brief(numbers)}")
    return [(float(x), float(y)) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
