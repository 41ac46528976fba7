"""A training prepared: what is learned from, what is held out, what is to come out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets import (
    Case,
    CaseCensus,
    Census,
    Dataset,
    Split,
    cut_blocks,
    given_split,
    read_dataset,
    split_folds,
    take_census,
)
from ..errors import ConfigError
from ..models import Model, ModelCard, create_network
from ..normalize import Normalization
from ._augment import Augment
from ._batches import Batches
from ._card import card_of
from ._cases import Cases
from ._losses import Loss
from ._prepared import fitted_whole
from ._recipe import Recipe
from ._sampler import Sampler
from ._start import find_start


@dataclass(frozen=True)
class Job:
    """A training, ready to begin.

    Args:
        recipe: All settings.
        dataset: Everything there is.
        split: What of it is learned from, and what is held out.
        census: Of the cases that are learned from.
        held: Of those that are held out.
        card: Of the model, without its provenance.
    """

    recipe: Recipe
    dataset: Dataset
    split: Split
    census: Census
    held: Census
    card: ModelCard

    @cached_property
    def sampler(self) -> Sampler:
        """What patches are drawn by."""
        spec, names = self.recipe.patches, self.split.train
        cases = [self.census.cases[name] for name in names]
        groups = [case.group for case in self._cases(names)] if spec.even_groups else None
        return Sampler(cases, self.dataset.schema, spec.shares, groups)

    @property
    def held_out(self) -> tuple[Case, ...]:
        """The cases to validate on."""
        return self._cases(self.split.held_out)

    @cached_property
    def encoder(self) -> str | None:
        """The sha256 of the file of pretrained weights, or None where there is none.

        Raises:
            ConfigError: It cannot be read.
        """
        path = self.recipe.network.encoder_weights
        if path is None:
            return None
        try:
            with Path(path).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ConfigError(
                f"network.encoder_weights {path} cannot be read: {error.strerror}"
            ) from None

    @cached_property
    def start(self) -> Model | None:
        """The model that is learned on from, or None; kept, as its files may change.

        Raises:
            ConfigError: There is none, or it is of another network.
            DamagedInput: It is damaged.
        """
        named = self.recipe.network.start
        return None if named is None else find_start(named, self.card)

    def lane(self, case: Case) -> Normalization:
        """Return the normalisation of a case, fitted to its whole image."""
        return fitted_whole(self.dataset, case, self.recipe.data)

    def batches(self, part: tuple[int, int]) -> Batches:
        """Return what is learned from, of a process among some."""
        recipe = self.recipe
        train = self._cases(self.split.train)
        cases = Cases(self.dataset, train, recipe.data, recipe.patches.cache)
        return Batches(cases, self.sampler, recipe.patches, recipe.run.seed, self._room, part)

    @property
    def _room(self) -> tuple[int, ...]:
        """What is read beyond each side of a patch, for those that shrink."""
        return self.recipe.augment.room(self.recipe.patches.window)

    def _cases(self, names: tuple[str, ...]) -> tuple[Case, ...]:
        by_name = {case.name: case for case in self.dataset.cases}
        return tuple(by_name[name] for name in names)

    def augment(self) -> Augment:
        """Return what varies patches, for the typical spacing of the cases."""
        found = np.median([_spacing(c, self.recipe) for c in self.census.cases.values()], axis=0)
        spec, seed = self.recipe.augment, self.recipe.run.seed
        return Augment(spec, seed, self._room, tuple(found.tolist()))

    def loss(self) -> Loss:
        """Return what is made small.

        Raises:
            ConfigError: It weighs a class that is not there.
        """
        schema, spec = self.dataset.schema, self.recipe.loss
        given = spec.class_weights
        if given is None:
            return Loss(spec, schema)
        weights: Mapping[str, float] = {}
        if isinstance(given, str):
            weights = self.sampler.median_frequencies()
        else:
            weights = given
            names = [c.name for c in schema.classes]
            if unknown := [name for name in given if name not in names]:
                raise ConfigError(
                    f"loss.class_weights: there is no class {unknown[0]!r:.80}; the classes are "
                    f"{', '.join(names)}"
                )
        return Loss(spec, schema, [weights.get(c.name, 1.0) for c in schema.classes])

    def facts(self) -> dict[str, Any]:
        """Return what is to be told of the data and the split."""
        data, start = self.dataset, None if self.start is None else self.start.card
        return {
            "data": f"{data.name}, sha256 of the cases learned from {self.census.digest}",
            "licence of the data": data.licence,
            "split": self.split.told(),
            "encoder weights": None if self.encoder is None else f"sha256 {self.encoder}",
            "started from": start and f"{start.name}, sha256 {start.sha256}",
            "outputs": "begun anew" if start and start.outputs != self.card.outputs else None,
            "licence of the start": start and start.licence,
            "seed": self.recipe.run.seed,
        }


def prepare_job(recipe: Recipe, on_case: Callable[[str], None] | None = None) -> Job:
    """Read the dataset and its census, and check that the recipe fits them.

    Args:
        recipe: The settings; relative paths start at the working folder.
        on_case: Is told the name of every case that was counted.

    Raises:
        ConfigError: The dataset cannot be read, or the recipe does not fit it.
        DamagedInput: A file is not what it claims to be.
        GridMismatch: An image and its labels do not lie on one grid.
    """
    recipe = recipe.beside(Path.cwd())
    dataset, data = read_dataset(recipe.data.dataset), recipe.data
    if data.blocks is not None:
        dataset = cut_blocks(dataset, data.blocks, data.gap)
    names = [case.name for case in dataset.learnable]
    if not names:
        raise ConfigError(f"dataset {dataset.name} has no labelled case to learn from; label some")
    known = take_census(dataset.of(names), on_case=on_case)
    split = _split(dataset, recipe, known)
    census = known.of(split.train)
    channels = _same_channels(census)
    _require_axes(recipe, census)
    card = card_of(recipe, dataset.schema, channels)
    create_network(card)  # says what it does not take, before anything is written
    job = Job(recipe, dataset, split, census, known.of(split.held_out), card)
    _ = job.sampler, job.loss(), job.encoder, job.start
    return job


def _split(dataset: Dataset, recipe: Recipe, census: Census) -> Split:
    """Return what is learned from, and what is held out.

    Raises:
        ConfigError: There are fewer groups than folds, or the dataset's own split is not honest.
    """
    data = recipe.data
    if data.folds is not None:
        return split_folds(dataset, data.folds, recipe.run.seed, census)[data.fold]
    if dataset.splits:
        return given_split(dataset)
    return Split(tuple(census.cases), (), "nothing to validate on")


def _spacing(case: CaseCensus, recipe: Recipe) -> tuple[float, ...]:
    """Return the spacing of a case as it is learned from, along the model's axes."""
    own, stored = list(case.facts["spacing"]), case.facts["orientation"]
    wanted = recipe.data.orientation
    if wanted is not None and stored is not None:
        pair = {letter: pair for pair in ("RL", "AP", "IS") for letter in pair}
        place = {pair[letter]: axis for axis, letter in enumerate(stored)}
        own = [own[place[pair[letter]]] for letter in wanted.upper()]
    given = recipe.data.spacing or (None,) * len(own)
    return tuple(a if b is None else b for a, b in zip(own, given, strict=True))


def _same_channels(census: Census) -> tuple[str, ...]:
    """Return the channels of all cases, named as in the first.

    Raises:
        ConfigError: They are not equally many.
    """
    channels = {name: tuple(case.facts["channels"]) for name, case in census.cases.items()}
    first = next(iter(channels))
    for name, found in channels.items():
        if len(found) != len(channels[first]):
            raise ConfigError(
                f"case {name} has {len(found)} channels ({', '.join(found):.80}), case {first} has "
                f"{len(channels[first])}: name those to take with `channels` in the dataset"
            )
    return channels[first]


def _require_axes(recipe: Recipe, census: Census) -> None:
    """Refuse windows of other axes than the images', and those larger than all of them.

    Raises:
        ConfigError: They are.
    """
    window = recipe.patches.window
    largest = [0] * len(window)
    for name, case in census.cases.items():
        if len(case.shape) != len(window):
            raise ConfigError(
                f"patches.window {list(window)}: case {name} has {len(case.shape)} axes; give a "
                "number for each"
            )
        largest = [max(a, b) for a, b in zip(largest, case.shape, strict=True)]
    resampled = recipe.data.spacing is not None or recipe.data.orientation is not None
    if not resampled and any(w > 2 * n for w, n in zip(window, largest, strict=True)):
        raise ConfigError(
            f"patches.window {list(window)} is more than twice as long as every image (at most "
            f"{largest}): most of a patch would be invented; take a smaller one"
        )
