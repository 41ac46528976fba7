"""The census counts what is there, whatever it is read in, and is kept."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiledseg.datasets._counting as module
from tests.datasets.files import write_raster, write_volume
from tiledseg import read_dataset
from tiledseg.datasets import Case, Census, Legend, Pair, take_census
from tiledseg.datasets._labels import ImageLabels
from tiledseg.io import MemorySource
from tiledseg.labels import ClassSchema

SCHEMA = ClassSchema.of_names(["back", "one", "two"], background=0)


def pair_of(image: np.ndarray, labels: np.ndarray) -> Pair:
    legend = Legend.of_schema(SCHEMA, ignore=(9,))
    source = ImageLabels(MemorySource(labels[None]), SCHEMA, legend)
    return Pair(Case("a", ("a",), "l", "a"), MemorySource(image), source)


def shapes(dims: int) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(*[st.integers(1, 23)] * dims)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.one_of(shapes(2), shapes(3)),
    block=st.integers(1, 9),
    limit=st.integers(1, 5000),
    seed=st.integers(0, 999),
)
def test_counts_are_those_of_numpy(
    shape: tuple[int, ...], block: int, limit: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.choice(np.array([0, 1, 2, 9, 77], np.uint8), shape)
    image = rng.normal(100, 20, (2, *shape)).astype(np.float32)
    image[:, rng.random(shape) < 0.1] = np.nan
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_READ", limit)
        census = module._count(pair_of(image, labels), (block,) * len(shape))
    for index in np.ndindex(census.unlabelled.shape):
        part = labels[census.box(index).slices]
        assert census.counts[index].tolist() == [(part == c).sum() for c in (0, 1, 2)]
        assert census.unlabelled[index] == ((part == 9) | (part == 77)).sum()
    assert census.strange == ({"77": (labels == 77).sum()} if (labels == 77).any() else {})
    seen = np.isfinite(image).all(axis=0)
    assert census.unmeasured == (~seen).sum()
    wanted = seen & ((labels == 1) | (labels == 2))
    assert census.moments.count.tolist() == [seen.sum()] * 2
    if wanted.any():
        values = image[:, wanted].astype(np.float64)
        np.testing.assert_allclose(census.foreground.mean, values.mean(axis=1))
        np.testing.assert_allclose(census.foreground.low, values.min(axis=1))
        spread = values.var(axis=1) * wanted.sum()
        np.testing.assert_allclose(census.foreground.spread, spread, rtol=1e-9, atol=1e-6)
    assert census.sample.shape == (2, min(wanted.sum(), module.SAMPLE))


@given(parts=st.lists(st.integers(0, 40), max_size=30))
def test_a_thinned_stream_is_every_kth_of_the_whole(parts: list[int]) -> None:
    whole = np.arange(sum(parts), dtype=np.float32)[None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SAMPLE", 16)
        thinned, at = module._Thinned(1), 0
        for n in parts:
            thinned.add(whole[:, at : at + n])
            at += n
    step = 1
    while len(range(0, whole.size, step)) > 16:
        step *= 2
    assert (thinned.values() == whole[:, ::step]).all()


def scenes(folder: Path) -> Path:
    rng = np.random.default_rng(1)
    for name in ("a", "b"):
        write_raster(folder / f"{name}.tif", rng.integers(1, 9, (2, 300, 200), dtype=np.uint8))
        write_raster(folder / f"{name}_l.tif", rng.integers(0, 4, (300, 200), dtype=np.uint8))
    path = folder / "set.yaml"
    path.write_text(
        "classes: [x, y, z]\ncases:\n- {image: a.tif, labels: a_l.tif}\n"
        "- {image: b.tif, labels: b_l.tif}\n- {image: a.tif, name: c}\n"
    )
    return path


def test_the_second_census_comes_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TILEDSEG_CACHE", str(tmp_path / "cache"))
    dataset = read_dataset(scenes(tmp_path))
    first = take_census(dataset)
    assert list(first.cases) == ["a", "b"]
    assert first.cases["a"].counts.shape == (3, 2, 3)
    kept = list((tmp_path / "cache" / "census").iterdir())
    assert len(kept) == 2

    def refuse(*_: object) -> None:
        raise AssertionError("it was counted again")

    with monkeypatch.context() as patch:
        patch.setattr(module, "_count", refuse)
        same(take_census(dataset), first)
        with pytest.raises(AssertionError, match="counted again"):
            take_census(dataset, block=64)
    kept[0].write_bytes(kept[0].read_bytes()[:-70])  # damaged: counted again
    same(take_census(dataset), first)
    write_raster(tmp_path / "b_l.tif", np.zeros((300, 200), np.uint8))  # changed: counted again
    assert take_census(dataset).cases["b"].totals.tolist() == [60000, 0, 0]


def same(one: Census, other: Census) -> None:
    assert one.digest == other.digest
    assert (one.totals == other.totals).all()
    assert one.cases["a"].facts == other.cases["a"].facts
    assert one.cases["b"].strange == other.cases["b"].strange
    for name, case in one.cases.items():
        assert (case.counts == other.cases[name].counts).all()
        assert (case.sample == other.cases[name].sample).all()
    np.testing.assert_array_equal(one.moments.mean, other.moments.mean)


def test_a_copy_in_another_format_has_the_same_digests(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    image, labels = rng.normal(size=(9, 8, 7)).astype(np.float32), rng.integers(0, 2, (9, 8, 7))
    for suffix in (".nii.gz", ".nrrd"):
        write_volume(tmp_path / f"i{suffix}", image)
        write_volume(tmp_path / f"l{suffix}", labels.astype(np.uint8))
    (tmp_path / "set.yaml").write_text(
        "classes: [x, y]\ncases:\n- {image: i.nii.gz, labels: l.nii.gz, name: a}\n"
        "- {image: i.nrrd, labels: l.nrrd, name: b}\n"
    )
    cases = take_census(read_dataset(tmp_path / "set.yaml")).cases
    assert cases["a"].image_digest == cases["b"].image_digest
    assert cases["a"].labels_digest == cases["b"].labels_digest


def test_a_large_scene_gets_larger_blocks() -> None:
    assert module._block((30_000, 30_000), None) == (128, 128)
    assert module._block((300_000, 300_000), None) == (2048, 2048)


class _Wide(MemorySource):
    """A scene of any size that is nowhere: zeros, made as they are read."""

    def __init__(self, side: int, dtype: type) -> None:
        super().__init__(np.zeros((1, 1, 1), dtype))
        from tiledseg.grid import Grid

        self.grid, self.blocks = Grid.local((side, side)), (512, 512)

    def read(self, box):
        return np.zeros((1, *box.shape), self.dtype)

    def valid(self, box):
        return np.ones(box.shape, bool)


def test_memory_is_flat_in_scene_size() -> None:
    peaks = []
    for side in (2_000, 12_000):
        labels = ImageLabels(_Wide(side, np.uint8), SCHEMA, Legend.of_schema(SCHEMA))
        pair = Pair(Case("a", ("a",), "l", "a"), _Wide(side, np.uint16), labels)
        tracemalloc.start()
        module._count(pair, (128, 128))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 2**20
    assert peaks[1] < 300 * 2**20


def test_shares_and_percentiles() -> None:
    cases = {}
    for name, value in (("a", 1), ("b", 2)):
        labels = np.full((10, 10), value, np.uint8)
        labels[0] = 9
        image = np.arange(100, dtype=np.float32).reshape(1, 10, 10) * value
        cases[name] = module._count(pair_of(image, labels), (4, 4))
    census = Census(SCHEMA, cases)
    assert census.totals.tolist() == [0, 90, 90]
    assert census.shares.tolist() == [0, 0.5, 0.5]
    assert census.missing == 20
    both = np.concatenate([np.arange(10, 100), 2 * np.arange(10, 100)])
    found = census.percentiles((5.0, 50.0))[:, 0]
    np.testing.assert_allclose(found, np.percentile(both, (5, 50)))
