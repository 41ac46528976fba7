"""How the memory that is left is shared between a block of the map, tables, and split objects."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from ...budget import format_bytes
from ...components import PIECE_BYTES, rows_of
from ...engine import machine
from ...errors import BudgetExceeded
from ...io import Source
from ...objects import Cut

#: Bytes whatever the map: what writers and the drivers of files hold.
_FIXED = 48 << 20
#: Bytes per sample of a block: labels, pieces, and ids on their way to the file; 57 were measured.
_SAMPLE = 60
#: Besides, where samples are grouped around centres; and where they have scores, and per channel.
_CENTRED, _SCORED, _CHANNEL = 90, 40, 12
#: Bytes of a block where there is room, and where there is little.
_BLOCK, _SMALL = 240 << 20, 4 << 20
#: Bytes of an object: its row in tables that are joined, ordered and written; 450 were measured.
ROW_BYTES = 500


@dataclass(frozen=True)
class Room:
    """What there is room for.

    Args:
        block: Extents of a block.
        rows: Rows of tables of objects.
        bytes: Left for one object that is split, or for a window of small ones.
    """

    block: tuple[int, ...]
    rows: int
    bytes: int

    @classmethod
    def of(cls, source: Source, limit: int, channels: int, *, centred: bool, split: bool) -> Room:
        """Share out what is left.

        Args:
            source: The map.
            limit: Bytes that the process may hold.
            channels: Of the scores.
            centred: Whether objects are groups around centres.
            split: Whether they are split.

        Raises:
            BudgetExceeded: There is no room for a row of the map.
        """
        sample = _SAMPLE + _CENTRED * centred + _SCORED * (channels > 0) + _CHANNEL * channels
        held = machine.resident() + source.working_bytes + _FIXED
        left = limit - held
        block = rows_of(source, max(1, min(_BLOCK, max(left // 3, _SMALL)) // sample))
        need = prod(block) * sample
        if need > left:
            raise BudgetExceeded(
                f"{source.uri} needs {format_bytes(held + need)} to be numbered, "
                f"{format_bytes(machine.resident())} of which are held already, and the memory is "
                f"{format_bytes(limit)}: raise the memory"
            )
        part = (left - need) // (1 + split)
        return cls(block, part // ROW_BYTES, part)

    @property
    def pieces(self) -> int:
        """Bytes that components may take while they are found."""
        return self.rows * PIECE_BYTES

    def cut(self, cut: Cut) -> Cut:
        """Return how components are split with this room.

        Raises:
            MissingBackend: scikit-image is not installed.
        """
        from ...objects import SAMPLE_BYTES  # needs an extra

        return replace(cut, most=self.bytes // SAMPLE_BYTES, rows=self.rows)
