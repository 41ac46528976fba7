"""What is counted and picked of a map does not depend on how much of it is read at a time."""

from __future__ import annotations

import numpy as np

from tiledseg.io import MemorySource
from tiledseg.pipeline._seen import Picked, count_labels


def test_labels_are_counted_and_picked_whatever_is_read_at_a_time() -> None:
    labels = np.random.default_rng(0).integers(0, 9, (31, 17), np.uint8)
    source = MemorySource(labels[None], nodata=4)
    wanted = [np.array([0, 5, 6, 30]), np.array([1, 16])]
    for samples in (1, 40, 1 << 20):
        picked, shares = Picked(wanted), []
        counts = count_labels(source, picked, samples, shares.append)
        assert counts[:9].tolist() == [int(n != 4 and (labels == n).sum()) for n in range(9)]
        assert counts[9:].sum() == 0
        expected = labels[np.ix_(*wanted)].astype(int)
        known = expected != 4
        np.testing.assert_array_equal(picked.labels[known], expected[known])
        assert (picked.labels[~known] < 0).all()
        assert shares[-1] == 1
        assert shares == sorted(shares)
