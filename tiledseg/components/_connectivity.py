"""Which samples are neighbours: 4 or 8 in 2-D; 6, 18 or 26 in 3-D."""

from __future__ import annotations

from itertools import product

from ..errors import ConfigError

#: Neighbours of a sample -> along how many axes at once they may lie apart.
_RANKS = {2: {4: 1, 8: 2}, 3: {6: 1, 18: 2, 26: 3}}


def rank_of(connectivity: int | None, ndim: int) -> int:
    """Return along how many axes at once neighbours may lie apart.

    Args:
        connectivity: Neighbours of a sample; None takes those that share a side, 4 or 6.
        ndim: Axes of the map.

    Raises:
        ConfigError: There is no such connectivity.
    """
    ranks = _RANKS[ndim]
    if connectivity is None:
        return 1
    if connectivity not in list(ranks):  # which asks for no hash
        raise ConfigError(
            f"connectivity {connectivity!r:.40} does not exist in {ndim}-D; take "
            f"{', '.join(map(str, ranks))}"
        )
    return ranks[connectivity]


def offsets(axes: int, most: int) -> list[tuple[int, ...]]:
    """Return the steps of -1, 0 or 1 along ``axes`` axes, at most ``most`` of them not 0.

    >>> offsets(1, 1)
    [(-1,), (0,), (1,)]
    """
    return [o for o in product((-1, 0, 1), repeat=axes) if sum(map(abs, o)) <= most]
