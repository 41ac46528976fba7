"""Many inputs in one pool of tiles."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiledseg
from tiledseg.grid import Grid
from tiledseg.io import SinkSpec, create_sink

MakeModel = Callable[..., Path]
#: One runtime and several tiles an image.
SETTINGS: dict[str, Any] = {
    "tiling": {"core": (128, 128)},
    "runtime": {"threads": 1, "runtime": "torch"},
}


def write_scene(path: Path, shape: tuple[int, int] = (200, 260), seed: int = 0) -> Path:
    """Write a three-band GeoTIFF of blocky noise."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(1, 250, (3, shape[0] // 4 + 1, shape[1] // 4 + 1), np.uint8)
    pixels = pixels.repeat(4, 1).repeat(4, 2)[:, : shape[0], : shape[1]].copy()
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = SinkSpec(Grid.local(shape), np.dtype(np.uint8), ("c0", "c1", "c2"), 0)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()
    return path


def sha(path: Path) -> str:
    """Return the sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def scenes(tmp_path: Path) -> list[Path]:
    """Return three scenes of different sizes in one folder."""
    shapes = {"a": (200, 260), "b": (150, 300), "c": (260, 140)}
    return [
        write_scene(tmp_path / "scenes" / f"{name}.tif", shape, seed)
        for seed, (name, shape) in enumerate(shapes.items())
    ]


def states(result: tiledseg.BatchResult) -> dict[str, str]:
    """Return how every input ended, by name."""
    return {row.name: row.state for row in result.rows}


def test_a_damaged_input_does_not_stop_the_others(
    scenes: list[Path], tmp_path: Path, make_model: MakeModel
) -> None:
    """The others are what single runs write, byte for byte."""
    model = make_model()
    scenes[1].write_bytes(scenes[1].read_bytes()[:300])
    pattern = str(tmp_path / "scenes" / "*.tif")
    result = tiledseg.segment_many(pattern, model, tmp_path / "maps" / "{name}.tif", **SETTINGS)
    assert states(result) == {"a": "done", "b": "failed", "c": "done"}
    assert "b.tif" in result.rows[1].problem
    assert not list((tmp_path / "maps").glob("b.*"))
    for name in ("a", "c"):
        alone = tmp_path / f"{name}.alone.tif"
        tiledseg.segment(tmp_path / "scenes" / f"{name}.tif", model, alone, **SETTINGS)
        assert sha(tmp_path / "maps" / f"{name}.tif") == sha(alone)
        assert (tmp_path / "maps" / f"{name}.report" / "report.html").is_file()


def test_the_report_of_a_batch(scenes: list[Path], tmp_path: Path, make_model: MakeModel) -> None:
    scenes[1].write_bytes(b"II*\0 is not enough")
    out = tmp_path / "maps" / "{name}.tif"
    result = tiledseg.segment_many(scenes, make_model(), out, **SETTINGS)
    folder = tmp_path / "maps" / "batch.report"
    assert [path.name for path in result.report] == ["report.html", "report.json", "report.csv"]
    rows = list(csv.DictReader((folder / "report.csv").read_text().splitlines()))
    assert [(row["name"], row["state"]) for row in rows] == [
        ("a", "done"),
        ("b", "failed"),
        ("c", "done"),
    ]
    assert rows[1]["problem"] == result.rows[1].problem
    assert sum(float(rows[0][f"class class {i}"]) for i in range(4)) == 200 * 260
    told = json.loads((folder / "report.json").read_text())
    assert (
        told["inputs"][0]["classes"]
        == json.loads((tmp_path / "maps" / "a.report" / "report.json").read_text())["classes"]
    )
    page = (folder / "report.html").read_text()
    assert '<a href="../a.report/report.html">a</a>' in page
    assert "../b.report" not in page
    assert result.rows[1].problem[:40] in page.replace("&#39;", "'")
