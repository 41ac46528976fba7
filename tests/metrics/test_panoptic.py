"""Panoptic quality: MONAI's as the oracle, and the paper's rules for samples without a truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_panoptic_quality

from tiledseg.errors import ConfigError
from tiledseg.metrics import Panoptic


def instances(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Squares with ids, and the same ones shifted, some lost, some new."""
    rng = np.random.default_rng(seed)
    truth, found = np.zeros((40, 40), int), np.zeros((40, 40), int)
    for i in range(1, 8):
        y, x, size = *rng.integers(0, 32, 2), rng.integers(3, 9)
        truth[y : y + size, x : x + size] = i * 10
        dy, dx = rng.integers(-2, 3, 2)
        if rng.random() < 0.8:
            found[max(0, y + dy) : y + dy + size, max(0, x + dx) : x + dx + size] = i + 100
    found[rng.integers(0, 36) :, 38:] = 200
    return truth, found


@given(st.integers(0, 10**6))
@settings(max_examples=40, deadline=None)
def test_every_figure_is_that_of_monai(seed) -> None:
    truth, found = instances(seed)
    p = Panoptic()
    p.add(truth, found, np.ones(truth.shape, bool))
    ours = p.qualities()[0]
    gt, pred = torch.from_numpy(truth), torch.from_numpy(found)
    counts = compute_panoptic_quality(pred, gt, output_confusion_matrix=True)
    assert [ours.matched, ours.extra, ours.missed] == counts[:3].int().tolist()
    smooth = 1e-12  # theirs keeps a quotient finite; ours is NaN there
    for name in ("pq", "sq", "rq"):
        theirs = float(
            compute_panoptic_quality(pred, gt, metric_name=name, smooth_numerator=smooth)
        )
        if ours.matched:
            assert getattr(ours, name) == pytest.approx(theirs, rel=1e-6)
    if ours.matched:
        assert ours.pq == pytest.approx(ours.sq * ours.rq)
        assert 0 <= ours.pq <= ours.rq <= 1


@given(st.integers(0, 10**6), st.sampled_from([1, 7, 16]))
@settings(max_examples=20, deadline=None)
def test_any_blocks_and_merged_parts_are_the_whole(seed, block) -> None:
    truth, found = instances(seed)
    valid = np.random.default_rng(seed).random(truth.shape) < 0.9
    whole, parts = Panoptic(), [Panoptic(), Panoptic()]
    whole.add(truth, found, valid)
    for n, top in enumerate(range(0, 40, block)):
        for left in range(0, 40, block):
            at = np.s_[top : top + block, left : left + block]
            parts[n % 2].add(truth[at], found[at], valid[at])
    parts[0].merge(parts[1])
    assert parts[0].qualities() == whole.qualities()


def test_samples_without_a_truth_leave_the_union_and_excuse_a_segment_in_them() -> None:
    truth, found = np.zeros((10, 10), int), np.zeros((10, 10), int)
    valid = np.ones(truth.shape, bool)
    truth[:4, :4], found[:4, :10] = 1, 1
    valid[:4, 4:] = False
    found[6:8, :5], valid[6:8, :3] = 2, False  # 6 of 10 samples
    found[9, :4], valid[9, :2] = 3, False  # 2 of 4: not more than half
    p = Panoptic()
    p.add(truth, found, valid)
    quality = p.qualities()[0]
    assert (quality.matched, quality.extra, quality.missed) == (1, 1, 0)
    assert quality.overlap == 1


def test_classes_are_told_from_ids_and_never_matched_with_one_another() -> None:
    truth, found = np.zeros((6, 6), int), np.zeros((6, 6), int)
    truth[:3], truth[3:], found[:3], found[3:] = 24001, 26001, 24007, 24008
    p = Panoptic(divisor=1000)
    p.add(truth, found, np.ones(truth.shape, bool))
    figures = {c: (q.matched, q.extra, q.missed) for c, q in p.qualities().items()}
    assert figures == {24: (1, 1, 0), 26: (0, 0, 1)}
    assert np.isnan(p.qualities()[26].sq)
    assert p.qualities()[26].pq == 0


def test_ids_must_be_whole_numbers() -> None:
    for values in (np.array([-1, 2]), np.array([0.5, 1]), np.array([2**32])):
        with pytest.raises(ConfigError, match="ids of instances are whole numbers"):
            Panoptic().add(values, np.zeros(len(values), int), np.ones(len(values), bool))


@given(st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_figures_with_classes_are_those_of_the_definition(seed) -> None:
    """Segment by segment, as the paper and COCO's panopticapi count; no crowds."""
    truth, found = instances(seed)
    rng = np.random.default_rng(seed)
    valid = rng.random(truth.shape) < 0.9
    t_class = {int(i): int(rng.integers(1, 4)) for i in np.unique(truth[truth > 0])}
    f_class = {
        int(i): t_class.get((int(i) - 100) * 10, 2) if rng.random() < 0.7 else 3
        for i in np.unique(found[found > 0])
    }
    p = Panoptic(meanings=(t_class, f_class))
    p.add(truth, found, valid)
    counts: dict[int, list[float]] = {}
    pairs = set()
    for t, label in t_class.items():
        for f in f_class:
            both = int(((truth == t) & (found == f) & valid).sum())
            union = int((((truth == t) | (found == f)) & valid).sum())
            if label == f_class[f] and both / max(1, union) > 0.5:
                counts.setdefault(label, [0, 0, 0, 0.0])[0] += 1
                counts[label][3] += both / union
                pairs |= {("t", t), ("f", f)}
    for t, label in t_class.items():
        if ("t", t) not in pairs and ((truth == t) & valid).any():
            counts.setdefault(label, [0, 0, 0, 0.0])[2] += 1
    for f, label in f_class.items():
        own = found == f
        tally = counts.setdefault(label, [0, 0, 0, 0.0])
        if ("f", f) not in pairs and (own & ~valid).sum() / own.sum() <= 0.5:
            tally[1] += 1
    ours = {c: [q.matched, q.extra, q.missed, q.overlap] for c, q in p.qualities().items()}
    assert ours == {c: pytest.approx(tally) for c, tally in counts.items()}


def test_crowds_excuse_what_lies_in_them() -> None:
    truth, found = np.zeros((8, 8), int), np.zeros((8, 8), int)
    truth[:4], truth[4:, :4] = 1, 2
    found[1:3], found[4:, :4] = 7, 8
    p = Panoptic(meanings=({1: -1, 2: 5}, {7: 5, 8: 5}))
    p.add(truth, found, np.ones(truth.shape, bool))
    (quality,) = p.qualities().values()
    assert (quality.matched, quality.extra, quality.missed) == (1, 0, 0)


def test_a_segment_without_a_class_is_refused() -> None:
    p = Panoptic(meanings=({1: 1}, {1: 1}))
    p.add(np.array([1, 1, 4]), np.array([1, 1, 1]), np.ones(3, bool))
    with pytest.raises(ConfigError, match="the truth holds segment 4"):
        p.qualities()
