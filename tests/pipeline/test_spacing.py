"""A model of another spacing than the image's, from file to file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import tiledseg
from tiledseg.errors import ConfigError, GridMismatch
from tiledseg.grid import LOCAL, PATIENT, Grid, Space, SpaceKind
from tiledseg.io import SinkSpec, Source, create_sink, open_source
from tiledseg.resampling import Resampling

MakeModel = Callable[..., Path]
ANGLE = 0.3
TURNED = [[np.cos(ANGLE), -np.sin(ANGLE), 0], [np.sin(ANGLE), np.cos(ANGLE), 0], [0, 0, -1]]
#: 11 slices of 2.5 mm, 0.9 x 0.7 mm: oblique, and not along the axes that the model wants.
VOLUME = Grid.from_centers((21, 40, 44), (5, -7, 110), (0.7, 0.9, 2.5), TURNED, PATIENT)


def utm(shape: tuple[int, int], step: float) -> Grid:
    """Return a scene in UTM 33 N of square pixels."""
    from rasterio.crs import CRS

    space = Space(SpaceKind.PROJECTED, CRS.from_epsg(32633).to_wkt(), 1.0)
    return Grid.from_matrix(shape, [[step, 0, 5e5], [0, -step, 5.4e6], [0, 0, 1]], space)


def moved(grid: Grid, x: float, y: float) -> Grid:
    matrix = grid.matrix.copy()
    matrix[:2, 2] += x, y
    return Grid.from_matrix(grid.shape, matrix, grid.space)


def write(path: Path, grid: Grid, nodata: float | None = None, channels: int = 3) -> Path:
    """Write blocky noise; some of it nodata where there is such."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(1, 200, (channels, *(n // 5 + 1 for n in grid.shape)))
    for axis in range(1, coarse.ndim):
        coarse = coarse.repeat(5, axis)
    values = coarse[(slice(None), *(slice(n) for n in grid.shape))].astype(np.float32)
    if nodata is not None:
        values[:, 20:60, 30:50] = nodata
    spec = SinkSpec(grid, values.dtype, tuple(f"c{i}" for i in range(channels)), nodata)
    sink = create_sink(path, spec)
    sink.prepare()
    sink.write(grid.box, values)
    sink.commit()
    return path


def read(path: Path) -> tuple[np.ndarray, Grid]:
    with open_source(path) as source:
        return source.read(source.grid.box), source.grid


def model(make_model: MakeModel, **changes: Any) -> Path:
    return make_model(spacing=(20.0, 20.0), **changes)


def test_a_scene_at_the_models_spacing(tmp_path: Path, make_model: MakeModel) -> None:
    """Nodata out where it was in; grid, polygons, scores and report are the image's."""
    scene = write(tmp_path / "scene.tif", utm((210, 170), 10), nodata=-1)
    out, scores = tmp_path / "map.tif", tmp_path / "scores.tif"
    results = set()
    for core in [(210, 170), (100, 90)]:
        result = tiledseg.segment(
            scene,
            model(make_model),
            out,
            tiling={"core": core},
            output={
                "scores": str(scores),
                "score_type": "float32",
                "polygons": str(tmp_path / "map.gpkg"),
            },
            fresh=True,
        )
        labels, grid = read(out)
        results.add(labels.tobytes() + read(scores)[0].tobytes())
    assert len(results) == 1
    assert grid.like(utm((210, 170), 10))
    assert read(scores)[1].like(grid)
    image = read(scene)[0]
    assert_array_equal(labels[0] == 255, image[0] == -1)
    report = json.loads((tmp_path / "map.report/report.json").read_text())
    assert report["ran"]["resampled"] == "from 10 x 10 m to 20 x 20 m (area; scores linear)"
    assert report["ran"]["model_grid"] == "105 x 85"
    measured = sum(m.samples for m in result.classes)
    assert measured == (image[0] != -1).sum()
    assert_allclose(sum(m.amount for m in result.classes), measured / 100)  # hectares
    assert not any("trained at" in warning for warning in result.warnings)


def test_the_result_on_the_models_grid(tmp_path: Path, make_model: MakeModel) -> None:
    """What lies on the image's grid by the nearest sample is what lies on the model's."""
    scene = write(tmp_path / "scene.tif", utm((210, 170), 10))
    card = model(make_model, resampling=Resampling(scores="nearest"))
    tiledseg.segment(scene, card, tmp_path / "fine.tif")
    tiledseg.segment(scene, card, tmp_path / "coarse.tif", output={"grid": "model"})
    fine, coarse = read(tmp_path / "fine.tif"), read(tmp_path / "coarse.tif")
    assert coarse[1].like(utm((105, 85), 20))
    assert_array_equal(fine[0], coarse[0].repeat(2, 1).repeat(2, 2))


def test_the_result_on_another_grid(tmp_path: Path, make_model: MakeModel) -> None:
    """On a file's grid, inside the image and beyond; a mask may lie on the image's own grid."""
    grid = utm((210, 170), 10)
    scene = write(tmp_path / "scene.tif", grid)
    like = moved(utm((60, 60), 25), 1000, -1100)
    write(tmp_path / "like.tif", like, channels=1)
    mask = np.zeros((1, *grid.shape), np.uint8)
    mask[0, 130:, 120:] = 1
    sink = create_sink(tmp_path / "mask.tif", SinkSpec(grid, mask.dtype, ("m",), None))
    sink.prepare()
    sink.write(grid.box, mask)
    sink.commit()
    tiledseg.segment(
        scene,
        model(make_model),
        tmp_path / "map.tif",
        input={"roi": str(tmp_path / "mask.tif")},
        output={"grid": str(tmp_path / "like.tif")},
    )
    labels, found = read(tmp_path / "map.tif")
    assert found.like(like)
    index = grid.world_to_index(like.index_to_world(np.stack(np.indices(like.shape), -1) + 0.5))
    inside = (index >= (130, 120)).all(-1) & (index < grid.shape).all(-1)
    assert_array_equal(labels[0] != 255, inside)


def test_an_oblique_volume(tmp_path: Path, make_model: MakeModel) -> None:
    """Turned to the model's axes, brought to its spacing, and back to the file's geometry."""
    scan = write(tmp_path / "scan.nrrd", VOLUME)
    card = make_model(3, spacing=(2.0, 1.5, 1.5), orientation="RAS")
    for name, grid in (("source", VOLUME), ("model", None)):
        out = tmp_path / f"{name}.nii.gz"
        tiledseg.segment(scan, card, out, output={"grid": name})
        labels, found = read(out)
        if grid is not None:
            assert found.like(grid)
        assert (labels != 255).all()
        assert_allclose(np.sort(found.bounds), np.sort(VOLUME.bounds), atol=1e-3)
    assert found.shape == (35, 24, 15)  # 52.5, 36 and 30.8 mm, at 1.5, 1.5 and 2 mm
    assert_allclose(found.direction, VOLUME.direction, atol=1e-6)


def test_volumes_are_turned_first(tmp_path: Path, make_model: MakeModel) -> None:
    """The same scan stored along other axes gives the same labels in the same places."""
    scan = write(tmp_path / "a.nrrd", VOLUME)
    values, grid = read(scan)
    turned, axes = grid.reorient("PSL")
    sink = create_sink(
        tmp_path / "b.nrrd", SinkSpec(turned, values.dtype, ("c0", "c1", "c2"), None)
    )
    sink.prepare()
    sink.write(turned.box, axes.apply(values))
    sink.commit()
    card = make_model(3, spacing=(2.0, 1.5, 1.5), orientation="RAS")
    one, other = (tiledseg.segment(tmp_path / f"{n}.nrrd", card).array for n in "ab")
    assert one is not None
    assert other is not None
    assert_array_equal(axes.apply(one), other)


def test_little_difference_is_left_alone(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write(tmp_path / "scene.tif", utm((90, 80), 19.5))
    with tiledseg.plan(scene, model(make_model)) as job:
        assert job.plan.target is None
        assert job.grids.told is None
    with tiledseg.plan(scene, model(make_model), input={"resample": "always"}) as job:
        assert job.plan.grid.shape == (88, 78)


def test_what_is_not_resampled_is_told(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write(tmp_path / "scene.tif", utm((90, 80), 10))
    with tiledseg.plan(scene, model(make_model), input={"resample": "never"}) as job:
        assert any("let it be resampled (input.resample)" in w for w in job.warnings)
    from rasterio.crs import CRS

    space = Space(SpaceKind.GEOGRAPHIC, CRS.from_epsg(4326).to_wkt())
    grid = Grid.from_matrix((90, 80), [[1e-4, 0, 10], [0, -1e-4, 60], [0, 0, 1]], space)
    scene = write(tmp_path / "degrees.tif", grid)
    with tiledseg.plan(scene, model(make_model)) as job:
        told = next(w for w in job.warnings if "trained at" in w)
        assert "(11.1195, 5.5605): expect worse results, or reproject it to a CRS in metres" in told
        assert job.plan.target is None


def test_no_word_of_spacing_no_resampling(make_model: MakeModel) -> None:
    image = np.ones((3, 80, 90), np.uint8)
    with tiledseg.plan(image, model(make_model)) as job:
        assert job.plan.target is None
        assert job.grid.space == LOCAL


@pytest.mark.parametrize(
    ("step", "changes", "message"),
    [
        (10, {"spacing": None}, "input.resample always: model 'small' names no spacing"),
        (None, {}, "input.resample always: .* has no spacing in metres or millimetres"),
    ],
)
def test_always_needs_both_spacings(
    tmp_path: Path, make_model: MakeModel, step: float | None, changes: dict[str, Any], message: str
) -> None:
    grid = Grid.local((90, 80)) if step is None else utm((90, 80), step)
    scene = write(tmp_path / "scene.tif", grid)
    card = make_model(**{"spacing": (20.0, 20.0), **changes})
    with pytest.raises(ConfigError, match=message):
        tiledseg.plan(scene, card, input={"resample": "always"})


@pytest.mark.parametrize("spacing", [1e-9, 1e-320])
@pytest.mark.parametrize("mode", ["auto", "always"])
@pytest.mark.filterwarnings("error")
def test_a_grid_without_end_is_refused_at_once(
    tmp_path: Path, make_model: MakeModel, spacing: float, mode: str
) -> None:
    scene = write(tmp_path / "scene.tif", utm((90, 80), 10))
    card = make_model(spacing=(spacing, spacing))
    with pytest.raises(ConfigError, match=r"times another|samples along an axis") as caught:
        tiledseg.plan(scene, card, input={"resample": mode})
    assert len(str(caught.value)) < 500


def test_a_spacing_that_is_a_slip_is_refused(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write(tmp_path / "scene.tif", utm((90, 80), 500))
    with pytest.raises(ConfigError, match=r"500 x 500 m.*20 x 20 m, 25 times another: correct"):
        tiledseg.plan(scene, model(make_model))


def test_grids_that_do_not_fit_are_refused(tmp_path: Path, make_model: MakeModel) -> None:
    scene = write(tmp_path / "scene.tif", utm((90, 80), 10))
    write(tmp_path / "away.tif", moved(utm((90, 80), 10), 1e5, 0), channels=1)
    with pytest.raises(GridMismatch, match="must overlap the image"):
        tiledseg.plan(scene, model(make_model), output={"grid": str(tmp_path / "away.tif")})
    write(tmp_path / "bare.tif", Grid.local((9, 9)), channels=1)
    with pytest.raises(GridMismatch, match="of the same CRS; reproject it first"):
        tiledseg.plan(scene, model(make_model), output={"grid": str(tmp_path / "bare.tif")})
    with pytest.raises(ConfigError, match="there is no file"):
        tiledseg.plan(scene, model(make_model), output={"grid": "nothing.tif"})


def test_another_way_of_resampling_is_another_run(tmp_path: Path, make_model: MakeModel) -> None:
    """Nothing that was made by other settings is taken over."""
    scene = write(tmp_path / "scene.tif", utm((90, 80), 10))
    cards = [model(make_model, resampling=r) for r in (Resampling(), Resampling(image="cubic"))]
    identities = []
    for card in cards:
        with tiledseg.plan(scene, card) as job:
            identities.append(json.dumps([job.identity, job.plan.to_dict(), job.made_from]))
    assert identities[0] != identities[1]


def test_workers_elsewhere_make_the_same(tmp_path: Path, make_model: MakeModel) -> None:
    """A worker that opens the image by name resamples it alike."""
    scan = write(tmp_path / "scan.nrrd", VOLUME)
    wish = Resampling("cubic", normalized=True)
    card = make_model(3, spacing=(2.0, 1.5, 1.5), orientation="RAS", resampling=wish)
    maps = []
    for name, runtime in (("a", {}), ("b", {"runner": "dask", "workers": 1, "threads": 1})):
        settings = {"threads": 1, **runtime}
        out = tmp_path / f"{name}.nii.gz"
        tiledseg.segment(scan, card, out, runtime=settings, tiling={"core": (21, 20, 44)})
        maps.append(read(out)[0])
    assert_array_equal(*maps)


def test_normalized_first(tmp_path: Path, make_model: MakeModel) -> None:
    """A clip before a spline is not a clip after it."""
    from tiledseg.normalize import Clip, Normalization

    scene = write(tmp_path / "scene.tif", utm((90, 80), 30))
    clip = Normalization((Clip((50.0,), (120.0,)),))
    plain, first = (
        model(make_model, normalization=clip, resampling=Resampling("cubic", normalized=n))
        for n in (False, True)
    )
    seen = []
    for card in (plain, first):
        with tiledseg.plan(scene, card) as job:
            values = job.source.read(job.source.grid.box)
            seen.append(job.grids.lane(values, np.ones(values.shape[1:], bool)))
    assert seen[0].max() <= 120
    assert seen[1].max() > 120
    card = model(make_model, schema=_with_background(), resampling=Resampling(normalized=True))
    with pytest.raises(ConfigError, match="skip_below"):
        tiledseg.plan(scene, card, input={"skip_below": 3.0})


def test_exact_statistics_are_taken_once_of_what_the_model_sees(
    tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiledseg.io import _fitting
    from tiledseg.normalize import Normalization, SceneScore

    looked_at: list[tuple[int, ...]] = []
    real = _fitting.fit_exactly

    def counted(source: Source, normalization: Normalization) -> Normalization:
        looked_at.append(source.grid.shape)
        return real(source, normalization)

    monkeypatch.setattr(_fitting, "fit_exactly", counted)
    scene = write(tmp_path / "scene.tif", utm((90, 80), 30))
    card = model(make_model, normalization=Normalization((SceneScore(exact=True),)))
    with tiledseg.plan(scene, card) as job:
        values = job.source.read(job.source.grid.box)
        seen = job.grids.lane(values, np.ones(values.shape[1:], bool))
    assert looked_at == [job.source.grid.shape] != [job.grids.image.grid.shape]
    assert np.abs(seen.mean(axis=(1, 2))).max() < 1e-5
    assert np.abs(seen.std(axis=(1, 2)) - 1).max() < 1e-5


def _with_background() -> Any:
    from tiledseg.labels import ClassSchema

    classes = [{"name": f"class {i}"} for i in range(4)]
    return ClassSchema.from_dict({"classes": classes, "background": 0})
