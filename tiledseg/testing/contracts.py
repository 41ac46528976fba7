"""Test classes that certify a source or a sink: subclass one and give its fixtures.

Example, in a test module of the backend::

    class TestMySource(SourceContract):
        @pytest.fixture
        def source(self, tmp_path):
            with MySource(make_file(tmp_path)) as source:
                yield source

Every test of the contract then runs on it. The image should be larger than one of its blocks and
hold different values everywhere, or a wrong place goes unnoticed.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from ..box import Box
from ..io import Sink, Source

Array = NDArray[Any]
_BOXES = 40
_SEED = 20


def sample_boxes(shape: tuple[int, ...]) -> list[Box]:
    """Return boxes inside an image of ``shape``: the whole, its first and last sample, others."""
    rng = np.random.default_rng(_SEED)
    ends = np.sort([[rng.integers(0, n + 1, 2) for n in shape] for _ in range(_BOXES)], axis=-1)
    drawn = [Box(tuple(map(int, e[:, 0])), tuple(map(int, e[:, 1]))) for e in ends]
    ones = (1,) * len(shape)
    last = Box.of_shape(ones, tuple(n - 1 for n in shape))
    return [Box.of_shape(shape), Box.of_shape(ones), last, *(b for b in drawn if b.size)]


class SourceContract:
    """What every `Source` keeps. Give ``source``; give ``samples`` where they are known."""

    @pytest.fixture
    def source(self) -> Source:
        """Return an open source."""
        raise NotImplementedError("give a fixture `source`")

    @pytest.fixture
    def samples(self, source: Source) -> Array:
        """Return all samples, (c, *shape): by default as the source itself reads them at once."""
        return source.read(source.grid.box)

    @pytest.fixture
    def validity(self, source: Source) -> Array:
        """Return where samples are valid: by default as the source itself says at once."""
        return source.valid(source.grid.box)

    def test_describes_itself(self, source: Source) -> None:
        """Names, blocks and dtype are those of an image."""
        assert source.uri
        assert source.channels
        assert all(isinstance(name, str) and name for name in source.channels)
        assert len(source.blocks) == source.grid.ndim
        assert all(isinstance(b, int) and b >= 1 for b in source.blocks)
        assert source.dtype.kind in "iuf"
        assert source.dtype.isnative
        assert source.nodata is None or isinstance(source.nodata, float | int)
        assert source.working_bytes >= 0

    def test_read_gives_the_samples_of_the_box(self, source: Source, samples: Array) -> None:
        """Every box is that part of the whole, channels first, in the stated dtype."""
        for box in sample_boxes(source.grid.shape):
            values = source.read(box)
            assert values.shape == (len(source.channels), *box.shape)
            assert values.dtype == source.dtype
            assert_array_equal(values, samples[(slice(None), *box.slices)], str(box))

    def test_valid_gives_the_validity_of_the_box(self, source: Source, validity: Array) -> None:
        """Every box is that part of the whole, a boolean per sample."""
        for box in sample_boxes(source.grid.shape):
            valid = source.valid(box)
            assert valid.shape == box.shape
            assert valid.dtype == np.bool_
            assert_array_equal(valid, validity[box.slices], str(box))

    def test_what_is_read_belongs_to_the_caller(self, source: Source) -> None:
        """Writing into a result changes nothing that is read later."""
        values, valid = source.read(source.grid.box), source.valid(source.grid.box)
        kept, kept_valid = values.copy(), valid.copy()
        values[...] = 1
        valid[...] = ~valid
        assert_array_equal(source.read(source.grid.box), kept)
        assert_array_equal(source.valid(source.grid.box), kept_valid)

    def test_four_threads_read_at_once(
        self, source: Source, samples: Array, validity: Array
    ) -> None:
        """Threads do not disturb each other."""
        boxes = sample_boxes(source.grid.shape) * 4
        with ThreadPoolExecutor(4) as pool:
            read = list(pool.map(source.read, boxes))
            valid = list(pool.map(source.valid, boxes))
        for box, values, mask in zip(boxes, read, valid, strict=True):
            assert_array_equal(values, samples[(slice(None), *box.slices)], str(box))
            assert_array_equal(mask, validity[box.slices], str(box))

    @pytest.mark.parametrize("limit", [1, 3, 7])
    def test_overview_is_small(self, source: Source, limit: int) -> None:
        """No axis is longer than the limit, and none is shorter than it needs to be."""
        values, valid = source.overview(limit)
        shape = tuple(min(n, limit) for n in source.grid.shape)
        assert values.shape == (len(source.channels), *shape)
        assert values.dtype == source.dtype
        assert valid.shape == shape
        assert valid.dtype == np.bool_

    def test_overview_of_a_small_image_is_the_image(
        self, source: Source, samples: Array, validity: Array
    ) -> None:
        """Where everything fits, nothing is left out."""
        values, valid = source.overview(max(source.grid.shape))
        assert_array_equal(values, samples)
        assert_array_equal(valid, validity)

    def test_fingerprint_is_stable_json(self, source: Source) -> None:
        """Reading changes nothing, and a report can hold the values."""
        before = source.fingerprint()
        source.read(source.grid.box)
        assert before
        assert json.loads(json.dumps(before)) == source.fingerprint()


class SinkContract:
    """What every `Sink` of files keeps. Give ``sink`` and ``stored``."""

    @pytest.fixture
    def sink(self, tmp_path: Path) -> Sink:
        """Return an unprepared sink into ``tmp_path``, which holds nothing else."""
        raise NotImplementedError("give a fixture `sink`")

    def stored(self, path: Path) -> Array:
        """Return what a finished file holds, (bands, *shape), by a reader of its own."""
        raise NotImplementedError("give a method `stored`")

    def values(self, sink: Sink) -> Array:
        """Return samples to write, (bands, *shape): labels of the schema where there is one."""
        spec, rng = sink.spec, np.random.default_rng(_SEED)
        shape = (len(spec.bands), *spec.grid.shape)
        if spec.schema is not None:
            return rng.choice(spec.schema.ids, shape).astype(spec.dtype)
        return rng.integers(0, 100, shape).astype(spec.dtype)

    def fill(self, sink: Sink, values: Array) -> None:
        """Write everything, in disjoint boxes of uneven size."""
        shape = sink.spec.grid.shape
        half = shape[1] // 2
        for row in range(0, shape[0], 7):
            rows = sink.spec.grid.box.along(0, row, min(row + 7, shape[0]))
            for part in (rows.along(1, 0, half), rows.along(1, half, shape[1])):
                if part.size:
                    sink.write(part, np.ascontiguousarray(values[(slice(None), *part.slices)]))

    def test_what_is_written_is_stored(self, sink: Sink) -> None:
        """All samples come back, and only the files named remain."""
        values = self.values(sink)
        sink.prepare()
        self.fill(sink, values)
        made = sink.commit()
        assert made[0] == sink.path
        assert sorted(made) == sorted(sink.path.parent.iterdir())
        assert_array_equal(self.stored(sink.path), values)

    def test_nothing_has_the_final_name_before_commit(self, sink: Sink) -> None:
        """Until the end only temporary names exist."""
        sink.prepare()
        assert not sink.path.exists()
        self.fill(sink, self.values(sink))
        assert not sink.path.exists()
        sink.abort()

    def test_abort_leaves_nothing(self, sink: Sink) -> None:
        """At any moment before `commit`, even before `prepare`."""
        sink.abort()
        sink.prepare()
        sink.abort()
        assert list(sink.path.parent.iterdir()) == []
        sink.prepare()
        self.fill(sink, self.values(sink))
        sink.abort()
        sink.abort()
        assert list(sink.path.parent.iterdir()) == []

    def test_abort_after_commit_is_harmless(self, sink: Sink) -> None:
        """What is finished stays."""
        values = self.values(sink)
        sink.prepare()
        self.fill(sink, values)
        made = sink.commit()
        sink.abort()
        assert all(path.exists() for path in made)
        assert_array_equal(self.stored(sink.path), values)

    def test_an_older_result_stays_until_commit(self, sink: Sink) -> None:
        """A run that fails takes nothing away; one that ends replaces it."""
        old = self.values(sink)
        new = np.roll(old, 1, axis=-1)
        sink.prepare()
        self.fill(sink, old)
        sink.commit()
        sink.prepare()
        self.fill(sink, new)
        assert_array_equal(self.stored(sink.path), old)
        sink.abort()
        assert_array_equal(self.stored(sink.path), old)
        sink.prepare()
        self.fill(sink, new)
        sink.commit()
        assert_array_equal(self.stored(sink.path), new)
