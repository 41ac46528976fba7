"""STAC items of the machine learning model extension (MLM 1.4 and 1.5).

The words of such an item are those of https://github.com/stac-extensions/mlm. It says nothing of
overlap, blending or whether a network gives logits or scores.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from ...document import brief, read_values
from ...errors import ConfigError, DamagedInput
from .._cache import known_sha256
from .._fetch import fetched, is_url
from ._mlm_scaling import Scaling, steps_of
from ._understood import Understood
from ._weights import read_first

_MARK, _LARGEST = '"mlm:', 1_000_000
#: Names of dimensions, as items write them.
_AXES = {
    **dict.fromkeys(("batch", "b", "n"), "n"),
    **dict.fromkeys(("channel", "channels", "class", "classes", "c", "band", "bands"), "c"),
    **dict.fromkeys(("depth", "d", "z"), "z"),
    **dict.fromkeys(("height", "h", "y"), "y"),
    **dict.fromkeys(("width", "w", "x"), "x"),
}
#: Windows where the item leaves the extents open, by the number of axes.
_WINDOW = {2: 512, 3: 96}
#: What a multihash of sha2-256 begins with: its code and its length.
_SHA256 = "1220"


class _Structure(BaseModel):
    shape: list[int]
    dim_order: list[str]

    def sizes(self) -> dict[str, int]:
        """Return extents by axis: n, c, z, y, x; -1 is any."""
        names = [_AXES.get(name.lower(), name) for name in self.dim_order]
        return dict(zip(names, self.shape, strict=False))


class _Band(BaseModel):
    name: str
    expression: Any = None


def _listed(value: Any) -> Any:
    """Return a list of one: pystac writes a scaling that is for all bands by itself."""
    return [value] if isinstance(value, dict) else value


class _Input(BaseModel):
    bands: list[str | _Band]
    structure: _Structure = Field(alias="input")
    value_scaling: Annotated[list[Scaling] | None, BeforeValidator(_listed)] = None
    resize_type: str | None = None
    pre_processing_function: Any = None


class _Class(BaseModel):
    value: int
    name: str | None = None
    title: str | None = None
    color_hint: str | None = Field(None, pattern="^[0-9A-Fa-f]{6}$")
    nodata: bool = False

    def entry(self) -> dict[str, Any]:
        """Return it as a card has it."""
        entry: dict[str, Any] = {"name": self.name or self.title or f"class {self.value}"}
        if self.color_hint is not None:
            entry["color"] = list(bytes.fromhex(self.color_hint))
        return {**entry, "id": self.value}


class _Output(BaseModel):
    tasks: list[str] = Field(default_factory=list)
    result: _Structure
    classes: list[_Class] = Field(default_factory=list, alias="classification:classes")
    post_processing_function: Any = None


class _Properties(BaseModel):
    name: str = Field(alias="mlm:name")
    architecture: str = Field("", alias="mlm:architecture")
    inputs: list[_Input] = Field(alias="mlm:input", min_length=1)
    outputs: list[_Output] = Field(alias="mlm:output", min_length=1)
    licence: str = Field("", alias="license")
    gsd: float | None = Field(None, gt=0)


class _Asset(BaseModel):
    href: str
    roles: list[str] = Field(default_factory=list)
    gsd: float | None = Field(None, gt=0)
    checksum: str | None = Field(None, alias="file:checksum")


class _Item(BaseModel):
    type: Literal["Feature"]
    id: str
    properties: _Properties
    assets: dict[str, _Asset]

    def models(self) -> list[_Asset]:
        """Return the assets that are the model."""
        return [a for a in self.assets.values() if "mlm:model" in a.roles]


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
    item = _item(path)
    weights = _weights(path, item)
    card, missing, notes = _card(path, item)
    return Understood(
        f"STAC-MLM item of {weights.kind}",
        {**weights.card, **card},
        (path, *weights.files),
        weights.states,
        weights.graph,
        weights.beside,
        {**weights.missing, **missing},
        (*notes, *weights.notes),
    )


def _item(path: Path) -> _Item:
    values = read_values(path.read_text(encoding="utf-8"), f"STAC item {path}", json.loads)
    try:
        return _Item.model_validate(values)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, p['loc']))}: {p['msg'].lower()}, found {brief(p['input'])}"
            for p in error.errors()[:5]
        )
        raise ConfigError(f"STAC item {path}: {told}") from None


def _card(path: Path, item: _Item) -> tuple[dict[str, Any], dict[str, str], list[str]]:
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


def _bands(path: Path, taken: _Input) -> Iterator[str]:
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


def _window(path: Path, taken: _Input, notes: list[str]) -> dict[str, Any]:
    """Return dims, window and any_size of the input."""
    sizes = taken.structure.sizes()
    strange = sorted(set(sizes) - set("nczyx"))
    if strange or not {"c", "y", "x"} <= set(sizes):
        raise ConfigError(
            f"STAC item {path}: the input's dimensions are {taken.structure.dim_order}, expected "
            "batch, channel, height and width, with depth for volumes"
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
    path: Path, said: _Properties, notes: list[str]
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


def _weights(path: Path, item: _Item) -> Understood:
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
            f"assets with the role mlm:model ({', '.join(places) or 'there are none'})"
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
    return next((a.href for a in _item(path).models() if is_url(a.href)), None)


def _place(path: Path, href: str) -> Path | None:
    """Return the file of a link: in the item's folder or below, or fetched before; else None."""
    if is_url(href):
        return fetched(href)
    place = (path.parent / href).resolve()
    inside = place.is_relative_to(path.parent.resolve())
    return place if inside and place.is_file() else None


def _check(file: Path, checksum: str | None) -> None:
    if checksum is None or not checksum.startswith(_SHA256):
        return
    if known_sha256(file) != checksum.removeprefix(_SHA256).lower():
        raise DamagedInput(
            f"{file} is not the file that the STAC item was written for: file:checksum"
        )
