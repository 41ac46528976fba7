"""The work store on a disk and on S3: one run, many processes, the same bytes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiledseg
from tests.runs import sha, started, strike, write_pixels
from tiledseg import pipeline
from tiledseg.cli import run
from tiledseg.engine import TileDone, TileKept, WindowsDone, WorkStore, stored
from tiledseg.errors import ConfigError, OutputFailed, PlanChanged
from tiledseg.io import Folder, open_folder
from tiledseg.pipeline._names import work_folder

MakeModel = Callable[..., Path]


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A three-band GeoTIFF of 30 tiles of 100 x 100."""
    pixels = np.random.default_rng(3).integers(1, 250, (3, 500, 600), np.uint8)
    return write_pixels(tmp_path / "scene.tif", pixels)


SETTINGS: dict[str, Any] = {"tiling": {"core": (100, 100)}, "runtime": {"threads": 1}}
#: What is done to the class map once all tiles are there.
STEPS = [{"smooth": 1}, {"remove_small": {"samples": 9, "becomes": "neighbour"}}]


def command(scene: Path, model: Path, out: Path, *more: str) -> list[str]:
    """Return the arguments of a run of 30 tiles."""
    return [
        *("segment", str(scene), "-m", str(model), "-o", str(out)),
        *("--set", "tiling.core=[100,100]", "--threads", "1", *more),
    ]


def kill_after_five(process: ForkServerProcess, store: Folder) -> None:
    """Kill a process that has done five tiles."""
    while len(store.names("receipts")) < 5:
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.005)
    process.kill()
    process.join()


def whole(scene: Path, model: Path, out: Path, **output: Any) -> tuple[str, int]:
    """Segment in one go, and return the sha256 of the class map and the windows planned."""
    result = tiledseg.segment(scene, model, out, **SETTINGS, output=output)
    return sha(out), result.ran.planned


def stop_after(tiles: int, events: list[Any]) -> Callable[[Any], None]:
    """Return a listener that interrupts a run."""

    def listen(event: Any) -> None:
        events.append(event)
        if sum(isinstance(e, TileDone) for e in events) == tiles:
            raise KeyboardInterrupt

    return listen


@pytest.fixture(params=["local", "s3"])
def work(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A place for unfinished work."""
    if request.param == "local":
        return str(tmp_path / "work" / "deeper")
    return f"{request.getfixturevalue('s3')}{tmp_path}/"


def test_killed_and_resumed_it_gives_the_same_bytes(
    scene: Path, tmp_path: Path, make_model: MakeModel, work: str
) -> None:
    expected, planned = whole(scene, make_model(), tmp_path / "whole.tif")
    out = tmp_path / "out.tif"
    store = open_folder(work_folder(out, work))
    kill_after_five(started(command(scene, make_model(), out, "--work", work, "--quiet")), store)
    assert not out.exists()
    kept = len(store.names("receipts"))
    assert 5 <= kept < 30
    events: list[Any] = []
    settings = {**SETTINGS, "output": {"work": work}}
    result = tiledseg.segment(scene, make_model(), out, on_event=events.append, **settings)
    assert result.ran.resumed == kept
    assert sum(isinstance(e, TileDone) for e in events) == 30 - kept
    assert result.ran.evaluated == planned
    assert sha(out) == expected
    assert store.names("") == []
    assert not out.with_name("out.tif.work").exists()


def test_workers_whose_driver_is_killed_and_their_next_one(
    scene: Path, tmp_path: Path, make_model: MakeModel, s3: str
) -> None:
    """The work store on S3, the workers in processes of their own."""
    settings = {**SETTINGS, "runtime": {"threads": 1, "runtime": "torch"}}
    settings["output"] = {"postprocess": STEPS}
    alone = tiledseg.segment(scene, make_model(), tmp_path / "whole.tif", **settings)
    out, work = tmp_path / "out.tif", f"{s3}{tmp_path}/"
    store = open_folder(work_folder(out, work))
    more = ("--work", work, "--runtime", "torch", "--runner", "dask", "--workers", "2", "--quiet")
    kill_after_five(started(command(scene, make_model(), out, *more)), store)
    kept = len(store.names("receipts"))
    assert not out.exists()
    events: list[Any] = []
    settings["runtime"] |= {"runner": "dask", "workers": 2}
    settings["output"] |= {"work": work}
    result = tiledseg.segment(scene, make_model(), out, on_event=events.append, **settings)
    assert 5 <= kept <= result.ran.resumed < 30
    assert sum(isinstance(e, TileDone) for e in events) == 30 - result.ran.resumed
    assert result.ran.evaluated == alone.ran.planned
    assert sha(out) == sha(tmp_path / "whole.tif")
    assert store.names("") == []


def test_a_second_driver_refuses(
    scene: Path, tmp_path: Path, make_model: MakeModel, work: str
) -> None:
    out = tmp_path / "out.tif"
    settings = {**SETTINGS, "output": {"work": work}}
    refused = []

    def second(event: object) -> None:
        if isinstance(event, TileDone) and not refused:
            more = ("--work", work, "--quiet")
            refused.append(started(command(scene, make_model(), out, *more), tmp_path / "told"))
            refused[0].join()

    tiledseg.segment(scene, make_model(), out, on_event=second, **settings)
    assert refused[0].exitcode == 2
    (told,) = (tmp_path / "told").read_text().splitlines()
    assert "another run is writing" in told


def test_shards_at_once_and_then_assembling(
    scene: Path, tmp_path: Path, make_model: MakeModel, work: str
) -> None:
    """Four processes that begin together; which of them makes the store is chance."""
    expected, planned = whole(scene, make_model(), tmp_path / "whole.tif", postprocess=STEPS)
    out = tmp_path / "out.tif"
    shards = [
        started(
            command(
                *(scene, make_model(), out, "--work", work),
                *("--shard", f"{n}/4", "--json", "--quiet"),
            ),
            tmp_path / f"{n}.json",
        )
        for n in range(1, 5)
    ]
    for shard in shards:
        shard.join()
    assert [shard.exitcode for shard in shards] == [0] * 4
    told = [json.loads((tmp_path / f"{n}.json").read_text()) for n in range(1, 5)]
    assert [t["computed"] for t in told] == [8, 8, 7, 7]
    assert sum(t["evaluated"] for t in told) == planned
    assert not out.exists()
    assert len(open_folder(work_folder(out, work)).names("receipts")) == 30
    events: list[Any] = []
    settings = {**SETTINGS, "output": {"work": work, "postprocess": STEPS}}
    result = tiledseg.segment(scene, make_model(), out, on_event=events.append, **settings)
    assert not any(isinstance(e, TileDone | WindowsDone) for e in events)
    assert result.ran.resumed == 30
    assert result.ran.evaluated == planned
    assert sha(out) == expected


def test_a_shard_takes_over_the_plan_of_the_first(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings left open come out another way elsewhere: fewer cores, less memory."""
    from tiledseg.pipeline import _prepare, _shard

    out = tmp_path / "out.tif"
    first = pipeline.plan(
        scene, make_model(), out, shard=pipeline.Shard(1, 2), runtime={"threads": 1}
    )
    first.close()
    monkeypatch.setattr(_prepare, "threads_of", lambda config: 2)
    late: list[object] = []
    real = _shard.prepare

    def as_if_at_once(*arguments: Any) -> Any:
        late.append(None)
        return real(*arguments[:3], None if len(late) == 1 else arguments[3])

    monkeypatch.setattr(_shard, "prepare", as_if_at_once)
    second = pipeline.plan(scene, make_model(), out, shard=pipeline.Shard(2, 2))
    with second:
        assert len(late) == 2
        assert second.plan == first.plan
        done = pipeline.execute_shard(second, out, pipeline.Shard(2, 2), lambda event: None)
    assert (done.computed, done.lost) == (len(range(1, len(first.plan), 2)), {})


def test_threads_are_taken_over(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiledseg.pipeline import _prepare

    out = tmp_path / "out.tif"
    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, make_model(), out, on_event=stop_after(1, []), **SETTINGS)
    monkeypatch.setattr(_prepare, "threads_of", lambda config: 7)
    result = tiledseg.segment(scene, make_model(), out)
    assert result.ran.resumed == 1


def test_a_store_says_what_a_run_was(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the store alone, in any folder, the same job can be prepared again."""
    monkeypatch.chdir(tmp_path)
    out = Path("out.tif")
    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment("scene.tif", make_model(), out, on_event=stop_after(1, []), **SETTINGS)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store = WorkStore.open(tmp_path / "out.tif.work")
    again = tiledseg.RunConfig.parse(store.config)
    given = {name: getattr(again, name) for name in type(again).model_fields if name != "out"}
    assert given["tiling"].core == (100, 100)
    with tiledseg.plan(**given) as job:
        assert job.plan == store.plan
        assert json.loads(json.dumps(job.identity)) == store.identity


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "1/0", "-1/4", "a/b", "1/4/2", ""])
def test_a_shard_that_is_none(
    scene: Path, tmp_path: Path, make_model: MakeModel, text: str, capsys: Any
) -> None:
    arguments = ["segment", str(scene), "-m", str(make_model()), "-o", str(tmp_path / "o.tif")]
    assert run([*arguments, "--shard", text]) == 2
    assert "from 1/4 to 4/4" in capsys.readouterr().err
    assert run([*arguments, "--shard", "1/4", "--fresh"]) == 2
    assert "other shards" in capsys.readouterr().err


def test_a_shard_and_a_driver_exclude_each_other(
    scene: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    out = tmp_path / "out.tif"
    shard = pipeline.Shard(1, 3)

    def drive(event: object) -> None:
        with pytest.raises(PlanChanged, match="another run is writing"):
            tiledseg.segment(scene, make_model(), out, **SETTINGS)
        raise KeyboardInterrupt

    with pipeline.plan(scene, make_model(), out, shard=shard, **SETTINGS) as job:
        with pytest.raises(KeyboardInterrupt):
            pipeline.execute_shard(job, out, shard, drive)

        def share(event: object) -> None:
            with pytest.raises(PlanChanged, match="another run is writing"):
                pipeline.execute_shard(job, out, shard, lambda event: None)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            tiledseg.segment(scene, make_model(), out, on_event=share, **SETTINGS)


def test_lost_scores_are_computed_again(scene: Path, tmp_path: Path, make_model: MakeModel) -> None:
    out, scores = tmp_path / "out.tif", tmp_path / "scores.tif"
    settings = {**SETTINGS, "output": {"scores": str(scores)}}
    tiledseg.segment(scene, make_model(), out, **settings)
    expected = sha(out), sha(scores)
    out.unlink()
    scores.unlink()
    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, make_model(), out, on_event=stop_after(6, []), **settings)
    chunks = out.with_name("out.tif.work") / "scores.zarr" / "c"
    next(path for path in sorted(chunks.rglob("*")) if path.is_file()).unlink()
    events: list[Any] = []
    tiledseg.segment(scene, make_model(), out, on_event=events.append, **settings)
    assert sum(isinstance(e, TileKept) for e in events) == 5
    assert (sha(out), sha(scores)) == expected


def test_a_store_that_cannot_be_understood_is_discarded_when_asked(
    scene: Path, tmp_path: Path, make_model: MakeModel, work: str
) -> None:
    out = tmp_path / "out.tif"
    settings = {**SETTINGS, "output": {"work": work}}
    store = open_folder(work_folder(out, work))
    store.write("plan.json", b'{"version": 3, "plan": []}')
    store.write("labels.zarr/zarr.json", b"{")
    with pytest.raises(PlanChanged, match="--fresh"):
        tiledseg.segment(scene, make_model(), out, **settings)
    tiledseg.segment(scene, make_model(), out, fresh=True, **settings)
    assert store.names("") == []


# --------------------------------------------------------------------- seeing it


def test_status_from_another_process(
    scene: Path, tmp_path: Path, make_model: MakeModel, work: str
) -> None:
    out = tmp_path / "out.tif"
    found: list[dict[str, Any]] = []
    done = [0]

    def look(event: object) -> None:
        done[0] += isinstance(event, TileDone)
        if isinstance(event, WindowsDone) and done[0] == 9 and not found:
            time.sleep(2.3)  # until the next note
            asked = started(["status", str(out), "--work", work, "--json"], tmp_path / "told")
            asked.join()
            assert asked.exitcode == 0
            found.append(json.loads((tmp_path / "told").read_text()))
            assert "9 done" in pipeline.status(str(work_folder(out, work))).summary()

    settings = {**SETTINGS, "output": {"work": work}}
    result = tiledseg.segment(scene, make_model(), out, on_event=look, **settings)
    (status,) = found
    assert (status["tiles"], status["done"], status["failed"]) == (30, 9, {})
    planned, over = status["windows"]
    assert planned == result.ran.planned
    assert 0 < over < planned
    assert status["rate"] > 0
    assert status["left"] == pytest.approx((planned - over) / status["rate"])
    (worker,) = status["workers"]
    assert (worker["state"], worker["role"], worker["done"]) == ("at work", "all tiles", 9)
    assert worker["worker"] == result_worker()
    assert worker["heard"] < 5
    assert pipeline.status(str(out)).summary() == f"{out} is finished"


def result_worker() -> str:
    """Return the name of this process."""
    from tiledseg.engine import machine

    return machine.worker()


def test_status_of_failed_and_stopped_runs(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiledseg.models._torch import TorchModel

    out = tmp_path / "out.tif"
    shard = pipeline.Shard(2, 3)
    with pipeline.plan(scene, make_model(), out, shard=shard, **SETTINGS) as job:
        strike(monkeypatch, TorchModel, 20)
        result = pipeline.execute_shard(job, out, shard, lambda event: None)
    assert list(result.lost.values()) == ["RuntimeError: cosmic ray"]
    assert (result.computed, result.tiles) == (9, 10)
    found = pipeline.status(str(out))
    assert (found.done, found.running, found.failed) == (9, 0, result.lost)
    (worker,) = found.workers
    assert (worker.state, worker.role) == ("ended", "shard 2/3")
    progress = next((tmp_path / "out.tif.work" / "progress").iterdir())
    values = json.loads(progress.read_text())
    silent = {**values, "state": "at work", "time": time.time() - 3600, "running": 4}
    progress.write_text(json.dumps(silent))
    progress.with_name("torn.json").write_text('{"worker"')
    hostile = {
        "other": [1],
        "endless": {**values, "tiles": float("inf")},
        "huge": {**values, "rate": 10**400},
        "nan": {**values, "rate": float("nan")},
    }
    for name, content in hostile.items():
        progress.with_name(f"{name}.json").write_text(json.dumps(content))
    progress.with_name("deep.json").write_text("[" * 100_000)
    found = pipeline.status(str(out))
    assert [w.state for w in found.workers] == ["silent"]
    assert (found.running, found.rate, found.left) == (0, 0, None)
    assert "cosmic ray" in found.summary()
    forged = {**values, "worker": "\x1b[2J\x07\nx", "role": "\x1b]0;title\x07", "reasons": {}}
    progress.write_text(json.dumps(forged))
    assert all(line.isprintable() for line in pipeline.status(str(out)).summary().splitlines())
    assert len(pipeline.status(str(out)).workers) == 1
    progress.write_text(json.dumps(silent))
    with pipeline.plan(scene, make_model(), out, shard=shard, **SETTINGS) as job:
        again = pipeline.execute_shard(job, out, shard, lambda event: None)
    assert (again.computed, again.kept, again.lost) == (1, 9, {})
    assert pipeline.status(str(out)).failed == {}


def test_status_of_nothing(tmp_path: Path, s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "image.tif").touch()  # that it is there does not make it the result of a run
    there = ("no.tif", "image.tif", ".")
    for where in (*(str(tmp_path / name) for name in there), f"{s3}/nothing/here", "/", "."):
        assert run(["status", where]) == 2
        told = capsys.readouterr().err
        assert "there is no unfinished work" in told
        assert len(told.splitlines()) == 1


def test_the_log_has_a_line_for_every_tile(
    scene: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    out, log = tmp_path / "out.tif", tmp_path / "tiles.jsonl"
    settings = {**SETTINGS, "output": {"log": str(log)}}
    lines: list[int] = []

    def stop(event: object) -> None:
        if isinstance(event, TileDone):
            lines.append(len(log.read_text().splitlines()))
        if len(lines) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiledseg.segment(scene, make_model(), out, on_event=stop, **settings)
    assert lines == [0, 1, 2, 3]  # the listener hears of a tile before the log does
    result = tiledseg.segment(scene, make_model(), out, **settings)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert {record["image"] for record in records} == {str(scene)}
    states = [record["state"] for record in records]
    assert states[-30:].count("kept") == 4
    assert states[-30:].count("done") == 26
    last = records[-30:]
    assert sorted(record["tile"] for record in last) == list(range(30))
    assert sum(r["evaluated"] + r["skipped"] for r in last) == result.ran.planned
    assert all(r["time"] and r["worker"] and r["seconds"] > 0 for r in last)
    assert sum(sum(r["samples"]) for r in last) == 500 * 600


def test_a_lost_tile_is_logged_with_its_reason(
    scene: Path, tmp_path: Path, make_model: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tiledseg.models._torch import TorchModel

    out, log = tmp_path / "out.tif", tmp_path / "tiles.jsonl"
    strike(monkeypatch, TorchModel, 20)
    arguments = command(scene, make_model(), out, "--log", str(log), "--quiet")
    assert run(arguments) == 3
    lost = [r for r in map(json.loads, log.read_text().splitlines()) if r["state"] == "lost"]
    assert [record["reason"] for record in lost] == ["RuntimeError: cosmic ray"]


def test_places_that_cannot_be_written_are_refused(
    scene: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    out = tmp_path / "out.tif"
    (tmp_path / "file").write_text("")
    for output, kind in (
        ({"log": str(tmp_path / "no" / "log.jsonl")}, OutputFailed),
        ({"work": str(tmp_path / "file")}, (OutputFailed, PlanChanged)),
        ({"work": "s3://"}, ConfigError),
    ):
        with pytest.raises(kind) as refused:
            tiledseg.segment(scene, make_model(), out, **SETTINGS, output=output)
        assert "\n" not in str(refused.value)


def test_a_run_of_a_config_takes_work_and_log(
    scene: Path, tmp_path: Path, make_model: MakeModel
) -> None:
    out, work = tmp_path / "out.tif", tmp_path / "a: work"
    config = tmp_path / "c.yaml"
    config.write_text(f"image: {scene}\nmodel: {make_model()}\nout: {out}\n")
    more = ["--work", str(work), "--log", str(tmp_path / "log.jsonl"), "--quiet"]
    assert run(["run", str(config), "--shard", "1/1", *more]) == 0
    found = stored(work / "out.tif.work")
    assert found is not None
    assert found.config["output"]["work"] == str(work)
    assert (tmp_path / "log.jsonl").read_text().count('"done"') == len(found.plan)
    assert run(["run", str(config), *more]) == 0
    assert (tmp_path / "log.jsonl").read_text().count('"kept"') == len(found.plan)
    assert out.exists()
    assert list(work.iterdir()) == []
