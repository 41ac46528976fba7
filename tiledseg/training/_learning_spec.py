"""Sections of a recipe that say how a network learns: its kind, loss, optimiser, and the run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, get_args

from ._require import LARGEST, STRICT, require

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


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """What learns.

    Args:
        architecture: Name and arguments, as in a model card: ``{name: unet, encoder: resnet18}``;
            `tiledseg models` lists them.
        encoder_weights: File with pretrained weights of the encoder for three channels, or None.
        start: Trained model to learn on from, of the same architecture, normalisation and channels:
            a bundled one's name, or a path. Layers that depend on the number of outputs begin anew
            where it differs. None: random weights.
        deep: Coarser outputs of the decoder that count in the loss besides the last, each half as
            much as the one before (deep supervision); of ``plain_conv_unet`` and
            ``residual_encoder_unet``. They are not part of the model that comes out.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

    architecture: dict[str, Any]
    encoder_weights: str | None = None
    start: str | None = None
    deep: int = 0

    def __post_init__(self) -> None:
        require(0 <= self.deep < 10, "network.deep", "0 to 9", self.deep)
        named = isinstance(self.architecture.get("name"), str)
        require(named, "network.architecture", "a name", self.architecture)
        fine = self.start is None or self.encoder_weights is None
        require(fine, "network.start", "none beside network.encoder_weights", self.start)


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

    __pydantic_config__: ClassVar[Any] = STRICT

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
        fine = bool(self.terms) and all(0 < w < LARGEST for w in self.terms.values())
        require(fine, "loss.terms", "at least one loss with a positive weight", self.terms)
        if isinstance(self.class_weights, dict):
            fine = all(0 <= w < LARGEST for w in self.class_weights.values())
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
        ema: Decay per step of the moving average of the weights that is validated and kept, less in
            the first steps; 0: the weights themselves.
    """

    __pydantic_config__: ClassVar[Any] = STRICT

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
        require(0 <= self.warmup < LARGEST, "optimizer.warmup", "0 or more", self.warmup)
        fine = 1 <= self.accumulate <= 65536
        require(fine, "optimizer.accumulate", "1 to 65536", self.accumulate)
        if self.clip is not None:
            require(0 < self.clip < LARGEST, "optimizer.clip", "a positive number", self.clip)
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

    __pydantic_config__: ClassVar[Any] = STRICT

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
        require(1 <= self.steps < LARGEST, "run.steps", "at least 1", self.steps)
        require(0 <= self.seed < LARGEST, "run.seed", f"0 to {LARGEST - 1}", self.seed)
        for name in ("validate", "patience", "checkpoint"):
            value = getattr(self, name)
            fine = value is None or 1 <= value < LARGEST
            require(fine, f"run.{name}", "at least 1", value)
        fine = self.patience is None or self.validate is not None
        require(
            fine, "run.patience", "none where run.validate is none: it counts those", self.patience
        )
        fine = self.minutes is None or 0 < self.minutes < LARGEST
        require(fine, "run.minutes", "above 0", self.minutes)
        fine = 0 < self.checkpoint_minutes < LARGEST
        require(fine, "run.checkpoint_minutes", "above 0", self.checkpoint_minutes)
