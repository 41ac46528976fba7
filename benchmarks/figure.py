"""``python -m benchmarks.figure results.json out.png``: memory and time over the image's size.

Drawn are the cases over sizes; MONAI's arrays are computed and dashed.
"""

from __future__ import annotations

import json
import sys
from math import prod
from pathlib import Path
from typing import Any

from .table import peak, seconds

_COLORS = {"MONAI": "tab:orange", "nnU-Net": "tab:green"}


def draw(results: dict[str, Any], out: Path) -> None:
    """Draw a row of two panels, memory and time, for every case over sizes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    over_sizes = (case for case in results.values() if case["kind"] == "sizes")
    cases = [case for case in over_sizes if len(case["points"]) > 1]
    if not cases:
        raise SystemExit("no case over sizes in these results: run memory2d or memory3d first")
    figure, rows = pyplot.subplots(
        len(cases), 2, figsize=(10, 4 * len(cases)), squeeze=False, layout="constrained"
    )
    for case, (memory, time) in zip(cases, rows, strict=True):
        _panel(memory, case["points"], lambda p, label: peak(p, label) / 1e9, "peak memory, GB")
        _panel(time, case["points"], seconds, "seconds")
        samples = [_megasamples(point) for point in case["points"]]
        arrays = [point["peer_bytes"] / 1e9 for point in case["points"]]
        memory.plot(samples, arrays, "--", color=_COLORS["MONAI"], label="MONAI's arrays, computed")
        memory.legend()
        memory.set_title(case["title"], loc="left", fontsize="medium")
    figure.savefig(out, dpi=120)


def _panel(axes: Any, points: list[dict[str, Any]], value: Any, name: str) -> None:
    labels = dict.fromkeys(label for point in points for label in point["runs"])
    for label in labels:
        there = [point for point in points if label in point["runs"]]
        color = next((c for peer, c in _COLORS.items() if label.startswith(peer)), "tab:blue")
        figures = [value(point, label) for point in there]
        axes.plot([_megasamples(p) for p in there], figures, "o-", color=color, label=label)
    axes.set(xscale="log", yscale="log", xlabel="million samples", ylabel=name)
    axes.grid(which="both", alpha=0.2)


def _megasamples(point: dict[str, Any]) -> float:
    return prod(point["shape"]) / 1e6


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
