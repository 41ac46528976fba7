"""Several networks, or one network in several turns of the input, as one model: their mean."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from itertools import combinations, product
from math import lcm

import torch

from ..errors import ConfigError
from ._base import Average, Locality, Model, ModelCard
from ._scores import activate

#: From what is known best to what is feared most: a mean is as global as its most global member.
_DOUBT: tuple[Locality, ...] = ("local", "unknown", "global")


@dataclass(frozen=True, slots=True)
class Turn:
    """Quarter turns in the plane of the last two axes, then mirrored axes; 0 is the first axis."""

    quarters: int
    mirrored: tuple[int, ...]

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` (n, c, *s) turned."""
        turned = torch.rot90(x, self.quarters, (-2, -1)) if self.quarters else x
        return turned.flip([axis + 2 for axis in self.mirrored]) if self.mirrored else turned

    def undo(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``x`` (n, k, *s) turned back."""
        plain = x.flip([axis + 2 for axis in self.mirrored]) if self.mirrored else x
        return torch.rot90(plain, -self.quarters, (-2, -1)) if self.quarters else plain


def turns_of(mirror: tuple[int, ...], quarter_turns: bool, dims: int) -> tuple[Turn, ...]:
    """Return the different views of an image, the plain one first.

    Args:
        mirror: Axes to mirror, array order from 0, in all combinations (nnU-Net's mirroring).
        quarter_turns: Whether to turn by 90 degrees in the plane of the last two axes.
        dims: Axes of the image.

    Raises:
        ConfigError: An axis that the image does not have.

    >>> len(turns_of((0, 1), True, 2)), len(turns_of((0, 1, 2), False, 3))
    (8, 8)
    """
    if any(axis not in range(dims) for axis in mirror):
        raise ConfigError(
            f"combine.mirror {list(mirror)}: a {dims}-D image has axes 0 to {dims - 1}"
        )
    found: dict[bytes, Turn] = {}
    sample = torch.arange(2 * 3**dims).reshape(2, 1, *(3,) * dims)
    axes = sorted(set(mirror))
    # Fewest axes first: sums are taken in this order, which is nnU-Net's.
    flips = [flip for count in range(len(axes) + 1) for flip in combinations(axes, count)]
    for quarters in range(4 if quarter_turns else 1):
        for flip in flips:
            turn = Turn(quarters, flip)
            # Two mirrored axes are half a turn: each view is taken once.
            found.setdefault(turn.apply(sample).contiguous().numpy().tobytes(), turn)
    return tuple(found.values())


class CombinedModel(Model):
    """The mean of models and turns, in scores or in logits.

    Args:
        members: Models of the same classes and channels on the same device.
        turns: Views of the input, from `turns_of`.
        average: Average scores (after the activation) or logits (before it).

    Raises:
        ConfigError: The members do not fit together.
    """

    def __init__(self, members: list[Model], turns: tuple[Turn, ...], average: Average) -> None:
        self._members, self._turns, self._average = members, turns, average
        self.card = _card(members, turns, average)
        first = members[0]
        self.device, self.runtime, self.threads = first.device, first.runtime, first.threads
        self.stacked = first.stacked if average == "blended" else 1

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return the mean (n, f * k, *window) for inputs (n, c, *window)."""
        turned = any(turn.quarters % 2 for turn in self._turns) and x.shape[-1] != x.shape[-2]
        if turned and not self.card.any_size:
            raise ConfigError(
                f"combine.quarter_turns needs windows as high as wide, got {tuple(x.shape[2:])}"
            )
        channels = self.stacked * self.card.outputs
        total = torch.zeros((len(x), channels, *x.shape[2:]), device=self.device)
        for member, turn in product(self._members, self._turns):
            total += turn.undo(self._once(member, turn.apply(x)))
        total /= len(self._members) * len(self._turns)
        return total

    def _once(self, member: Model, x: torch.Tensor) -> torch.Tensor:
        """Return what a member says, in what is averaged."""
        raw = member(x)
        if self._average == "blended":
            return raw
        if self._average == "scores":  # each alone, as in the sweep: no bit by its neighbours
            activation = member.card.activation
            each = [sample.chunk(member.stacked) for sample in raw]
            return torch.stack([_mean([activate(r, activation) for r in one]) for one in each])
        return raw if member.stacked == 1 else torch.stack(raw.chunk(member.stacked, 1)).mean(0)


class StackedModel(Model):
    """Networks side by side: the outputs of one lie behind those of the other.

    Args:
        members: Models of the same classes and channels on the same device.

    Raises:
        ConfigError: The members do not fit together.
    """

    def __init__(self, members: list[Model]) -> None:
        self._members, self.stacked = members, sum(member.stacked for member in members)
        self.card = _card(members, turns_of((), False, members[0].card.dims), "blended")
        first = members[0]
        self.device, self.runtime, self.threads = first.device, first.runtime, first.threads

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return all outputs (n, f * k, *window) for inputs (n, c, *window)."""
        shape = (len(x), self.stacked * self.card.outputs, *x.shape[2:])
        found, place = torch.empty(shape, device=self.device), 0
        for member in self._members:  # a result may be overwritten by the next call
            end = place + member.stacked * self.card.outputs
            found[:, place:end] = member(x)
            place = end
        return found


def _mean(scores: list[torch.Tensor]) -> torch.Tensor:
    return scores[0] if len(scores) == 1 else torch.stack(scores).mean(0)


def combine(members: list[Model], turns: tuple[Turn, ...], average: Average) -> Model:
    """Return the mean of models and turns; a single model in its plain view is itself.

    Where ``blended`` outputs are averaged, that of models is left to the blend.

    Raises:
        ConfigError: The members do not fit together.
    """
    if average == "blended" and len(members) > 1:
        members = [StackedModel(members)]
    if len(members) == 1 and len(turns) == 1:
        return members[0]
    return CombinedModel(members, turns, average)


def _card(members: list[Model], turns: tuple[Turn, ...], average: Average) -> ModelCard:
    """Return the card of the mean."""
    cards = [member.card for member in members]
    # A member that takes one window only decides the window of all.
    first = next((card for card in cards if not card.any_size), cards[0])
    for other in cards:
        names = ["dims", "channels", "schema", "normalization", "orientation", "single_output"]
        names += ["painted", "axes", "crop"]
        names += ["activation"] if average != "scores" else []
        names += [] if other.any_size else ["window"]
        for name in names:
            if getattr(first, name) != getattr(other, name):
                raise ConfigError(
                    f"models {first.name!r} and {other.name!r} cannot be averaged: their {name} "
                    "differ"
                )
    known = [(card.sha256, card.architecture, card.activation) for card in cards]
    identity = repr((known, turns, average))
    return replace(
        first,
        name=" + ".join(dict.fromkeys(card.name for card in cards)),
        sha256=hashlib.sha256(identity.encode()).hexdigest(),
        activation="none" if average == "scores" else first.activation,
        multiple=lcm(*(card.multiple for card in cards)),
        any_size=all(card.any_size for card in cards),
        locality=max((card.locality for card in cards), key=_DOUBT.index),
        margin=max(card.margin for card in cards),
    )
