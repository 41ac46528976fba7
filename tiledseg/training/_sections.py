"""Sections of a recipe: frozen dataclasses that check themselves."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, isfinite
from typing import Any, ClassVar, Literal, get_args

from ..budget import parse_bytes
from ..document import brief
from ..errors import ConfigError
from ..normalize import Normalization

_STRICT = {"extra": "forbid"}

LossName = Literal[
    "cross_entropy",
    "dice",
    "focal",
    "tversky",
    "lovasz",
    "boundary",
    "hausdorff",
    "cldice",
    "ohem",
]
#: Names of the losses.
LOSSES: tuple[str, ...] = get_args(LossName)
Precision = Literal["auto", "fp32", "bf16", "fp16"]
#: How many times as far as a patch a read goes at most, so that memory keeps within bounds.
_FARTHEST = 2.0
#: The largest seed that numpy and torch both take, and more than one of anything here needs.
_LARGEST = 2**31


def require(fine: bool, key: str, wanted: str, found: Any) -> None:
    """Refuse a value.

    Raises:
        ConfigError: It is not fine.
    """
    if not fine:
        raise ConfigError(f"{key}: expected {wanted}, found {brief(found)}")


@dataclass(frozen=True, slots=True)
class DataSpec:
    """What is learned from.

    Args:
        dataset: YAML, CSV or folder of the dataset; relative to the recipe's file.
        folds: Parts that the groups of cases are divided into, by the seed; one is held out for
            validation. None: the dataset's own split.
        fold: Which part is held out, from 0.
        blocks: For few scenes: samples from block to block, along every axis, into which they are
            cut; each block is a case and a group of its own. None: scenes are whole.
        gap: Samples between two blocks that belong to neither; neighbours are alike.
        spacing: Sample spacing that images are brought to, array order, m (mm in patient space);
            None along an axis, or for all: as they are.
        orientation: For volumes, the anatomical letters that array axes are turned to (``SPL``);
            None: as stored.
        normalization: From intensities to model units: steps as in a model card.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    dataset: str
    folds: int | None = None
    fold: int = 0
    blocks: int | None = None
    gap: int = 0
    spacing: tuple[float | None, ...] | None = None
    orientation: str | None = None
    normalization: tuple[dict[str, Any], ...] = ({"kind": "scene_score"},)

    def __post_init__(self) -> None:
        if self.folds is not None:
            require(2 <= self.folds <= 1000, "data.folds", "2 to 1000", self.folds)
        require(0 <= self.fold < (self.folds or 1), "data.fold", "0 to folds - 1", self.fold)
        if self.blocks is not None:
            require(1 <= self.blocks < _LARGEST, "data.blocks", "at least 1", self.blocks)
        fine = 0 <= self.gap < (self.blocks or 1)
        require(fine, "data.gap", "0, or less than data.blocks", self.gap)
        for value in self.spacing or ():
            fine = value is None or (isfinite(value) and value > 0)
            require(fine, "data.spacing", "positive numbers", self.spacing)
        Normalization.from_list(list(self.normalization))

    @property
    def steps(self) -> Normalization:
        """The steps of `normalization`."""
        return Normalization.from_list(list(self.normalization))


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What learns.

    Args:
        architecture: Name and arguments, as in a model card: ``{name: unet, encoder: resnet18}``;
            `tiledseg models` lists them.
        encoder_weights: File with pretrained weights of the encoder for three channels, or None.
        deep: Coarser outputs of the decoder that count in the loss besides the last, each half as
            much as the one before (deep supervision); of ``plain_conv_unet`` and
            ``residual_encoder_unet``. They are not part of the model that comes out.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    architecture: dict[str, Any]
    encoder_weights: str | None = None
    deep: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.deep < 10, "network.deep", "0 to 9", self.deep)
        named = isinstance(self.architecture.get("name"), str)
        require(named, "network.architecture", "a name", self.architecture)


@dataclass(frozen=True, slots=True)
class PatchSpec:
    """How samples for a step are drawn.

    Args:
        window: Extent of a patch in samples, array order; it becomes the model's window.
        batch: Patches per forward pass, over all processes.
        shares: Share of the patches that are drawn to hold a class, by its name; what is left of 1
            is drawn from labelled samples of any class. ``balanced``: equal shares of all classes.
        even_groups: Whether every group (scene, patient) that has the class has the same chance,
            however large it is; else every labelled sample has.
        cache: Memory for decoded images, like ``1GB``; one that takes more than half of it is read
            box by box, every time.
        readers: Threads that read and decode ahead.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    window: tuple[int, ...]
    batch: int = 8
    shares: dict[str, float] | Literal["balanced"] = "balanced"
    even_groups: bool = False
    cache: str = "1GB"
    readers: int = 2

    def __post_init__(self) -> None:
        fine = len(self.window) in (2, 3) and all(1 <= n < _LARGEST for n in self.window)
        require(fine, "patches.window", "2 or 3 positive numbers", self.window)
        require(1 <= self.batch <= 65536, "patches.batch", "1 to 65536", self.batch)
        require(1 <= self.readers <= 64, "patches.readers", "1 to 64", self.readers)
        if isinstance(self.shares, dict):
            shares = tuple(self.shares.values())
            fine = all(0 <= s <= 1 for s in shares) and sum(shares) <= 1 + 1e-9
            require(fine, "patches.shares", "numbers of 0 to 1, together at most 1", self.shares)
        parse_bytes(self.cache)


@dataclass(frozen=True, slots=True)
class AugmentSpec:
    """How patches are varied; labels go along, and what is invented outside is unlabelled.

    Intensities are in model units, after normalisation. Patches in which structures become smaller
    are made of a larger piece of the image, up to twice as far along every axis.

    Args:
        flips: Axes to mirror, each in half of the patches; array order from 0. ``all``: every axis.
        quarter_turns: Whether to turn by 90 degrees in the plane of the last two axes; patches must
            be square there.
        rotation: Largest angle of a turn, degrees, in real lengths; of volumes about every axis,
            but not out of a plane whose samples are more than 3 times as fine as across it.
        zoom: Least and largest factor by which structures become larger.
        elastic: Typical displacement of an elastic deformation, samples; 0: none.
        spatial_chance: Share of the patches that are turned, zoomed or deformed.
        brightness: Largest relative change by a factor of all samples of a channel, 0 to 1.
        contrast: Largest relative change of the distances to a channel's mean, 0 to 1.
        gamma: Least and largest exponent of a gamma curve between a patch's extremes.
        noise: Largest standard deviation of Gaussian noise.
        blur: Largest standard deviation of a Gaussian blur, samples.
        channel_drop: Chance of every channel to be 0, if there are several.
        chance: Share of the patches that undergo brightness, contrast, gamma, noise or blur, each.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    flips: tuple[int, ...] | Literal["all"] = ()
    quarter_turns: bool = False
    rotation: float = 0.0
    zoom: tuple[float, float] = (1.0, 1.0)
    elastic: float = 0.0
    spatial_chance: float = 0.2
    brightness: float = 0.0
    contrast: float = 0.0
    gamma: tuple[float, float] = (1.0, 1.0)
    noise: float = 0.0
    blur: float = 0.0
    channel_drop: float = 0.0
    chance: float = 0.15

    def __post_init__(self) -> None:
        if not isinstance(self.flips, str):
            fine = set(self.flips) <= {0, 1, 2}
            require(fine, "augment.flips", "axes of 0 to 2, or all", self.flips)
        require(0 <= self.rotation <= 180, "augment.rotation", "0 to 180 degrees", self.rotation)
        for name in ("zoom", "gamma"):
            low, high = getattr(self, name)
            fine = 0.1 <= low <= high <= 10
            require(
                fine, f"augment.{name}", "two numbers of 0.1 to 10, the least first", (low, high)
            )
        for name in ("elastic", "noise", "blur"):
            value = getattr(self, name)
            require(0 <= value <= 1000, f"augment.{name}", "0 to 1000", value)
        for name in ("spatial_chance", "brightness", "contrast", "channel_drop", "chance"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"augment.{name}", "0 to 1", value)

    def room(self, window: tuple[int, ...]) -> tuple[int, ...]:
        """Return how many samples beyond each side of a patch are needed for the least zoom."""
        farther = min(max(1 / self.zoom[0], 1.0), _FARTHEST) if self.spatial_chance else 1.0
        return tuple(ceil(n * (farther - 1) / 2) for n in window)


@dataclass(frozen=True, slots=True)
class LossSpec:
    """What is made small; samples without a label never count.

    Args:
        terms: Losses by name, and their weights in the sum: cross_entropy, dice, focal, tversky,
            lovasz, boundary, hausdorff, cldice, ohem.
        class_weights: Of cross_entropy, focal and ohem, by class name (others 1), or
            ``median_frequency``: the median of the classes' frequencies over a class's own (Eigen
            and Fergus 2015).
        smoothing: Of cross_entropy and ohem: share of the target that is spread over all classes.
        background: Whether the background class counts in dice, tversky, boundary, hausdorff and
            cldice.
        gamma: Of focal: the exponent; 0 is cross entropy.
        alpha: Of tversky: weight of false positives.
        beta: Of tversky: weight of false negatives.
        hardest: Of ohem: share of the labelled samples, those with the largest loss, that count.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    terms: dict[LossName, float] = field(
        default_factory=lambda: {"cross_entropy": 1.0, "dice": 1.0}
    )
    class_weights: dict[str, float] | Literal["median_frequency"] | None = None
    smoothing: float = 0.0
    background: bool = True
    gamma: float = 2.0
    alpha: float = 0.3
    beta: float = 0.7
    hardest: float = 0.25

    def __post_init__(self) -> None:
        fine = bool(self.terms) and all(0 < w < _LARGEST for w in self.terms.values())
        require(fine, "loss.terms", "at least one loss with a positive weight", self.terms)
        if isinstance(self.class_weights, dict):
            fine = all(0 <= w < _LARGEST for w in self.class_weights.values())
            require(fine, "loss.class_weights", "numbers from 0 up", self.class_weights)
        require(0 <= self.smoothing < 1, "loss.smoothing", "0 to below 1", self.smoothing)
        for key, given, terms in (
            ("class_weights", self.class_weights, ("cross_entropy", "focal", "ohem")),
            ("smoothing", self.smoothing, ("cross_entropy", "ohem")),
        ):
            require(
                not given or any(term in self.terms for term in terms),
                f"loss.{key}",
                f"none where loss.terms has none of {', '.join(terms)}, which alone know it",
                given,
            )
        require(0 <= self.gamma <= 100, "loss.gamma", "0 to 100", self.gamma)
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            require(0 <= value <= 100, f"loss.{name}", "0 to 100", value)
        require(0 < self.hardest <= 1, "loss.hardest", "above 0, to 1", self.hardest)


@dataclass(frozen=True, slots=True)
class OptimizerSpec:
    """How weights follow the gradient.

    Args:
        name: ``adamw``, or ``sgd`` with Nesterov's momentum.
        rate: Learning rate after the warm-up.
        decay: Weight decay, per step and rate.
        momentum: Of sgd.
        schedule: How the rate falls after the warm-up: ``poly`` as (1 - t)^0.9 (nnU-Net),
            ``cosine`` as half a cosine, both to 0 at the end; or ``constant``.
        warmup: Steps over which the rate rises from 0 in a straight line.
        accumulate: Forward passes whose gradients are averaged for one step.
        clip: Norm that the gradient is limited to; None: it is not.
        ema: Decay per step of the moving average of the weights that is validated and kept; 0: the
            weights themselves.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    name: Literal["adamw", "sgd"] = "adamw"
    rate: float = 1e-3
    decay: float = 1e-2
    momentum: float = 0.99
    schedule: Literal["poly", "cosine", "constant"] = "poly"
    warmup: int = 0
    accumulate: int = 1
    clip: float | None = 12.0
    ema: float = 0.0

    def __post_init__(self) -> None:
        require(0 < self.rate <= 100, "optimizer.rate", "above 0, to 100", self.rate)
        require(0 <= self.decay <= 1, "optimizer.decay", "0 to 1", self.decay)
        require(0 < self.momentum < 1, "optimizer.momentum", "between 0 and 1", self.momentum)
        require(0 <= self.warmup < _LARGEST, "optimizer.warmup", "0 or more", self.warmup)
        fine = 1 <= self.accumulate <= 65536
        require(fine, "optimizer.accumulate", "1 to 65536", self.accumulate)
        if self.clip is not None:
            require(0 < self.clip < _LARGEST, "optimizer.clip", "a positive number", self.clip)
        require(0 <= self.ema < 1, "optimizer.ema", "0 to below 1", self.ema)


@dataclass(frozen=True, slots=True)
class RunSpec:
    """How long, how exactly, and what is kept on the way.

    Args:
        steps: Steps of the optimiser.
        seed: Of weights, patches, augmentation and folds.
        precision: Arithmetic of the forward pass: ``bf16`` and ``fp16`` are torch's autocast.
            ``auto`` measures on a CPU whether bf16 is faster, and takes it on a GPU that has it.
        validate: Steps between two validations on the held-out cases; None: at the end only.
        patience: Validations without a better one after which training ends, with ``validate``;
            None: it does not.
        checkpoint: Steps after which the state is kept on disk, so that a killed training goes on.
        checkpoint_minutes: Minutes after which it is kept, if that is earlier.
        tensorboard: Whether TensorBoard's files are written, too (extra ``train``).
        minutes: That the training was planned for: one that will take longer says so, and goes on.
    """

    __pydantic_config__: ClassVar[Any] = _STRICT

    steps: int = 1000
    seed: int = 0
    precision: Precision = "auto"
    validate: int | None = None
    patience: int | None = None
    checkpoint: int = 500
    checkpoint_minutes: float = 5.0
    tensorboard: bool = False
    minutes: float | None = None

    def __post_init__(self) -> None:
        require(1 <= self.steps < _LARGEST, "run.steps", "at least 1", self.steps)
        require(0 <= self.seed < _LARGEST, "run.seed", f"0 to {_LARGEST - 1}", self.seed)
        for name in ("validate", "patience", "checkpoint"):
            value = getattr(self, name)
            fine = value is None or 1 <= value < _LARGEST
            require(fine, f"run.{name}", "at least 1", value)
        fine = self.patience is None or self.validate is not None
        require(
            fine, "run.patience", "none where run.validate is none: it counts those", self.patience
        )
        fine = self.minutes is None or 0 < self.minutes < _LARGEST
        require(fine, "run.minutes", "above 0", self.minutes)
        fine = 0 < self.checkpoint_minutes < _LARGEST
        require(fine, "run.checkpoint_minutes", "above 0", self.checkpoint_minutes)
