"""Bad input: one clear sentence and exit status 2, or a right result; never a traceback."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import tiledseg
from tiledseg.cli import run
from tiledseg.io import open_source

MakeModel = Callable[..., Path]
_DATA = Path(os.environ.get("TILEDSEG_DATA", "/nowhere")) / "broken"
RASTERS = sorted(p for p in _DATA.glob("tiff_*/*") if p.is_file())
VOLUMES = sorted(_DATA.glob("nifti/*")) + sorted(_DATA.glob("dicom/*"))

#: Files that are damaged or cannot be segmented, and a word of the sentence they get.
REFUSED = {
    "crash-0c7e0e8e11ce787078f00b5b0ca409a167f070e0.tif": "damaged",
    "crash-0e16d3bfb83be87356d026d66919deaefca44dac.tif": "damaged",
    "crash-1152ec2d1a1a71395b6f2ce6721c38924d025bf3.tif": "damaged",
    "crash-2020-10-test.tif": "damaged",
    "crash-338516dbd2f0e83caddb8ce256c22db3bd6dc40f.tif": "damaged",
    "crash-63b1dffefc8c075ddc606c0a2f5fdc15ece78863.tif": "damaged",
    "crash-f46f5b2f43c370fe65706c11449f567ecc345e74.tif": "damaged",
    "corrupt.tif": "damaged",
    "header_only.tif": "cannot be opened",
    "libtiff_segfault.tif": "bands",
    "oom-225817ca0f8c663be7ab4b9e717b02c661e66834.tif": "cannot be opened",
    "truncated_60pct.tif": "cannot be opened",
    "zero_bytes.tif": "empty",
    "dim0_is_0.nii.gz": "dimensions",
    "header_only_348.nii": "promises",
    "nan_sform.nii.gz": "not finite",
    "negative_dim.nii.gz": "dimensions",
    "not_gzipped.nii.gz": "promises",
    "qform_sform_disagree.nii.gz": "sform",
    "truncated.nii": "promises",
    "truncated_gz.nii.gz": "cut or altered",
    "two_d.nii.gz": "2-D",
    "unknown_datatype.nii.gz": "datatype",
    "vox_offset_past_eof.nii.gz": "promises",
    "wrong_sizeof_hdr.nii.gz": "header claims",
    "zero_bytes.nii.gz": "empty",
    "zero_dim.nii.gz": "dimensions",
    "zero_pixdim.nii.gz": "expected positive",
    "missing_slice": "missing",
    "one_slice_other_size": "measures",
    "text.dcm": "cannot be read",
    "truncated.dcm": "cannot be read",
    "two_series_one_folder": "--series",
}
#: Too large to segment in a test; opening them must be quick and quiet.
HUGE = {"sparse_gigapixel_40000x40000.tif"}


def _channels(path: Path) -> int:
    try:
        with open_source(path) as source:
            return len(source.channels)
    except tiledseg.TiledsegError:
        return 1


@pytest.mark.data
@pytest.mark.parametrize("path", RASTERS + VOLUMES, ids=lambda p: p.name)
def test_every_broken_file(
    path: Path,
    data: Path,
    tmp_path: Path,
    make_model: MakeModel,
    capfd: pytest.CaptureFixture[str],
) -> None:
    dims, suffix = (2, "tif") if path in RASTERS else (3, "nii.gz")
    if path.name in HUGE:
        with open_source(path) as source:
            assert source.grid.shape == (40000, 40000)
        return
    model = make_model(dims, _channels(path))
    out = tmp_path / f"out.{suffix}"
    capfd.readouterr()
    status = run(["segment", str(path), "-m", str(model), "-o", str(out), "--quiet"])
    err = capfd.readouterr().err
    assert "Traceback" not in err
    if path.name in REFUSED:
        assert status == 2
        told = [line for line in err.splitlines() if line.startswith("tiledseg:")]
        assert len(told) == 1
        assert REFUSED[path.name] in told[0]
        assert path.name in told[0]
        assert list(tmp_path.glob("out.*")) in ([], [tmp_path / "out.tif.work"])
        return
    assert status == 0, err
    with open_source(path) as given, open_source(out) as made:
        assert made.grid.like(given.grid)
        labels = made.read(made.grid.box)[0]
        values = given.read(given.grid.box)
        finite = np.isfinite(values).all(axis=0) & given.valid(given.grid.box)
    np.testing.assert_array_equal(labels == 255, ~finite)


def _refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    status = run([str(a) for a in arguments])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return status, lines[0]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """Return a 3-channel image without georeference."""
    from PIL import Image

    path = tmp_path / "scene.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (90, 80, 3), np.uint8)).save(path)
    return path


def test_wrong_number_of_bands(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = _refusal(
        capsys, "segment", scene, "-m", make_model(channels=4), "-o", tmp_path / "o.tif"
    )
    assert status == 2
    assert "takes 4 channels" in line
    assert "has 3" in line


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--window", "50,x"], "no list of numbers"),
        (["--window", "33,33"], "multiple of 2"),
        (["--stride", "100,100", "--window", "64,64"], "leaves gaps"),
        (["--channels", "1,2,9"], "channel 9 is not there"),
        (["--memory", "lots"], "6GB"),
        (["--set", "tiling.windw=[1,2]"], "tiling.windw"),
        (["--set", "nonsense"], "section.key=value"),
        (["--surfaces", "s"], "surfaces are made of volumes"),
        (["--polygons", "p.xyz"], ".gpkg"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--nonsense"], "--nonsense"),
        (["--memory", "9" * 310], "6GB"),
        (["--threads", "0"], "runtime.threads must be 1 to 4096, found 0"),
        (["--threads", "3000000000"], "runtime.threads must be 1 to 4096"),
        (["--workers", "3000000000"], "runtime.workers must be 1 to 4096"),
        (["--set", "fresh=true"], "config fresh: there is no such setting"),
        (["--set", "model=null"], "config model"),
        (["--set", "tiling=" + "[" * 3000], "nested too deep"),
        (["--set", "out=2024-99-99"], "cannot be read: month must be in 1..12"),
        (["--roi", "POLYGON " + "1 2" * 100], "found no such file"),
        (["--series", "5"], "no folder of DICOM"),
        (["--model", "m" * 300], "there is no model at"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_use(
    scene: Path,
    tmp_path: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    word: str,
) -> None:
    status, line = _refusal(
        capsys, "segment", scene, "-m", make_model(), "-o", tmp_path / "o.tif", *arguments
    )
    assert status == 2
    assert word in line
    assert not (tmp_path / "o.tif").exists()


@pytest.mark.parametrize(
    ("out", "word"),
    [("o.jpg2", "known suffixes"), ("no/such/o.tif", "no folder"), ("o.nii.gz", "2-D image")],
)
def test_bad_output(
    scene: Path,
    tmp_path: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    out: str,
    word: str,
) -> None:
    status, line = _refusal(
        capsys, "segment", scene, "-m", make_model(), "-o", tmp_path / out, "--quiet"
    )
    assert status == 2
    assert word in line


@pytest.mark.parametrize("runtime", ["torch", "onnxruntime", "openvino"])
def test_a_wrong_multiple_is_told_at_the_first_call(
    scene: Path,
    tmp_path: Path,
    make_model: MakeModel,
    capsys: pytest.CaptureFixture[str],
    runtime: str,
) -> None:
    pytest.importorskip(runtime)
    deep = {"name": "unet", "channels": [4, 6, 8], "strides": [2, 2], "norm": "batch"}
    arguments = ["-o", tmp_path / "o.tif", "--window", "33,33", "--runtime", runtime]
    model = make_model(multiple=1, architecture=deep)
    status, line = _refusal(capsys, "segment", scene, "-m", model, *arguments)
    assert status == 2
    assert "model 'small' cannot" in line
    assert "(33, 33)" in line or "use --runtime torch" in line
    assert not (tmp_path / "o.tif").exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("image: [" + "[" * 3000, "nested too deep"),
        ("image: 2024-99-99", "month must be in 1..12"),
        ("image: &a [*a]", "stands for more than"),
        (f"image: a\nmodel: {{a: {'b' * 5000}}}", "config model"),
    ],
    ids=["deep", "date", "holds itself", "long"],
)
def test_a_bad_config(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, word: str
) -> None:
    (tmp_path / "c.yaml").write_text(content)
    status, line = _refusal(capsys, "run", tmp_path / "c.yaml")
    assert status == 2
    assert word in line
    assert len(line) < 1000


@pytest.mark.parametrize("suffix", [".tif", "", ".nii.gz", ".zarr"])
def test_a_name_longer_than_a_file_may_have(
    tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str], suffix: str
) -> None:
    name, out = "i" * 300 + suffix, tmp_path / "o.tif"
    assert _refusal(capsys, "segment", name, "-m", make_model(), "-o", out)[0] == 2
    assert _refusal(capsys, "info", name)[0] == 2


def test_values_of_python_that_make_no_sense(make_model: MakeModel) -> None:
    image = np.zeros((3, 70, 80), np.uint8)
    with pytest.raises(tiledseg.ConfigError, match=r"model \['NoneType'\]: give one model"):
        tiledseg.segment(image, None)
    with pytest.raises(tiledseg.ConfigError, match=r"there is no file a\0b\.tif"):
        tiledseg.segment("a\0b.tif", make_model())
    with pytest.raises(tiledseg.ConfigError, match="threads must be 1 to 4096, found 0"):
        tiledseg.load_model(make_model(), threads=0)
    with pytest.raises(tiledseg.ConfigError, match="series '5': ndarray is no folder of DICOM"):
        tiledseg.segment(image, make_model(), input={"series": "5"})


def test_no_such_image_or_model(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.tif"
    assert _refusal(capsys, "segment", "no.tif", "-m", make_model(), "-o", out)[0] == 2
    assert _refusal(capsys, "segment", scene, "-m", "no-model", "-o", out)[0] == 2


def test_over_budget_is_status_4_with_numbers(
    scene: Path, tmp_path: Path, make_model: MakeModel, capsys: pytest.CaptureFixture[str]
) -> None:
    status, line = _refusal(
        capsys,
        *("segment", scene, "-m", make_model(), "-o", tmp_path / "o.tif", "--memory", "50MB"),
    )
    assert status == 4
    assert "budget is 50.0 MB" in line


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1), (10, 12)])
def test_small_and_thin_images(make_model: MakeModel, shape: tuple[int, int]) -> None:
    image = np.full((3, *shape), 100, np.uint8)
    result = tiledseg.segment(image, make_model())
    assert result.array is not None
    assert result.array.shape == shape


@pytest.mark.parametrize("shape", [(1, 1), (2, 2), (1, 9)])
def test_a_sample_alone_is_nothing_to_normalise_by(
    make_model: MakeModel, shape: tuple[int, int]
) -> None:
    """Instance norm refuses a single sample, which a small window leaves in the depth."""
    norm = {"name": "unet", "channels": [6, 8], "strides": [2], "norm": "instance"}
    result = tiledseg.segment(np.full((3, *shape), 100, np.uint8), make_model(architecture=norm))
    assert result.array is not None
    assert result.array.shape == shape


def test_all_nodata(tmp_path: Path, make_model: MakeModel) -> None:
    image = np.full((3, 100, 90), np.nan, np.float32)
    result = tiledseg.segment(image, make_model(), tmp_path / "o.tif")
    assert result.ran.evaluated == 0
    assert result.ran.unmeasured == 9000
    with open_source(tmp_path / "o.tif") as made:
        assert (made.read(made.grid.box) == 255).all()
