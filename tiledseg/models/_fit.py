"""How a graph's input and output become those of a `Model`: layout, types, number, which output.

A graph takes its axes in an order of its own, numbers of a type of its own, and perhaps so many
windows at once. What it gives is laid on the window in `_placed`.

Convolutions without padding give less than they take: that is the card's ``rim``. The graph is then
given `rim` more samples on every side of the window, its mirror image, and gives the window. The
rim's influence ends `rim` samples inside the window and is dropped with its margin, except at the
image's border, where the mirror image is what the engine pads with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from ..errors import ConfigError
from ._base import ModelCard
from ._placed import placed

#: Runs windows (n, c, *window) and returns raw outputs (n, k, *window).
Call = Callable[[torch.Tensor], torch.Tensor]
#: Types of numbers that graphs may take and give; windows are float32 before and after.
FLOATS = {"float32": torch.float32, "float16": torch.float16, "float64": torch.float64}
WHOLE = {
    "uint8": torch.uint8,
    "int8": torch.int8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}
_TAKEN = {**FLOATS, "uint8": torch.uint8, "int16": torch.int16, "int32": torch.int32}


class Port(NamedTuple):
    """An input or output of a graph; a free extent is None or a name."""

    name: str
    shape: Sequence[int | str | None]
    kind: str

    def __str__(self) -> str:
        return f"{self.name!r} {self.kind} [{', '.join(str(n or '?') for n in self.shape)}]"


class Facts(NamedTuple):
    """What a graph file states of itself.

    Args:
        inputs: What it takes; nothing where it does not say.
        outputs: What it gives; nothing where it does not say.
        metadata: Texts by name.
        window: Extents it was exported with, where those are free.
        kernel: Extents (k, c, *s) of its first convolution, from which a card can be suggested.
    """

    inputs: tuple[Port, ...] = ()
    outputs: tuple[Port, ...] = ()
    metadata: Mapping[str, str] = {}
    window: tuple[int, ...] | None = None
    kernel: tuple[int, ...] = (1, 3, 1, 1)


@dataclass(frozen=True)
class Fit:
    """How a graph's input and output become those of a model.

    Args:
        card: The model's card.
        where: What to call the graph in messages.
        last: Whether the graph takes its channels last.
        dtype: Type of the numbers it takes.
        batch: Windows it takes at once.
        output: Number of the output that holds the scores.
    """

    card: ModelCard
    where: str
    last: bool = False
    dtype: torch.dtype = torch.float32
    batch: int = 1
    output: int = 0

    def around(self, run: Call) -> Call:
        """Return what a model's call does around ``run``, which takes and gives the graph's own."""

        def call(x: torch.Tensor) -> torch.Tensor:
            raw = run(self.given(x))
            return placed(self.card, self.where, self.last, raw[: len(x)], tuple(x.shape[2:]))

        return call

    def given(self, x: torch.Tensor) -> torch.Tensor:
        """Return windows (n, c, *window) as the graph takes them, filled up to whole batches."""
        x = mirrored(x, self.card.rim)
        if self.dtype != torch.float32:
            x = _converted(x, self.dtype)
        if self.last:
            x = x.movedim(1, -1)
        missing = -len(x) % self.batch
        if missing:
            x = torch.cat([x, x[-1:].expand(missing, *x.shape[1:])])
        return x.contiguous()

    def given_shape(self, shape: tuple[int, ...]) -> list[int]:
        """Return the extents of one batch for windows of ``shape``, (n, c, *window)."""
        inner = [n + 2 * self.card.rim for n in shape[2:]]
        axes = [*inner, shape[1]] if self.last else [shape[1], *inner]
        return [self.batch, *axes]


def mirrored(x: torch.Tensor, rim: int) -> torch.Tensor:
    """Return windows (n, c, *window) with ``rim`` more samples on every side.

    Raises:
        ConfigError: The windows are too small to be mirrored so far.
    """
    if not rim:
        return x
    if rim >= min(x.shape[2:]):
        raise ConfigError(
            f"windows of {tuple(x.shape[2:])} are too small for a model whose output is {rim} "
            "samples smaller on every side: raise tiling.window"
        )
    return functional.pad(x, (rim, rim) * (x.ndim - 2), mode="reflect")


def _converted(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if dtype.is_floating_point:
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    # float32 cannot hold the largest int32; the next smaller number it holds can be converted.
    high = limits.max if limits.bits < 32 else 2.0**31 - 128
    return x.round().clamp_(limits.min, high).to(dtype)


# --------------------------------------------------------------------- what a file states


def fit_of(card: ModelCard, where: str, inputs: Sequence[Port], outputs: Sequence[Port]) -> Fit:
    """Return how a graph fits its card, from what the file states.

    The extents of the output are looked at in the first call: files often leave them open.

    Raises:
        ConfigError: It does not take one image like the card's, or gives no scores.
    """
    said = ["n", len(card.channels), *_taken_extents(card)]
    last = len(inputs) == 1 and channels_last(card, inputs[0])
    if len(inputs) != 1 or not _fits(inputs[0], _ordered(said, last)):
        raise ConfigError(
            f"{where} takes {', '.join(map(str, inputs)) or 'nothing'}, the card says one float "
            f"image {_ordered(said, last)}: correct its channels, dims, window, rim, layout or "
            "any_size"
        )
    batch = inputs[0].shape[0]
    return Fit(
        card=card,
        where=where,
        last=last,
        dtype=_TAKEN[inputs[0].kind],
        batch=batch if isinstance(batch, int) else 1,
        output=_chosen(card, where, last, outputs),
    )


def channels_last(card: ModelCard, port: Port) -> bool:
    """Return whether an input has its channels on the last axis: as said, else as its extents."""
    if card.layout != "auto":
        return card.layout == "channels_last"
    count = len(card.channels)
    return len(port.shape) == card.dims + 2 and port.shape[1] != count and port.shape[-1] == count


def _taken_extents(card: ModelCard) -> list[Any]:
    if card.any_size:
        return ["any"] * card.dims
    return [n + 2 * card.rim for n in card.window]


def _ordered(said: list[Any], last: bool) -> list[Any]:
    return [said[0], *said[2:], said[1]] if last else said


def _fits(port: Port, said: list[Any]) -> bool:
    """Return whether a port is what the card says; any number of windows is."""
    if port.kind not in _TAKEN or len(port.shape) != len(said):
        return False
    pairs = zip(port.shape[1:], said[1:], strict=True)
    return all(n == wanted for n, wanted in pairs if isinstance(n, int))


def _chosen(card: ModelCard, where: str, last: bool, outputs: Sequence[Port]) -> int:
    """Return the number of the output that the card names, else of the first that is a map."""
    told = ", ".join(map(str, outputs)) or "nothing"
    if card.output is None:
        found = [i for i, port in enumerate(outputs) if is_map(card, last, port)]
        if found:
            return found[0]
        raise ConfigError(
            f"{where} gives {told}, expected float scores {['n', card.outputs]} + extents, or "
            "whole-number labels without classes: correct the card's classes, or export it again"
        )
    names = [port.name for port in outputs]
    number = names.index(card.output) if card.output in names else _number(card.output)
    if not 0 <= number < len(outputs):
        raise ConfigError(f"{where} gives {told}, the card says output {card.output!r}")
    if not is_map(card, last, outputs[number]):
        raise ConfigError(
            f"{where} gives {outputs[number]}, expected float scores {['n', card.outputs]} + "
            "extents, or labels: correct the card's output or classes"
        )
    return number


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() else -1


def is_map(card: ModelCard, last: bool, port: Port) -> bool:
    """Return whether an output can be the scores of a card's classes, or their labels."""
    extents = list(port.shape)
    if port.kind not in FLOATS and port.kind not in WHOLE:
        return False
    wanted = card.outputs if port.kind in FLOATS else 1
    if len(extents) == card.dims + 1:
        return wanted == 1
    if len(extents) != card.dims + 2:
        return False
    likely, other = (-1, 1) if last else (1, -1)
    return not isinstance(extents[likely], int) or wanted in (extents[likely], extents[other])
