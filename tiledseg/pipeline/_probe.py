"""Finding out what a model is, and how it runs best on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import torch

from ..config import RunConfig
from ..engine import machine
from ..errors import ConfigError
from ..models import (
    FAILURES,
    Model,
    ModelCard,
    Probe,
    Reach,
    Trial,
    class_maps,
    draw_noise,
    fastest_call,
    fastest_trial,
    library_versions,
    load_model,
    measure_reach,
    runtimes,
    save_probe,
    try_runtime,
)
from ..planning import ModelShape, default_stride, has_room
from ._image import View, open_view
from ._prepare import draft_plan

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
    on_message: Callable[[str], None] | None = None,
) -> tuple[Probe, Path]:
    """Measure a model and keep what was found beside it.

    Args:
        model: What `load_model` takes.
        sample: An image to measure agreement on. None takes noise; then `segment` does not rely
            on it.
        device: Where to run it.
        threads: Threads of one call; None takes every core.
        tolerance: Change of a score that counts as reached by the input.
        on_message: Told what is being measured.

    Returns:
        What was found, and the file it is kept in.

    Raises:
        ConfigError: A wrong number, the model cannot be loaded, or the image does not fit it.
    """
    _check(model, threads, tolerance)
    tell = on_message or _nothing
    threads = threads or machine.cores()
    torch.set_num_threads(threads)
    load = partial(load_model, model, device, threads, probed=False)
    plain = load()
    if sample is not None:  # refused at once, not after a minute
        _view(plain.card, model, sample).source.close()
    tell("reach")
    reach = measure_reach(plain, tolerance)
    card = replace(plain.card, multiple=_multiple(plain.card, reach))
    windows, words, on_image = _windows(card, model, sample, threads)
    trials = _trials(plain, load, windows, tell)
    tell("windows")
    best = fastest_trial(trials)
    window, stride, margin = _tiling(load(best.runtime), reach, best.microbatch)
    result = Probe(
        sha256=card.sha256 or "",
        machine=machine.name(plain.device),
        device=device,
        threads=threads,
        versions=library_versions(),
        sample=words,
        on_image=on_image,
        reach=reach,
        window=card.window,
        trials=trials,
        best_window=window,
        best_stride=stride,
        best_margin=margin,
    )
    return result, save_probe(result, model)


def _check(model: str | Path, threads: int | None, tolerance: float) -> None:
    """Refuse what cannot be measured."""
    if not 0 < tolerance < 1:
        raise ConfigError(f"tolerance {tolerance} is no change of a score: give 0 to 1, like 0.001")
    if not isinstance(model, str | Path):
        raise ConfigError(f"probe takes the path of a model, got {type(model).__name__}")
    if threads is not None and threads < 1:
        raise ConfigError(f"threads {threads}: at least 1")


def _trials(
    plain: Model, load: Callable[..., Model], windows: torch.Tensor, tell: Callable[[str], None]
) -> tuple[Trial, ...]:
    """Try every runtime and microbatch; the reference, which is loaded, comes first."""
    expected = class_maps(plain, windows, 1)
    counts = _MICROBATCHES[plain.device.type]
    trials: list[Trial] = []
    for runtime in runtimes(plain.card, str(plain.device)):
        tell(str(runtime))
        opened = partial(load, runtime) if runtime != plain.runtime else lambda: plain
        trials += try_runtime(runtime, opened, windows, counts, expected)
    return tuple(trials)


def _windows(
    card: ModelCard, model: str | Path, sample: Any, threads: int
) -> tuple[torch.Tensor, str, bool]:
    """Return windows (n, c, *window) in model units, what they are, and whether of an image."""
    if sample is not None:
        view = _view(card, model, sample)
        config = RunConfig.parse({"image": str(sample), "model": str(model)})
        with view.source:
            found = view.windows(draft_plan(config, view.grids, card, threads))
        if found is not None:
            return found, f"{len(found)} windows of {view.source.uri}", True
    noise = draw_noise((_NOISE, len(card.channels), *card.window), torch.Generator().manual_seed(0))
    return noise, f"{_NOISE} windows of noise", False


def _view(card: ModelCard, model: str | Path, sample: Any) -> View:
    config = RunConfig.parse({"image": str(sample), "model": str(model)})
    return open_view(config, sample, card)


def _tiling(
    model: Model, reach: Reach, microbatch: int
) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Return the window, stride and margin with the least time per sample of the result.

    A global model, and one whose window is too small for its radius, keeps the window it was
    trained with; its windows overlap and are blended.
    """
    card, local = model.card, reach.locality == "local"
    margin, multiple = max(reach.radius, card.rim), _multiple(card, reach)
    shape = ModelShape(card.window, multiple, card.any_size, margin, local, card.rim)
    costs: dict[tuple[int, ...], float] = {}
    sizes = _SIZES[card.dims] if card.any_size else (1.0,)
    for size in sizes if local else ():
        window = tuple(max(1, round(w * size / multiple)) * multiple for w in card.window)
        if window not in costs and has_room(window, margin, multiple):
            with suppress(*FAILURES):  # too large for this machine
                seconds = _seconds(model, (microbatch, len(card.channels), *window))
                costs[window] = seconds / prod(default_stride(window, margin, shape))
    if not costs:
        return card.window, default_stride(card.window, card.rim, shape), card.rim
    window = min(costs, key=costs.__getitem__)
    return window, default_stride(window, margin, shape), margin


def _multiple(card: ModelCard, reach: Reach) -> int:
    """Return the card's multiple; 1 leaves it open."""
    return card.multiple if card.multiple > 1 else reach.multiple


def _seconds(model: Model, shape: tuple[int, ...]) -> float:
    """Return the seconds of a call on noise."""
    noise = draw_noise(shape, torch.Generator().manual_seed(0)).to(model.device)
    with torch.inference_mode():
        model(noise)  # exports and compiles
    return fastest_call(model, noise)


def _nothing(line: str) -> None:
    """Say nothing."""
