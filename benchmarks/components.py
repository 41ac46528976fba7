"""Connected components of a class map, streamed, against scipy on the whole map in memory.

    python -m benchmarks.components --size 8192

The map is six classes of smooth noise. Both run in this process, in turns; scipy labels class by
class, as it knows one foreground only, and counts no sizes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import ndimage

from tiledseg.components import (
    Components,
    Graph,
    MapFacts,
    applied,
    component_table,
    find_components,
)
from tiledseg.io import MemorySource
from tiledseg.labels import ClassSchema
from tiledseg.steps import RemoveSmall

_CLASSES = 6


def make_map(size: int, smooth: float) -> Any:
    """Return a map of six classes of equal shares, (size, size), uint8.

    Args:
        size: Samples per axis.
        smooth: Standard deviation of the filter in samples; 0 leaves noise.
    """
    values = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    if smooth:
        values = ndimage.gaussian_filter(values, smooth)
    limits = np.quantile(values[::7, ::7], np.arange(1, _CLASSES) / _CLASSES)
    return np.digitize(values, limits).astype(np.uint8)


def _timed(what: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    result = what()
    return time.perf_counter() - began, result


def _sieved(found: Components) -> Graph:
    facts = MapFacts(ClassSchema.of_names(["a"]), "samples", "map")
    return applied(RemoveSmall(64, becomes="neighbour"), Graph.of(found), facts)


def main() -> None:
    """Print a row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=8192)
    parser.add_argument("--smooth", type=float, default=10.0)
    parser.add_argument("--turns", type=int, default=3)
    options = parser.parse_args()
    component_table(MemorySource(make_map(64, 1)[np.newaxis]))  # compiles
    labels = make_map(options.size, options.smooth)
    source, rows = MemorySource(labels[np.newaxis]), []
    for _ in range(options.turns):
        whole, count = _timed(lambda: sum(ndimage.label(labels == c)[1] for c in range(_CLASSES)))
        table, objects = _timed(lambda: component_table(source))
        borders, found = _timed(lambda: find_components(source, borders=True))
        sieve, _ = _timed(lambda f=found: _sieved(f))
        rewrite, _ = _timed(lambda f=found: [0 for _ in f.rewritten(f.table.labels, 255)])
        assert len(objects.ids) == count
        rows.append((whole, table, borders, sieve, rewrite))
    mega = labels.size / 1e6
    whole, table, borders, sieve, rewrite = np.median(rows, axis=0)
    print(
        f"| {options.size}^2, {count:,} | {mega / whole:.1f} | {mega / table:.1f} | "
        f"{mega / borders:.1f} | {mega / rewrite:.1f} | {sieve:.2f} | {table / whole:.2f} |"
    )


if __name__ == "__main__":
    main()
