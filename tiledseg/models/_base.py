"""ModelCard and Model: what the engine must know of a network, and what a network must keep."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import nn

from ..labels import ClassSchema
from ..normalize import Normalization
from ..resampling import Resampling
from ..steps import Step
from ..tiling import TilingSpec

Activation = Literal["softmax", "sigmoid", "none"]
Locality = Literal["local", "global", "unknown"]
Average = Literal["scores", "logits", "blended"]
Format = Literal["tiledseg", "onnx", "openvino", "torchscript", "pt2"]
Layout = Literal["auto", "channels_first", "channels_last"]
RuntimeName = Literal["torch", "compiled", "onnxruntime", "openvino"]
Precision = Literal["fp32", "bf16", "fp16"]


class Runtime(NamedTuple):
    """A library and the arithmetic it uses."""

    name: RuntimeName
    precision: Precision = "fp32"

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


@dataclass(frozen=True, slots=True)
class Previous:
    """The stage before, of a model whose last channels tell where its class map has some labels.

    Args:
        labels: The labels, a channel each: 1 where it is, else 0.
        model: Name of its folder, which lies beside the model's; empty: nobody knows.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    labels: tuple[int, ...]
    model: str = ""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Everything needed to run a model right, readable by people and checked on loading.

    Args:
        name: Short name.
        format: Kind of weights: ``tiledseg`` (safetensors + architecture), or a graph: ``onnx``,
            ``openvino`` (an .xml with its .bin), ``torchscript`` or ``pt2`` (torch.export).
        weights: File with the weights, relative to the card.
        sha256: Of that file, hexadecimal; None is filled in when the model is loaded.
        dims: 2 or 3 spatial axes.
        channels: Name of every input channel, in order.
        schema: The classes, in the order of the output channels.
        window: Input extent to use unless the user says otherwise, array order.
        architecture: For ``tiledseg``: ``{"name": ..., **arguments}``.
        multiple: Input extents, and window starts, must be multiples of this.
        any_size: Whether any extent that is a multiple is accepted, not only ``window``.
        activation: What turns the raw output into scores; ``none`` where the output is scores.
        single_output: Whether one output channel stands for two classes: the second is where the
            score exceeds 0.5.
        painted: Whether output channels stand for the classes from the second on, each of which is
            painted over those before it where its score exceeds 0.5 (nnU-Net's regions).
        normalization: From file intensities to model units. Steps that need the scene's statistics
            take them once from its overview, a decimated image of at most 1024 x 1024 samples, 256
            per axis for volumes, or from every sample where they are ``exact``; the plan keeps
            the numbers.
        previous: The stage before, for models of a cascade.
        locality: Whether an output sample depends on a bounded neighbourhood only.
        margin: Receptive radius in samples: context a sample needs for an exact result; 0 where
            unknown or global. It is the default of the tiling's discarded margin.
        axes: Which axis of the image, as stored or oriented, is the first of the model's, and so
            on; None: they agree.
        crop: ``nonzero``: the model sees the box around what is not 0 in some channel, and the rest
            is background. None: it sees all.
        spacing: Sample spacing it was trained at (array order, metres or mm), or None; along an
            axis that is None, the image's.
        resampling: How images of another spacing are brought to it, and scores back.
        orientation: For volumes, the anatomical letters of the input's array axes, or None.
        tiling: How the model wants to be tiled, where the user does not say.
        folds: Files with further weights of the same network, relative to the card; the mean of all
            is the result.
        mirror: Axes to mirror, in all combinations, where the user does not say; array order.
        average: What the mean over folds and mirrored views is taken of, where the user does not
            say. ``blended``: that of views is taken of logits, that of folds of blended logits, as
            nnU-Net does; it needs the taper ``nnunet``, and is as ``logits`` with others.
        thresholds: By name or id of a class, the score that it must reach to count, where the user
            does not say; see `tiledseg.models.limits_of`.
        postprocess: Steps that change the finished class map, where the user does not say.
        microbatch: Windows per call in torch, where the user does not say: its results depend on
            it, in the last bits.
        layout: For graphs, where the channels of the input are; ``auto`` looks at its extents.
        output: For graphs, the name or number of the output that holds the scores, or None: the
            first that can.
        rim: For graphs, samples that the output lacks on every side, as convolutions without
            padding leave it. `window` is what comes out.
        licence: SPDX name or short text.
        provenance: Where the weights come from.
    """

    name: str
    format: Format
    weights: str
    dims: Literal[2, 3]
    channels: tuple[str, ...]
    schema: ClassSchema
    window: tuple[int, ...]
    sha256: str | None = None
    architecture: dict[str, Any] = field(default_factory=dict)
    multiple: int = 1
    any_size: bool = True
    activation: Activation = "softmax"
    single_output: bool = False
    painted: bool = False
    normalization: Normalization = field(default_factory=Normalization)
    axes: tuple[int, ...] | None = None
    crop: Literal["nonzero"] | None = None
    previous: Previous | None = None
    locality: Locality = "unknown"
    margin: int = 0
    spacing: tuple[float | None, ...] | None = None
    resampling: Resampling = field(default_factory=Resampling)
    orientation: str | None = None
    tiling: TilingSpec = field(default_factory=TilingSpec)
    folds: tuple[str, ...] = ()
    mirror: tuple[int, ...] = ()
    average: Average = "scores"
    thresholds: dict[str | int, float] = field(default_factory=dict)
    postprocess: tuple[Step, ...] = ()
    layout: Layout = "auto"
    output: str | None = None
    rim: int = 0
    microbatch: int | None = None
    licence: str = ""
    provenance: str = ""

    @property
    def image_channels(self) -> tuple[str, ...]:
        """The channels that are the image's."""
        return self.channels[: -len(self.previous.labels)] if self.previous else self.channels

    @property
    def outputs(self) -> int:
        """Number of output channels."""
        return 1 if self.single_output else len(self.schema) - self.painted


class Model(ABC):
    """A network ready to run.

    ``model(x)`` takes normalised float32 (n, c, *window) on `device` and returns the raw output
    (n, k, *window) on the same device, float32. It may be called from several threads at once; the
    result may be overwritten by the same thread's next call. For one n, a sample's output must not
    depend on its neighbours in the batch.
    """

    card: ModelCard
    device: torch.device
    runtime: Runtime = Runtime("torch")
    threads: int | None = None  # fixed when loaded, where the library wants that
    network: nn.Module | None = None  # where there is one whose layers can be looked at
    stacked: int = 1  # networks of one card whose outputs lie behind one another: (n, f * k, ...)

    @abstractmethod
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
