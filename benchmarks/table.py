"""Markdown tables of what was measured, ready to paste into RESULTS.md."""

from __future__ import annotations

import os
import platform
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .cases import Settings
from .nnunet import python_of

Point = dict[str, Any]
_PACKAGES = (
    *("tiledseg", "torch", "monai", "onnxruntime", "openvino", "numpy", "rasterio", "SimpleITK"),
)
#: What decides how fast convolutions are.
_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_tile")
#: Cores that others may use before the table says so.
_QUIET = 0.1
_PEER = "MONAI"
_NOTES = {
    "compare": """\
Every contender runs in a process of its own, in turns; ratios compare times of one turn, and are
given as min / median / max over the turns. *tiledseg* reads a file and writes a file, plans and
measures memory; *pure* is the same number of windows through the same model and nothing else
(measured on some windows, scaled); MONAI and nnU-Net get the normalised image in memory and leave
the class map there. "x MONAI's time" is against the faster of its batches, peers' "x pure" against
torch fp32. Start-up (imports, loading, one call) is
not in the seconds. All blend softmax scores with a Gaussian; MONAI lifts its weights below 0.001 to
that, nnU-Net spreads its windows evenly and sums in float16. Weights are random, the last layer
scaled and centred so that all classes occur: agreement (with tiledseg torch fp32) is a worst case,
because near ties are common.""",
    "sizes": """\
Every run in a process of its own, once. MONAI's arrays are image, scores, weights (float32) and arg
max (int64), computed; its measured peak holds the interpreter and the network too.""",
    "skip": "Every run in a process of its own, in turns; ratios compare times of one turn.",
}


def header(settings: Settings) -> dict[str, Any]:
    """Return date, machine, versions and command."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    known = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    flags = set(known.get("flags", "").split())
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cpu": known.get("model name", platform.machine()),
        "cores": len(os.sched_getaffinity(0)),
        "threads": settings.threads,
        "gpu": _gpu(settings.device),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "flags_absent": [flag for flag in _FLAGS if flag not in flags],
        "versions": _versions(settings),
        "command": shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]),
    }


def _gpu(device: str) -> str:
    """Return the name of the GPU, after a comma; nothing on a CPU."""
    return f", {torch.cuda.get_device_name()}" if device == "cuda" else ""


def markdown(case: dict[str, Any]) -> str:
    """Return heading, facts, tables and what is missing."""
    told, points = case["header"], case["points"]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    flags = " ".join(told["flags"]) + "; not " + " ".join(told["flags_absent"])
    lines = [
        f"## {told['date']}: {case['title']}",
        "",
        f"{told['cpu']}, {told['cores']} cores ({flags}), {told['threads']} threads{told['gpu']}. "
        f"{versions}.",
        f"`{told['command']}`. Window {case['window']}, stride {case['stride']}, "
        f"{_calls(case['microbatch'])}, budget {case['memory']}.",
        "",
        _NOTES[case["kind"]],
        "",
    ]
    rows = {"compare": _compare, "sizes": _sizes, "skip": _skip}[case["kind"]]
    return "\n".join([*lines, *rows(points), *_disturbed(points), *_absent(points)]) + "\n"


def spread(values: Sequence[float]) -> str:
    """Return min / median / max, or the value where there is but one."""
    if not values:
        return "-"
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{min(values):.2f} / {statistics.median(values):.2f} / {max(values):.2f}"


def ratios(point: Point, label: str, base: str) -> list[float]:
    """Return the ratio of two contenders' times, turn by turn."""
    runs = point["runs"]
    pairs = zip(runs.get(label, []), runs.get(base, []), strict=False)
    return [a["seconds"] / b["seconds"] for a, b in pairs]


def seconds(point: Point, label: str) -> float:
    """Return the median time of a contender."""
    return statistics.median(record["seconds"] for record in point["runs"][label])


def peak(point: Point, label: str) -> int:
    """Return the most memory a contender ever held."""
    return max(int(record["peak"]) for record in point["runs"][label])


# --------------------------------------------------------------------- kinds of tables


def _compare(points: list[Point]) -> Iterator[str]:
    (point,) = points
    yield f"{_extent(point)}, {point['windows']} windows:"
    yield ""
    yield "| contender | s | start-up s | x pure | x MONAI's time | peak RSS GB | agreement |"
    yield "|---|---|---|---|---|---|---|"
    peers = [label for label in point["runs"] if label.startswith(_PEER)]
    peer = min(peers, key=lambda label: seconds(point, label), default="")
    for label, records in point["runs"].items():
        if label == "limit":
            continue
        own = label.replace("tiledseg", "pure", 1)
        base = own if own != label else "pure torch fp32"
        startup = statistics.median(r["startup"] for r in records)
        agreement = point["agreement"].get(label)
        cells = [
            label + _scaled(records[0]),
            f"{seconds(point, label):.1f}",
            f"{startup:.1f}",
            "" if label == base else spread(ratios(point, label, base)),
            "" if label == peer else spread(ratios(point, label, peer)),
            f"{peak(point, label) / 1e9:.2f}",
            "" if agreement is None else f"{agreement:.3%}",
        ]
        yield f"| {' | '.join(cells)} |"
    yield from _beyond_the_model(point)


def _beyond_the_model(point: Point) -> Iterator[str]:
    """Yield what tiledseg takes besides the model, against what that costs at least."""
    limits = point["runs"].get("limit", [])
    if not limits:
        return
    parts = {k: statistics.median(r["parts"][k] for r in limits) for k in limits[0]["parts"]}
    yield ""
    yield (
        f"Besides the model. At least: read {parts['read']:.2f} s, write {parts['write']:.2f} s, "
        f"copy all windows' scores once {parts['copy']:.2f} s."
    )
    yield ""
    yield "| | tiledseg - pure, s | share of the run | x limit |"
    yield "|---|---|---|---|"
    for label, records in point["runs"].items():
        pure = point["runs"].get(label.replace("tiledseg", "pure", 1), [])
        if not label.startswith("tiledseg") or not pure:
            continue
        extra = [a["seconds"] - b["seconds"] for a, b in zip(records, pure, strict=False)]
        shares = [e / r["seconds"] for e, r in zip(extra, records, strict=False)]
        times = [e / limit["seconds"] for e, limit in zip(extra, limits, strict=False)]
        yield f"| {label} | {spread(extra)} | {spread(shares)} | {spread(times)} |"


def _sizes(points: list[Point]) -> Iterator[str]:
    labels = list(dict.fromkeys(label for point in points for label in point["runs"]))
    yield (
        "| size | windows | MONAI's arrays GB | "
        + " | ".join(f"{label}: s | peak RSS GB" for label in labels)
        + " |"
    )
    yield "|---|---|---" + "|---|---" * len(labels) + "|"
    for point in points:
        cells = [_extent(point), str(point["windows"]), f"{point['peer_bytes'] / 1e9:.2f}"]
        for label in labels:
            there = label in point["runs"]
            cells += [f"{seconds(point, label):.1f}" if there else "-"]
            cells += [f"{peak(point, label) / 1e9:.2f}" if there else "-"]
        yield f"| {' | '.join(cells)} |"


def _skip(points: list[Point]) -> Iterator[str]:
    full, empty = points
    yield "| contender | windows | with nodata: evaluated | s full | s with nodata | ratio |"
    yield "|---|---|---|---|---|---|"
    for label, records in empty["runs"].items():
        pairs = zip(records, full["runs"].get(label, []), strict=False)
        found = spread([a["seconds"] / b["seconds"] for a, b in pairs])
        evaluated = records[0]["windows"]
        cells = [
            label,
            str(full["windows"]),
            f"{evaluated} ({evaluated / full['windows']:.1%})",
            f"{seconds(full, label):.1f}" if label in full["runs"] else "-",
            f"{seconds(empty, label):.1f}",
            found,
        ]
        yield f"| {' | '.join(cells)} |"


def _disturbed(points: list[Point]) -> list[str]:
    """Return how busy other programs kept the machine, where it was not quiet."""
    runs = [r["others"] for point in points for records in point["runs"].values() for r in records]
    if max(runs, default=0.0) < _QUIET:
        return []
    return [
        "",
        f"Not a quiet machine: other programs used {statistics.median(runs):.1f} cores in the "
        f"median run and {max(runs):.1f} in the worst.",
    ]


def _absent(points: list[Point]) -> list[str]:
    lines = [
        f"- {label} ({_extent(point)}): {reason}"
        for point in points
        for label, reason in point["absent"].items()
    ]
    return ["", "Not measured:", "", *lines] if lines else []


def _calls(microbatch: int | None) -> str:
    return "tiledseg's own microbatch" if microbatch is None else f"{microbatch} windows a call"


def _extent(point: Point) -> str:
    return " x ".join(map(str, point["shape"]))


def _scaled(record: dict[str, Any]) -> str:
    """Return on how many windows a pure time rests."""
    return f" ({record['measured_windows']} windows)" if "measured_windows" in record else ""


def _versions(settings: Settings) -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if settings.nnunet is not None and python_of(settings.nnunet).exists():
        ask = "from importlib.metadata import version; print(version('nnunetv2'))"
        told = subprocess.run(
            [python_of(settings.nnunet), "-c", ask], capture_output=True, text=True, check=False
        )
        found["nnunetv2"] = told.stdout.strip() or "broken"
    return found
