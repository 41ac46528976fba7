"""``python -m benchmarks.workers``: one worker of one thread against two, on a scene, file to file.

Every run is a command line of its own, start-up included; contenders take turns. Prints a markdown
table of seconds, ratios of one turn, and the sha256 of the class maps, which must be one.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from .cases import CASES
from .inputs import ImageSpec, make_image, make_model

#: What is compared with the first.
WAYS = {
    "one thread, in one process": [],
    "one Dask worker of one thread": ["--runner", "dask", "--workers", "1"],
    "two threads (`--workers 2`)": ["--workers", "2"],
    "two Dask workers of one thread": ["--runner", "dask", "--workers", "2"],
}


def main() -> None:
    """Measure in turns and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument(
        "--size", type=int, nargs=2, default=(3072, 3072), metavar=("ROWS", "COLUMNS")
    )
    parser.add_argument("--core", type=int, help="default: what tiledseg chooses")
    parser.add_argument("--turns", type=int, default=2)
    told = ", ".join(f"{number}: {way}" for number, way in enumerate(WAYS))
    parser.add_argument("--ways", type=int, nargs="+", default=range(len(WAYS)), help=told)
    parser.add_argument("--work", type=Path, default=Path("bench.work"))
    options = parser.parse_args()
    case = next(case for case in CASES if case.name == "scene")
    image = make_image(ImageSpec(tuple(options.size), ".tif", 3), options.work)
    model = make_model(case.network, (case.window,) * 2, options.work)
    out = options.work / "maps" / "workers.tif"
    out.parent.mkdir(parents=True, exist_ok=True)
    names = [list(WAYS)[number] for number in options.ways]
    seconds: dict[str, list[float]] = {way: [] for way in names}
    digests = set()
    for _ in range(options.turns):
        for way in names:
            command = [
                *(sys.executable, "-m", "tiledseg", "segment", str(image), "-m", str(model)),
                *("-o", str(out), "--threads", "1", "--runtime", "torch", "--fresh", "-q"),
                *WAYS[way],
            ]
            if options.core:
                command += ["--set", f"tiling.core=[{options.core},{options.core}]"]
            began = time.perf_counter()
            subprocess.run(command, check=True)
            seconds[way].append(time.perf_counter() - began)
            digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    print(_table(seconds, digests, options.size, options.core))


def _table(
    seconds: dict[str, list[float]], digests: set[str], size: Sequence[int], core: int | None
) -> str:
    first = next(iter(seconds.values()))
    rows = []
    for way, found in seconds.items():
        ratios = sorted(f / b for f, b in zip(found, first, strict=True))
        told = " / ".join(f"{r:.2f}" for r in (ratios[0], median(ratios), ratios[-1]))
        rows.append(f"| {way} | {median(found):.1f} | {told} |")
    cores = f"of {core}" if core else "as tiledseg chose"
    return "\n".join(
        [
            f"{size[0]} x {size[1]}, cores {cores}, BasicUNet, torch fp32; {len(digests)} sha256.",
            "",
            "| contender | s, start-up included | x one thread |",
            "|---|---|---|",
            *rows,
        ]
    )


if __name__ == "__main__":
    main()
