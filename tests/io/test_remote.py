"""Rasters by URL, from a server on this machine."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from tiledseg.errors import DamagedInput
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink, open_source


class Quiet(SimpleHTTPRequestHandler):
    """Serves files and says nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server for the temporary folder."""
    handler = functools.partial(Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


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
        assert source.fingerprint() == source.fingerprint()


def test_a_url_that_is_not_there(served: str) -> None:
    with pytest.raises(DamagedInput, match="nothing.tif"):
        open_source(f"{served}/nothing.tif")
