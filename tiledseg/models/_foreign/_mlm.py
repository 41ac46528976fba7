"""STAC items of the machine learning model extension (MLM 1.4 and 1.5).

The words of such an item are those of https://github.com/stac-extensions/mlm. It says nothing of
overlap, blending or whether a network gives logits or scores.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...document import brief
from ...errors import ConfigError, DamagedInput
from .._architectures import ARCHITECTURES
from .._cache import known_sha256
from .._fetch import fetched, is_url
from ._mlm_item import Input, Item, Properties, read_item
from ._mlm_scaling import steps_of
from ._understood import Understood, merged
from ._weights import read_first

_MARK, _LARGEST = '"mlm:input"', 1_000_000
#: Windows where the item leaves the extents open, by the number of axes.
_WINDOW = {2: 512, 3: 96}
#: What a multihash of sha2-256 begins with: its code and its length.
_SHA256 = "1220"


def claims(path: Path) -> bool:
    """Return whether this is a STAC item of the extension."""
    if path.suffix != ".json" or not os.path.isfile(path) or path.stat().st_size > _LARGEST:
        return False
    try:
        return _MARK in path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False


def read(path: Path) -> Understood:
    """Return what an item says, with the model it points to.

    Raises:
        ConfigError: The item is wrong, or says what cannot be done here.
        DamagedInput: The model it points to is damaged.
    """
    item = read_item(path)
    weights = _weights(path, item)
    card, missing, notes = _card(path, item)
    if not weights.card.get("any_size", True):  # what a graph is made for, it knows best
        del card["window"], card["any_size"]
    architecture = _architecture(item.properties.architecture)
    if weights.states and architecture is not None:
        card["architecture"] = {"name": architecture}
        notes.append(f"mlm:architecture {item.properties.architecture!r} is {architecture} here")
    return Understood(
        f"STAC-MLM item of {weights.kind}",
        merged(weights.card, card),
        (path, *weights.files),
        weights.states,
        weights.graph,
        weights.beside,
        {**weights.missing, **missing},
        (*notes, *weights.notes),
        weights.examples,
    )


def _card(path: Path, item: Item) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Return the keys of the card, what the user must say, and notes."""
    said, notes = item.properties, []
    if len(said.inputs) != 1:
        raise ConfigError(f"STAC item {path}: a model of {len(said.inputs)} inputs, expected one")
    taken = said.inputs[0]
    missing: dict[str, str] = {}
    if taken.pre_processing_function is not None:
        told = brief(taken.pre_processing_function)
        missing["normalization"] = f"pre_processing_function {told} is code, which is never run"
    if taken.resize_type is not None:
        notes.append(f"resize_type {taken.resize_type} is not done: the image stays as it is")
    gsd = said.gsd or next((a.gsd for a in item.models() if a.gsd), None)
    card = {
        "name": said.name,
        "licence": said.licence,
        "provenance": f"STAC item {item.id}",
        "channels": list(_bands(path, taken)),
        "normalization": steps_of(taken.value_scaling or [], len(taken.bands), f"STAC item {path}"),
        **_window(path, taken, notes),
    }
    if gsd is not None:
        card["spacing"] = [gsd] * card["dims"]
    outputs, wanted = _classes(path, said, notes)
    return {**card, **outputs}, {**missing, **wanted}, notes


def _architecture(told: str) -> str | None:
    """Return the architecture of an item's words where it is one here: U-Net, smp.Unet, ..."""
    name = re.sub("[^a-z0-9_]", "", told.rpartition(".")[2].lower().replace("+", "plus"))
    return next((row.name for row in ARCHITECTURES if row.name == name), None)


def _bands(path: Path, taken: Input) -> Iterator[str]:
    for band in taken.bands:
        if isinstance(band, str):
            yield band
            continue
        if band.expression is not None:
            raise ConfigError(
                f"STAC item {path}: band {band.name!r} is computed by {brief(band.expression)}, "
                "which is never run; compute it, and give images that hold it"
            )
        yield band.name


def _window(path: Path, taken: Input, notes: list[str]) -> dict[str, Any]:
    """Return dims, window and any_size of the input."""
    sizes = taken.structure.sizes()
    strange = sorted(set(sizes) - set("nczyx"))
    if strange or not {"c", "y", "x"} <= set(sizes):
        raise ConfigError(
            f"STAC item {path}: the input's dimensions are {brief(taken.structure.dim_order)}, "
            "expected batch, channel, height and width, with depth for volumes"
        )
    if sizes["c"] not in (-1, len(taken.bands)):
        raise ConfigError(
            f"STAC item {path}: the input has {sizes['c']} channels and {len(taken.bands)} bands"
        )
    axes = [axis for axis in "zyx" if axis in sizes]
    free = any(sizes[axis] < 1 for axis in axes)
    window = [sizes[axis] if sizes[axis] > 0 else _WINDOW[len(axes)] for axis in axes]
    if free:
        notes.append(f"the item leaves the extents open: the window is {window}")
    return {"dims": len(axes), "window": window, "any_size": free}


def _classes(
    path: Path, said: Properties, notes: list[str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return classes, background and activation of the output, and what the user must say."""
    made = next((o for o in said.outputs if any("segment" in t for t in o.tasks)), said.outputs[0])
    if made is not said.outputs[0]:
        raise ConfigError(f"STAC item {path}: the scores must be the first output of the model")
    sizes, classes = made.result.sizes(), made.classes
    if sorted(c.value for c in classes) == list(range(len(classes))):
        classes = sorted(classes, key=lambda c: c.value)  # a value is the place of its channel
    nothing = next((c.value for c in classes if c.nodata), None)
    card: dict[str, Any] = {"classes": [c.entry() for c in classes], "background": nothing}
    if not classes:
        return {}, {"classes": "is missing"}
    if made.post_processing_function is not None:
        told = brief(made.post_processing_function)
        notes.append(f"post_processing_function {told} is code, which is never run")
    if sizes.get("c", -1) == 1 and len(classes) == 2:
        why = "say sigmoid where the one output is a logit, none where it is a score"
        return {**card, "single_output": True}, {"activation": why}
    if sizes.get("c", -1) not in (-1, len(classes)):
        raise ConfigError(
            f"STAC item {path}: the output has {sizes['c']} channels and {len(classes)} classes"
        )
    notes.append(
        "an item does not say if a model gives logits or scores: taken as logits (softmax)"
    )
    return card, {}


def _weights(path: Path, item: Item) -> Understood:
    """Return what the model is that an item points to.

    Raises:
        ConfigError: It is elsewhere, or of no kind that is known here.
        DamagedInput: It is not the file that the item was written for.
    """
    places = {asset.href: _place(path, asset.href) for asset in item.models()}
    found = read_first(place for place in places.values() if place is not None)
    if found is None and linked_url(path) is not None:
        raise ConfigError(
            f"STAC item {path}: its model is at {linked_url(path)}, which is fetched only when "
            f"asked: tiledseg import {path} --out MODEL --sha256 HEX"
        )
    if found is None:
        raise ConfigError(
            f"STAC item {path}: no model that is known here, and lies beside the item, among its "
            f"assets with the role mlm:model ({', '.join(map(brief, places)) or 'there are none'})"
        )
    for asset in item.models():
        if places[asset.href] == found.files[0]:
            _check(found.files[0], asset.checksum)
    return found


def linked_url(path: Path) -> str | None:
    """Return where the model of an item is to be fetched from; None where it is no URL.

    Raises:
        ConfigError: The item is wrong.
    """
    if not claims(path):
        return None
    return next((a.href for a in read_item(path).models() if is_url(a.href)), None)


def _place(path: Path, href: str) -> Path | None:
    """Return the file of a link: in the item's folder or below, or fetched before; else None."""
    if is_url(href):
        return fetched(href)
    if not os.path.isfile(path.parent / href):  # which takes names of any length
        return None
    place = (path.parent / href).resolve()
    return place if place.is_relative_to(path.parent.resolve()) else None


def _check(file: Path, checksum: str | None) -> None:
    if checksum is None or not checksum.startswith(_SHA256):
        return
    if known_sha256(file) != checksum.removeprefix(_SHA256).lower():
        raise DamagedInput(
            f"{file} is not the file that the STAC item was written for: file:checksum"
        )
