"""Where a model is: its card and its weights, whoever wrote them."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ..document import require_plain
from ..errors import ConfigError, DamagedInput
from ._base import ModelCard
from ._bundled import bundled_models, placed
from ._cache import known_sha256
from ._card import CARD_NAME, card_from_dict, card_to_dict, card_values, weights_paths, within
from ._companions import companions
from ._fetch import is_url
from ._foreign import Understood, complete, find_reader, understand
from ._graph_card import GRAPHS, graph_format, graph_values
from ._state import State

#: How the files of native models end.
_NATIVE = (".yaml", ".yml", ".safetensors")


@dataclass(frozen=True, slots=True)
class Fold:
    """The weights of one network.

    Args:
        file: Where they are.
        state: Reads them; None where the file is a graph.
        digest: What identifies them; None where that is the sha256 of the file.
    """

    file: Path
    state: State | None = None
    digest: str | None = None

    @property
    def sha256(self) -> str:
        """What identifies these weights, in hexadecimal."""
        return self.digest or known_sha256(self.file)


def is_model(place: Path) -> bool:
    """Return whether there is a model, native or foreign, as far as its outside tells."""
    place = placed(place)
    return _is_native(place) or graph_format(place) is not None or find_reader(place) is not None


def describe_model(place: Path) -> dict[str, Any]:
    """Return what there is to know of a model: its card, and of a foreign one what it is.

    Raises:
        ConfigError: There is no model, or its card is wrong.
        DamagedInput: The model is not what it claims to be.
    """
    place = placed(place)
    if graph_format(place) is not None or _native_card(place) is not None:
        card, folds = find_model(place)
        there = all(os.path.isfile(fold.file) for fold in folds)
        return card_to_dict(identified(card, folds) if there else card)
    found = understand(place)
    told: dict[str, Any] = {"understood": found.kind}
    try:
        told |= card_to_dict(complete(found, place)) | {"sha256": found.sha256}
    except ConfigError as error:
        told |= {**found.values(place, {}), "missing": str(error)}
    return {**told, "notes": list(found.notes)}


def find_model(place: Path) -> tuple[ModelCard, tuple[Fold, ...]]:
    """Return the card of a model and its folds, whose files need not be there.

    Raises:
        ConfigError: There is no model, or its card is wrong or says too little.
        DamagedInput: The model is not what it claims to be.
    """
    if is_url(place):
        raise ConfigError(
            f"model {place}: what is elsewhere is fetched only when asked: tiledseg import URL "
            "--out MODEL --sha256 HEX"
        )
    place = placed(place)
    if not os.path.exists(place):  # which takes names of any length
        known = ", ".join(bundled_models())
        raise ConfigError(f"there is no model at {place}; bundled models, by name: {known}")
    require_plain(place)
    if graph_format(place) is not None:
        return _graph_card(place), (_graph_fold(place),)
    card, folder = _native_card(place), place if place.is_dir() else place.parent
    if card is None:
        understood = understand(place)
        return complete(understood, place), _folds(understood)
    files = weights_paths(card, folder)
    for file in files:
        require_plain(file)
    if card.format != "tiledseg":
        return card, tuple(map(_graph_fold, files))
    from ._torch import read_weights

    return card, tuple(Fold(file, partial(read_weights, file)) for file in files)


def model_files(place: Path) -> tuple[Path, ...]:
    """Return the files that a model is read from, which need not be there.

    Raises:
        ConfigError: There is no model, or its card is wrong or says too little.
        DamagedInput: The model is not what it claims to be.
    """
    place = placed(place)
    if graph_format(place) is None and _native_card(place) is None:
        return understand(place).files
    card, folds = find_model(place)
    graph = card.format != "tiledseg"
    files = [fold.file for fold in folds]
    more = companions(files[0], card.format) if graph and os.path.isfile(files[0]) else ()
    return (place / CARD_NAME if place.is_dir() else place, *files, *more)


def identified(card: ModelCard, folds: tuple[Fold, ...]) -> ModelCard:
    """Return a card with the sha256 of all weights.

    Raises:
        DamagedInput: They are not those the card was written for.
    """
    digests = [fold.sha256 for fold in folds]
    digest = digests[0]
    if len(digests) > 1:
        digest = hashlib.sha256("".join(digests).encode()).hexdigest()
    if card.sha256 is not None and card.sha256.lower() != digest:
        raise DamagedInput(
            f"weights {', '.join(str(fold.file) for fold in folds)} have sha256 {digest[:12]}..., "
            f"the card says {card.sha256[:12]}...: they are damaged or another version"
        )
    return replace(card, sha256=digest)


def _is_native(place: Path) -> bool:
    return place.suffix in _NATIVE or os.path.isfile(place / CARD_NAME)


def _native_card(place: Path) -> ModelCard | None:
    """Return the card of a native model; None where it has none and a reader knows what it is."""
    if place.suffix == ".safetensors":
        from ._torch import read_embedded_card

        return read_embedded_card(place)
    if not _is_native(place) and (find_reader(place) is not None or not place.is_dir()):
        return None
    values, name = card_values(place)  # says what is missing
    if isinstance(values, dict) and values.get("format") in GRAPHS:
        folder = place if place.is_dir() else place.parent
        file = folder / within(name, str(values.get("weights", "")))
        if os.path.isfile(file):
            values = graph_values(values, file)
    return card_from_dict(values, name)


def _graph_card(graph: Path) -> ModelCard:
    """Return the card beside a graph file, or what the file tells."""
    beside = graph.with_suffix(".yaml")
    values: Any = {}
    if beside.is_file():
        values, _ = card_values(beside)
        if not isinstance(values, dict):
            return card_from_dict(values, str(beside))
    return card_from_dict(graph_values({**values, "weights": graph.name}, graph), str(beside))


def _graph_fold(graph: Path) -> Fold:
    """Return a graph, identified by its own bytes and those of the files it reads besides."""
    found = graph_format(graph) if os.path.isfile(graph) else None
    more = () if found is None else companions(graph, found)
    if not more or not all(map(os.path.isfile, more)):
        return Fold(graph)
    digests = "".join(map(known_sha256, (graph, *more)))
    return Fold(graph, digest=hashlib.sha256(digests.encode()).hexdigest())


def _folds(understood: Understood) -> tuple[Fold, ...]:
    """Return the weights of a foreign model, each with an identity of its own."""
    file = understood.graph or understood.files[0]
    pairs = zip(understood.states or (None,), understood.fold_sha256(), strict=True)
    return tuple(Fold(file, state, digest) for state, digest in pairs)
