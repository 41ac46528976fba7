"""Rasters by URL, from a server on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tiledseg.errors import DamagedInput
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink, open_source


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server for the temporary folder."""
    script = Path(__file__).with_name("range_server.py")
    command = [sys.executable, str(script)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.kill()


def test_a_raster_by_url_is_the_file(tmp_path: Path, served: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 90, 80), np.uint8)
    spec = SinkSpec(Grid.local((90, 80)), pixels.dtype, ("a", "b"), None)
    sink = create_sink(tmp_path / "scene.tif", spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()
    with open_source(f"{served}/scene.tif") as source:
        np.testing.assert_array_equal(source.read(source.grid.box), pixels)
        assert source.channels == ("a", "b")


def test_a_url_that_is_not_there(served: str) -> None:
    with pytest.raises(DamagedInput, match=r"nothing\.tif"):
        open_source(f"{served}/nothing.tif")
