"""Losses: equal to their references, blind to what has no label."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt
from torch.nn.functional import cross_entropy, one_hot

from tiledseg.labels import ClassSchema
from tiledseg.training import LOSSES, LossSpec
from tiledseg.training._losses import UNLABELLED, Loss, coarser

SCHEMA = ClassSchema.of_names(["ground", "road", "water", "roof"], background=0)
WEIGHTS = (0.5, 1.0, 2.0, 3.0)


def problem(dims: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return raw scores (2, 4, *s) and labels (2, *s) in blobs, every class in each."""
    generator = torch.Generator().manual_seed(seed)
    size = (12, 10) if dims == 2 else (6, 8, 10)
    raw = 2 * torch.randn((2, 4, *size), generator=generator)
    coarse = torch.randint(0, 4, (2, 1, *(n // 2 for n in size)), generator=generator).float()
    truth = torch.nn.functional.interpolate(coarse, size)[:, 0].long()
    return raw, truth


def marks(truth: torch.Tensor) -> torch.Tensor:
    return one_hot(truth, 4).movedim(-1, 1).float()


def without_some(truth: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Take labels away in place; return 1 where there are some, (n, 1, *s), and their share."""
    gone = torch.rand(truth.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    truth[gone] = UNLABELLED
    return (~gone)[:, None].float(), float((~gone).float().mean())


def of(name: str, raw: torch.Tensor, truth: torch.Tensor, **settings: Any) -> torch.Tensor:
    weights = settings.pop("weights", None)
    return Loss(LossSpec(terms={name: 1.0}, **settings), SCHEMA, weights)([raw], truth)


def close(found: torch.Tensor, wanted: Any) -> None:
    assert float(found) == pytest.approx(float(wanted), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("dims", [2, 3])
class TestReferences:
    """Values of other implementations, where everything is labelled."""

    def test_cross_entropy(self, dims: int) -> None:
        raw, truth = problem(dims)
        close(of("cross_entropy", raw, truth), cross_entropy(raw, truth))
        wanted = cross_entropy(raw, truth, torch.tensor(WEIGHTS), label_smoothing=0.1)
        close(of("cross_entropy", raw, truth, weights=WEIGHTS, smoothing=0.1), wanted)

    def test_dice_and_the_sum_with_cross_entropy(self, dims: int) -> None:
        from monai.losses import DiceCELoss, DiceLoss

        raw, truth = problem(dims)
        made = DiceLoss(softmax=True, to_onehot_y=True, batch=True)
        close(of("dice", raw, truth), made(raw, truth[:, None]))
        made = DiceLoss(softmax=True, to_onehot_y=True, batch=True, include_background=False)
        close(of("dice", raw, truth, background=False), made(raw, truth[:, None]))
        both = Loss(LossSpec(), SCHEMA)([raw], truth)
        close(both, DiceCELoss(softmax=True, to_onehot_y=True, batch=True)(raw, truth[:, None]))

    def test_focal(self, dims: int) -> None:
        from monai.losses import FocalLoss

        raw, truth = problem(dims)
        for gamma in (0.0, 2.0, 3.5):
            made = FocalLoss(to_onehot_y=True, use_softmax=True, gamma=gamma, reduction="none")
            wanted = made(raw, truth[:, None]).sum(1).mean()
            close(of("focal", raw, truth, gamma=gamma), wanted)

    def test_tversky(self, dims: int) -> None:
        from monai.losses import TverskyLoss

        raw, truth = problem(dims)
        made = TverskyLoss(softmax=True, to_onehot_y=True, alpha=0.2, beta=0.9, batch=True)
        close(of("tversky", raw, truth, alpha=0.2, beta=0.9), made(raw, truth[:, None]))

    def test_lovasz(self, dims: int) -> None:
        if find_spec("segmentation_models_pytorch") is None:
            pytest.skip("segmentation_models_pytorch is not installed")
        from tiledseg.models._smp import smp  # which mends torchvision's builds

        raw, truth = problem(dims)
        close(of("lovasz", raw, truth), smp.losses.LovaszLoss("multiclass")(raw, truth))
        truth[truth == 2] = UNLABELLED
        made = smp.losses.LovaszLoss("multiclass", ignore_index=UNLABELLED)
        close(of("lovasz", raw, truth), made(raw, truth))

    def test_hausdorff(self, dims: int) -> None:
        from monai.losses import HausdorffDTLoss

        raw, truth = problem(dims)
        made = HausdorffDTLoss(softmax=True, to_onehot_y=True, include_background=True)
        close(of("hausdorff", raw, truth), made(raw, truth[:, None]))
        known, share = without_some(truth)
        masked = HausdorffDTLoss(include_background=True)
        wanted = masked(raw.softmax(1) * known, marks(truth.clamp(min=0)) * known) / share
        close(of("hausdorff", raw, truth), wanted)

    def test_boundary(self, dims: int) -> None:
        """Distances of scipy, sample by sample."""
        raw, truth = problem(dims)
        scores, partial = raw.softmax(1).numpy(), truth.clone()
        without_some(partial)
        for labels in (truth, partial):
            known, total = (labels != UNLABELLED).numpy(), 0.0
            for n in range(2):
                for c in range(4):
                    inside = labels[n].numpy() == c
                    if inside.any() and not inside[known[n]].all():
                        out, within = map(distance_transform_edt, (~inside, inside))
                        signed = np.where(inside, 1 - within, out)
                        total += float((scores[n, c] * signed)[known[n]].sum())
            close(of("boundary", raw, labels), total / (known.sum() * 4))

    def test_cldice(self, dims: int) -> None:
        from monai.losses import SoftclDiceLoss

        raw, truth = problem(dims)
        close(of("cldice", raw, truth), SoftclDiceLoss(softmax=True)(raw, marks(truth)))
        known, _ = without_some(truth)
        wanted = SoftclDiceLoss()(raw.softmax(1) * known, marks(truth.clamp(min=0)) * known)
        close(of("cldice", raw, truth), wanted)

    def test_ohem(self, dims: int) -> None:
        raw, truth = problem(dims)
        losses = np.sort(cross_entropy(raw, truth, reduction="none").flatten().numpy())
        count = -(-len(losses) // 10)
        close(of("ohem", raw, truth, hardest=0.1), losses[-count:].mean())
        close(of("ohem", raw, truth, hardest=1.0), cross_entropy(raw, truth))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("settings", [{}, {"background": False}])
def test_what_has_no_label_changes_nothing(name: str, settings: dict[str, Any]) -> None:
    """Not by a bit: neither the loss nor the gradient elsewhere; and none flows there."""
    raw, truth = problem(2)
    without_some(truth)
    unlabelled = truth == UNLABELLED
    seen = []
    for filler in (0.0, 1e4, float("inf"), float("nan")):
        changed = raw.clone()
        changed[unlabelled[:, None].expand_as(raw)] = filler
        changed.requires_grad_()
        loss = of(name, changed, truth, **settings)
        loss.backward()
        assert changed.grad is not None
        assert not changed.grad[unlabelled[:, None].expand_as(raw)].any()
        seen.append((loss.detach(), changed.grad))
    assert all(torch.equal(loss, seen[0][0]) for loss, _ in seen)
    assert all(torch.equal(gradient, seen[0][1]) for _, gradient in seen)
    assert seen[0][0].isfinite()


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_without_labels_gives_no_gradient(name: str) -> None:
    raw, truth = problem(2)
    raw.requires_grad_()
    loss = of(name, raw, torch.full_like(truth, UNLABELLED))
    loss.backward()
    assert loss.isfinite()
    assert raw.grad is not None
    assert not raw.grad.any()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("partial", [False, True])
def test_where_there_is_no_boundary_no_class_is_favoured(dims: int, partial: bool) -> None:
    """Patches of one class, wholly labelled or in part: nothing lowers the class that is there."""
    raw, truth = problem(dims)
    mixed = truth.clone()
    truth[0] = 2
    if partial:
        truth[0, :3] = UNLABELLED
    raw.requires_grad_()
    loss = of("boundary", raw, truth)
    loss.backward()
    assert raw.grad is not None
    assert not raw.grad[0].any()
    assert raw.grad[1].any()
    known = float((truth != UNLABELLED).sum())
    alone = of("boundary", raw.detach()[1:], mixed[1:])
    close(loss.detach() * known, alone * mixed[1].numel())


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "ohem", "lovasz", "dice", "tversky"])
def test_only_labelled_samples_count(name: str) -> None:
    """The loss is that of an image that consists of the labelled samples alone."""
    raw, truth = problem(2)
    without_some(truth)
    known = truth != UNLABELLED
    alone = raw.movedim(1, -1)[known].T[None, :, :, None]
    settings: dict[str, Any] = {"weights": WEIGHTS}
    close(
        of(name, raw, truth, **settings), of(name, alone, truth[known][None, :, None], **settings)
    )


def test_deep_supervision_halves_with_every_level() -> None:
    raw, truth = problem(2)
    half = raw[:, :, ::2, ::2]
    loss = Loss(LossSpec(terms={"cross_entropy": 1.0}), SCHEMA)
    fine, coarse = loss([raw], truth), loss([half], truth)
    close(loss([raw, half], truth), (2 * fine + coarse) / 3)


def test_labels_of_coarser_scores_are_the_nearest() -> None:
    truth = torch.arange(16).reshape(1, 4, 4) - 1
    assert coarser(truth, torch.zeros(1, 1, 2, 2)).tolist() == [[[4, 6], [12, 14]]]
    assert coarser(truth, torch.zeros(1, 1, 4, 4)) is truth
