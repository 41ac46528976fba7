"""Post-processing in a run is that of the command on the map that the run would have written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import yaml

import tiledseg
from tests.pipeline.test_postprocess import read, utm
from tiledseg.cli import run
from tiledseg.engine import Postprocessing, TileDone
from tiledseg.errors import BudgetExceeded, ConfigError
from tiledseg.grid import PATIENT, Grid
from tiledseg.io import SinkSpec, create_sink
from tiledseg.labels import ClassSchema
from tiledseg.models import find_card
from tiledseg.pipeline._checks import check_own
from tiledseg.steps import KeepLargest, RemoveSmall

MakeModel = Callable[..., Path]
SCHEMA = ClassSchema.of_names(["rest", "a", "b", "c"], background=0)
#: Two passes over components around one that smooths.
STEPS: list[Any] = [
    {"remove_small": {"samples": 5, "becomes": "neighbour"}},
    {"smooth": 2},
    {"keep_largest": {"classes": "b", "connectivity": 8}},
]
TILES: dict[str, Any] = {"tiling": {"core": (64, 64)}, "runtime": {"threads": 1}}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    pixels = rng.integers(1, 250, (3, 40, 35), np.uint8).repeat(5, 1).repeat(5, 2)
    pixels[:, :30, :40] = 0
    path = tmp_path_factory.mktemp("scene") / "scene.tif"
    spec = SinkSpec(utm((200, 175)), np.dtype(np.uint8), ("c0", "c1", "c2"), 0)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(spec.grid.box, pixels)
    sink.commit()
    return path


@pytest.fixture(scope="module")
def model(make_model: MakeModel) -> Path:
    return make_model(schema=SCHEMA)


@pytest.fixture(scope="module")
def whole(scene: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The map of a run without steps."""
    out = tmp_path_factory.mktemp("whole") / "map.tif"
    tiledseg.segment(scene, model, out, **TILES)
    return out


def asked(*steps: Any, **more: Any) -> dict[str, Any]:
    return {"output": {"postprocess": list(steps), **more}}


def test_a_run_gives_what_the_command_makes_of_its_map(
    scene: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    cleaned, out = tmp_path / "cleaned.tif", tmp_path / "out.tif"
    told = tiledseg.postprocess(whole, cleaned, STEPS)
    shares: list[float] = []

    def listen(event: Any) -> None:
        if isinstance(event, Postprocessing):
            shares.append(event.share)

    settings = asked(*STEPS, polygons=str(tmp_path / "p.gpkg"))
    settings["runtime"] = {"threads": 1, "workers": 2}
    made = tiledseg.segment(scene, model, out, tiling=TILES["tiling"], on_event=listen, **settings)
    expected = read(cleaned)
    np.testing.assert_array_equal(read(out), expected)
    assert (expected != read(whole)).sum() > 100
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert made.ran.changed == told.changed
    samples = {c.name: c.samples for c in made.classes}
    assert samples == {c.name: int((expected == c.id).sum()) for c in SCHEMA.unique}
    assert made.classes[1].amount == pytest.approx(samples["a"] / 100, rel=1e-3)  # ha of 10 m
    assert made.ran.unmeasured == (expected == 255).sum()
    meta, _, _, columns = pyogrio.raw.read(tmp_path / "p.gpkg", layer="p", read_geometry=False)
    named = set(columns[list(meta["fields"]).index("class_name")])
    assert named == {name for name in "abc" if samples[name]}
    config = yaml.safe_load((tmp_path / "out.report" / "run.yaml").read_text())
    assert tiledseg.RunConfig.parse(config).output.postprocess == (
        {"remove_small": {"samples": 5, "becomes": "neighbour"}},
        {"smooth": {"radius": 2}},
        {"keep_largest": {"classes": ["b"], "connectivity": 8}},
    )
    assert not list(tmp_path.glob("*.work"))
    array = tiledseg.segment(scene, model, **TILES, **asked(*STEPS)).array
    np.testing.assert_array_equal(array, expected)


def test_a_volume_is_seen_as_it_is_written(make_model: MakeModel, tmp_path: Path) -> None:
    """The model sees a crop along other axes; steps see the whole map along the image's."""
    model = make_model(
        *(3, 1), schema=SCHEMA, orientation="RAS", crop="nonzero", window=(16, 16, 16)
    )
    rng = np.random.default_rng(2)
    image = np.zeros((30, 28, 26), np.float32)
    image[4:27, 3:28, 5:20] = rng.integers(1, 200, (23, 25, 15))
    grid = Grid.from_centers(image.shape, (5, 6, 7), (1.0, 2.0, 1.5), space=PATIENT)
    path, plain = tmp_path / "image.nii.gz", tmp_path / "plain.nii.gz"
    sink = create_sink(path, SinkSpec(grid, image.dtype, ("c0",), None))
    sink.prepare()
    sink.write(grid.box, image[None])
    sink.commit()
    settings: dict[str, Any] = {"runtime": {"threads": 1}, "tiling": {"core": (16, 16, 16)}}
    tiledseg.segment(path, model, plain, **settings)
    steps = [
        {"remove_small": {"volume_mm3": 12, "becomes": "neighbour", "connectivity": 26}},
        {"smooth": {"radius_mm": 2}},
        {"keep_largest": {"together": True}},
    ]
    cleaned, out = tmp_path / "cleaned.nii.gz", tmp_path / "out.nii.gz"
    tiledseg.postprocess(plain, cleaned, steps)
    made = tiledseg.segment(path, model, out, **settings, **asked(*steps))
    np.testing.assert_array_equal(read(out), read(cleaned))
    assert not np.array_equal(read(out), read(plain))
    assert sum(c.samples for c in made.classes) == image.size
    assert made.classes[1].amount == pytest.approx((read(out) == 1).sum() * 3 / 1000)


def test_killed_within_the_stage_it_goes_on(
    scene: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    out, work = tmp_path / "out.tif", tmp_path / "out.tif.work"
    code = (
        "import os, signal, sys, tiledseg\n"
        "from tiledseg.engine import Postprocessing\n"
        "scene, model, out, steps = sys.argv[1:]\n"
        "def listen(event):\n"
        "    if isinstance(event, Postprocessing) and event.share > 0.7:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "tiledseg.segment(scene, model, out, tiling={'core': (64, 64)}, runtime={'threads': 1},\n"
        "                 on_event=listen, output={'postprocess': eval(steps)})\n"
    )
    words = [sys.executable, "-c", code, str(scene), str(model), str(out), repr(STEPS)]
    assert subprocess.run(words, check=False).returncode == -signal.SIGKILL
    assert not out.exists()
    assert (work / "stages" / "1.zarr").is_dir()
    computed: list[Any] = []
    tiledseg.segment(
        *(scene, model, out),
        on_event=lambda e: computed.append(e) if isinstance(e, TileDone) else None,
        **TILES,
        **asked(*STEPS),
    )
    assert not computed
    tiledseg.postprocess(whole, tmp_path / "cleaned.tif", STEPS)
    np.testing.assert_array_equal(read(out), read(tmp_path / "cleaned.tif"))
    assert not work.exists()


def test_a_step_that_fails_leaves_the_map(
    scene: Path, model: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other steps then go on from it, as do none."""
    out = tmp_path / "out.tif"
    with monkeypatch.context() as patch:
        patch.setattr("tiledseg.components._find.PIECE_BYTES", 1 << 40)
        with pytest.raises(BudgetExceeded, match="components in the first"):
            tiledseg.segment(scene, model, out, **TILES, **asked(*STEPS))
    assert not out.exists()
    made = tiledseg.segment(scene, model, out, **TILES, **asked("fill_holes"))
    assert made.ran.resumed == made.ran.tiles == 12
    tiledseg.postprocess(whole, tmp_path / "cleaned.tif", ["fill_holes"])
    np.testing.assert_array_equal(read(out), read(tmp_path / "cleaned.tif"))


def test_a_card_wishes_and_the_user_decides(
    scene: Path, make_model: MakeModel, whole: Path, tmp_path: Path
) -> None:
    steps = (RemoveSmall(5, becomes="neighbour"), KeepLargest(("a",), together=True))
    wishing = make_model(schema=SCHEMA, postprocess=steps)
    assert find_card(wishing).postprocess == steps
    cleaned = tmp_path / "cleaned.tif"
    tiledseg.postprocess(whole, cleaned, steps)
    np.testing.assert_array_equal(tiledseg.segment(scene, wishing, **TILES).array, read(cleaned))
    plain = tiledseg.segment(scene, wishing, **TILES, **asked())
    np.testing.assert_array_equal(plain.array, read(whole))
    assert plain.ran.changed is None


def test_the_options_of_the_command(
    scene: Path, model: Path, whole: Path, tmp_path: Path, capsys: Any
) -> None:
    out, again = tmp_path / "out.tif", tmp_path / "again.tif"
    words = f"segment {scene} -m {model} -o {out} --set tiling.core=[64,64] --threads 1"
    more = "--smooth 20m --keep-largest b --min-samples 9 --small nodata --fill-holes"
    assert run([*words.split(), *more.split(), "--connectivity", "8"]) == 0
    told = capsys.readouterr().out
    assert "post-processing changed " in told
    given = f"postprocess {whole} -o {again} --no-report -q --connectivity 8 {more}"
    assert run(given.split()) == 0
    np.testing.assert_array_equal(read(out), read(again))
    ran = json.loads((tmp_path / "out.report" / "report.json").read_text())["ran"]
    assert ran["samples_post_processed"] in told
    config = tmp_path / "out.report" / "run.yaml"
    assert run(["run", str(config), "--set", f"out={again}", "-q"]) == 0
    assert again.read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        ({"keep_largest": "liver"}, "map of 'small' has no class 'liver'; it has rest, a, b, c"),
        ({"remove_small": {"volume_mm3": 4}}, "has no sizes in mm3, its sizes are in m2"),
        ({"fill_holes": {"connectivity": 26}}, "connectivity 26 does not exist in 2-D; take 4, 8"),
        ({"smooth": {"radius_m": 4}}, "a radius of 4 m reaches no other sample"),
        ("erode", "output.postprocess, step 1: there is no step 'erode'"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    scene: Path, model: Path, tmp_path: Path, step: Any, sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        tiledseg.segment(scene, model, tmp_path / "out.tif", **asked(step))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asks", [{"thresholds": {"a": 0.5}}, {"postprocess": ["fill_holes"]}])
def test_labels_of_a_bundles_own_code_are_its_own(asks: dict[str, Any]) -> None:
    config = tiledseg.RunConfig.parse({"image": "x", "model": "y", "output": asks})
    check_own(config, False)
    with pytest.raises(
        ConfigError, match=r"output\.(thr|post).* own code makes the labels; change"
    ):
        check_own(config, True)


def test_a_budget_counts_it(scene: Path, model: Path) -> None:
    smooth = {"smooth": 60}
    plain, more = (
        tiledseg.plan(scene, model, **TILES, **asked(*steps)) for steps in ((), (smooth,))
    )
    with plain, more:
        assert more.cost.after - plain.cost.after == 2 * 200 * 175 * 20
