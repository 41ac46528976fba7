"""Folders for unfinished work: one contract, on a disk, in memory and on an S3 server."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tiledseg.errors import ConfigError, MissingBackend, OutputFailed, PlanChanged
from tiledseg.io import Folder, _lease, create_array, open_array, open_folder

KINDS = ["local", "memory", "s3"]


@pytest.fixture(params=KINDS)
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a folder may be: of every kind."""
    if request.param == "local":
        return str(tmp_path / "new" / "w.work")
    if request.param == "memory":
        pytest.importorskip("obstore")
        return f"memory://{tmp_path.as_posix().strip('/')}/w.work"
    return f"{request.getfixturevalue('s3')}/{tmp_path.as_posix().strip('/')}/w.work"


def test_contents_are_written_read_listed_and_deleted(uri: str) -> None:
    folder = open_folder(uri)
    assert folder.names("") == []
    folder.delete("plan.json")
    with pytest.raises(FileNotFoundError):
        folder.read("plan.json")
    folder.write("plan.json", b"1")
    folder.write("receipts/2.json", b"22")
    folder.write("receipts/10.json", b"10")
    folder.write("receipts/2.json", b"222")
    assert open_folder(uri).read("receipts/2.json") == b"222"
    assert folder.names("receipts") == ["receipts/10.json", "receipts/2.json"]
    assert folder.names("nothing") == []
    folder.delete("receipts/10.json")
    assert folder.names("") == ["plan.json", "receipts/2.json"]
    folder.write("thesis.txt", b"mine")
    folder.write("receiptsx/1.json", b"mine")
    folder.remove("receipts", "plan.json", "nothing")
    assert open_folder(uri).names("") == ["receiptsx/1.json", "thesis.txt"]  # not named: kept


def test_of_many_creators_one_succeeds(uri: str) -> None:
    begin = threading.Barrier(8)

    def create(n: int) -> bool:
        begin.wait()
        return open_folder(uri).create("plan.json", f"{n}".encode() * 1000)

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert made.count(True) == 1
    assert open_folder(uri).read("plan.json") == f"{made.index(True)}".encode() * 1000
    assert not open_folder(uri).create("plan.json", b"late")


def test_arrays(uri: str) -> None:
    folder = open_folder(uri)
    place = folder.array("labels.zarr")
    with pytest.raises(FileNotFoundError):
        open_array(place, writable=True)
    sizes = {"shape": (50, 40), "chunks": (32, 32)}
    create_array(place, **sizes, dtype=np.dtype("u1"), fill_value=255)[:32] = 7
    with pytest.raises(FileExistsError):
        create_array(place, **sizes, dtype=np.dtype("u1"), fill_value=255)
    array = open_array(open_folder(uri).array("labels.zarr"), writable=False)
    assert (array[:32] == 7).all()
    assert (array[32:] == 255).all()
    assert "labels.zarr/zarr.json" in folder.names("labels.zarr")
    folder.remove("labels.zarr", "zarr.json")  # a group that zarr makes above it
    assert folder.names("") == []


def test_a_lock_keeps_others_out(uri: str) -> None:
    with open_folder(uri).lock(shared=False):
        for shared in (False, True):
            with (
                pytest.raises(PlanChanged, match="another run is writing"),
                open_folder(uri).lock(shared),
            ):
                pass
    with open_folder(uri).lock(shared=True), open_folder(uri).lock(shared=True):
        with (
            pytest.raises(PlanChanged, match="another run is writing"),
            open_folder(uri).lock(shared=False),
        ):
            pass
        with open_folder(uri).lock(shared=True):
            pass
    with open_folder(uri).lock(shared=False):
        pass


def test_an_error_within_a_lock_stays_what_it_is(uri: str) -> None:
    for error in (OSError("a camera has no film"), RuntimeError("a model is ill")):
        with pytest.raises(type(error), match="a ") as raised, open_folder(uri).lock(shared=False):
            raise error
        assert not isinstance(raised.value, OutputFailed)


def test_a_lock_is_gone_with_the_folder(uri: str) -> None:
    folder = open_folder(uri)
    with folder.lock(shared=False):
        folder.write("plan.json", b"1")
        folder.remove("plan.json")
        with pytest.raises(PlanChanged), open_folder(uri).lock(shared=False):
            pass  # until it is given back
    assert open_folder(uri).names("") == []


HOLDER = """
import sys, time
from tiledseg.io import open_folder
with open_folder(sys.argv[1]).lock(shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("kind", ["local", "s3"])
@pytest.mark.parametrize("mode", ["shared", "alone"])
def test_the_lock_of_a_killed_process_is_free(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, mode: str
) -> None:
    where = str(tmp_path / "w") if kind == "local" else f"{request.getfixturevalue('s3')}{tmp_path}"
    command = [sys.executable, "-c", HOLDER, where, mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(PlanChanged), open_folder(where).lock(shared=False):
            pass
        holder.kill()
        holder.wait()
        with open_folder(where).lock(shared=False):
            pass


# --------------------------------------------------------------------- the file of a local lock


def fight(path: str, held: str, rounds: int) -> None:
    """Take and give back a lock; a second holder at the same time finds the mark of the first."""
    mark = Path(held)
    for _ in range(rounds):
        try:
            with open_folder(path).lock(shared=False):
                mark.mkdir()  # fails where another holds it
                time.sleep(0.0005)
                mark.rmdir()
        except PlanChanged:
            continue


def test_a_removed_lock_file_lets_no_two_in(tmp_path: Path) -> None:
    """A holder removes its file when done; who opened it before must not lock what is gone."""
    context = multiprocessing.get_context("spawn")
    arguments = (str(tmp_path / "w"), str(tmp_path / "held"), 1500)
    fighters = [context.Process(target=fight, args=arguments) for _ in range(4)]
    for process in fighters:
        process.start()
    for process in fighters:
        process.join()
    assert [process.exitcode for process in fighters] == [0] * 4


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="a file that nobody may remove")
def test_what_belongs_to_others_is_one_sentence() -> None:
    with pytest.raises(OutputFailed, match=r"cannot write /proc/self: .*not permitted"):
        open_folder("/proc/self").remove("status")


def test_sharers_do_not_remove_the_file_others_hold(tmp_path: Path) -> None:
    folder = open_folder(tmp_path / "w")
    with folder.lock(shared=True):
        with open_folder(tmp_path / "w").lock(shared=True):
            pass
        with pytest.raises(PlanChanged), open_folder(tmp_path / "w").lock(shared=False):
            pass
    with folder.lock(shared=False):
        pass
    assert list(tmp_path.iterdir()) == []


# --------------------------------------------------------------------- leases


@pytest.fixture(params=["memory", "s3"])
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a folder on an object store may be."""
    pytest.importorskip("obstore")
    host = "memory://m" if request.param == "memory" else request.getfixturevalue("s3")
    return f"{host}{tmp_path}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return what sets after how many seconds a lease is stale."""
    return lambda seconds: monkeypatch.setattr(_lease, "STALE", seconds)


def lease_of_elsewhere(name: str) -> bytes:
    """Return the lease of a process on a machine that cannot be asked."""
    return json.dumps({"token": name, "host": "elsewhere 1", "pid": 1, "beat": 1}).encode()


@pytest.mark.parametrize("name", ["lease/driver", "lease/shared/ab"])
def test_a_stale_lease_is_taken_over(
    remote: str, impatient: Callable[[float], None], name: str
) -> None:
    folder = open_folder(remote)
    folder.write(name, lease_of_elsewhere("ab"))
    with (
        pytest.raises(PlanChanged, match=r"elsewhere:1; its lease is free 60 s"),
        folder.lock(False),
    ):
        pass
    assert folder.names("lease") == [name]
    impatient(1.0)
    time.sleep(2.1)  # the server tells whole seconds
    with folder.lock(shared=name == "lease/driver"):
        assert folder.read(folder.names("lease")[0]) != lease_of_elsewhere("ab")
        with pytest.raises(PlanChanged), open_folder(remote).lock(False):
            pass
    assert folder.names("") == []


def test_a_lease_is_kept_alive(remote: str, impatient: Callable[[float], None]) -> None:
    impatient(2.0)
    folder = open_folder(remote)
    with folder.lock(False):
        before = folder.read("lease/driver")
        time.sleep(3.5)
        folder.check()
        folder.write("receipts/1.json", b"1")
        assert folder.read("lease/driver") != before
        with pytest.raises(PlanChanged, match="another run"), open_folder(remote).lock(False):
            pass


@pytest.mark.parametrize("shared", [True, False])
def test_who_lost_its_lease_writes_no_more(
    remote: str, impatient: Callable[[float], None], shared: bool
) -> None:
    impatient(2.0)
    folder = open_folder(remote)
    with folder.lock(shared):
        (name,) = folder.names("lease")
        open_folder(remote).write(name, lease_of_elsewhere("thief"))
        time.sleep(1.2)
        with pytest.raises(PlanChanged, match="may have taken over"):
            folder.write("receipts/1.json", b"1")
        with pytest.raises(PlanChanged, match="may have taken over"):
            folder.check()
    assert folder.names("") == [name]  # that of the thief
    assert folder.read(name) == lease_of_elsewhere("thief")


def test_of_two_drivers_on_a_stale_lease_one_gets_it(
    remote: str, impatient: Callable[[float], None]
) -> None:
    impatient(1.0)
    open_folder(remote).write("lease/driver", lease_of_elsewhere("gone"))
    time.sleep(2.1)
    begin, end = threading.Barrier(4), threading.Barrier(4)

    def drive(n: int) -> bool:
        folder = open_folder(remote)
        begin.wait()
        try:
            with folder.lock(False):
                end.wait(20)
                return True
        except PlanChanged:
            end.wait(20)
            return False

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(drive, range(4))) == 1


# --------------------------------------------------------------------- places that are none


@pytest.fixture
def without_obstore(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Pretend that obstore is not installed."""
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.setitem(sys.modules, "obstore.exceptions", None)
    monkeypatch.delitem(sys.modules, "tiledseg.io._obstore", raising=False)
    yield
    sys.modules.pop("tiledseg.io._obstore", None)


def test_object_stores_need_obstore(without_obstore: None) -> None:
    with pytest.raises(MissingBackend, match=r"tiledseg\[cloud\]"):
        open_folder("s3://bucket/prefix")


def test_a_place_that_is_none_is_one_sentence(s3: str, tmp_path: Path) -> None:
    for uri, said in (("s3://", "no bucket"), ("what://b/c", "cannot be reached")):
        with pytest.raises(ConfigError, match=said) as refused:
            open_folder(uri)
        assert "\n" not in str(refused.value)
    folder = open_folder("s3://no-such-bucket/x")
    with pytest.raises(OutputFailed, match="NoSuchBucket") as failed:
        folder.write("plan.json", b"1")
    assert "\n" not in str(failed.value)
    with pytest.raises(OutputFailed, match="NoSuchBucket"), folder.lock(False):
        pass
    assert isinstance(open_folder(f"file://{tmp_path}/x"), Folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputFailed, match="file"):
        open_folder(tmp_path / "file").write("plan.json", b"1")
