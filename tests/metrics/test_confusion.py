"""Figures of a confusion matrix: scikit-learn as the oracle, and the laws of streaming."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk
from sklearn.exceptions import UndefinedMetricWarning

from tiledseg.errors import ConfigError
from tiledseg.metrics import Confusion, mean_of

CLOSE = {"rtol": 1e-9, "atol": 1e-12}
NOTHING = 60000


def maps(values: tuple[int, ...] = (0, 1, 3, 7)) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint16, st.just((9, 11)), elements=st.sampled_from(values))


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Truth, map, where there is a truth, where the map has a class."""
    masks = arrays(np.bool_, st.just((9, 11)))
    valid = draw(masks)
    valid[4, 5] = True
    return draw(maps()), draw(maps((0, 1, 3, 9))), valid, draw(masks)


def counted(truth, found, valid, measured) -> Confusion:
    whole = Confusion()
    whole.add(truth, found, valid, measured)
    return whole


@given(pairs())
@settings(max_examples=60, deadline=None)
def test_every_figure_is_that_of_scikit_learn(pair) -> None:
    truth, found, valid, measured = pair
    c = counted(*pair)
    y, p = truth[valid], np.where(measured, found, NOTHING)[valid]
    labels = list(c.ids)
    assert (
        c.counts[:, :-1] == sk.confusion_matrix(y, p, labels=[*labels, NOTHING])[:-1, :-1]
    ).all()
    assert c.accuracy() == pytest.approx(sk.accuracy_score(y, p))
    with np.errstate(invalid="ignore", divide="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UndefinedMetricWarning)  # and is NaN
        kappa = sk.cohen_kappa_score(y, p, labels=[*labels, NOTHING])
    np.testing.assert_allclose(c.kappa(), kappa, equal_nan=True, **CLOSE)
    options = {"labels": labels, "average": None, "zero_division": np.nan}
    np.testing.assert_allclose(c.precision(), sk.precision_score(y, p, **options), **CLOSE)
    np.testing.assert_allclose(c.recall(), sk.recall_score(y, p, **options), **CLOSE)
    np.testing.assert_allclose(c.f1(), sk.f1_score(y, p, **options), **CLOSE)
    there = ~np.isnan(c.iou())
    iou = sk.jaccard_score(y, p, labels=labels, average=None, zero_division=0)
    np.testing.assert_allclose(c.iou()[there], iou[there], **CLOSE)
    assert mean_of(c.iou()) == pytest.approx(iou[there].mean())


@given(pairs(), st.integers(1, 9), st.integers(1, 11))
@settings(max_examples=60, deadline=None)
def test_any_blocks_in_any_order_and_merged_parts_are_the_whole(pair, rows, columns) -> None:
    whole, parts = counted(*pair), [Confusion(), Confusion()]
    for n, top in enumerate(reversed(range(0, 9, rows))):
        for left in range(0, 11, columns):
            block = np.s_[top : top + rows, left : left + columns]
            parts[n % 2].add(*(a[block] for a in pair))
    parts[0].merge(parts[1])
    assert parts[0].ids == whole.ids
    assert (parts[0].counts == whole.counts).all()


@given(pairs())
@settings(max_examples=40, deadline=None)
def test_figures_lie_between_0_and_1_and_dice_follows_from_iou(pair) -> None:
    c = counted(*pair)
    for figures in (c.precision(), c.recall(), c.f1(), c.iou(), np.array([c.accuracy()])):
        there = figures[~np.isnan(figures)]
        assert ((there >= 0) & (there <= 1)).all()
    np.testing.assert_allclose(c.f1(), 2 * c.iou() / (1 + c.iou()), **CLOSE)


def test_a_class_that_is_nowhere_has_no_figure_and_one_only_in_the_map_has_0() -> None:
    c = Confusion((1, 2, 3))
    c.add(np.array([1, 1, 1]), np.array([1, 1, 2]), np.ones(3, bool))
    assert np.isnan([c.f1()[2], c.iou()[2], c.precision()[2], c.recall()[2], c.recall()[1]]).all()
    assert c.f1()[1] == c.iou()[1] == c.precision()[1] == 0
    assert mean_of(c.iou()) == pytest.approx((2 / 3 + 0) / 2)


def test_nodata_of_the_map_is_wrong_where_there_is_a_truth() -> None:
    c = Confusion()
    c.add(
        np.array([1, 1, 2, 2]), np.array([1, 1, 2, 2]), np.ones(4, bool), np.array([1, 0, 1, 1]) > 0
    )
    assert (c.missing, c.accuracy(), c.total) == (1, 0.75, 4)
    assert c.recall().tolist() == [0.5, 1.0]


def test_nothing_is_counted_without_a_truth() -> None:
    c = Confusion()
    c.add(np.array([-7.5, 1]), np.array([4, 1]), np.array([False, True]))
    assert (c.ids, c.total) == ((1,), 1)
    assert np.isnan(Confusion((1,)).accuracy())
    assert np.isnan(Confusion((1,)).kappa())


def test_folding_keeps_classes_and_counts_other_values_of_the_map_as_no_class() -> None:
    c = Confusion()
    c.add(np.array([1, 1, 2, 2]), np.array([1, 9, 2, 8]), np.ones(4, bool))
    chosen = c.only((1, 2, 5))
    assert chosen.counts.tolist() == [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0]]
    assert c.strange_map((1, 2, 5)) == {8: 1, 9: 1}
    with pytest.raises(ConfigError, match=r"no classes: 1 \(2 samples\)"):
        c.only((2,))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([-1, 2]), "holds -1 to 2: labels are 0 to 65535"),
        (np.array([1.0, 2.5]), "holds fractions"),
        (np.array([1.0, np.nan]), "holds nan"),
        (np.array([1, 70000]), "holds 1 to 70000"),
    ],
)
def test_values_that_are_no_labels_are_refused(values, message) -> None:
    for arguments in ((values, np.array([1, 1])), (np.array([1, 1]), values)):
        with pytest.raises(ConfigError, match=message):
            Confusion().add(*arguments, np.ones(2, bool))


def test_ids_of_instances_are_no_classes() -> None:
    ids = np.arange(4000)
    with pytest.raises(ConfigError, match="more than 2048 label values"):
        Confusion().add(ids, ids, np.ones(4000, bool))


def test_labels_stored_as_float_are_labels() -> None:
    c = Confusion()
    c.add(np.array([1.0, 2.0]), np.array([1, 2], np.int64), np.ones(2, bool))
    assert c.accuracy() == 1
