"""Every step follows its formula, and no sample depends on its neighbours."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import tiledseg.io._moments
from tiledseg.errors import ConfigError
from tiledseg.io import MemorySource
from tiledseg.io._moments import fit_exactly
from tiledseg.moments import Moments
from tiledseg.normalize import (
    Clip,
    Linear,
    Log,
    Nodata,
    Normalization,
    SceneRange,
    SceneScore,
    Sigmoid,
    measured,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from monai.transforms import NormalizeIntensity

SEEDS = st.integers(0, 2**32 - 1)
FACTOR = st.floats(-9, 9).filter(lambda v: abs(v) > 0.01)
FIXED = st.one_of(
    st.builds(Linear, st.tuples(FACTOR) | st.tuples(*[FACTOR] * 3), st.tuples(st.floats(-9, 9))),
    st.builds(Clip, st.tuples(st.floats(-9, 0)), st.tuples(*[st.floats(0.5, 9)] * 3)),
    st.builds(Log, st.floats(0.01, 99)),
    st.builds(Sigmoid, FACTOR, st.floats(-9, 9)),
)
CHAINS = st.lists(FIXED, max_size=4).map(lambda steps: Normalization(tuple(steps)))
SCENE = st.builds(SceneRange, st.floats(0, 40), st.floats(60, 100)) | st.just(SceneScore())


def pixels(seed: int, shape: tuple[int, ...] = (3, 13, 17)) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 30, shape).astype(np.float32)


def per_channel(values: tuple[float, ...]) -> np.ndarray:
    return np.array(values, np.float64).reshape(-1, 1, 1)


FORMULAS: dict[str, Callable[..., np.ndarray]] = {
    "linear": lambda s, x: x * per_channel(s.scale) + per_channel(s.offset),
    "clip": lambda s, x: np.clip(x, per_channel(s.low), per_channel(s.high)),
    "log": lambda s, x: np.log(s.scale * x + 1),
    "sigmoid": lambda s, x: 1 / (1 + np.exp(-(s.gain * x + s.offset))),
}


@given(FIXED, SEEDS)
def test_a_step_follows_its_formula(step: Linear | Clip | Log | Sigmoid, seed: int) -> None:
    x = pixels(seed)
    x = np.abs(x) if step.kind == "log" else x
    with np.errstate(over="ignore"):
        expected = FORMULAS[step.kind](step, x.astype(np.float64))
    found = step(x)
    assert found.dtype == np.float32
    assert found.shape == x.shape
    # float32 arguments of about 1000 are known to 1e-4, which a slope of at most 1 passes on.
    assert_allclose(found, expected, rtol=1e-4, atol=2e-4)


@given(SEEDS, st.sampled_from(["numpy", "torch"]))
def test_what_a_channel_lacks_is_filled_in_it_alone(seed: int, library: str) -> None:
    x = np.random.default_rng(seed).integers(0, 3, (3, 13, 17)).astype(np.float32)
    steps = Nodata((0.0, 1.0, -9999.0), (5.0, 6.0, 7.0)), Linear((2.0,), (1.0,))
    x[2, 0, 0] = -9999
    expected = np.stack([np.where(x[0] == 0, 5, x[0]), np.where(x[1] == 1, 6, x[1]), x[2]])
    expected[2, 0, 0] = 7
    valid = np.random.default_rng(seed + 1).random((13, 17)) > 0.2
    chain = Normalization(steps)
    if library == "numpy":
        found = chain(x, valid)
    else:
        found = chain.apply(torch.from_numpy(x), torch.from_numpy(valid), torch).numpy()
    assert found.dtype == np.float32
    assert_array_equal(found, np.where(valid, expected * 2 + 1, 0))


def test_the_ends_of_log_and_sigmoid_stay_finite() -> None:
    x = np.array([[-1e30, -1.0, 0.0, 1e30]], np.float32)
    assert np.isfinite(Log(1.0)(x)).all()
    assert_array_equal(Sigmoid()(x)[0, [0, 3]], [0, 1])


@given(CHAINS, SEEDS, st.sampled_from(["f4", "f8", "u1", "i2"]), st.data())
def test_any_split_gives_the_same_bits(
    chain: Normalization, seed: int, dtype: str, data: st.DataObject
) -> None:
    values = pixels(seed, (3, 37, 41))
    values = (np.abs(values) if dtype == "u1" else values).astype(dtype)
    valid = np.random.default_rng(seed).random((37, 41)) > 0.2
    whole = chain(values, valid)
    rows = [0, *sorted(data.draw(st.sets(st.integers(1, 36), max_size=5))), 37]
    columns = [0, *sorted(data.draw(st.sets(st.integers(1, 40), max_size=5))), 41]
    for top, bottom in pairwise(rows):
        for left, right in pairwise(columns):
            part = (slice(top, bottom), slice(left, right))
            found = chain(values[:, *part], valid[part])
            assert_array_equal(found.view(np.uint32), whole[:, *part].view(np.uint32))


@given(CHAINS, SEEDS)
def test_what_is_not_valid_is_zero_and_touches_nothing(chain: Normalization, seed: int) -> None:
    values = pixels(seed)
    valid = np.random.default_rng(seed).random(values.shape[1:]) > 0.5
    clean = chain(values, valid)
    for filler in (np.nan, np.inf, -3.4e38):
        dirty = np.where(valid, values, np.float32(filler))
        assert_array_equal(chain(dirty, valid), clean)
    assert not clean[:, ~valid].any()


@given(SEEDS)
def test_the_input_is_left_as_it_was(seed: int) -> None:
    values, valid = pixels(seed), np.ones((13, 17), bool)
    kept = values.copy()
    Normalization((Linear((2.0,), (1.0,)), Clip(), Log(), Sigmoid()))(values, valid)
    assert_array_equal(values, kept)


# --------------------------------------------------------------------- scene steps


@given(SEEDS, st.floats(-1000, 1000), st.floats(0.1, 100))
def test_a_scored_scene_has_mean_zero_and_deviation_one(
    seed: int, mean: float, deviation: float
) -> None:
    samples = pixels(seed, (2, 500)) / 30 * deviation + mean
    found = Normalization((SceneScore(),)).fit(samples)(samples[:, None], np.ones((1, 500), bool))
    assert_allclose(found.mean(axis=(1, 2), dtype=float), 0, atol=2e-2)
    assert_allclose(found.std(axis=(1, 2), dtype=float), 1, atol=2e-2)


@given(SEEDS, st.floats(0, 40), st.floats(60, 100))
def test_the_percentiles_of_a_ranged_scene_become_zero_and_one(
    seed: int, low: float, high: float
) -> None:
    samples = pixels(seed, (2, 500))
    chain = Normalization((SceneRange(low, high),)).fit(samples)
    found = chain(samples[:, None], np.ones((1, 500), bool))[:, 0]
    ends = np.percentile(samples.astype(float), [low, high], axis=1)[..., None]
    assert_allclose(found, np.clip((samples - ends[0]) / (ends[1] - ends[0]), 0, 1), atol=1e-5)


@given(CHAINS, SCENE, CHAINS, SEEDS)
def test_a_fitted_chain_is_fixed_and_stays_so(
    before: Normalization, scene: SceneRange | SceneScore, after: Normalization, seed: int
) -> None:
    chain = Normalization((*before.steps, scene, *after.steps))
    samples = pixels(seed, (3, 40))
    fitted = chain.fit(samples)
    assert not chain.fitted
    assert fitted.fitted
    assert fitted.fit(pixels(seed + 1, (3, 40))) == fitted
    with pytest.raises(ConfigError, match="must be fitted"):
        chain(samples[:, None], np.ones((1, 40), bool))


@pytest.mark.parametrize("scene", [SceneRange(), SceneScore()])
def test_a_scene_of_one_value_or_of_nothing_stays_finite(scene: SceneRange | SceneScore) -> None:
    for samples in (np.full((2, 9), 7.0), np.zeros((2, 0))):
        chain = Normalization((scene,)).fit(samples)
        assert np.isfinite(chain(np.full((2, 3, 3), 7.0), np.ones((3, 3), bool))).all()


@given(st.lists(FIXED | SCENE, max_size=5))
def test_json_keeps_the_chain(steps: list[Linear]) -> None:
    chain = Normalization(tuple(steps))
    assert Normalization.from_list(json.loads(json.dumps(chain.to_list()))) == chain


def test_unknown_words_are_refused() -> None:
    with pytest.raises(ConfigError, match="unknown normalisation 'zscore'"):
        Normalization.from_list([{"kind": "zscore"}])
    with pytest.raises(ConfigError, match=r"'log'.*'base'"):
        Normalization.from_list([{"kind": "log", "base": 10}])


# --------------------------------------------------------------------- measured


@pytest.mark.parametrize("filler", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_nan_and_infinity_are_not_measured_in_any_channel(filler: float, dtype: str) -> None:
    values = np.ones((3, 2, 2), dtype)
    values[1, 0, 1] = filler
    valid = np.array([[True, True], [False, True]])
    assert_array_equal(measured(values, valid), [[True, False], [False, True]])


def test_a_float64_beyond_float32_is_not_measured() -> None:
    """GDAL's usual filler of float64 bands would be -inf to a model."""
    values = np.array([[[1.0, -1.7976931348623157e308]]])
    found = measured(values, np.ones((1, 2), bool))
    assert_array_equal(found, [[True, False]])
    assert_array_equal(Normalization()(values, found), [[[1, 0]]])


def test_integers_are_always_measured() -> None:
    valid = np.array([[True, False]])
    assert_array_equal(measured(np.zeros((2, 1, 2), "u1"), valid), valid)


# --------------------------------------------------------------------- exact statistics


@given(SEEDS, st.booleans(), st.booleans())
def test_a_score_may_leave_zeros_out_and_alone(seed: int, nonzero: bool, together: bool) -> None:
    """MONAI's NormalizeIntensity, with nonzero and without channel_wise, is the oracle."""
    samples = pixels(seed, (2, 400))
    samples[:, ::3] = 0
    image = torch.from_numpy(samples.copy()[:, None, None])
    wanted = NormalizeIntensity(nonzero=nonzero, channel_wise=not together)(image).numpy()
    chain = Normalization((SceneScore(nonzero, together),)).fit(samples)
    found = chain(samples[:, None, None], np.ones((1, 1, 400), bool))
    assert_allclose(found, wanted, atol=1e-5)


@given(SEEDS, st.integers(1, 60), st.booleans(), st.booleans())
def test_moments_of_parts_are_those_of_the_whole(
    seed: int, size: int, nonzero: bool, together: bool
) -> None:
    samples = np.round(pixels(seed, (3, 200)) / 20) + np.float32(1e6) * (seed % 2)
    parts = [Moments.of(samples[:, i : i + size], nonzero) for i in range(0, 200, size)]
    joined, whole = parts[0], Moments.of(samples, nonzero)
    for part in parts[1:]:
        joined += part
    if together:
        joined, whole = joined.together(), Moments.of(samples.reshape(1, -1), nonzero)
    for name in ("count", "mean", "low", "high"):
        assert_allclose(getattr(joined, name), getattr(whole, name), rtol=1e-12, atol=1e-12)
    assert_allclose(joined.spread, whole.spread, rtol=1e-9)


def test_exact_statistics_are_of_every_sample_whatever_is_read_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = pixels(3, (2, 40, 9, 11))
    values[:, 7, 3] = 0
    values[0, 39, 8, 10] = 900  # a decimated image may miss the one maximum
    chain = Normalization(
        (SceneScore(True, True, True), SceneRange(together=True, exact=True), SceneRange(2, 98))
    )
    monkeypatch.setattr(tiledseg.io._moments, "_READ", 500)
    found = fit_exactly(MemorySource(values), chain)
    assert not found.fitted
    assert not found.exact
    wanted = Normalization(chain.steps[:2]).fit(values.reshape(2, -1))
    valid = np.ones(values.shape[1:], bool)
    assert_allclose(
        Normalization(found.steps[:-1])(values, valid), wanted(values, valid), atol=1e-6
    )
    assert wanted(values, valid).max() == 1
