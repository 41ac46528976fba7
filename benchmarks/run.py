"""Running contenders in turns, each in a process of its own."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from .cases import BATCHES, Case, Contender, Field, Settings
from .nnunet import python_of

Record = dict[str, Any]
#: The contender whose class map the others are compared with.
REFERENCE = "tiledseg torch fp32"
_ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Runs:
    """What was measured on one image.

    Args:
        runs: Of every contender one record per turn, so that those of one turn can be compared.
        absent: Why contenders are missing.
        agreement: Share of samples whose class is that of `REFERENCE`.
    """

    runs: dict[str, list[Record]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)


def run_case(case: Case, settings: Settings) -> dict[str, Any]:
    """Measure a case; the result is plain values for `table` and `figure`."""
    act: Callable[[Field], Runs] = {"compare": _compare, "sizes": _size, "skip": _ours_only}[
        case.kind
    ]
    points = []
    for image in case.images:
        _say(f"{case.name} {'x'.join(map(str, image.shape))}: {case.windows(image)} windows")
        measured = act(Field(case, image, settings))
        points.append(
            {
                "shape": list(image.shape),
                "seen": image.seen,
                "windows": case.windows(image),
                "peer_bytes": case.peer_bytes(image),
                **vars(measured),
            }
        )
    return {
        "title": case.title,
        "kind": case.kind,
        "window": case.window,
        "stride": case.stride,
        "microbatch": settings.microbatch,
        "memory": settings.memory,
        "points": points,
    }


def _compare(entrants: Field) -> Runs:
    """Everybody, in turns."""
    found = Runs()
    contenders = [*entrants.ours(), entrants.limit()]
    if entrants.peers_fit():
        batches = {1, _best_batch(entrants)}
        contenders += [entrants.monai(batch) for batch in sorted(batches)]
        if _nnunet_ready(entrants, found):
            contenders.append(entrants.nnunet())
    else:
        found.absent["MONAI"] = _too_large(entrants)
    _turns(contenders, entrants, found)
    found.agreement.update(_agreement(contenders, found))
    return found


def _size(entrants: Field) -> Runs:
    """One size of several: tiledseg and, where they fit, its peers."""
    found = Runs()
    contenders = [*entrants.ours(("tiledseg",))]
    if entrants.peers_fit():
        contenders.append(entrants.monai(1))
        if _nnunet_ready(entrants, found):
            contenders.append(entrants.nnunet())
    else:
        found.absent["MONAI"] = _too_large(entrants)
    _turns(contenders, entrants, found)
    return found


def _ours_only(entrants: Field) -> Runs:
    found = Runs()
    _turns([*entrants.ours(("tiledseg",))], entrants, found)
    return found


def _turns(contenders: Sequence[Contender], entrants: Field, found: Runs) -> None:
    """Run all contenders, then all again; every turn starts with another one."""
    for turn in range(min(entrants.settings.turns, entrants.case.turns)):
        start = turn % len(contenders)
        for contender in [*contenders[start:], *contenders[:start]]:
            if contender.label in found.absent:
                continue
            record = run_once(contender, entrants.settings)
            if isinstance(record, str):
                found.absent[contender.label] = record
                found.runs.pop(contender.label, None)
            else:
                found.runs.setdefault(contender.label, []).append(record)


def run_once(contender: Contender, settings: Settings) -> Record | str:
    """Run a contender in a process of its own; return what it printed, or why it failed."""
    python = sys.executable
    if contender.task["kind"] == "nnunet":
        assert settings.nnunet is not None
        python = str(python_of(settings.nnunet))
    task = json.dumps(contender.task | {"spawned": time.time()})
    watch = _Watch()
    ended = subprocess.run(
        [python, "-m", "benchmarks.contender", task],
        cwd=_ROOT,
        env=_environment(settings),
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["no word"]
        reason = f"ended with {ended.returncode}: {lines[-1][:200]}"
        _say(f"  {contender.label}: {reason}")
        return reason
    record: Record = json.loads(ended.stdout.strip().splitlines()[-1])
    record["others"] = watch.others()
    _say(
        f"  {contender.label}: {record['seconds']:.2f} s, {record['peak'] / 1e6:.0f} MB, "
        f"others used {record['others']:.1f} cores"
    )
    return record


class _Watch:
    """Tells how busy others kept the machine meanwhile: a disturbed figure should be seen."""

    def __init__(self) -> None:
        self._began, self._busy, self._mine = time.perf_counter(), _busy(), _mine()

    def others(self) -> float:
        """Return the cores that others used, on average."""
        foreign = (_busy() - self._busy) - (_mine() - self._mine)
        return max(0.0, foreign / (time.perf_counter() - self._began))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + getattr(times, "steal", 0.0))


def _mine() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime + time.process_time()


def _environment(settings: Settings) -> dict[str, str]:
    """Return the environment of a contender: threads, and a cache that stays in the work folder."""
    threads = dict.fromkeys(
        ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(settings.threads)
    )
    cache = {"TILEDSEG_CACHE": str((settings.work / "cache").absolute())}
    return os.environ | threads | cache


def _best_batch(entrants: Field) -> int:
    """Return the batch at which MONAI is fastest on a corner of the image."""
    seconds = {}
    for batch in BATCHES:
        trial = entrants.monai(batch, crop=True)
        trial.task["out"] = None
        record = run_once(Contender(f"trial of {trial.label}", trial.task), entrants.settings)
        if not isinstance(record, str):
            seconds[batch] = record["seconds"]
    return min(seconds, key=lambda batch: seconds[batch], default=1)


def _nnunet_ready(entrants: Field, found: Runs) -> bool:
    """Whether there is an environment with nnU-Net."""
    folder = entrants.settings.nnunet
    if folder is not None and python_of(folder).exists():
        return True
    found.absent["nnU-Net"] = (
        "no environment; make one with python -m benchmarks.nnunet FOLDER and pass --nnunet FOLDER"
    )
    return False


def _too_large(entrants: Field) -> str:
    needed = entrants.case.peer_bytes(entrants.image) / 1e9
    return f"its arrays take {needed:.1f} GB (computed), more than --peer-memory"


# --------------------------------------------------------------------- agreement


def _agreement(contenders: Sequence[Contender], found: Runs) -> dict[str, float]:
    """Return the share of samples where a class map is that of the reference."""
    maps = {
        c.label: Path(c.task["out"])
        for c in contenders
        if c.label in found.runs and c.task["kind"] not in ("pure", "limit")
    }
    if REFERENCE not in maps:
        return {}
    expected = _read_map(maps[REFERENCE])
    return {label: float((_read_map(path) == expected).mean()) for label, path in maps.items()}


def _read_map(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".tif":
        import rasterio

        with rasterio.open(path) as file:
            return file.read(1)
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
