"""Sections of a recipe that say what a network sees: data, patches, augmentation."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, ClassVar, Literal

from ..budget import parse_bytes
from ..normalize import Normalization
from ._require import LARGEST, STRICT, require

#: How many times as far as a patch a read goes at most, so that memory keeps within bounds.
_FARTHEST = 2.0


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

    __pydantic_config__: ClassVar[Any] = STRICT

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
            require(1 <= self.blocks < LARGEST, "data.blocks", "at least 1", self.blocks)
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

    __pydantic_config__: ClassVar[Any] = STRICT

    window: tuple[int, ...]
    batch: int = 8
    shares: dict[str, float] | Literal["balanced"] = "balanced"
    even_groups: bool = False
    cache: str = "1GB"
    readers: int = 2

    def __post_init__(self) -> None:
        fine = len(self.window) in (2, 3) and all(1 <= n < LARGEST for n in self.window)
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

    __pydantic_config__: ClassVar[Any] = STRICT

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
