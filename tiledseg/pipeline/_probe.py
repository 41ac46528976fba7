"""Finding out what a model is, and how it runs best on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..config import RunConfig, check_threads
from ..engine import machine
from ..errors import ConfigError
from ..models import (
    Model,
    ModelCard,
    Probe,
    Reach,
    Trial,
    class_maps,
    library_versions,
    load_model,
    measure_reach,
    reference,
    runtimes,
    save_probe,
    try_out,
)
from ..tiling import has_room
from ._image import View, open_view
from ._job import draft_plan

_MICROBATCHES = {"cpu": (1, 2, 4), "cuda": (1, 2, 4, 8)}
#: Windows tried for local models, as multiples of the card's.
_SIZES = {2: (0.5, 0.75, 1.0, 1.5, 2.0), 3: (0.5, 0.75, 1.0, 1.25, 1.5)}
_NOISE = 2


def probe(
    model: str | Path,
    sample: Any = None,
    *,
    device: str = "cpu",
    threads: int | None = None,
    tolerance: float = 1e-3,
    say: Callable[[str], None] | None = None,
) -> tuple[Probe, Path]:
    """Measure a model and keep what was found beside it.

    Args:
        model: What `load_model` takes.
        sample: An image to measure agreement on. None takes noise; then `segment` does not rely
            on it.
        device: Where to run it.
        threads: Threads of one call; None takes every core.
        tolerance: Change of a score that counts as reached by the input.
        say: Told what is being measured.

    Returns:
        What was found, and the file it is kept in.

    Raises:
        ConfigError: A wrong number, the model cannot be loaded, or the image does not fit it.
    """
    if not 0 < tolerance < 1:
        raise ConfigError(f"tolerance {tolerance} is no change of a score: give 0 to 1, like 0.001")
    if not isinstance(model, str | Path):
        raise ConfigError(f"probe takes the path of a model, got {type(model).__name__}")
    check_threads(threads, "threads")
    tell = say or _nothing
    threads = threads or machine.cores()
    torch.set_num_threads(threads)
    plain = load_model(model, device, threads, probed=False)
    if sample is not None:  # refused at once, not after a minute
        _view(plain.card, model, sample).source.close()
    tell("reach")
    reach = measure_reach(plain, tolerance)
    card = replace(plain.card, multiple=_multiple(plain.card, reach))
    windows, words, on_image = _windows(card, model, sample, threads)
    expected = class_maps(plain, windows, 1)
    trials, counts = list[Trial](), _MICROBATCHES[plain.device.type]
    for runtime in runtimes(plain.card, device):
        tell(str(runtime))
        same = runtime == reference(plain.card)
        candidate = plain if same else load_model(model, device, threads, runtime, probed=False)
        trials += [try_out(candidate, windows, count, expected) for count in counts]
    best = min((t for t in trials if t.accepted), key=lambda t: t.seconds)
    tell("windows")
    fastest = load_model(model, device, threads, best.runtime, probed=False)
    window, stride, margin = _tiling(fastest, reach, best)
    result = Probe(
        sha256=plain.card.sha256 or "",
        machine=machine.name(plain.device),
        device=device,
        threads=threads,
        versions=library_versions(),
        sample=words,
        on_image=on_image,
        reach=reach,
        window=plain.card.window,
        trials=tuple(trials),
        best_window=window,
        best_stride=stride,
        best_margin=margin,
    )
    return result, save_probe(result, model)


def _windows(
    card: ModelCard, model: str | Path, sample: Any, threads: int
) -> tuple[torch.Tensor, str, bool]:
    """Return windows (n, c, *window) in model units, what they are, and whether of an image."""
    if sample is not None:
        view = _view(card, model, sample)
        config = RunConfig.parse({"image": str(sample), "model": str(model)})
        with view.source:
            found = view.windows(draft_plan(config, view.source.grid, card, threads))
        if found is not None:
            return found, f"{len(found)} windows of {view.source.uri}", True
    generator = torch.Generator().manual_seed(0)
    shape = (_NOISE, len(card.channels))
    coarse = torch.randn((*shape, *(-(-w // 8) for w in card.window)), generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, card.window)
    fine = torch.randn((*shape, *card.window), generator=generator)
    return smooth + 0.2 * fine, f"{_NOISE} windows of noise", False


def _view(card: ModelCard, model: str | Path, sample: Any) -> View:
    config = RunConfig.parse({"image": str(sample), "model": str(model)})
    return open_view(config, sample, card)


def _tiling(
    model: Model, reach: Reach, best: Trial
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return the window, stride and margin with the least time per sample of the result.

    A global model, and one whose window is too small for its radius, keeps the window it was
    trained with; its windows overlap and are blended.
    """
    card, margin = model.card, reach.radius
    multiple = _multiple(card, reach)
    costs: dict[tuple[int, ...], float] = {}
    sizes = _SIZES[card.dims] if card.any_size else (1.0,)
    for size in sizes if reach.locality == "local" else ():
        window = tuple(max(1, round(w * size / multiple)) * multiple for w in card.window)
        useful = prod(_stride(w, margin, multiple) for w in window)
        if useful > 0 and window not in costs and has_room(window, margin, multiple):
            noise = torch.randn((best.microbatch, len(card.channels), *window))
            costs[window] = _seconds(model, noise, best) / useful
    if not costs:
        share = 0.75 if card.dims == 2 else 0.5
        stride = tuple(max(1, int(w * share) // multiple) * multiple for w in card.window)
        return card.window, stride, 0
    window = min(costs, key=costs.__getitem__)
    return window, tuple(_stride(w, margin, multiple) for w in window), margin


def _multiple(card: ModelCard, reach: Reach) -> int:
    """Return the card's multiple; 1 leaves it open."""
    return card.multiple if card.multiple > 1 else reach.multiple


def _stride(window: int, margin: int, multiple: int) -> int:
    return (window - 2 * margin) // multiple * multiple


def _seconds(model: Model, windows: torch.Tensor, best: Trial) -> float:
    """Return the seconds per window, infinite where the model fails."""
    expected = torch.zeros((len(windows), *windows.shape[2:]), dtype=torch.uint8)
    return try_out(model, windows, best.microbatch, expected).seconds


def _nothing(line: str) -> None:
    """Say nothing."""
