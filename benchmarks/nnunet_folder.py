"""A trained model of nnU-Net: tiledseg against nnU-Net, file to file, each a process of its own.

``python -m benchmarks.nnunet_folder --python .venv-oracle/bin/python``, which `make oracle` makes.
The model has random weights and 105 classes, the size of TotalSegmentator's; what is compared is
peak memory, wall and processor seconds, and the labels.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

#: Spacings of the model's plans, mm; the image has 1.5.
SPACINGS = {"same spacing": 1.5, "another spacing": 2.25}


def make_case(folder: Path, size: int, classes: int, patch: int, spacing: float) -> None:
    """Write a trained model and a volume."""
    from dataclasses import replace

    from tests.oracles.nnunet_cases import PLAIN, write_images, write_model

    labels = {"background": 0, **{f"organ {i}": i for i in range(1, classes)}}
    case = replace(
        PLAIN[0],
        name="bench",
        patch=(patch,) * 3,
        shape=(size,) * 3,
        target=(spacing,) * 3,
        labels=labels,
        features=(16, 32, 48),
        mirror=(),
        folds=("0",),
    )
    write_model(case, folder / "models")
    write_images(case, folder / "images")


def run_tiledseg(folder: Path, settings: dict[str, Any]) -> None:
    """Segment in this process."""
    import tiledseg

    (model,) = (folder / "models" / "Dataset001_bench").iterdir()
    image = folder / "images" / "case_0000.nii.gz"
    tiledseg.segment(str(image), model, folder / "found.nii.gz", fresh=True, **settings)


def run_nnunet(folder: Path) -> None:
    """Predict in this process, as ``nnUNetv2_predict -device cpu`` does."""
    from tests.oracles.nnunet_run import predict

    (model,) = (folder / "models" / "Dataset001_bench").iterdir()
    predict(model, [folder / "images" / "case_0000.nii.gz"], folder / "expected")


def measured(command: list[str], environment: dict[str, str]) -> dict[str, float]:
    """Run a process and return its wall and processor seconds and its peak memory in GB."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, after = (
        time.perf_counter() - began,
        resource.getrusage(resource.RUSAGE_CHILDREN),
    )
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    peak = float(told.stdout.strip().splitlines()[-1]) * 1024 / 1e9
    return {"seconds": round(seconds, 1), "cpu": round(cpu, 1), "gb": round(peak, 2)}


def compare(python: str, options: argparse.Namespace, spacing: float) -> dict[str, Any]:
    """Return the figures of both, and how many labels differ."""
    import numpy as np
    import SimpleITK as sitk

    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        make_case(folder, options.size, options.classes, options.patch, spacing)
        threads = {"OMP_NUM_THREADS": str(options.threads)}
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, **threads, "PYTHONPATH": root}
        here = [sys.executable, "-m", "benchmarks.nnunet_folder", "--folder", name]
        settings = {"runtime": {"runtime": options.runtime, "threads": options.threads}}
        if options.memory:
            settings["budget"] = {"memory": options.memory}
        ours = measured([*here, "--settings", json.dumps(settings)], environment)
        theirs = measured([python, *here[1:]], environment)
        found, expected = (
            sitk.GetArrayFromImage(sitk.ReadImage(str(folder / f"{n}.nii.gz")))
            for n in ("found", "expected")
        )
        differ = int(np.count_nonzero(found != expected))
    ratios = {key: round(ours[key] / theirs[key], 2) for key in ours}
    return {
        "tiledseg": ours,
        "nnunet": theirs,
        "ratio": ratios,
        "differ": differ,
        "of": expected.size,
    }


def main() -> None:
    """Run one contender in this process, or compare both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", help="Python that has nnunetv2")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--classes", type=int, default=105)
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--runtime", default="torch")
    parser.add_argument("--memory", help="tiledseg's budget")
    parser.add_argument("--scratch", help="where to put images")
    parser.add_argument("--only", choices=list(SPACINGS))
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.folder is None:
        for name, spacing in SPACINGS.items():
            if options.only in (None, name):
                print(name, json.dumps(compare(options.python, options, spacing)), flush=True)
        return
    if options.settings is not None:
        run_tiledseg(Path(options.folder), json.loads(options.settings))
    else:
        run_nnunet(Path(options.folder))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
