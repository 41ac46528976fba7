"""Every outside library has one door, and modules stay small."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

import tiledseg

ROOT = Path(tiledseg.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
DOORS = {
    "rasterio": "io/_rasterio/",
    "SimpleITK": "io/_simpleitk/",
    "zarr": "io/_zarr.py",
    "dask": ("io/_dask.py", "engine/_dask/"),
    "distributed": "engine/_dask/",
    "dask_jobqueue": "engine/_dask/",
    "obstore": "io/_obstore.py",
    "pyarrow": ("vector/_stream.py", "vector/_stored.py"),
    "pyogrio": (
        *("vector/_read.py", "vector/_points.py", "vector/_stream.py", "vector/_stored.py"),
    ),
    "pyproj": "vector/_area.py",
    "skimage": ("meshes/_table.py", "objects/_watershed.py"),
    "fast_simplification": "meshes/_decimate.py",
    "monai": ("models/_monai.py", "models/_foreign/_bundle_own.py", "training/_monai.py"),
    "segmentation_models_pytorch": "models/_smp.py",
    "timm": "models/_smp.py",
    "torchvision": "models/_smp.py",
    "onnxruntime": "models/_onnx.py",
    "openvino": "models/_openvino.py",
    "pydicom": ("datasets/_dicom.py", "rings/_rtstruct.py"),
    "numba": "compiled.py",
    "scipy": ("io/_nonzero.py", "metrics/", "components/_union.py", "objects/"),
    "psutil": ("engine/_machine.py",),
    "PIL": "report/",
    "jinja2": "report/_html.py",
    "yaml": "document.py",
    "pydantic": ("document.py", "config.py", "training/", "datasets/_read.py", "models/"),
    "typer": "cli/",
    "rich": "cli/",
    "safetensors": (
        "models/_torch.py",
        "models/_foreign/_checkpoint.py",
        "training/_checkpoint.py",
    ),
    "shapely": (
        "io/_rasterio/_shapes.py",
        "io/_polygons.py",
        "io/_touched.py",
        "io/_roi/_polygons.py",
        "vector/",
        "datasets/_burnt.py",
        "datasets/_coco.py",
        "datasets/_dicom.py",
    ),
    "torch": (
        "models/",
        "engine/",
        "training/",
        "pipeline/_image.py",
        "pipeline/_validate.py",
        "pipeline/_probe.py",
        "pipeline/_runners.py",
    ),
}
CORE = (
    *("errors", "box", "grid", "lattice", "taper", "resampling", "tiling", "planning", "budget"),
    *("labels", "steps", "normalize", "moments"),
)


@cache
def imported(path: Path) -> set[str]:
    """Return the top-level names of every package a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_behind_its_door_only(library: str) -> None:
    users = [p.relative_to(ROOT).as_posix() for p in MODULES if library in imported(p)]
    assert users, f"{library} is a dependency nobody uses"
    assert all(user.startswith(DOORS[library]) for user in users), users


@pytest.mark.parametrize("name", CORE)
def test_core_values_know_numpy_only(name: str) -> None:
    modules = [p for p in MODULES if p.relative_to(ROOT).with_suffix("").parts[0] == name]
    outside = set().union(*map(imported, modules)) - sys.stdlib_module_names
    assert modules
    assert outside <= {"numpy"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_modules_are_small_and_well_named(path: Path) -> None:
    assert path.stem not in ("utils", "common", "helpers")
    assert len(path.read_text().splitlines()) <= 400
