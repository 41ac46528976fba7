"""What wrappers put in front of the names of weights."""

from __future__ import annotations

from collections.abc import Set

#: Of data parallelism, compilation and training frameworks.
_WRAPPERS = {"module", "model", "net", "network", "_orig_mod", "_forward_module"}


def prefix_of(given: Set[str], wanted: Set[str]) -> str:
    """Return what stands in front of most of the names wanted; nothing where that is as good.

    >>> prefix_of({"module.a.weight", "module.a.bias"}, {"a.weight", "a.bias"})
    'module.'
    """
    ends = {key[: -len(name)] for name in sorted(wanted)[:1] for key in given if key.endswith(name)}
    known = {p for p in ends if p.endswith(".") and set(p[:-1].split(".")) <= _WRAPPERS}
    return max(
        sorted({"", *known}, key=len), key=lambda p: sum(p + name in given for name in wanted)
    )
