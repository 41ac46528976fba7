"""What the sections of a recipe check alike."""

from __future__ import annotations

from typing import Any

from ..document import brief
from ..errors import ConfigError

#: Of a section's dataclass: keys that it does not know are refused.
STRICT = {"extra": "forbid"}
#: The largest seed that numpy and torch both take, and more than one of anything here needs.
LARGEST = 2**31


def require(fine: bool, key: str, wanted: str, found: Any) -> None:
    """Refuse a value.

    Raises:
        ConfigError: It is not fine.
    """
    if not fine:
        raise ConfigError(f"{key}: expected {wanted}, found {brief(found)}")
