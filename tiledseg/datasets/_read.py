"""A dataset from what the user names: a YAML, a table, or a folder of a known layout."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from ..document import checked, read_mapping
from ..errors import ConfigError
from ..io import read_schema
from ..labels import ClassSchema
from ._case import Case
from ._dataset import Dataset, Modality
from ._layouts import Layout, LayoutName, find_layout, read_coco_layout, read_layout
from ._legend import Legend, class_id, read_mark
from ._split import cut_blocks
from ._table import Pattern, case_of, place, read_table

_Byte = Annotated[int, Field(ge=0, le=255)]
_STRICT = ConfigDict(extra="forbid")


class _ClassEntry(BaseModel):
    model_config = _STRICT

    name: str
    id: int | None = None
    color: tuple[_Byte, _Byte, _Byte] | None = None


class _CaseEntry(BaseModel):
    model_config = _STRICT

    image: str | list[str]
    labels: str | None = None
    name: str | None = None
    group: str | None = None
    split: str | None = None


class _PatternEntry(BaseModel):
    model_config = _STRICT

    images: str
    labels: str | None = None


def _form(value: Any) -> str:
    """Return which form of a key was written, so that a fault is told of that form alone."""
    forms = {dict: "keys", list: "list"}
    return next((form for kind, form in forms.items() if isinstance(value, kind)), "text")


_Class = Annotated[
    Annotated[str, Tag("text")] | Annotated[_ClassEntry, Tag("keys")], Discriminator(_form)
]
_Cases = Annotated[
    Annotated[str, Tag("text")]
    | Annotated[_PatternEntry, Tag("keys")]
    | Annotated[list[_CaseEntry], Tag("list")],
    Discriminator(_form),
]


class _BlocksEntry(BaseModel):
    model_config = _STRICT

    side: int = Field(ge=1, description="Samples from block to block along every axis.")
    gap: int = Field(0, ge=0, description="Samples between blocks that belong to none.")


class DatasetDocument(BaseModel):
    """The YAML form of a dataset."""

    model_config = _STRICT

    name: str | None = None
    licence: str = ""
    classes: list[_Class] = Field(
        default_factory=list, description="As in a model card: names, or name, id and color."
    )
    background: int | str | None = Field(None, description='Class that is "nothing".')
    legend: dict[int | str, int | str | None] | None = Field(
        None, description="Value, '#RRGGBB' or text of the label files -> class, or ignore."
    )
    ignore: list[int | str] = Field(
        default_factory=list, description="Values, colours or texts without truth."
    )
    cases: _Cases | None = Field(
        None, description="A table's name, patterns of file names, or the cases one by one."
    )
    layout: LayoutName | None = Field(None, description="How `root` is laid out.")
    root: str | None = Field(None, description="Folder that paths start at; default: this file's.")
    channels: list[int | str] | None = None
    dims: Literal[2, 3] | None = None
    field: str | None = Field(None, description="Field of polygon files that holds the class.")
    outside: int | str | None = Field(
        None, description="Class of what lies in no polygon, or ignore; default: background."
    )
    modality: Modality = ""
    groups: str | None = Field(
        None, description="Regular expression whose one group, in a case's name, names its group."
    )
    blocks: _BlocksEntry | None = Field(
        None, description="Cut every scene into blocks, each a case and a group of its own."
    )
    split: dict[str, list[str]] = Field(
        default_factory=dict, description="Split -> groups or cases that belong to it."
    )


def read_dataset(path: str | Path) -> Dataset:
    """Read a dataset.

    Args:
        path: A YAML (see `DatasetDocument`); a table (.csv) with the columns image, labels and, if
            wanted, name, group and split; a JSON of COCO's; a folder that holds a
            ``dataset.yaml`` or is laid out as Pascal VOC, MS COCO, Cityscapes, ScanNet, the
            Medical Segmentation Decathlon or nnU-Net's raw data. Paths in files start at their
            folder.

    Raises:
        ConfigError: It cannot be read, a key is wrong, or there is nothing.
    """
    place_ = Path(path)
    if place_.is_dir():
        own = place_ / "dataset.yaml"
        return _of_document(own) if own.is_file() else _of_layout(place_)
    if place_.suffix.lower() == ".csv":
        return _of_table(place_)
    if place_.name == "dataset.json":
        return _of_layout(place_.parent)
    if place_.suffix.lower() == ".json":
        return _laid_out(place_.stem, read_coco_layout(place_), place_)
    return _of_document(place_)


def _of_table(path: Path) -> Dataset:
    cases = read_table(path)
    first = next((c.labels for c in cases if c.labels is not None), None)
    schema = None if first is None or not Path(first).exists() else read_schema(first)
    if schema is None:
        raise ConfigError(
            f"table {path} names no classes, and its first labels do not either: write a YAML with "
            f"the keys classes and cases ({path.name})"
        )
    return Dataset(path.stem, tuple(cases), schema, Legend.of_schema(schema), home=path)


def _of_layout(folder: Path) -> Dataset:
    layout = find_layout(folder)
    name = folder.resolve().name
    return _laid_out(name, layout, folder)


def _laid_out(name: str, layout: Layout, home: Path) -> Dataset:
    return Dataset(
        name=layout.name or name,
        cases=tuple(layout.cases),
        schema=layout.schema,
        legend=layout.legend or Legend.of_schema(layout.schema),
        modality=layout.modality,
        licence=layout.licence,
        home=home,
    )


def _of_document(path: Path) -> Dataset:
    values = read_mapping(path, f"dataset {path}")
    try:
        document = checked(DatasetDocument, values, "dataset")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    try:
        return _built(document, path)
    except ConfigError as error:
        if str(error).startswith(("dataset ", "table ")):
            raise
        raise ConfigError(f"dataset {path}: {error}") from error


def _built(document: DatasetDocument, path: Path) -> Dataset:
    root = Path(place(path.parent, document.root)) if document.root else path.parent
    base = _base(document, root, path)
    schema = _schema(document) if document.classes else base.schema
    legend = base.legend
    if document.legend is not None:
        legend = Legend.of_document(document.legend, schema)
    elif document.classes:
        legend = Legend.of_schema(schema)
    if document.ignore:
        legend = legend.with_ignored([read_mark(mark) for mark in document.ignore])
    if document.blocks is not None:
        base = cut_blocks(base, document.blocks.side, document.blocks.gap)
    rest = base.rest
    if document.outside is not None:
        found = class_id(document.outside, schema)
        rest = schema.nodata if found is None else found
    return replace(
        base,
        name=document.name or base.name,
        schema=schema,
        legend=legend,
        cases=_arranged(base.cases, document),
        channels=None if document.channels is None else tuple(document.channels),
        dims=document.dims,
        field=document.field,
        rest=rest,
        modality=document.modality or base.modality,
        licence=document.licence or base.licence,
        home=path,
    )


def _base(document: DatasetDocument, root: Path, path: Path) -> Dataset:
    """Return the dataset as far as its cases tell it."""
    if (document.cases is None) == (document.layout is None):
        raise ConfigError("needs either cases, or layout with root")
    if document.layout is not None:
        return _laid_out(path.stem, read_layout(document.layout, root), path)
    if not document.classes:
        raise ConfigError("classes: is missing; name the classes")
    schema, given = _schema(document), document.cases
    if isinstance(given, str):
        cases = read_table(Path(place(root, given)))
    elif isinstance(given, _PatternEntry):
        cases = Pattern(given.images, given.labels).cases(root)
    else:
        entries = enumerate(given or (), 1)
        cases = [case_of(root, e.model_dump(), f"cases, entry {i}") for i, e in entries]
    return Dataset(path.stem, tuple(cases), schema, Legend.of_schema(schema), home=path)


def _schema(document: DatasetDocument) -> ClassSchema:
    entries: list[dict[str, Any]] = [
        {"name": c} if isinstance(c, str) else c.model_dump(exclude_none=True)
        for c in document.classes
    ]
    colors = _colors(document)
    for entry in entries:
        if entry["name"] in colors:
            entry.setdefault("color", colors[entry["name"]])
    schema = ClassSchema.from_dict({"classes": entries})
    if document.background is None:
        return schema
    background = class_id(document.background, schema)
    return ClassSchema.from_dict({"classes": entries, "background": background})


def _colors(document: DatasetDocument) -> dict[str, list[int]]:
    """Return the colour that the masks have for a class, by its name: the first in the legend."""
    found: dict[str, list[int]] = {}
    for key, name in (document.legend or {}).items():
        mark = read_mark(key)
        if isinstance(mark, tuple) and isinstance(name, str):
            found.setdefault(name, list(mark))
    return found


def _arranged(cases: tuple[Case, ...], document: DatasetDocument) -> tuple[Case, ...]:
    """Return the cases with the groups and splits that the document gives them."""
    named = cases
    if document.groups is not None:
        named = tuple(replace(c, group=_group(c, document.groups)) for c in cases)
    split_of: dict[str, str] = {}
    for split, members in document.split.items():
        for member in members:
            if split_of.setdefault(member, split) != split:
                raise ConfigError(f"split: {member!r:.80} is in {split_of[member]} and in {split}")
    there = {c.group for c in named} | {c.name for c in named}
    if unknown := [m for m in split_of if m not in there]:
        raise ConfigError(f"split: {unknown[0]!r:.80} is no group and no case")
    return tuple(
        replace(c, split=split_of.get(c.name, split_of.get(c.group, c.split))) for c in named
    )


def _group(case: Case, pattern: str) -> str:
    try:
        matcher = re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"groups: {pattern!r:.80} is no regular expression: {error}") from None
    if matcher.groups != 1:
        raise ConfigError(f"groups: {pattern!r:.80} must have one group in parentheses")
    found = matcher.search(case.name)
    if found is None:
        raise ConfigError(f"groups: {pattern!r:.80} does not match the case {case.name!r:.80}")
    return found.group(1)
