"""What people, or other programs, wrote as YAML, JSON or a table -> plain values, or a sentence."""

from __future__ import annotations

import csv
import io
import os
import reprlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import yaml
from pydantic import BaseModel, ValidationError

from .errors import ConfigError, DamagedInput

#: Values and letters beyond which a text is a trap: aliases can stand for any number of them.
_MOST = 1_000_000
#: Bytes of a file beyond which it is no document.
_BYTES = 8_000_000
_PROBLEMS = 5
#: Letters of a list of names that stand on one line.
_LINE = 100
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 60

M = TypeVar("M", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which copies what ``<<`` merges: lists of aliases multiply it."""

    _merged = 0

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put what is merged in its place.

        Raises:
            yaml.YAMLError: That is too much.
        """
        super().flatten_mapping(node)
        self._merged += len(node.value)
        if self._merged > _MOST:
            raise yaml.YAMLError(f"its merges stand for more than {_MOST} values")


def parse_yaml(text: str) -> Any:
    """Return the plain values of YAML; raises what PyYAML does."""
    return yaml.load(text, _Loader)  # noqa: S506  # a safe loader


def to_yaml(values: Any) -> str:
    r"""Return plain values as YAML, keys in their order, texts of several lines as such.

    >>> to_yaml({"told": "one\ntwo"})
    'told: |-\n  one\n  two\n'
    """
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines line by line."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


class _Row(dict[str, Any]):
    """Keys and values that stand on one line."""


class _ShortDumper(_Dumper):
    """Writes rows and lists on one line where they are short."""


def _list(dumper: yaml.SafeDumper, values: list[Any]) -> yaml.Node:
    numbers = all(isinstance(value, int | float | list) for value in values)
    names = sum(len(str(value)) for value in values) <= _LINE
    one_line = numbers or (names and not any(isinstance(value, dict) for value in values))
    return dumper.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=one_line)


def _row(dumper: yaml.SafeDumper, values: _Row) -> yaml.Node:
    return dumper.represent_mapping("tag:yaml.org,2002:map", values.items(), flow_style=True)


_ShortDumper.add_representer(list, _list)
_ShortDumper.add_representer(_Row, _row)


def to_short_yaml(values: Any) -> str:
    """Return plain values as YAML for people: numbers and short names of a list on one line.

    >>> print(to_short_yaml({"shape": [3, 5], "classes": [{"id": 0, "name": "a"}]}), end="")
    shape: [3, 5]
    classes:
    - {id: 0, name: a}
    """
    text: str = yaml.dump(
        _rows(values), Dumper=_ShortDumper, sort_keys=False, allow_unicode=True, width=2**20
    )
    return text


def _rows(values: Any) -> Any:
    """Return values with rows for what lists hold."""
    if isinstance(values, list):
        return [_Row(_rows(v)) if isinstance(v, dict) else _rows(v) for v in values]
    if not isinstance(values, dict):
        return values
    return {key: _rows(value) for key, value in values.items()}


def to_flow(value: Any) -> str:
    """Return a plain value as YAML on one line.

    >>> to_flow({"a": [1, "b"]})
    '{a: [1, b]}'
    """
    text: str = yaml.safe_dump(
        [value], default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**20
    )
    return text.strip()[1:-1]


def read_text(path: Path, name: str, most: int | None = _BYTES) -> str:
    """Return the text of a file, UTF-8.

    Args:
        path: The file.
        name: What to call it in a message: ``recipe x.yaml``.
        most: Bytes that it may hold; None: any number.

    Raises:
        ConfigError: There is none; it is a pipe or a device, too large, or no UTF-8.
    """
    try:
        require_plain(path)
        if most is not None and os.path.isfile(path) and path.stat().st_size > most:
            raise ConfigError(f"it is larger than {most} bytes, as no document is")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"there is no {name}") from None
    except UnicodeDecodeError:
        told = "it is not text in UTF-8; save it as UTF-8"
    except (OSError, ValueError) as error:
        told = " ".join(str(getattr(error, "strerror", None) or error).split())
    raise ConfigError(f"{name} cannot be read: {told:.200}")


def read_file(path: Path, name: str, parse: Callable[[str], Any] = parse_yaml) -> Any:
    """Return the plain values of a file; see `read_text` and `read_values`."""
    return read_values(read_text(path, name), name, parse)


def read_mapping(path: Path, name: str, parse: Callable[[str], Any] = parse_yaml) -> dict[str, Any]:
    """Return the plain values of a file of keys and values; see `read_file`.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    values = read_file(path, name, parse)
    if not isinstance(values, dict):
        raise ConfigError(f"{name}: expected keys and values, found {brief(values)}")
    return values


def require_plain(path: str | Path) -> None:
    """Refuse a pipe or a device, from which reading may wait, or go on, for ever.

    Raises:
        DamagedInput: It is one.
    """
    if os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path):
        raise DamagedInput(f"{path} is a pipe, a socket or a device: give a file or a folder")


def read_values(text: str, name: str, parse: Callable[[str], Any] = parse_yaml) -> Any:
    """Return the plain values of a text.

    Args:
        text: YAML, or what else ``parse`` takes.
        name: What to call it in a message: ``config run.yaml``.
        parse: Reads it.

    Raises:
        ConfigError: It cannot be parsed, or stands for more than any document needs.
    """
    try:
        values = parse(text)
    except RecursionError:
        raise ConfigError(f"{name} cannot be read: it is nested too deep") from None
    except Exception as error:  # YAML's tags let out ValueError, KeyError, AttributeError and more
        raise ConfigError(f"{name} cannot be read: {' '.join(str(error).split())}") from None
    if _is_trap(values):
        raise ConfigError(
            f"{name} cannot be read: it stands for more than {_MOST} values; write out its aliases"
        )
    return values


def brief(value: Any) -> str:
    """Return a value as a message shows it, at most 60 letters, without spelling out all of it.

    >>> brief([1, "a"])
    "[1, 'a']"
    """
    try:
        return _SHORT.repr(value)[:60]
    except ValueError:
        return "a number of thousands of digits"


def apply_change(values: dict[str, Any], change: str) -> None:
    """Overrule one value in place: ``tiling.window=[512, 512]``.

    Raises:
        ConfigError: The text is not of that form.
    """
    key, equals, text = change.partition("=")
    *sections, name = key.strip().split(".")
    if not equals or not name:
        raise ConfigError(f"--set {change!r} is not of the form section.key=value")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {change!r}: {section!r} is not a section")
    values[name] = read_values(text, f"--set {change!r:.80}")


def checked(model: type[M], values: Any, kind: str) -> M:
    """Return the document of plain values.

    Args:
        model: What it must look like.
        values: What it holds.
        kind: What it is: ``config``.

    Raises:
        ConfigError: Wrong or unknown keys, in words of the document rather than of pydantic.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        told = "; ".join(f"{kind} {_clause(p)}" for p in error.errors()[:_PROBLEMS])
    raise ConfigError(told)


def _clause(problem: Any) -> str:
    """Return what is wrong with a key."""
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}: there is no such setting"
    if problem["type"] == "value_error":  # a stage's own sentence, which names the setting
        return str(problem["ctx"]["error"])
    found = "" if problem["type"] == "missing" else f", found {brief(problem['input'])}"
    return f"{path}: {problem['msg'].lower()}{found}"


def read_rows(text: str, name: str, needed: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield the rows of a table (.csv): where each is, for messages, and its cells by column.

    Cells come without the space around them; empty ones are left out.

    Args:
        text: The table's.
        name: What to call it in a message: ``table cases.csv``.
        needed: Columns that it must have.

    Raises:
        ConfigError: It has not, or is no table.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True)
    try:
        rows.fieldnames = columns = [(c or "").strip() for c in rows.fieldnames or ()]
        missing = [column for column in needed if column not in columns]
        if missing:
            found = ", ".join(columns)[:200] or "nothing"
            hint = "; separate columns with commas" if any(";" in c for c in columns) else ""
            lacks = " and no column ".join(missing)
            raise ConfigError(f"{name} has no column {lacks}; its first line is {found}{hint}")
        for row in rows:
            cells = {k: v.strip() for k, v in row.items() if k and v and v.strip()}
            yield f"{name}, line {rows.line_num}", cells
    except csv.Error as error:
        raise ConfigError(f"{name} is not a table: {error}") from None


def located(folder: Path, text: str, name: str) -> str:
    """Return where a path or URL in a document leads.

    Args:
        folder: Where relative paths start.
        text: The path or URL.
        name: What to call the document in a message.

    Raises:
        ConfigError: It is neither.
    """
    try:
        text.encode("utf-8")
        url = urlsplit(text)
    except ValueError as error:
        raise ConfigError(f"{name}: {text!r:.80} is no path and no URL: {error}") from None
    if url.scheme == "file":
        return unquote(url.path)
    return text if "://" in text or text.startswith("/vsi") else str(folder / text)


def name_of(place: str) -> str:
    """Return the name of a file, or of what a URL leads to, without folder and suffixes.

    >>> name_of("cases/ct_01.nii.gz"), name_of("https://host/a/S2.B4.tif?key=1")
    ('ct_01', 'S2.B4')
    """
    name = PurePosixPath(urlsplit(place).path if "://" in place else place).name
    return PurePosixPath(name.removesuffix(".gz")).stem.removesuffix(".ome")


def _is_trap(values: Any) -> bool:
    """Walk through values until there are too many: those that hold themselves never end."""
    seen, left = 0, [values]
    while left and seen <= _MOST:
        value = left.pop()
        seen += 1 + (len(value) if isinstance(value, str | bytes) else 0)
        if isinstance(value, dict):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple | set):
            left += value
    return seen > _MOST
