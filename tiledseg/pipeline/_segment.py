"""Image + model -> class map, vectors and report: what is asked for becomes jobs, which run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import RunConfig, check_threads
from ..engine import Event, OnEvent, machine, stored
from ..errors import ConfigError
from ..models import Model, ModelCard, Precision, Runtime, RuntimeName, find_card, reference
from ..models import load_model as _load
from ._batch import Batch
from ._batch_result import BatchResult, InputEnded, InputPlanned, OnBatchEvent
from ._cascade import first_settings, second_settings, stage_before
from ._inputs import collect_inputs, refuse_many
from ._job import Job
from ._names import check_outputs, outputs_of, work_folder
from ._own import open_own
from ._prepare import prepare
from ._result import Result
from ._run import execute
from ._shard import Shard, prepare_shard


def segment(
    image: Any,
    model: Predictor | str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    fresh: bool = False,
    on_event: OnEvent | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Result:
    """Segment an image of any size.

    Args:
        image: File, folder, URL, a list of those (stacked as channels), a numpy, dask or zarr
            array, or an xarray DataArray; channels first where there are several.
        model: What `load_model` takes or returned; several are averaged.
        out: Class map to write; the suffix is the format. None keeps it in memory.
        fresh: Discard unfinished work of an earlier run instead of finishing it.
        on_event: Told of windows and tiles as they finish, from one thread at a time.
        trust_code: Whether a MONAI bundle's own pre- and postprocessing are run, by MONAI, with
            image and scores in memory whole. That code may do all that the caller may.
        settings: The sections of `RunConfig`, as dicts or their dataclasses:
            ``tiling={"window": (512, 512)}, budget={"memory": "4GB"}``.

    Returns:
        What was made; see `Result`.

    Raises:
        ConfigError: A wrong setting, or settings, model and image that do not fit together.
        PlanChanged: Unfinished work beside ``out`` belongs to another run.
        BudgetExceeded: It cannot be done within the memory budget.
        DamagedInput: The image is not what it claims to be.
        OutputFailed: A result could not be written.
    """
    if not trust_code:
        settings = staged(image, model, out, fresh=fresh, on_event=on_event, **settings)
    job = plan(image, model, out, fresh=fresh, trust_code=trust_code, **settings)
    with job:
        target = None if out is None else Path(out)
        return execute(job, target, fresh, on_event or _ignore)


def staged(
    image: Any,
    model: Predictor | str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    fresh: bool = False,
    on_event: OnEvent | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Run the stage before, where a model is one of a cascade and its class map is not given.

    Args and errors are those of `segment`.

    Returns:
        The settings, with the class map of that stage where there is one.
    """
    target = None if out is None else Path(out)
    stage = stage_before(_models(model), target, settings)
    if target is None or stage is None:
        return settings
    before, found = stage
    begun = work_folder(target, RunConfig.parse({"image": "", "model": "", **settings}).output.work)
    if fresh or not (found.exists() and stored(begun) is not None):
        segment(image, before, found, fresh=fresh, on_event=on_event, **first_settings(settings))
    return second_settings(settings, found)


def segment_many(
    images: str | Path | Sequence[Any],
    model: Predictor | str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    fresh: bool = False,
    on_event: OnBatchEvent | None = None,
    on_message: Callable[[str], None] | None = None,
    **settings: Any,
) -> BatchResult:
    """Segment many images; their tiles form one pool, and one that fails does not stop the others.

    Args:
        images: One or several of: a file or URL; a list of those, stacked as channels; a pattern
            (``scenes/*.tif``); a list file (.csv, .json) or a STAC item collection (.json); a
            folder of DICOM studies.
        model: What `load_model` takes or returned; it is loaded once.
        out: Class maps to write, with ``{name}`` for an image's name: ``maps/{name}.tif``. So are
            other outputs that the settings name.
        fresh: Do everything anew; else finished outputs of the same image, model and settings are
            kept, and unfinished ones are finished.
        on_event: Told an input's name and what happened to it, from one thread at a time.
        on_message: Told what a person wants to know besides: where a dashboard is.
        settings: As for `segment`.

    Returns:
        How every input ended; see `BatchResult`.

    Raises:
        ConfigError: A wrong setting, there is no such model or no image, or names clash.
    """
    many = [images] if isinstance(images, str | Path) else list(images)
    base = RunConfig.parse(
        {
            "image": [str(image) for image in many],
            "model": _model_name(model),
            "out": str(out),
            **settings,
        }
    )
    models = _models(model)
    card = models.card if isinstance(models, Model) else find_card(models[0])
    inputs = collect_inputs(many, base, card.channels)
    with Batch(base, models, inputs, fresh, on_event or _ignore_input, on_message) as batch:
        return batch.run()


def plan(
    image: Any,
    model: Predictor | str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    fresh: bool = False,
    shard: Shard | None = None,
    trust_code: bool = False,
    **settings: Any,
) -> Job:
    """Decide how an image would be segmented, without doing it.

    Args and errors are those of `segment`. The caller closes the job. For a ``shard`` the work
    store is made, so that all shards have one plan. With ``trust_code`` the preprocessing is done
    here: only then is it known what there is to segment.
    """
    refuse_many(image, out)
    config = RunConfig.parse(
        {
            "image": _named(image),
            "model": _model_name(model),
            "out": None if out is None else str(out),
            **settings,
        }
    )
    check_outputs(outputs_of(config))
    where = None if out is None else work_folder(Path(out), config.output.work)
    if trust_code:
        if shard is not None:
            raise ConfigError(f"--trust-code takes no shard, found {shard}")
        own = open_own(config, image, model)
        return prepare(config, own.image, own.model, None if fresh else where, own=own)
    models = _models(model)
    if where is None:
        return prepare(config, image, models, None)
    if shard is not None:
        return prepare_shard(config, image, models, where)
    return prepare(config, image, models, None if fresh else where)


class Predictor:
    """A loaded model, for anything small; `segment` takes it too.

    Args:
        model: The network.
        uri: Where it came from.
    """

    def __init__(self, model: Model, uri: str) -> None:
        self.model = model
        self.uri = uri

    @property
    def card(self) -> ModelCard:
        """What the model is, and how it wants its input."""
        return self.model.card

    def predict(self, image: Any, **settings: Any) -> NDArray[Any]:
        """Return the class map of an image, (y, x) or (z, y, x), in memory.

        Args and errors are those of `segment`.
        """
        result = segment(image, self, **settings)
        return np.asarray(result.array)


def load_model(
    path: str | Path,
    device: str = "cpu",
    threads: int | None = None,
    runtime: RuntimeName | None = None,
    precision: Precision = "fp32",
) -> Predictor:
    """Load a model.

    Args:
        path: Name of a bundled model, folder with ``model.yaml``, a card (.yaml), a .safetensors
            file with its card inside, a graph file (.onnx, .xml, TorchScript, .pt2), or a model of
            another tool. A card beside a file (same name, .yaml) says what the file does not.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of one model call; None takes every core.
        runtime: Library that runs it; None takes the reference: torch, or that of a graph file.
        precision: Arithmetic: ``fp32``, ``bf16``, or ``fp16`` on a GPU.

    Raises:
        ConfigError: No such file, or a card that does not fit the weights.
        DamagedInput: The weights are not what the card says.
        MissingBackend: The library that runs this kind of weights is not installed.
    """
    check_threads(threads, "threads")
    chosen = Runtime(runtime or reference(find_card(path)).name, precision)
    return Predictor(_load(path, device, threads or machine.cores(), chosen), str(path))


def _named(image: Any) -> str | list[str]:
    if isinstance(image, str | Path):
        return str(image)
    if isinstance(image, list | tuple):
        return [str(part) for part in image]
    return type(image).__name__


def _models(model: Predictor | str | Path | Sequence[str | Path]) -> Model | list[str | Path]:
    if isinstance(model, Predictor):
        return model.model
    paths: list[Any] = list(model) if isinstance(model, list | tuple) else [model]
    if not paths or not all(isinstance(path, str | Path) for path in paths):
        raise ConfigError(
            f"model {[type(path).__name__ for path in paths]}: give one model, loaded or by its "
            "path, or the paths of several"
        )
    return paths


def _model_name(model: Predictor | str | Path | Sequence[str | Path]) -> str | list[str]:
    if isinstance(model, Predictor):
        return model.uri
    return [str(part) for part in model] if isinstance(model, list | tuple) else str(model)


def _ignore(event: Event) -> None:
    """Take no notice."""


def _ignore_input(name: str, event: Event | InputPlanned | InputEnded) -> None:
    """Take no notice."""
