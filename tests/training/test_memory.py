"""Memory of a training: flat in the size of the scene."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.mark.slow
def test_memory_does_not_grow_with_the_scene(tmp_path: Path) -> None:
    """Image and labels of the larger scene are 134 MB, 0.8 GB as the network takes them."""
    from benchmarks.training import measure, recipe, write_scene

    peaks = []
    for size in (2048, 8192):
        dataset = write_scene(tmp_path / str(size), size)
        peaks.append(measure(recipe(dataset, 4), tmp_path / f"model-{size}")["peak"])
    assert peaks[1] - peaks[0] < 120e6
    assert peaks[1] < 1.6e9
