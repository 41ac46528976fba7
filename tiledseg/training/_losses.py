"""Losses by name. Samples without a label never count, exactly.

Raw scores are replaced by 0 where there is no label before anything else looks at them, and scores
and one-hot labels are 0 there, so what a network says of such a sample changes neither a loss nor a
gradient. Means are taken over labelled samples only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from typing import Any

import torch
from torch.nn.functional import cross_entropy, interpolate, one_hot

from ..labels import ClassSchema
from ._learning_spec import LossSpec
from ._monai import (
    DiceLoss,
    HausdorffDTLoss,
    TverskyLoss,
    distance_transform_edt,
    soft_skel,
)

#: What stands for "no label" in the truth that losses take.
UNLABELLED = -1
#: Iterations of clDice's skeleton, and what keeps its fractions finite; MONAI's defaults.
_THINNED, _SMOOTH, _TINY = 3, 1.0, 1e-4


@dataclass(frozen=True)
class _Parts:
    """What losses are made of.

    Args:
        raw: Raw scores (n, k, *s), 0 where there is no label.
        truth: Class of every sample, (n, *s); `UNLABELLED` where there is none.
        kept: Channels that count in losses of overlap.
        spec: The settings.
        weights: Of the classes, (k,).
    """

    raw: torch.Tensor
    truth: torch.Tensor
    kept: tuple[int, ...]
    spec: LossSpec
    weights: torch.Tensor

    @cached_property
    def known(self) -> torch.Tensor:
        """Where there is a label, bool (n, *s)."""
        return self.truth != UNLABELLED

    @cached_property
    def count(self) -> torch.Tensor:
        """Number of labelled samples, at least 1."""
        return self.known.sum().clamp(min=1)

    @cached_property
    def scores(self) -> torch.Tensor:
        """Softmax of the channels that count, 0 where there is no label: (n, kept, *s)."""
        return self.raw.softmax(1)[:, self.kept] * self.known[:, None]

    @cached_property
    def marks(self) -> torch.Tensor:
        """One-hot labels of the channels that count, 0 where there is none: (n, kept, *s)."""
        whole = one_hot(self.truth.clamp(min=0), self.raw.shape[1]).movedim(-1, 1)
        return (whole[:, self.kept] * self.known[:, None]).to(self.raw.dtype)

    @cached_property
    def surprise(self) -> torch.Tensor:
        """Weighted cross entropy of every sample, smoothed; 0 where there is no label: (n, *s)."""
        return cross_entropy(
            self.raw,
            self.truth,
            self.weights,
            ignore_index=UNLABELLED,
            reduction="none",
            label_smoothing=self.spec.smoothing,
        )

    @cached_property
    def weight(self) -> torch.Tensor:
        """Sum of the class weights of labelled samples."""
        summed = (self.weights[self.truth.clamp(min=0)] * self.known).sum()
        return summed.clamp(min=torch.finfo(summed.dtype).tiny)


def _cross_entropy(parts: _Parts) -> torch.Tensor:
    """Return the weighted mean, as torch's."""
    return parts.surprise.sum() / parts.weight


def _focal(parts: _Parts) -> torch.Tensor:
    """Return the weighted mean of ``(1 - p)^gamma * -log p`` (Lin et al. 2017, eq. 4)."""
    own = cross_entropy(parts.raw, parts.truth, ignore_index=UNLABELLED, reduction="none")
    weights = parts.weights[parts.truth.clamp(min=0)]
    # expm1 keeps what is left of 1 where p is nearly 1; the power has no gradient at exactly 0.
    missing = (-torch.expm1(-own)).clamp(min=torch.finfo(own.dtype).tiny)
    return (weights * missing**parts.spec.gamma * own).sum() / parts.weight


def _ohem(parts: _Parts) -> torch.Tensor:
    """Return the mean of the largest losses (online hard example mining, Shrivastava 2016)."""
    surprise = parts.surprise[parts.known]
    hardest = ceil(parts.spec.hardest * surprise.numel())
    return surprise.topk(hardest).values.sum() / max(hardest, 1)


def _dice(parts: _Parts) -> torch.Tensor:
    """Return 1 - the mean of the classes' Dice over the batch (MONAI)."""
    return torch.as_tensor(DiceLoss(batch=True)(parts.scores, parts.marks))


def _tversky(parts: _Parts) -> torch.Tensor:
    """Return 1 - the mean of the classes' Tversky index over the batch (MONAI)."""
    made = TverskyLoss(alpha=parts.spec.alpha, beta=parts.spec.beta, batch=True)
    return torch.as_tensor(made(parts.scores, parts.marks))


def _lovasz(parts: _Parts) -> torch.Tensor:
    """Return the Lovasz-softmax loss, mean over the classes present (Berman et al. 2018, eq. 9).

    The Jaccard loss of the worst errors first, extended linearly between numbers of errors.
    """
    scores = parts.raw.softmax(1).movedim(1, -1)[parts.known]
    truth = parts.truth[parts.known]
    found = []
    for channel in torch.unique(truth).tolist():
        own = (truth == channel).to(scores.dtype)
        errors, order = (own - scores[:, channel]).abs().sort(descending=True)
        own = own[order]
        left = own.sum() - own.cumsum(0)
        jaccard = 1 - left / (own.sum() + (1 - own).cumsum(0))
        steps = torch.diff(jaccard, prepend=jaccard.new_zeros(1))
        found.append(errors @ steps)
    return torch.stack(found).mean() if found else parts.raw.sum() * 0


def _boundary(parts: _Parts) -> torch.Tensor:
    """Return the mean of scores times signed distance to the class' boundary, in samples.

    Kervadec et al. 2019, eq. 5. Classes that a patch lacks, or that all its labelled samples have,
    count 0: they have no boundary there. It is below 0 where scores lie inside; use it beside a
    loss of overlap.
    """
    distances = torch.zeros_like(parts.marks)
    for place, marks, known in zip(distances, parts.marks > 0.5, parts.known, strict=True):
        for own, mark in zip(place, marks, strict=True):
            if mark.any() and not mark[known].all():
                own += _distance(~mark) - (_distance(mark) - 1) * mark
    return (parts.scores * distances).sum() / (parts.count * len(parts.kept))


def _distance(mark: torch.Tensor) -> torch.Tensor:
    """Return the distance of every marked sample to the nearest that is not; there is one."""
    return torch.as_tensor(distance_transform_edt(mark[None])[0]).float()


def _hausdorff(parts: _Parts) -> torch.Tensor:
    """Return squared errors times squared distances to both boundaries (Karimi 2019; MONAI).

    MONAI's mean is over all samples, those without a label included, which are 0.
    """
    made = HausdorffDTLoss(include_background=True)(parts.scores, parts.marks)
    return torch.as_tensor(made) * parts.known.numel() / parts.count


def _cldice(parts: _Parts) -> torch.Tensor:
    """Return 1 - the mean of the patches' soft clDice (Shit et al. 2021), as MONAI 1.6."""
    scores, marks = parts.scores, parts.marks
    axes = tuple(range(1, scores.ndim))
    lines, true = (soft_skel(image, _THINNED) for image in (scores, marks))
    precise = ((lines * marks).sum(axes) + _SMOOTH) / (lines.sum(axes) + _SMOOTH)
    sensitive = ((true * scores).sum(axes) + _SMOOTH) / (true.sum(axes) + _SMOOTH)
    return torch.as_tensor((1 - 2 * precise * sensitive / (precise + sensitive + _TINY)).mean())


_LOSSES: dict[str, Callable[[_Parts], torch.Tensor]] = {
    "cross_entropy": _cross_entropy,
    "dice": _dice,
    "focal": _focal,
    "tversky": _tversky,
    "lovasz": _lovasz,
    "boundary": _boundary,
    "hausdorff": _hausdorff,
    "cldice": _cldice,
    "ohem": _ohem,
}


class Loss:
    """A sum of losses.

    Args:
        spec: Which, and their settings.
        schema: The classes, in the order of the output channels.
        weights: Of the classes, in that order; None: 1 each.
    """

    def __init__(
        self, spec: LossSpec, schema: ClassSchema, weights: Sequence[float] | None = None
    ) -> None:
        self._spec = spec
        self._weights = torch.tensor([1.0] * len(schema) if weights is None else list(weights))
        self._kept = tuple(
            channel
            for channel, one in enumerate(schema.classes)
            if spec.background or one.id != schema.background
        )

    def __call__(self, outputs: Sequence[torch.Tensor], truth: torch.Tensor) -> torch.Tensor:
        """Return the loss, float32 and without axes; 0 where nothing is labelled.

        Args:
            outputs: Raw scores (n, k, *s), the finest first; every further one counts half as much.
            truth: Class of every sample of the finest, int64 (n, *s), or `UNLABELLED`.
        """
        total: Any = 0.0
        shares = [0.5**i for i in range(len(outputs))]
        for share, raw in zip(shares, outputs, strict=True):
            total = total + share / sum(shares) * self._one(raw.float(), coarser(truth, raw))
        return torch.as_tensor(total)

    def _one(self, raw: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        raw = raw.masked_fill((truth == UNLABELLED)[:, None], 0.0)
        parts = _Parts(raw, truth, self._kept, self._spec, self._weights.to(raw.device))
        total = raw.sum() * 0  # so that there is a gradient where nothing is labelled
        for name, weight in self._spec.terms.items():
            total = total + weight * _LOSSES[name](parts)
        return total


def coarser(truth: torch.Tensor, raw: torch.Tensor) -> torch.Tensor:
    """Return the labels at the samples of coarser scores: the nearest to their centres."""
    if truth.shape[1:] == raw.shape[2:]:
        return truth
    picked = interpolate(truth[:, None].double(), raw.shape[2:], mode="nearest-exact")
    return picked[:, 0].long()
