"""RunConfig: one definition of a run for Python, YAML and the shell.

Every stage's settings are a frozen dataclass; `RunConfig` gathers them. Unknown keys are errors
that name their path. The config as run is kept with the output and runs again to the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from .document import apply_change, brief, checked, read_mapping, to_yaml
from .errors import ConfigError
from .steps import plain_steps, read_steps
from .tiling import TilingSpec

_STRICT = {"extra": "forbid"}


#: No machine here has more cores; the system refuses to start as many threads as it likes.
_MOST_THREADS = 4096


def check_threads(count: int | None, name: str) -> None:
    """Refuse a number of threads that cannot be.

    Raises:
        ConfigError: It is not 1 to 4096; None means that nothing was asked for.
    """
    if count is not None and not (isinstance(count, int) and 1 <= count <= _MOST_THREADS):
        raise ConfigError(
            f"{name} must be 1 to {_MOST_THREADS}, found {count!r:.40}; lower or raise it"
        )


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What of the image to read.

    Args:
        channels: Band numbers (from 1) or names, in the model's order; None takes all.
        series: For a DICOM folder with several series, which one: number or UID.
        roi: The part to process; the rest becomes nodata. A polygon file, an image that is not 0
            there, or bounds in world units: xmin, ymin[, zmin], xmax, ymax[, zmax].
        skip_below: Windows in which every intensity is below this (air in CT: -900) become
            background without asking the model.
        resample: Whether the image is brought to the spacing the model was trained at: ``auto``
            where the two differ and are known in metres or mm, ``never`` or ``always``.
        previous: Class map of the stage before, for models of a cascade; on the image's grid.
            Where nothing is said that stage runs first.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    channels: tuple[int | str, ...] | None = None
    series: str | None = None
    roi: str | tuple[float, ...] | None = None
    skip_below: float | None = None
    resample: Literal["auto", "never", "always"] = "auto"
    previous: str | None = None


@dataclass(frozen=True, slots=True)
class RuntimeSpec:
    """What computes.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``; ``cpu`` where nothing is said, or that of a model
            that is loaded.
        runtime: Library that runs the model. ``auto`` takes the fastest whose class map agrees
            with the reference (torch eager, or the own library of a graph file, in fp32) on 99.9 %
            of some windows of the image; a run of less than a minute takes the reference.
        precision: Arithmetic of the model: ``fp32`` where nothing is said, or that of a model
            that is loaded. ``auto`` lets the same measurement decide.
        threads: Threads of one model call; None shares the cores among the workers.
        microbatch: Windows per model call; None takes what suits the runtime.
        workers: Tiles computed at the same time: threads, or processes of Dask.
        runner: ``threads`` of this process, or processes of ``dask``.
        scheduler: Address of a Dask scheduler that runs somewhere, like ``tcp://10.0.0.1:8786``.
        cluster: YAML file of a batch system whose jobs are the workers: ``kind`` (slurm, pbs, lsf
            ...), ``jobs``, and what dask-jobqueue takes (cores, processes, memory, walltime ...).
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    device: str | None = None
    runtime: Literal["auto", "torch", "compiled", "onnxruntime", "openvino"] = "auto"
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None
    threads: int | None = None
    microbatch: int | None = None
    workers: int = 1
    runner: Literal["threads", "dask"] | None = None
    scheduler: str | None = None
    cluster: str | None = None

    @property
    def distributed(self) -> bool:
        """Whether tiles are computed in other processes."""
        return self.runner == "dask" or self.scheduler is not None or self.cluster is not None

    def __post_init__(self) -> None:
        places = [name for name in ("scheduler", "cluster") if getattr(self, name) is not None]
        if len(places) == 2 or (places and self.runner == "threads"):
            raise ConfigError(
                "runtime.runner threads, runtime.scheduler and runtime.cluster exclude each other: "
                "give one of them"
            )
        check_threads(self.threads, "runtime.threads")
        check_threads(self.workers, "runtime.workers")
        if self.microbatch is not None and not 1 <= self.microbatch < 2**31:
            raise ConfigError(
                f"runtime.microbatch must be at least 1, and below {2**31}, found "
                f"{brief(self.microbatch)}"
            )


@dataclass(frozen=True, slots=True)
class BudgetSpec:
    """What may be used.

    Args:
        memory: Host memory of the whole process, like ``6GB``; None takes half of what is free.
        device_memory: Memory of a GPU; None takes nine tenths of what is free.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    memory: str | None = None
    device_memory: str | None = None


@dataclass(frozen=True, slots=True)
class CombineSpec:
    """What is averaged for a better result, at as many times the cost; models too, if several.

    Args:
        mirror: Axes to mirror, array order from 0, in all combinations; ``all`` is every axis.
            The model's card decides where nothing is said.
        quarter_turns: Whether to turn by 90 degrees in the plane of the last two axes.
        average: Average ``scores``, or ``logits`` before the activation. The model's card decides
            where nothing is said.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    mirror: tuple[int, ...] | Literal["all"] | None = None
    quarter_turns: bool = False
    average: Literal["scores", "logits"] | None = None


@dataclass(frozen=True, slots=True)
class OutputSpec:
    """What to write besides the class map.

    Args:
        layout: For GeoTIFF: cloud optimised or plain.
        scores: File for the scores, one band per class, or None.
        score_type: How scores are stored: float32, or integers with a scale (0.004, 0.00002).
        polygons: File for polygons (.gpkg, .fgb, .parquet, .geojson, .pmtiles), or None; with the
            mean score of each where scores are written, too.
        surfaces: Folder for surfaces per class, or a file (.glb) for one scene, or None.
        surface_format: ``stl``, ``ply`` or ``obj``, for files in a folder.
        report: Whether to write the report folder beside the class map.
        work: Where unfinished work lies: a folder, or ``s3://bucket/prefix``; in it, every output
            has a folder of its name. Beside the output where nothing is said.
        log: File to append a line of JSON to for every tile that ends, or None.
        grid: Grid of class map and scores: the ``source`` image's, the ``model``'s, or that of the
            image in a file whose axes run as the source's.
        thresholds: By name or id of a class, the score that it must reach to count; else the next
            best class that counts is taken, else the background, or nodata where there is none. The
            model's card decides where nothing is said; ``{}``: none.
        postprocess: Steps that change the finished class map, in this order; see `tiledseg.steps`.
            The model's card decides where nothing is said; an empty list: none.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    layout: Literal["cog", "gtiff"] = "cog"
    scores: str | None = None
    score_type: Literal["uint8", "uint16", "float32"] = "uint8"
    polygons: str | None = None
    surfaces: str | None = None
    surface_format: Literal["stl", "ply", "obj"] = "stl"
    report: bool = True
    work: str | None = None
    log: str | None = None
    grid: str = "source"
    thresholds: dict[str | int, float] | None = None
    postprocess: tuple[Any, ...] | None = None

    def __post_init__(self) -> None:
        if self.postprocess is not None:
            steps = plain_steps(read_steps(self.postprocess, "output.postprocess"))
            object.__setattr__(self, "postprocess", tuple(steps))


class RunConfig(BaseModel):
    """A whole run: image in, model, class map out, and every stage's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    image: str | list[str] = Field(
        description="File, folder or URL; several are stacked. Where out holds {name}, every one "
        "is a run of its own, and patterns, lists (.csv, .json) and folders of DICOM studies stand "
        "for many."
    )
    model: str | list[str] = Field(
        description="Model folder, card (.yaml), .safetensors or graph file, or a model of another "
        "tool; several are averaged."
    )
    out: str | None = Field(
        None,
        description="Class map to write; the suffix is the format. {name} stands for the image's "
        "name.",
    )
    input: InputSpec = InputSpec()
    tiling: TilingSpec = TilingSpec()
    combine: CombineSpec = CombineSpec()
    runtime: RuntimeSpec = RuntimeSpec()
    budget: BudgetSpec = BudgetSpec()
    output: OutputSpec = OutputSpec()

    @classmethod
    def parse(cls, values: dict[str, Any]) -> RunConfig:
        """Return the config of plain values.

        Raises:
            ConfigError: A wrong or unknown key; the sentence names its path.
        """
        return checked(cls, values, "config")

    @classmethod
    def read(cls, path: str | Path, changes: tuple[str, ...] = ()) -> RunConfig:
        """Return the config of a YAML file.

        Args:
            path: The file.
            changes: ``a.b=value`` texts that overrule it; values are YAML.

        Raises:
            ConfigError: The file cannot be read, or a key is wrong.
        """
        values = read_mapping(Path(path), f"config {path}")
        for change in changes:
            apply_change(values, change)
        return cls.parse(values)

    def to_yaml(self) -> str:
        """Return the config as YAML that `read` turns back into it."""
        values = self.model_dump(mode="json", exclude_defaults=True)
        return to_yaml(values)

    @classmethod
    def schema_text(cls) -> str:
        """Return the JSON schema of a config."""
        return json.dumps(cls.model_json_schema(), indent=2)
