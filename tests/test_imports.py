"""What the package offers, and that importing it costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import tiledseg
from tiledseg import pipeline

HEAVY = ("torch", "rasterio", "SimpleITK", "zarr", "dask", "monai", "pydantic", "numpy")


def test_all_is_sorted_and_importable() -> None:
    assert tiledseg.__all__ == sorted(tiledseg.__all__)
    assert set(tiledseg.__all__) == set(tiledseg._HOME_OF)
    assert all(getattr(tiledseg, name) is not None for name in tiledseg.__all__)


def test_what_is_loaded_late_is_offered_too() -> None:
    assert set(pipeline._LAZY) < set(pipeline.__all__)
    assert all(getattr(pipeline, name) is not None for name in pipeline.__all__)


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = tiledseg.nothing


def test_import_is_light() -> None:
    """In a fresh interpreter: nothing heavy, and under 0.3 s of its own (best of three)."""
    code = (
        "import sys, time; t = time.perf_counter(); import tiledseg; "
        "print(time.perf_counter() - t); "
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    runs = [
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    outputs = [run.stdout.splitlines() for run in runs]
    assert all(loaded == "[]" for _, loaded in outputs)
    assert min(float(seconds) for seconds, _ in outputs) < 0.3


def test_a_run_loads_only_the_readers_it_needs() -> None:
    """Each takes up to 100 MB of a budget."""
    code = (
        "import sys, tiledseg.pipeline; "
        "print([m for m in ('SimpleITK', 'monai', 'dask', 'distributed', 'obstore', 'onnxruntime', "
        "'openvino') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
