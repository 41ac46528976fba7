"""A foreign model -> a native one: safetensors and a card, or a graph file and a card."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError, MissingBackend, OutputFailed, TiledsegError
from ._base import ModelCard
from ._card import CARD_NAME, read_card, weights_paths, write_card
from ._companions import companions
from ._fetch import fetch, is_url
from ._foreign import Understood, complete, linked_url, understand
from ._likeness import fit_or_tell

#: Folder in the folder of a model, in which it is made.
_STAGED = ".partial"


@dataclass(frozen=True, slots=True)
class Imported:
    """What was understood of a foreign model, and what was made of it.

    Args:
        kind: What it was, in words.
        card: The card of the native model.
        files: The files written.
        notes: Sentences on what was understood, and on what was left out.
    """

    kind: str
    card: ModelCard
    files: tuple[Path, ...]
    notes: tuple[str, ...]


def import_model(
    source: str | Path, out: str | Path, *, sha256: str | None = None, **card: Any
) -> Imported:
    """Write a foreign model natively.

    Args:
        source: The file or folder of the foreign model; or ``https://...`` or
            ``hf://OWNER/REPOSITORY[@REVISION]/FILE``, which is fetched now.
        out: Folder to write, with ``model.yaml`` in it. What an earlier import wrote there is
            replaced, and a note says so.
        sha256: Of the file that is fetched: that of a URL, or that which a STAC item points to.
        card: Keys of a card, as in ``model.yaml``, that complete or overrule what the source says:
            ``channels=["red", "nir"], classes=["land", "water"], licence="MIT"``.

    Raises:
        ConfigError: No reader knows the source, it cannot be run here, a key of the card is
            missing or wrong, or ``out`` holds something else.
        DamagedInput: The source is not what it claims to be.
        OutputFailed: It cannot be written.
    """
    place, folder = _local(source, sha256), Path(out)
    understood = understand(place)
    if is_url(source):
        told = f"fetched from {source}, sha256 {understood.sha256[:12]}"
        own = understood.card.get("provenance")
        card = {"provenance": f"{own}; {told}" if own else told, **card}
    whole = complete(understood, place, card)
    try:
        replaced = _replaced(folder, place)
        with _made(folder), _alone(folder):
            notes = _write(understood, whole, folder)
    except TiledsegError:
        raise
    except (OSError, ValueError) as error:  # a zero byte in a name is a ValueError
        reason = getattr(error, "strerror", None) or error
        raise OutputFailed(f"{folder} cannot be written: {reason}") from None
    files = tuple(_files(whole, folder))
    return Imported(understood.kind, whole, files, (*understood.notes, *notes, *replaced))


@contextmanager
def _made(folder: Path) -> Iterator[None]:
    """Make a folder; where what follows fails, take away what was made, as far as it is empty."""
    new = [place for place in (folder, *folder.parents) if not os.path.lexists(place)]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for place in new:
                place.rmdir()
        raise


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep other imports out of a folder, as far as its file system can.

    Raises:
        ConfigError: There is one.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ConfigError(
                    f"another import is writing to {folder}: wait for it, or name another --out"
                ) from None
        yield
    finally:
        os.close(descriptor)


def _write(understood: Understood, card: ModelCard, folder: Path) -> list[str]:
    """Write a model beside what is in its folder, then put it in its place, the card last.

    Returns:
        Notes on how the weights fitted.
    """
    staged = folder / _STAGED
    shutil.rmtree(staged, ignore_errors=True)  # of an import that was killed
    staged.mkdir()
    try:
        notes: list[str] = []
        if understood.graph is None:
            notes = _write_weights(understood, card, staged)
        else:
            _copy(understood.graph, understood.beside, staged)
        write_card(card, staged)
        _check_graph(card, staged)
        (folder / CARD_NAME).unlink(missing_ok=True)  # no card beside weights it does not fit
        for file in reversed(_files(card, staged)):
            place = folder / file.relative_to(staged)
            place.parent.mkdir(parents=True, exist_ok=True)
            file.replace(place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return notes


def _files(card: ModelCard, folder: Path) -> list[Path]:
    """Return the files of an imported model."""
    weights = weights_paths(card, folder)
    more = () if card.format == "tiledseg" else companions(weights[0], card.format)
    return [folder / CARD_NAME, *weights, *more]


def _local(source: str | Path, sha256: str | None) -> Path:
    """Return a source on disk, after fetching what is to be fetched.

    Raises:
        ConfigError: Nothing is to be fetched, or it cannot be.
        DamagedInput: What was fetched has another sha256.
    """
    if is_url(source):
        return fetch(str(source), sha256)
    if sha256 is not None:
        url = linked_url(Path(source))
        if url is None:
            raise ConfigError(f"--sha256 is for what is fetched, and {source} points to no URL")
        fetch(url, sha256)
    return Path(source)


def _replaced(folder: Path, source: Path) -> tuple[str, ...]:
    """Refuse to write over what is not an imported model, or over the source.

    Returns:
        A note on the model that will be replaced; nothing where there is none.

    Raises:
        ConfigError: There is something else, or the source.
    """
    if not os.path.lexists(folder) or (folder.is_dir() and not any(folder.iterdir())):
        return ()
    own: list[Path] = []
    told: tuple[str, ...] = ()
    with suppress(TiledsegError):
        card = read_card(folder / CARD_NAME)
        own = _files(card, folder)
        told = (f"replaced {card.name!r} ({card.provenance or 'no provenance'}) in {folder}",)
    kept = {path for path in own if path.is_file()}
    probe = folder / CARD_NAME.replace(".yaml", ".probe.json")
    known = {*kept, folder / _STAGED, *([probe] if kept else [])}
    if not folder.is_dir() or set(folder.iterdir()) - known:
        raise ConfigError(
            f"{folder} is there and holds something else than an imported model: name another --out"
        )
    read = Path(os.path.realpath(source))
    if Path(os.path.realpath(folder)) in (read, *read.parents):
        raise ConfigError(f"{folder} is, or holds, what is imported: name another --out")
    return told


def _write_weights(understood: Understood, card: ModelCard, folder: Path) -> list[str]:
    """Write the weights of every fold; return notes on how they fitted."""
    from ._create import create_network
    from ._torch import save_weights

    network, notes = create_network(card), []
    for name, state in zip((card.weights, *card.folds), understood.states, strict=True):
        note = fit_or_tell(network, state(), name, card.name)
        if note is not None and note not in notes:
            notes.append(note)
        save_weights(network, replace(card, weights=name, folds=()), folder / name)
    return notes


def _check_graph(card: ModelCard, folder: Path) -> None:
    """Open a copied graph where its library is there.

    Raises:
        ConfigError: It is not what the card says.
        DamagedInput: It cannot be read.
    """
    if card.format == "tiledseg":  # what was fitted to a network is known to be right
        return
    from . import load_model  # which finds models, native ones and those this module reads

    with suppress(MissingBackend):
        load_model(folder, probed=False)


def _copy(graph: Path, beside: tuple[Path, ...], folder: Path) -> None:
    """Copy a graph and what it needs beside it."""
    for file in (graph, *beside):
        place = folder / file.relative_to(graph.parent)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)
