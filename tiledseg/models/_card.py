"""The model card as YAML: readable by people, checked before any weight is loaded."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..document import brief, read_file, to_yaml
from ..errors import ConfigError
from ..labels import ClassSchema
from ..normalize import (
    Normalization,
)
from ..resampling import Resampling
from ..steps import classes_of, plain_steps, read_steps
from ..tiling import TilingSpec
from ._base import Activation, Average, Format, Layout, Locality, ModelCard, Previous
from ._cache import write_whole
from ._card_rules import problem_of

CARD_NAME = "model.yaml"
#: What a training keeps in the folder of its model to go on from, and its settings in there.
TRAINING = ("training", "recipe.yaml")
#: Keys whose values take another form in `ModelCard`.
_TURNED = {
    *("classes", "background", "channels", "window", "spacing", "normalization"),
    *("tiling", "folds", "mirror", "axes", "resampling", "previous", "postprocess"),
}
_WISHES = ("tiling", "resampling", "previous", "postprocess")
#: Samples along an axis beyond which a number is a slip.
_LARGEST = 2**31
_Byte = Annotated[int, Field(ge=0, le=255)]


class _ClassEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    id: int | None = Field(None, description="Label in the class map; default: the position.")
    color: tuple[_Byte, _Byte, _Byte] | None = Field(
        None, description="Red, green, blue, 0 to 255."
    )
    isthing: bool | None = Field(
        None, description="Whether its objects are counted; else it is stuff."
    )

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, value: Any) -> Any:
        """Take a name alone, as datasets do."""
        return {"name": value} if isinstance(value, str) else value


class CardDocument(BaseModel):
    """The YAML form of a card; the words are those of `ModelCard`."""

    model_config = ConfigDict(extra="forbid")

    name: str
    format: Format
    weights: str
    sha256: str | None = None
    dims: Literal[2, 3]
    channels: list[str] = Field(min_length=1)
    classes: list[_ClassEntry] = Field(min_length=2)
    background: int | None = None
    window: list[Annotated[int, Field(le=_LARGEST)]]
    architecture: dict[str, Any] = Field(default_factory=dict)
    multiple: int = Field(1, ge=1, le=_LARGEST)
    any_size: bool = True
    activation: Activation = "softmax"
    single_output: bool = False
    painted: bool = False
    normalization: list[dict[str, Any]] = Field(default_factory=list)
    axes: list[int] | None = None
    crop: Literal["nonzero"] | None = None
    previous: Previous | None = None
    locality: Locality = "unknown"
    margin: int = Field(0, ge=0, le=_LARGEST)
    spacing: list[float | None] | None = None
    resampling: Resampling = Resampling()
    orientation: str | None = None
    tiling: TilingSpec = TilingSpec()
    folds: list[str] = Field(default_factory=list)
    mirror: list[Annotated[int, Field(ge=0, le=2)]] = Field(default_factory=list)
    average: Average = "scores"
    thresholds: dict[str | int, float] = Field(default_factory=dict)
    postprocess: list[Any] = Field(default_factory=list)
    layout: Layout = "auto"
    output: str | None = None
    rim: int = Field(0, ge=0, le=_LARGEST)
    microbatch: int | None = Field(None, ge=1, le=_LARGEST)
    licence: str = ""
    provenance: str = ""


def read_card(path: Path) -> ModelCard:
    """Read a card; a folder's is its ``model.yaml``.

    Raises:
        ConfigError: There is none, or it is wrong; the sentence names the key.
    """
    return card_from_dict(*card_values(path))


def card_values(path: Path) -> tuple[Any, str]:
    """Return the plain values of a card's file, and what to call it in messages.

    Raises:
        ConfigError: There is none, or it cannot be read.
    """
    file = path / CARD_NAME if path.is_dir() else path
    recipe = path.joinpath(*TRAINING)
    if not os.path.exists(file) and os.path.isfile(recipe):
        raise ConfigError(
            f"the training in {path} is unfinished, and there is no model yet: go on with "
            f"tiledseg train {shlex.quote(str(recipe))} --out {shlex.quote(str(path))}"
        )
    return read_file(file, f"model card {file}"), str(file)


def card_from_dict(values: Any, name: str) -> ModelCard:
    """Return the card of plain values.

    Args:
        values: What the YAML holds.
        name: What to call the card in messages.

    Raises:
        ConfigError: A key is missing, unknown or wrong.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"card {name}: expected keys and values, found {brief(values)}")
    try:
        document = CardDocument.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"card {name}: {'; '.join(_told(error))}") from None
    entries = [e.model_dump(exclude_none=True) for e in document.classes]
    try:
        schema = ClassSchema.from_dict({"classes": entries, "background": document.background})
        normalization = Normalization.from_list(document.normalization)
        steps = read_steps(document.postprocess)
        for wanted in classes_of(steps):
            schema.find(wanted, "it")
    except ConfigError as error:
        raise ConfigError(f"card {name}: {error}") from None
    card = ModelCard(
        schema=schema,
        channels=tuple(document.channels),
        window=tuple(document.window),
        spacing=None if document.spacing is None else tuple(document.spacing),
        normalization=normalization,
        resampling=document.resampling,
        previous=document.previous,
        tiling=document.tiling,
        folds=tuple(document.folds),
        postprocess=steps,
        mirror=tuple(document.mirror),
        axes=None if document.axes is None else tuple(document.axes),
        **document.model_dump(exclude=_TURNED),
    )
    problem = problem_of(card)
    if problem:
        raise ConfigError(f"card {name}: {problem}")
    return card


def _told(error: ValidationError) -> Iterator[str]:
    """Yield a clause per wrong key, in words of the card rather than of pydantic."""
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"]))
        if problem["type"] == "extra_forbidden":
            yield f"{key}: there is no such key"
        elif problem["type"] == "missing":
            yield f"{key}: is missing"
        elif problem["type"] == "model_type":
            yield f"{key}: expected keys and values, found {brief(problem['input'])}"
        else:
            yield f"{key}: {problem['msg'].lower()}, found {brief(problem['input'])}"


def card_to_dict(card: ModelCard) -> dict[str, Any]:
    """Return the plain values of a card, as `card_from_dict` takes them."""
    schema = card.schema.to_dict()
    values = {
        name: getattr(card, name)
        for name in CardDocument.model_fields
        if name not in ("classes", "background", "normalization", *_WISHES)
    }
    values = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
    steps = [
        {k: list(v) if isinstance(v, tuple) else v for k, v in step.items()}
        for step in card.normalization.to_list()
    ]
    wishes: dict[str, Any] = {"tiling": _plain(card.tiling), "resampling": card.resampling.given()}
    if card.postprocess:
        wishes["postprocess"] = plain_steps(card.postprocess)
    if card.previous is not None:
        wishes["previous"] = {**asdict(card.previous), "labels": list(card.previous.labels)}
    return {**values, **schema, "normalization": steps, **wishes}


def write_card(card: ModelCard, folder: Path) -> None:
    """Write the ``model.yaml`` of a folder."""
    text = to_yaml(card_to_dict(card))
    write_whole(folder / CARD_NAME, text)


def _plain(wishes: TilingSpec) -> dict[str, Any]:
    given = {k: list(v) if isinstance(v, tuple) else v for k, v in wishes.given().items()}
    return {k: str(v) if isinstance(v, StrEnum) else v for k, v in given.items()}


def weights_paths(card: ModelCard, folder: Path) -> tuple[Path, ...]:
    """Return where a card's weights and folds are; ``${NAME}`` is an environment variable's value.

    Raises:
        ConfigError: A variable is not set, or a path leaves the folder by ``..``.
    """
    return tuple(folder / within(card.name, name) for name in (card.weights, *card.folds))


def within(card: str, weights: str) -> str:
    """Return the path of weights that a card names, in its folder or from a variable.

    Raises:
        ConfigError: A variable is not set, or the path leaves the folder by ``..``.
    """
    expanded = os.path.expandvars(weights)
    if "$" in expanded:
        raise ConfigError(f"card {card!r}: weights {weights} names a variable not set")
    if expanded == weights and (Path(expanded).is_absolute() or ".." in Path(expanded).parts):
        raise ConfigError(
            f"card {card!r}: weights {weights} must lie beside the card, or start with an "
            "environment variable"
        )
    return expanded
