"""Amounts of bytes, as people write them."""

from __future__ import annotations

import re

from ..errors import ConfigError

_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "t": 1000**4}
#: No machine has as many bytes.
_ADDRESSES = 2**63


def parse_bytes(text: str) -> int:
    """Return the bytes that ``"6GB"``, ``"500 MiB"`` or ``"1500000000"`` mean.

    Raises:
        ConfigError: The text is no such amount.

    >>> parse_bytes("1.5GB"), parse_bytes("2 MiB")
    (1500000000, 2097152)
    """
    match = re.fullmatch(r"\s*([0-9.]+)\s*([kmgt]?)(i?)b?\s*", str(text).lower())
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    unit = _UNITS[match[2]] if match else 1
    if match and match[3]:
        unit = 1024 ** list(_UNITS).index(match[2])
    if not 0 < number * unit < _ADDRESSES:
        raise ConfigError(
            f"memory {text!r:.80} is not an amount of bytes; write it like 6GB or 512MiB"
        )
    return int(number * unit)


def format_bytes(amount: float) -> str:
    """Return bytes as people write them.

    >>> format_bytes(9_812_000_000)
    '9.8 GB'
    """
    for unit in ("GB", "MB", "kB"):
        size = {"GB": 1e9, "MB": 1e6, "kB": 1e3}[unit]
        if amount >= size:
            return f"{amount / size:.1f} {unit}"
    return f"{amount:.0f} B"
