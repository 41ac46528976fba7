"""What user, card and image ask for -> a plan, or a refusal of what does not go together."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from .errors import ConfigError
from .grid import Grid
from .lattice import Lattice
from .resampling import Target
from .taper import Taper
from .tiling import TilePlan, TilingSpec


@dataclass(frozen=True, slots=True)
class ModelShape:
    """What a lattice must know of a model; see `tiledseg.models.ModelCard` for the words."""

    window: tuple[int, ...]
    multiple: int
    any_size: bool
    margin: int
    local: bool = False
    rim: int = 0


def make_plan(
    grid: Grid,
    spec: TilingSpec,
    model: ModelShape,
    microbatch: int,
    threads: int,
    target: Target | None = None,
) -> TilePlan:
    """Return the plan for an image, with one tile unless the spec gives a core.

    Args:
        grid: Grid of the image as the model sees it.
        spec: The user's wishes.
        model: What the model needs.
        microbatch: Windows per model call.
        threads: Threads of one model call.
        target: Grid of the result where it is another; the core is counted there.

    Raises:
        ConfigError: A wish that the model or the lattice cannot meet.
    """
    _check_numbers(spec, grid.ndim)
    model = _with_multiple(model, spec.multiple)
    window = _window(grid, spec, model)
    margin = _margin(spec, model)
    _check_rim(grid, window, margin, model)
    stride = spec.stride or default_stride(window, margin, model)
    lattice = spec.lattice or Lattice.ALIGNED
    _check_stride(grid, window, stride, margin, lattice, model)
    whole = grid.shape if target is None else target.grid.shape
    return TilePlan(
        grid=grid,
        window=window,
        stride=stride,
        margin=margin,
        taper=spec.taper or Taper.GAUSSIAN,
        lattice=lattice,
        padding=spec.padding or "reflect",
        blend="logits" if spec.taper is Taper.NNUNET else spec.blend or "scores",
        multiple=model.multiple,
        core=tuple(min(c, e) for c, e in zip(spec.core or whole, whole, strict=True)),
        microbatch=microbatch,
        threads=threads,
        target=target,
    )


def _check_numbers(spec: TilingSpec, n: int) -> None:
    """Refuse extents that are not positive, one per axis."""
    for name, value in (("window", spec.window), ("stride", spec.stride), ("core", spec.core)):
        if value is not None and (len(value) != n or not all(v >= 1 for v in value)):
            raise ConfigError(f"tiling.{name} needs {n} positive numbers, got {value}")


def _with_multiple(model: ModelShape, multiple: int | None) -> ModelShape:
    """Return the model with the multiple that was wished for."""
    if multiple is None:
        return model
    if multiple < 1 or multiple % model.multiple:
        raise ConfigError(
            f"tiling.multiple {multiple} must be a multiple of {model.multiple}, the "
            "model's down-sampling factor"
        )
    return replace(model, multiple=multiple)


def _check_rim(grid: Grid, window: tuple[int, ...], margin: int, model: ModelShape) -> None:
    """Refuse a margin that keeps what is made of mirror images, where windows meet."""
    if margin < model.rim and any(e > w for e, w in zip(grid.shape, window, strict=True)):
        raise ConfigError(
            f"tiling.margin {margin} keeps samples that the model makes of mirror images: its rim "
            f"is {model.rim}, so take a margin of {model.rim} at least, and a window with room for "
            "it"
        )


def _check_stride(
    grid: Grid,
    window: tuple[int, ...],
    stride: tuple[int | float, ...],
    margin: int,
    lattice: Lattice,
    model: ModelShape,
) -> None:
    """Refuse a stride that the lattice cannot have, or that leaves gaps."""
    if lattice is not Lattice.EVEN and any(s % 1 for s in stride):
        raise ConfigError(
            f"tiling.stride {stride} must be whole numbers for lattice {lattice}, or choose "
            "lattice even"
        )
    for axis, (extent, w, s) in enumerate(zip(grid.shape, window, stride, strict=True)):
        if extent > w and s > w - 2 * margin:
            raise ConfigError(
                f"tiling.stride {s} on axis {axis} leaves gaps: window {w} with margin {margin} "
                f"on both sides covers {w - 2 * margin}; lower the stride or the margin, or raise "
                "the window"
            )
        if extent > w and s % model.multiple and lattice is Lattice.ALIGNED:
            raise ConfigError(
                f"tiling.stride {s} on axis {axis} must be a multiple of {model.multiple}, "
                "the model's down-sampling factor"
            )


def _window(grid: Grid, spec: TilingSpec, model: ModelShape) -> tuple[int, ...]:
    window = spec.window or model.window
    if any(w % model.multiple for w in window):
        raise ConfigError(
            f"tiling.window {window} must be a multiple of {model.multiple} on every axis, "
            "the model's down-sampling factor"
        )
    if not model.any_size:
        if window != model.window:
            raise ConfigError(
                f"tiling.window {window}: the model takes windows of {model.window} only"
            )
        return window
    if spec.lattice not in (None, Lattice.ALIGNED):  # the tools these lattices reproduce always pad
        return window
    fitted = [ceil(e / model.multiple) * model.multiple for e in grid.shape]
    if max(fitted) == model.multiple:  # one sample in the depth: instance norm refuses that
        fitted[-1] *= 2
    return tuple(min(w, f) for w, f in zip(window, fitted, strict=True))


def _margin(spec: TilingSpec, model: ModelShape) -> int:
    """Take the model's receptive radius where the window has room for it, else blend only."""
    if spec.margin is not None:
        if spec.margin < 0:
            raise ConfigError(f"tiling.margin must not be negative, got {spec.margin}")
        return spec.margin
    window = spec.window or model.window
    if spec.stride is None:
        return model.margin if has_room(window, model.margin, model.multiple) else model.rim
    room = min(w - s for w, s in zip(window, spec.stride, strict=True))
    return model.margin if 2 * model.margin <= room else model.rim


def has_room(window: tuple[int, ...], margin: int, multiple: int) -> bool:
    """Whether a margin leaves a third of a window to step by: less would multiply the work."""
    return all(2 * margin <= w - max(w // 3, multiple) for w in window)


def default_stride(window: tuple[int, ...], margin: int, model: ModelShape) -> tuple[int, ...]:
    """3/4 of a window in 2-D and half a window in 3-D, as far as the margin allows.

    Where the margin makes a local model exact, windows overlap by what is dropped only: further
    overlap would give the same result for more work.
    """
    share = 0.75 if len(window) == 2 else 0.5
    if model.local and 0 < model.margin <= margin:
        share = 1.0
    lengths = (
        min(round(w * share), w - 2 * margin) // model.multiple * model.multiple for w in window
    )
    return tuple(max(s, model.multiple) for s in lengths)
