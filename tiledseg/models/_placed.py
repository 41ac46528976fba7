"""What a graph gave -> raw outputs (n, k, *window), by the first of these rules that fits.

1. As many samples as the window: as they are.
2. A whole part of them, on every axis (a coarse map): interpolated linearly between the middles of
   its samples; labels are repeated.
3. A whole multiple (a fine map): the mean over the samples that share one of the window.
4. More by the same even number on every axis: the middle.

Labels in whole numbers become scores of 0 and 1: where windows overlap they vote.
"""

from __future__ import annotations

import torch
from torch.nn import functional

from ..errors import ConfigError
from ._base import ModelCard


def placed(
    card: ModelCard, where: str, last: bool, raw: torch.Tensor, window: tuple[int, ...]
) -> torch.Tensor:
    """Return raw outputs (n, k, *window), float32, of what a graph gave.

    Args:
        card: The model's card.
        where: What to call the graph in messages.
        last: Whether the graph takes its channels last, and may give them so.
        raw: (n, k, *extents), (n, *extents, k) or (n, *extents): scores, or labels in whole
            numbers.
        window: The extents asked for.

    Raises:
        ConfigError: It fits neither the classes nor the window.
    """
    plain = (len(raw), card.outputs, *window)
    if raw.shape == plain and raw.dtype == torch.float32:
        return raw.contiguous()
    labels = not raw.is_floating_point()
    wanted = 1 if labels else card.outputs
    found = _channels_first(raw, card.dims, wanted, last)
    if found is None:
        kind = "labels" if labels else f"scores of {card.outputs} output channels"
        raise ConfigError(
            f"{where} gave {tuple(raw.shape)} {numbers_of(raw)} for a window of {window}, expected "
            f"{kind}: correct the card's classes, single_output or output"
        )
    if labels:
        return _votes(card, where, _resized(card, where, found, window))
    return _resized(card, where, found.float(), window).contiguous()


def numbers_of(raw: torch.Tensor) -> str:
    """Return the type of a tensor's numbers by its name in numpy."""
    return str(raw.dtype).removeprefix("torch.")


def _channels_first(raw: torch.Tensor, dims: int, wanted: int, last: bool) -> torch.Tensor | None:
    if raw.ndim == dims + 1 and wanted == 1:
        return raw.unsqueeze(1)
    if raw.ndim != dims + 2:
        return None
    places = [p for p in ((-1, 1) if last else (1, -1)) if raw.shape[p] == wanted]
    return raw.movedim(places[0], 1) if places else None


def _votes(card: ModelCard, where: str, labels: torch.Tensor) -> torch.Tensor:
    """Return scores of 0 and 1 for labels (n, 1, *window); where windows overlap they vote."""
    if card.activation != "none":
        raise ConfigError(
            f"{where} gives labels, which count as scores of 0 and 1: say activation: none in the "
            "card"
        )
    numbers = labels.to(torch.int64)
    low, high = int(numbers.min()), int(numbers.max())
    if low < 0 or high >= len(card.schema):
        raise ConfigError(
            f"{where} gave labels of {low} to {high}, the card has {len(card.schema)} classes: "
            "list one for every label from 0 on, in order"
        )
    if card.single_output:
        return numbers.float()
    classes = torch.arange(len(card.schema), device=labels.device)
    return (numbers == classes.reshape(1, -1, *(1,) * card.dims)).float()


def _resized(
    card: ModelCard, where: str, found: torch.Tensor, window: tuple[int, ...]
) -> torch.Tensor:
    """Lay what a graph gave, (n, k, *extents), on the window by the rules above."""
    extents = tuple(found.shape[2:])
    if extents == window:
        return found
    pairs = list(zip(extents, window, strict=True))
    if all(n and w % n == 0 for n, w in pairs):
        return _finer(found, window)
    if found.is_floating_point() and all(n % w == 0 for n, w in pairs):
        return _coarser(found, tuple(n // w for n, w in pairs))
    over = {n - w for n, w in pairs}
    if len(over) == 1 and (more := over.pop()) > 0 and more % 2 == 0:
        inner = (slice(more // 2, more // 2 + w) for w in window)
        return found[(slice(None), slice(None), *inner)]
    less = {w - n for n, w in pairs}
    advice = "export it with padding that keeps the extents"
    if len(less) == 1 and (rim := less.pop()) > 0 and rim % 2 == 0:
        smaller = list(extents) if not card.any_size else None
        advice = f"say rim: {card.rim + rim // 2} in its card"
        advice += f", and window: {smaller}" if smaller else ""
    raise ConfigError(
        f"{where} gives {extents} for a window of {window}, which is no whole part of it: {advice}"
    )


def _finer(found: torch.Tensor, window: tuple[int, ...]) -> torch.Tensor:
    if not found.is_floating_point():
        for axis, (n, w) in enumerate(zip(found.shape[2:], window, strict=True), 2):
            found = found.repeat_interleave(w // n, axis)
        return found
    mode = "bilinear" if len(window) == 2 else "trilinear"
    # One sample at a time: its bits must not depend on what it shares a call with.
    each = [functional.interpolate(s[None], window, mode=mode, align_corners=False) for s in found]
    return torch.cat(each)


def _coarser(found: torch.Tensor, factors: tuple[int, ...]) -> torch.Tensor:
    pool = functional.avg_pool2d if len(factors) == 2 else functional.avg_pool3d
    return torch.cat([pool(s[None], factors) for s in found])
