"""Lists of images: a table (.csv), or objects (.json)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..document import located, read_rows, read_text
from ..errors import ConfigError

_KEYS = ("image", "name", "out")


@dataclass(frozen=True)
class Entry:
    """An image that a batch was asked for.

    Args:
        images: Files, folders or URLs; several are stacked.
        name: What it is called; None: as its first file.
        out: Class map to write; None: as the batch names them.
        series: Which series of a DICOM folder; None: as the settings say.
        channels: Which channels; None: as the settings say, empty: all.
    """

    images: tuple[str, ...]
    name: str | None = None
    out: str | None = None
    series: str | None = None
    channels: tuple[int | str, ...] | None = None


def read_list(path: Path) -> list[Entry]:
    """Return the images of a list; relative paths start at the list's folder.

    Raises:
        ConfigError: It cannot be read, names no image, or an entry is no image.
    """
    name = f"list {path}"
    if path.suffix.lower() == ".csv":
        rows = read_rows(read_text(path, name, most=None), name, ("image",))
        entries = [_entry(path, where, row) for where, row in rows]
    else:
        values = read_json(path)
        if not isinstance(values, list):
            raise ConfigError(
                f"{name} holds {_kind(values)}; expected a list of paths or of objects with "
                "the keys image, name and out, or a STAC item collection"
            )
        entries = [_entry(path, f"{name}, entry {i}", v) for i, v in enumerate(values, 1)]
    if not entries:
        raise ConfigError(f"{name} names no image")
    return entries


def read_json(path: Path) -> Any:
    """Return the values of a JSON file.

    Raises:
        ConfigError: It cannot be read.
    """
    try:
        return json.loads(read_text(path, f"list {path}", most=None))
    except RecursionError:
        raise ConfigError(f"list {path} is nested too deeply to be a list of images") from None
    except ValueError as error:
        raise ConfigError(f"list {path} is not JSON: {error}") from None


def joined(file: Path, text: str) -> str:
    """Return where a path or URL of a list leads."""
    return located(file.parent, text, f"list {file}")


def _entry(path: Path, where: str, value: Any) -> Entry:
    """Return the entry of a path, or of an object with the keys image, name and out."""
    if isinstance(value, str):
        value = {"image": value}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected a path or an object, found {_kind(value)}")
    image, name, out = (value.get(key) for key in _KEYS)
    images = image.split(";") if isinstance(image, str) else image
    if not isinstance(images, list) or not images or not all(map(_is_text, images)):
        raise ConfigError(f"{where}: image must be a path, found {_kind(image)}")
    for key, text in (("name", name), ("out", out)):
        if text is not None and not _is_text(text):
            raise ConfigError(f"{where}: {key} must be a text, found {_kind(text)}")
    return Entry(
        tuple(joined(path, p.strip()) for p in images),
        None if name is None else name.strip(),
        None if out is None else joined(path, out.strip()),
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _kind(value: Any) -> str:
    """Say what a value is; a value itself may be nested too deeply to be shown."""
    if value is None:
        return "nothing"
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, dict):
        return "an object"
    return "a list" if isinstance(value, list) else "a number"
