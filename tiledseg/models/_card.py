"""The model card as YAML: readable by people, checked before any weight is loaded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ConfigError
from ..labels import ClassSchema
from ..normalize import Normalization
from ._base import Activation, Locality, ModelCard

CARD_NAME = "model.yaml"


class _ClassEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    id: int | None = Field(None, description="Label in the class map; default: the position.")
    color: tuple[int, int, int] | None = Field(None, description="Red, green, blue, 0 to 255.")


class CardDocument(BaseModel):
    """The YAML form of a card; the words are those of `ModelCard`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    format: Literal["tiledseg", "onnx"]
    weights: str
    sha256: str | None = None
    dims: Literal[2, 3]
    channels: list[str] = Field(min_length=1)
    classes: list[_ClassEntry] = Field(min_length=2)
    background: int | None = None
    window: list[int]
    architecture: dict[str, Any] = Field(default_factory=dict)
    multiple: int = Field(1, ge=1)
    any_size: bool = True
    activation: Activation = "softmax"
    single_output: bool = False
    normalization: list[dict[str, Any]] = Field(default_factory=list)
    locality: Locality = "unknown"
    margin: int = Field(0, ge=0)
    spacing: list[float] | None = None
    orientation: str | None = None
    licence: str = ""
    provenance: str = ""


def read_card(path: Path) -> ModelCard:
    """Read a card; a folder's is its ``model.yaml``.

    Raises:
        ConfigError: There is none, or it is wrong; the sentence names the key.
    """
    file = path / CARD_NAME if path.is_dir() else path
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"there is no model card {file}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"card {file} cannot be read: {' '.join(str(error).split())}") from None
    return card_from_dict(values, str(file))


def card_from_dict(values: Any, name: str) -> ModelCard:
    """Return the card of plain values.

    Args:
        values: What the YAML holds.
        name: What to call the card in messages.

    Raises:
        ConfigError: A key is missing, unknown or wrong.
    """
    try:
        document = CardDocument.model_validate(values)
    except ValidationError as error:
        told = (f"{'.'.join(map(str, e['loc']))}: {e['msg'].lower()}" for e in error.errors())
        raise ConfigError(f"card {name}: {'; '.join(told)}") from None
    entries = [e.model_dump(exclude_none=True) for e in document.classes]
    card = ModelCard(
        schema=ClassSchema.from_dict({"classes": entries, "background": document.background}),
        channels=tuple(document.channels),
        window=tuple(document.window),
        spacing=None if document.spacing is None else tuple(document.spacing),
        normalization=Normalization.from_list(document.normalization),
        **document.model_dump(
            exclude={"classes", "background", "channels", "window", "spacing", "normalization"}
        ),
    )
    problem = _problem(card)
    if problem:
        raise ConfigError(f"card {name}: {problem}")
    return card


def _problem(card: ModelCard) -> str | None:
    """Return the first thing that does not fit together, or None."""
    if len(card.window) != card.dims or any(w < 1 for w in card.window):
        return f"window: expected {card.dims} positive numbers, found {card.window}"
    if any(w % card.multiple for w in card.window):
        return f"window: {card.window} must be a multiple of {card.multiple}"
    if card.spacing is not None and len(card.spacing) != card.dims:
        return f"spacing: expected {card.dims} numbers, found {card.spacing}"
    if card.single_output and (len(card.schema) != 2 or card.activation == "softmax"):
        return "single_output: needs two classes and activation sigmoid or none"
    if card.orientation is not None:
        pairs = sorted(p for c in card.orientation.upper() for p in ("AP", "IS", "LR") if c in p)
        if card.dims != 3 or pairs != ["AP", "IS", "LR"]:
            return f"orientation: expected one of R/L, A/P and I/S each, found {card.orientation!r}"
    for step in card.normalization.to_list():
        for key, value in step.items():
            if isinstance(value, tuple) and len(value) not in (1, len(card.channels)):
                return (
                    f"normalization.{step['kind']}.{key}: expected 1 or {len(card.channels)} "
                    f"numbers, found {len(value)}"
                )
    return None


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """Return the plain values of a card, as `card_from_dict` takes them."""
    schema = card.schema.to_dict()
    values = {
        name: getattr(card, name)
        for name in CardDocument.model_fields
        if name not in ("classes", "background", "normalization")
    }
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    steps = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in step.items()}
        for step in card.normalization.to_list()
    ]
    return {**values, **schema, "normalization": steps}


def weights_path(card: ModelCard, folder: Path) -> Path:
    """Return where a card's weights are; ``${NAME}`` stands for an environment variable.

    Raises:
        ConfigError: A variable is not set, or the path leaves the folder by ``..``.
    """
    expanded = os.path.expandvars(card.weights)
    if "$" in expanded:
        raise ConfigError(f"card {card.name!r}: weights {card.weights} names a variable not set")
    if expanded == card.weights and (Path(expanded).is_absolute() or ".." in Path(expanded).parts):
        raise ConfigError(
            f"card {card.name!r}: weights {card.weights} must lie beside the card, or start with "
            "an environment variable"
        )
    return folder / expanded
