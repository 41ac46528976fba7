"""What of a STAC-MLM item is read, checked for its types; everything else is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from ...document import brief, read_file
from ...errors import ConfigError
from ._mlm_scaling import Scaling

#: Names of dimensions, as items write them.
_AXES = {
    **dict.fromkeys(("batch", "b", "n"), "n"),
    **dict.fromkeys(("channel", "channels", "class", "classes", "c", "band", "bands"), "c"),
    **dict.fromkeys(("depth", "d", "z"), "z"),
    **dict.fromkeys(("height", "h", "y"), "y"),
    **dict.fromkeys(("width", "w", "x"), "x"),
}


class Structure(BaseModel):
    """Shape and order of the axes of an input or output; -1 is any extent."""

    shape: list[int]
    dim_order: list[str]

    def sizes(self) -> dict[str, int]:
        """Return extents by axis: n, c, z, y, x; -1 is any."""
        names = [_AXES.get(name.lower(), name) for name in self.dim_order]
        return dict(zip(names, self.shape, strict=False))


class Band(BaseModel):
    """A band of an input; an expression is code, which is never run."""

    name: str
    expression: Any = None


def _listed(value: Any) -> Any:
    """Return a list of one: pystac writes a scaling that is for all bands by itself."""
    return [value] if isinstance(value, dict) else value


class Input(BaseModel):
    """What a model takes."""

    bands: list[str | Band]
    structure: Structure = Field(alias="input")
    value_scaling: Annotated[list[Scaling] | None, BeforeValidator(_listed)] = None
    resize_type: str | None = None
    pre_processing_function: Any = None


class ClassEntry(BaseModel):
    """A class of the classification extension."""

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


class Output(BaseModel):
    """What a model gives."""

    tasks: list[str] = Field(default_factory=list)
    result: Structure
    classes: list[ClassEntry] = Field(default_factory=list, alias="classification:classes")
    post_processing_function: Any = None


class Properties(BaseModel):
    """What an item says of its model."""

    name: str = Field(alias="mlm:name")
    architecture: str = Field("", alias="mlm:architecture")
    inputs: list[Input] = Field(alias="mlm:input", min_length=1)
    outputs: list[Output] = Field(alias="mlm:output", min_length=1)
    licence: str = Field("", alias="license")
    gsd: float | None = Field(None, gt=0)


class Asset(BaseModel):
    """A file of an item, by a link."""

    href: str
    roles: list[str] = Field(default_factory=list)
    gsd: float | None = Field(None, gt=0)
    checksum: str | None = Field(None, alias="file:checksum")


class Item(BaseModel):
    """A STAC item."""

    type: Literal["Feature"]
    id: str
    properties: Properties
    assets: dict[str, Asset]

    def models(self) -> list[Asset]:
        """Return the assets that are the model."""
        return [a for a in self.assets.values() if "mlm:model" in a.roles]


def read_item(path: Path) -> Item:
    """Return the item in a file.

    Raises:
        ConfigError: It is not of the form that the extension asks for.
    """
    values = read_file(path, f"STAC item {path}", json.loads)
    try:
        return Item.model_validate(values)
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, p['loc']))}: {p['msg'].lower()}, found {brief(p['input'])}"
            for p in error.errors()[:5]
        )
        raise ConfigError(f"STAC item {path}: {told}") from None
