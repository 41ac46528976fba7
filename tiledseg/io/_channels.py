"""Choosing channels by number or name, the same for every kind of file."""

from __future__ import annotations

from ..errors import ConfigError


def choose_channels(
    names: tuple[str, ...], wanted: tuple[int | str, ...] | None
) -> tuple[int, ...]:
    """Return the 0-based indices of the wanted channels.

    Args:
        names: What there is.
        wanted: Numbers from 1, or names (case does not matter); None takes all.

    Raises:
        ConfigError: A number or name that is not there, or a name that two channels share.

    >>> choose_channels(("blue", "green", "red"), (3, "Blue"))
    (2, 0)
    """
    if wanted is None:
        return tuple(range(len(names)))
    listing = ", ".join(f"{i}: {name}" for i, name in enumerate(names[:40], 1))
    lowered = [name.lower() for name in names]
    chosen = []
    for want in wanted:
        if isinstance(want, int):
            if not 1 <= want <= len(names):
                raise ConfigError(f"channel {want} is not there; the image has {listing}")
            chosen.append(want - 1)
            continue
        found = lowered.count(want.lower())
        if found != 1:
            told = "is not there" if found == 0 else f"is the name of {found} channels"
            raise ConfigError(f"channel {want!r} {told}; the image has {listing}")
        chosen.append(lowered.index(want.lower()))
    return tuple(chosen)
