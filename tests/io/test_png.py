"""Id maps as PNG: other readers see the ids that were written, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tiledseg.errors import ConfigError, OutputFailed
from tiledseg.grid import Grid
from tiledseg.io import PNG_LARGEST, IdPngSink, SinkSpec


def sink_of(path: Path, shape: tuple[int, ...]) -> IdPngSink:
    return IdPngSink(path, SinkSpec(Grid.local(shape), np.dtype(np.uint32), ("id",), None))


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_pillow_and_gdal_read_the_ids(
    tmp_path_factory: pytest.TempPathFactory, seed: int, rows: int, columns: int, block: int
) -> None:
    path = tmp_path_factory.mktemp("png") / "ids.png"
    ids = np.random.default_rng(seed).integers(0, PNG_LARGEST + 1, (rows, columns), np.uint32)
    ids.flat[0] = PNG_LARGEST
    sink = sink_of(path, ids.shape)
    sink.prepare()
    for top in range(0, rows, block):
        box = sink.spec.grid.box.along(0, top, min(top + block, rows))
        sink.write(box, ids[np.newaxis, top : top + block])
    assert not path.exists()
    assert sink.commit() == [path]
    with Image.open(path) as image:
        assert image.mode == "RGB"
        theirs = np.asarray(image).astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)
    np.testing.assert_array_equal(theirs, ids)
    with rasterio.MemoryFile(path.read_bytes()) as memory, memory.open(driver="PNG") as file:
        red, green, blue = file.read().astype(np.uint32)
    np.testing.assert_array_equal(red + 256 * green + 65536 * blue, ids)


def test_a_png_that_cannot_be_is_refused_and_an_unfinished_one_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"2 x 3 x 4 samples .* holds scenes of up to 1,000,000"):
        sink_of(tmp_path / "ids.png", (2, 3, 4))
    with pytest.raises(ConfigError, match="up to 1,000,000 rows"):
        sink_of(tmp_path / "ids.png", (2, 10**6 + 1))
    with pytest.raises(OutputFailed, match="there is no folder"):
        sink_of(tmp_path / "no" / "ids.png", (2, 3))
    sink = sink_of(tmp_path / "ids.png", (4, 3))
    sink.prepare()
    sink.write(sink.spec.grid.box.along(0, 0, 2), np.zeros((1, 2, 3), np.uint32))
    sink.abort()
    sink.abort()
    assert not list(tmp_path.iterdir())
