"""``tiledseg check``: every fault of a dataset is told, and a page with pictures is made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.datasets.files import write_raster, write_volume
from tiledseg import pipeline
from tiledseg.cli import run

HEAD = "name: land\nclasses: [water, forest, road]\n"
Case = dict[str, str]


def scene(folder: Path, name: str, seed: int, labels: np.ndarray | None = None, **profile) -> Case:
    """Write a scene with labels, and return its entry."""
    rng = np.random.default_rng(seed)
    image = rng.integers(1, 250, (3, 40, 50), dtype=np.uint8)
    made = rng.integers(0, 3, (40, 50), dtype=np.uint8) if labels is None else labels
    write_raster(folder / f"{name}.tif", image, **profile)
    write_raster(folder / f"{name}_l.tif", made)
    return {"image": f"{name}.tif", "labels": f"{name}_l.tif", "name": name}


def write(folder: Path, cases: list[Case], head: str = HEAD) -> Path:
    path = folder / "land.yaml"
    path.write_text(head + f"cases: {json.dumps(cases)}\n")
    return path


def found(path: Path, kind: str) -> list[str]:
    return [f.text for f in pipeline.check(path).findings if f.kind == kind]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path, [scene(tmp_path, name, i) for i, name in enumerate("abc")])


def test_a_dataset_without_faults(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["check", str(good)]) == 0
    out = capsys.readouterr()
    assert "3, 3 of them labelled, in 3 groups" in out.out
    assert "40 x 50" in out.out
    assert "2 x 2" in out.out
    assert "forest" in out.out
    assert "error" not in out.out + out.err
    assert "warning" not in out.out
    assert f"pictures in {tmp_path / 'land.check' / 'report.html'}" in out.out
    page = (tmp_path / "land.check" / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "http" not in page.replace("http://www.w3.org", "")
    values = json.loads((tmp_path / "land.check" / "report.json").read_text())
    assert sum(c["samples"] for c in values["classes"]) == 3 * 40 * 50


def test_every_case_is_looked_at_whatever_is_wrong_with_others(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = [scene(tmp_path, name, i) for i, name in enumerate("abcdef")]
    (tmp_path / "a.tif").unlink()
    (tmp_path / "b_l.tif").write_bytes(b"nothing")
    write_raster(tmp_path / "c_l.tif", np.zeros((40, 49), np.uint8))
    write_raster(tmp_path / "d.tif", np.ones((2, 40, 50), np.uint8))
    path = write(tmp_path, cases)
    assert run(["check", str(path), "--out", str(tmp_path / "o"), "--json"]) == 2
    values = json.loads(capsys.readouterr().out)
    told = "\n".join(values["errors"])
    assert "case a: there is no file" in told
    assert "case b: " in told
    assert "case c: labels" in told
    assert "same number of channels, found 2 in 1 cases, 3 in 2 cases (such as d)" in told
    assert len(values["errors"]) == 4
    assert [row["name"] for row in values["cases"]] == ["d", "e", "f"]


def test_labels_that_hold_what_is_no_class(tmp_path: Path) -> None:
    labels = np.zeros((40, 50), np.uint8)
    labels[:, 25:] = 1
    labels[:4] = 9
    cases = [scene(tmp_path, n, i, labels if n == "a" else None) for i, n in enumerate("ab")]
    text = "hold what is no class and has no truth therefore (9: 200), in 1 cases (such as a)"
    assert any(text in t for t in found(write(tmp_path, cases), "warning"))
    cases = [scene(tmp_path, n, i, labels + np.uint8(7)) for i, n in enumerate("ab")]
    told = found(write(tmp_path, cases), "error")
    assert any("(7: 1800, 8: 1800, 16: 400)" in t for t in told)
    assert any("two classes or more, found 0" in t for t in told)


def test_classes_that_are_absent_or_in_one_group_or_rare(tmp_path: Path) -> None:
    plain = np.zeros((40, 50), np.uint8)
    special = plain.copy()
    special[:20] = 1
    cases = [scene(tmp_path, n, i, special if n == "a" else plain) for i, n in enumerate("abc")]
    told = found(write(tmp_path, cases), "warning")
    assert any("class road has no sample" in t for t in told)
    assert any("class forest occurs in one group only (a)" in t for t in told)
    special[:20] = 0
    special[0, 0] = 1
    cases = [scene(tmp_path, n, i, special) for i, n in enumerate("abc")]
    told = found(write(tmp_path, cases), "warning")
    assert any("class forest is rare: 0.0500%" in t for t in told)


def test_copies_and_leaks_between_splits(tmp_path: Path) -> None:
    cases = [scene(tmp_path, n, i) for i, n in enumerate("abcd")]
    cases.append({**scene(tmp_path, "e", 0), "split": "validation"})  # the image of a
    cases.append(scene(tmp_path, "f", 1, np.ones((40, 50), np.uint8)))  # that of b
    cases[2]["group"] = cases[3]["group"] = "g"
    cases[3]["split"] = "test"
    path = write(tmp_path, cases)
    errors = found(path, "error")
    assert len(errors) == 2
    assert any("group g is in the splits test and train" in t for t in errors)
    assert any("a, e are the same image in the splits train and validation" in t for t in errors)
    warnings = found(path, "warning")
    assert any("b, f are the same image, labelled differently, in several" in t for t in warnings)


def test_what_has_no_truth_or_no_labels(tmp_path: Path) -> None:
    cases = [scene(tmp_path, n, i) for i, n in enumerate("abc")]
    cases.append(scene(tmp_path, "d", 3, np.full((40, 50), 200, np.uint8)))
    mostly = np.full((40, 50), 200, np.uint8)
    mostly[0, :30] = 1
    cases.append(scene(tmp_path, "e", 4, mostly))
    cases.append({"image": "a.tif", "name": "f"})
    cases.append({"image": "a.tif", "name": "t", "split": "test"})
    told = found(write(tmp_path, cases, HEAD + "ignore: [200]\n"), "warning")
    assert any("case d has labels without any truth" in t for t in told)
    assert any("case e has truth in less than half" in t for t in told)
    assert any("case f has no labels" in t for t in told)


def test_images_that_are_unlike_or_hold_little(tmp_path: Path) -> None:
    import rasterio

    cases = [scene(tmp_path, n, i) for i, n in enumerate("abc")]
    cases.append(scene(tmp_path, "d", 3))
    write_raster(tmp_path / "d.tif", np.zeros((3, 40, 50), np.float32), nodata=0)
    write_raster(tmp_path / "b.tif", np.full((3, 40, 50), 7, np.uint8))
    fine = rasterio.Affine(0.5, 0, 400000.0, 0, -0.5, 5000000.0)
    for name in ("c", "c_l"):
        bands = np.random.default_rng(1).integers(0, 3, (3 if name == "c" else 1, 40, 50))
        write_raster(tmp_path / f"{name}.tif", bands.astype(np.uint8), transform=fine)
    told = found(write(tmp_path, cases), "warning")
    assert any("of several types (uint8 in 3, float32 in 1)" in t for t in told)
    assert any("samples are 0.5 to 2 wide" in t for t in told)
    assert any("case d has nodata in more than half" in t for t in told)
    assert any("case b has a channel that is the same everywhere" in t for t in told)


def test_volumes_with_a_page(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    cases = []
    for name in "ab":
        write_volume(tmp_path / f"{name}.nii.gz", rng.normal(size=(20, 22, 24)).astype("f4"))
        labels = np.zeros((20, 22, 24), np.uint8)
        labels[5:15, 6:16, 7:17] = 1
        write_volume(tmp_path / f"{name}_l.nii.gz", labels)
        cases.append({"image": f"{name}.nii.gz", "labels": f"{name}_l.nii.gz"})
    head = "name: body\nclasses: [back, organ]\nbackground: back\n"
    checked = pipeline.check(write(tmp_path, cases, head), tmp_path / "out")
    assert checked.findings == ()
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/jpeg") == 2


def test_bad_use_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(tmp_path / "no.yaml")]) == 2
    assert capsys.readouterr().err.startswith("tiledseg: there is no dataset")
    (tmp_path / "in.the.way").write_text("")
    cases = [scene(tmp_path, n, i) for i, n in enumerate("ab")]
    path = write(tmp_path, cases)
    assert run(["check", str(path), "--quiet", "--out", str(tmp_path / "in.the.way")]) == 2
    assert "tiledseg: cannot write" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.parametrize("name", ["dubai", "hippocampus"])
def test_the_datasets_of_the_configs(
    name: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both are fit to train on; the page shows them."""
    path = Path(__file__).parents[2] / "configs" / "datasets" / f"{name}.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TILEDSEG_DATA", str(data))
        assert run(["check", str(path), "--quiet", "--out", str(tmp_path / name)]) == 0
    page = (tmp_path / name / "report.html").read_text()
    assert page.count("data:image/jpeg") >= 45
    assert "error:" not in capsys.readouterr().err
