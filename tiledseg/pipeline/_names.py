"""Names of a run, checked before any work: no output is, or lies in, what another name stands for.

Names are compared as the file system resolves them. An array that another library opened (dask,
xarray) does not tell its files; everything that tiledseg opens itself does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Literal

from ..config import RunConfig
from ..errors import ConfigError, OutputFailed, TiledsegError
from ..io import Roi, Source, require_place, sidecars
from ..models import model_files

Kind = Literal["file", "folder", "passing"]


@dataclass(frozen=True)
class Output:
    """A name that will be written.

    Args:
        setting: What the user calls it.
        path: The file or folder.
        kind: A file (or an array in its place), a folder that files are only added to, or a folder
            that is removed when the run is done.
    """

    setting: str
    path: Path
    kind: Kind = "file"

    def __str__(self) -> str:
        return f"{self.setting} {self.path}"

    def spoils(self, other: Path) -> bool:
        """Return whether writing this would destroy ``other``."""
        mine, theirs = _real(self.path), _real(other)
        return mine == theirs or (self.kind != "folder" and mine in theirs.parents)


def work_folder(out: Path, work: str | None = None) -> str | Path:
    """Return where unfinished work for ``out`` lies.

    Args:
        out: The class map.
        work: A folder or URL that the settings name for it.

    Raises:
        ConfigError: The URL is none of a bucket.
    """
    name = out.name + ".work"
    if work is None:
        return out.with_name(name)
    if "://" not in work:
        return Path(work, name)
    scheme, _, rest = work.partition("://")
    if not rest.strip("/"):
        raise ConfigError(f"output.work {work} names no bucket; write it like s3://bucket/prefix")
    return f"{scheme}://{rest.rstrip('/')}/{name}"


def is_scene(name: str) -> bool:
    """Whether a name for surfaces is that of one scene, not of a folder."""
    return name.lower().endswith(".glb")


def report_folder(out: Path) -> Path:
    """Return the folder of the report for ``out``."""
    return out.with_name(Path(out.name.removesuffix(".gz")).stem + ".report")


def output_path(setting: str, text: str) -> Path:
    """Return the path that a text names.

    Raises:
        ConfigError: It names nothing, or the file system or the report could not hold it.
    """
    problem = "" if text else "is empty"
    try:
        text.encode("utf-8")
        os.lstat(text)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        problem = f"cannot be looked up ({error.strerror})"
    except ValueError:
        problem = "is no UTF-8 text, or holds a zero byte"
    if not problem and not Path(text).name:
        problem = "is a folder"
    if problem:
        raise ConfigError(f"{setting} {text!r:.80} cannot be written: it {problem}; change it")
    return Path(text)


def outputs_of(config: RunConfig) -> list[Output]:
    """Return what a run will write, the names that follow from others included.

    Raises:
        ConfigError: A name is none.
    """
    wanted = config.output
    named: list[tuple[str, str | None, Kind]] = [
        ("scores", wanted.scores, "file"),
        ("polygons", wanted.polygons, "file"),
        ("surfaces", wanted.surfaces, "file" if is_scene(wanted.surfaces or "") else "folder"),
    ]
    found = [
        Output(f"output.{name}", output_path(f"output.{name}", text), kind)
        for name, text, kind in named
        if text is not None
    ]
    if config.out is not None:
        out = output_path("out", config.out)
        found.append(Output("out", out))
        work = work_folder(out, wanted.work)
        if isinstance(work, Path):
            found.append(Output("unfinished work", work, "passing"))
        if wanted.log is not None:
            found.append(_log(output_path("output.log", wanted.log), out))
        if wanted.report:
            found.append(Output("the report", report_folder(out), "folder"))
    return found


def _log(path: Path, out: Path) -> Output:
    """Return the log as an output.

    Raises:
        ConfigError: Its name is one that the run writes something else to.
    """
    log, places = Output("output.log", path), (_real(path), *_real(path).parents)
    for other in (*sidecars(out), report_folder(out)):
        if _real(other) in places:
            raise ConfigError(
                f"{log} is, or lies in, {other}, which the run writes: rename the log"
            )
    return log


def check_outputs(outputs: Sequence[Output]) -> None:
    """Refuse outputs that cannot be made, or that destroy one another.

    Raises:
        ConfigError: Two of them are one, or one lies where the other will be.
        OutputFailed: There is no such folder, or it cannot be written.
    """
    for one, other in combinations(outputs, 2):
        if one.spoils(other.path) or other.spoils(one.path):
            raise ConfigError(
                f"{one} and {other} would overwrite one another: give each a name of its own"
            )
    for output in outputs:
        if output.kind == "file":
            require_place(output.path)
        else:
            _require_folder(output)


def spare_inputs(outputs: Iterable[Output], inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        ConfigError: An output is an input, holds one, or lies inside one.
    """
    given = sorted({_real(path): path for path in inputs}.values())
    for output in outputs:
        for path in given:
            if output.spoils(path) or _real(path) in _real(output.path).parents:
                raise ConfigError(
                    f"{output} would overwrite the input {path}; choose another name for the output"
                )


def inputs_of(config: RunConfig, source: Source, roi: Roi | None) -> list[Path]:
    """Return the local files and folders that a run reads."""
    models = [config.model] if isinstance(config.model, str) else config.model
    named = [config.input.roi, config.output.grid, config.runtime.cluster]
    found = [Path(n) for n in named if isinstance(n, str) and os.path.lexists(n)]
    for model in models:
        with suppress(TiledsegError):  # a loaded one, of which only the name is known
            found += filter(os.path.isfile, model_files(Path(model)))
    return [*found, *source.files(), *(() if roi is None else roi.files())]


def _require_folder(output: Output) -> None:
    """Refuse a folder that cannot be made or written.

    Raises:
        OutputFailed: It cannot.
    """
    there = next(p for p in (_real(output.path), *_real(output.path).parents) if p.exists())
    if not there.is_dir():
        raise OutputFailed(f"cannot write {output}: {there} is a file; choose another name")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputFailed(f"cannot write {output}: no permission to write into {there}")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))
