"""The options that commands share, and the settings they stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import typer

from ..config import RunConfig
from ..document import apply_change
from ..errors import ConfigError
from ._step_options import StepOptions

Image = Annotated[
    list[str],
    typer.Argument(
        help="Image; several are stacked as channels. With {name} in OUT every one is a run of its "
        "own, and a pattern, a list (.csv, .json, STAC items) or a folder of DICOM studies stands "
        "for many."
    ),
]
ModelPath = Annotated[
    list[str],
    typer.Option(
        "--model",
        "-m",
        help="Model folder, card or weights, or a bundled model's name; several are averaged.",
    ),
]
Out = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        help="Class map: .tif, .nii.gz, .nrrd, .mha, .zarr; {name} stands for an image's name.",
    ),
]
Channels = Annotated[
    str | None, typer.Option(help="Bands by number (from 1) or name, in order: 4,3,2 or B4,B3,B2")
]
Series = Annotated[str | None, typer.Option(help="DICOM series: number or UID.")]
Numbers = Annotated[str | None, typer.Option(help="Numbers per axis, like 512,512")]
Margin = Annotated[int | None, typer.Option(help="Samples dropped on a window's inner sides.")]
Memory = Annotated[str | None, typer.Option(help="Host memory to stay within, like 6GB")]
Workers = Annotated[int | None, typer.Option(help="Tiles computed at the same time.")]
Runner = Annotated[
    str | None, typer.Option(help="Where tiles are computed: threads, or processes of dask.")
]
Scheduler = Annotated[
    str | None, typer.Option(help="A Dask scheduler that runs: tcp://10.0.0.1:8786")
]
Cluster = Annotated[
    str | None, typer.Option(help="YAML file of a batch system whose jobs compute: SLURM, PBS ...")
]
Threads = Annotated[int | None, typer.Option(help="Threads of one model call.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:N")]
DeviceMemory = Annotated[str | None, typer.Option(help="GPU memory to stay within, like 10GB")]
Runtime = Annotated[
    str | None,
    typer.Option(help="auto (the fastest that agrees), torch, compiled, onnxruntime or openvino"),
]
Precision = Annotated[
    str | None, typer.Option(help="fp32, bf16, fp16, or auto (the fastest that agrees)")
]
Roi = Annotated[
    str | None,
    typer.Option(help="Part to process: polygon file, mask image, or xmin,ymin,xmax,ymax"),
]
SkipBelow = Annotated[
    float | None, typer.Option(help="Windows wholly below this intensity are background.")
]
Tta = Annotated[
    Literal["mirror", "turns", "all"] | None,
    typer.Option(help="Average over mirrored, or turned, views of the input, or over both."),
]
Scores = Annotated[str | None, typer.Option(help="Also write the scores here.")]
Thresholds = Annotated[
    list[str] | None,
    typer.Option(
        "--threshold",
        help="Score that a class must reach to count, like water=0.7; else the next best is taken, "
        "else the background.",
    ),
]
Polygons = Annotated[str | None, typer.Option(help="Also write polygons: .gpkg, .fgb, .parquet")]
Surfaces = Annotated[
    str | None, typer.Option(help="Also write surfaces into this folder, or this .glb.")
]
Work = Annotated[
    str | None,
    typer.Option(
        help="Where unfinished work lies: a folder or s3://bucket/prefix; beside the output where "
        "nothing is said."
    ),
]
Log = Annotated[str | None, typer.Option(help="Append a line of JSON here for every tile.")]
ShardPart = Annotated[
    str | None,
    typer.Option("--shard", help="Compute part I/N of the tiles only, beside other such jobs."),
]
TrustCode = Annotated[
    bool,
    typer.Option(
        "--trust-code",
        help="Run a MONAI bundle's own pre- and postprocessing: its code may do all that you may.",
    ),
]
Set = Annotated[list[str] | None, typer.Option("--set", help="Any setting: tiling.taper=hann")]
Fresh = Annotated[
    bool, typer.Option("--fresh/--resume", help="Discard, or finish, work begun earlier.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]


@dataclass(frozen=True)
class Options:
    """What was given on the command line, as it was written; None: nothing."""

    channels: str | None = None
    series: str | None = None
    window: str | None = None
    stride: str | None = None
    margin: int | None = None
    memory: str | None = None
    workers: int | None = None
    runner: str | None = None
    scheduler: str | None = None
    cluster: str | None = None
    threads: int | None = None
    device: str | None = None
    device_memory: str | None = None
    runtime: str | None = None
    precision: str | None = None
    roi: str | None = None
    skip_below: float | None = None
    tta: str | None = None
    scores: str | None = None
    polygons: str | None = None
    surfaces: str | None = None
    work: str | None = None
    log: str | None = None
    thresholds: list[str] | None = None
    steps: StepOptions = field(default_factory=StepOptions)

    def sections(self) -> dict[str, dict[str, Any]]:
        """Return them as the sections of a config."""
        tiling = {
            "window": numbers(self.window, int, "--window"),
            "stride": numbers(self.stride, int, "--stride"),
            "margin": self.margin,
        }
        combine = {
            "mirror": "all" if self.tta in ("mirror", "all") else None,
            "quarter_turns": True if self.tta in ("turns", "all") else None,
        }
        return {
            "input": {
                "channels": _words(self.channels),
                **self._named("series", "roi", "skip_below"),
            },
            "tiling": tiling,
            "combine": combine,
            "runtime": self._named(
                *("workers", "runner", "scheduler", "cluster"),
                *("threads", "device", "runtime", "precision"),
            ),
            "budget": self._named("memory", "device_memory"),
            "output": {
                **self._named("scores", "polygons", "surfaces", "work", "log"),
                "thresholds": _scores(self.thresholds),
                "postprocess": self.steps.listed() or None,
            },
        }

    def _named(self, *names: str) -> dict[str, Any]:
        return {name: getattr(self, name) for name in names}


def values_of(
    image: list[str], model: list[str], options: Options, changes: list[str] | None
) -> dict[str, Any]:
    """Return settings of the options given; what was left out keeps its default.

    Raises:
        ConfigError: A setting is wrong, or there is none of that name.
    """
    values: dict[str, Any] = {
        "image": image[0] if len(image) == 1 else image,
        "model": model[0] if len(model) == 1 else model,
    }
    for name, section in options.sections().items():
        told = {key: value for key, value in section.items() if value is not None}
        if told:
            values[name] = told
    for change in changes or ():
        apply_change(values, change)
    return given(RunConfig.parse(values))


def given(config: RunConfig) -> dict[str, Any]:
    """Return a config as the arguments of `tiledseg.segment`."""
    return {name: getattr(config, name) for name in RunConfig.model_fields}


def changed(changes: list[str] | None, options: Options) -> tuple[str, ...]:
    """Return changes of a config, those that options make included."""
    sections = options.sections().items()
    made = [
        f"{name}.{key}={json.dumps(value)}"
        for name, section in sections
        for key, value in section.items()
        if value is not None
    ]
    return (*made, *(changes or ()))


def parts(text: str | None) -> tuple[str, ...] | None:
    """Return the comma separated parts of an option."""
    return None if text is None else tuple(p.strip() for p in text.split(",") if p.strip())


def numbers(text: str | None, kind: Callable[[str], Any], option: str) -> tuple[Any, ...] | None:
    """Return the comma separated numbers of an option.

    Raises:
        ConfigError: They are no numbers.
    """
    try:
        return None if text is None else tuple(map(kind, parts(text) or ()))
    except ValueError:
        raise ConfigError(
            f"{option} {text!r:.80} is no list of numbers; write them with commas, like 4,4"
        ) from None


def _scores(texts: list[str] | None) -> dict[str, float] | None:
    if not texts:
        return None
    try:
        pairs = [text.rsplit("=", 1) for text in texts]
        return {name.strip(): float(score) for name, score in pairs}
    except ValueError:
        raise ConfigError(
            f"--threshold {' '.join(texts)!r:.80}: write it like water=0.7, once for every class"
        ) from None


def _words(text: str | None) -> tuple[int | str, ...] | None:
    if text is None:
        return None
    return tuple(int(p) if p.isdecimal() and len(p) < 9 else p for p in parts(text) or ())
