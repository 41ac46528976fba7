"""One contender, once, in this process: ``python -m benchmarks.contender TASK`` prints a JSON line.

TASK is JSON; `benchmarks.cases` writes it. The line has ``seconds`` (the measured part),
``startup`` (from the start of the process to there: imports, loading, one call of the model),
``windows``, and what else the contender knows. This module imports neither tiledseg nor MONAI by
itself, because nnU-Net's environment has no tiledseg.
"""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch

Task = dict[str, Any]
Record = dict[str, Any]
#: Settings of a task that tiledseg's runtime takes.
_RUNTIME = ("threads", "runtime", "precision", "device")
#: Bytes copied from and to in turn, far beyond any cache.
_BEYOND_CACHE = 256 << 20
#: Windows a call that are tried for the pure forward pass.
_MICROBATCHES = {"cpu": (1, 2), "cuda": (1, 2, 4, 8)}


class _Clock:
    """Tells start-up from the measured part."""

    def __init__(self, task: Task) -> None:
        self.startup = time.time() - task["spawned"]
        self._began = time.perf_counter()

    def stop(self, **more: Any) -> Record:
        seconds = time.perf_counter() - self._began
        return {"seconds": seconds, "startup": self.startup, **more}


def run_tiledseg(task: Task) -> Record:
    """Segment from file to file: read, normalise, blend, decide, write; with its own planning."""
    import tiledseg

    predictor = _predictor(task)
    clock = _Clock(task)
    result = tiledseg.segment(
        task["image"],
        predictor,
        task["out"],
        fresh=True,
        tiling={
            "window": task["window"],
            "stride": task["stride"],
            "margin": 0,
            "lattice": "clamped",
        },
        runtime={key: task[key] for key in (*_RUNTIME, "microbatch")},
        budget={"memory": task["memory"]},
        output={"report": False},
    )
    ran = result.ran
    if ran.lost:
        raise RuntimeError(f"lost tiles: {ran.lost}")
    return clock.stop(
        windows=ran.evaluated, skipped=ran.skipped, tiles=ran.tiles, peak=ran.peak_memory
    )


def run_pure(task: Task) -> Record:
    """Run the same model on windows, and do nothing else; the time is scaled to all windows.

    As many windows a call as are fastest, unless their number is given.
    """
    model = _predictor(task).model
    counts = [task["microbatch"]] if task["microbatch"] else _MICROBATCHES[task["device"]]
    shape = (task["channels"], *task["window"])
    calls = {n: torch.randn((n, *shape), device=task["device"]) for n in counts}
    best = min(counts, key=lambda n: _seconds(model, calls[n]) / n)
    clock, done, began = _Clock(task), 0, time.perf_counter()
    while done < task["windows"] and (
        done < 3 * best or time.perf_counter() - began < task["enough"]
    ):
        model(calls[best])
        _wait(task["device"])
        done += best
    record = clock.stop(windows=task["windows"], measured_windows=done, microbatch=best)
    record["seconds"] *= task["windows"] / done
    return record


def _seconds(model: Any, x: torch.Tensor) -> float:
    """Return the time of the second call."""
    model(x)
    _wait(x.device.type)
    began = time.perf_counter()
    model(x)
    _wait(x.device.type)
    return time.perf_counter() - began


def _wait(device: str) -> None:
    """Wait until a GPU has done what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def run_monai(task: Task) -> Record:
    """Slide in memory and take the arg max: what a user of MONAI writes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.inferers import sliding_window_inference

    x, network = _peer(task)
    overlap = tuple(1 - s / w for s, w in zip(task["stride"], task["window"], strict=True))
    with torch.inference_mode():
        network(x[(slice(None), slice(None), *(slice(w) for w in task["window"]))])
        _wait(task["device"])
        clock = _Clock(task)
        scores = sliding_window_inference(
            x, task["window"], task["batch"], network, overlap, mode="gaussian"
        )
        labels = scores.argmax(1)[0].cpu()
        record = clock.stop(windows=task["windows"])
    return _saved(record, labels, task)


def run_nnunet(task: Task) -> Record:
    """Slide with nnU-Net's own predictor and take the arg max."""
    from .nnunet import predictor

    x, network = _peer(task)
    with torch.inference_mode():
        network(x[(slice(None), slice(None), *(slice(w) for w in task["window"]))])
        ready = predictor(network, task)
        volume = x[0] if x.ndim == 5 else x[0][:, None]  # a 2-D network takes a stack of slices
        clock = _Clock(task)
        labels = ready.predict_sliding_window_return_logits(volume).argmax(0)
        record = clock.stop(windows=task["windows"])
    return _saved(record, labels if x.ndim == 5 else labels[0], task)


def run_limit(task: Task) -> Record:
    """Read the image once, write a class map's bytes once, copy every window's scores once."""
    began = time.perf_counter()
    labels = _read_once(task["image"])
    read = time.perf_counter() - began
    began = time.perf_counter()
    labels.tofile(task["out"])
    write = time.perf_counter() - began
    size = task["classes"] * int(np.prod(task["window"]))
    source = np.ones((max(1, -(-_BEYOND_CACHE // (4 * size))), size), np.float32)
    target = source.copy()  # touched, so that no page is new while the clock runs
    began = time.perf_counter()
    for i in range(task["windows"]):
        np.copyto(target[i % len(target)], source[i % len(source)])
    copy = time.perf_counter() - began
    Path(task["out"]).unlink()
    parts = {"read": read, "write": write, "copy": copy}
    return {"seconds": sum(parts.values()), "parts": parts, "startup": 0.0, "windows": 0}


_KINDS: dict[str, Callable[[Task], Record]] = {
    "tiledseg": run_tiledseg,
    "pure": run_pure,
    "monai": run_monai,
    "nnunet": run_nnunet,
    "limit": run_limit,
}


def _predictor(task: Task) -> Any:
    """Return the loaded model, exported and compiled by one call; libraries are imported too."""
    import tiledseg

    for library in ("rasterio", "SimpleITK", "zarr"):
        import_module(library)

    predictor = tiledseg.load_model(task["model"], **{key: task[key] for key in _RUNTIME})
    shape = (task["microbatch"] or 1, task["channels"], *task["window"])
    predictor.model(torch.zeros(shape, device=task["device"]))
    _wait(task["device"])
    return predictor


def _peer(task: Task) -> tuple[torch.Tensor, torch.nn.Module]:
    """Return the normalised image (1, c, ...), cropped if so asked, and network with softmax.

    tiledseg blends softmax scores, so its peers get them too: all compute the same class map.
    """
    x = torch.from_numpy(np.load(task["array"]))[None]
    if task.get("crop"):
        x = x[(..., *(slice(n) for n in task["crop"]))].contiguous()
    network = torch.load(task["network"], weights_only=False)
    torch.backends.cudnn.allow_tf32 = False  # torch's default is no float32, and faster
    ready = torch.nn.Sequential(network, torch.nn.Softmax(1)).eval()
    return x.to(task["device"]), ready.to(task["device"])


def _saved(record: Record, labels: torch.Tensor, task: Task) -> Record:
    """Keep the class map for comparison, outside the measured part."""
    record["peak"] = _high_water()
    if task.get("out"):
        np.save(task["out"], labels.numpy().astype(np.uint8))
    return record


def _read_once(image: str) -> np.ndarray:
    """Read a whole image; return one byte per sample."""
    if image.endswith(".tif"):
        import rasterio

        with rasterio.open(image) as file:
            return file.read()[0].astype(np.uint8)
    import SimpleITK as sitk

    volume = sitk.ReadImage(image)  # named, because the view below does not keep it
    return sitk.GetArrayViewFromImage(volume).astype(np.uint8)


def _high_water() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def main() -> None:
    """Run the task of the command line."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    record = _KINDS[task["kind"]](task)
    record["peak"] = max(record.get("peak", 0), _high_water())
    print(json.dumps(record), flush=True)
    os._exit(0)  # what libraries do on leaving is not measured, and can be slow


if __name__ == "__main__":
    main()
