"""What a person, or another program, wrote as YAML or JSON -> plain values, or one sentence."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError, DamagedInput

#: Values and letters beyond which a text is a trap: aliases can stand for any number of them.
_MOST = 1_000_000
#: Bytes of a file beyond which it is no document.
_BYTES = 8_000_000
_SHORT = reprlib.Repr()
_SHORT.maxlevel = 3
_SHORT.maxstring = _SHORT.maxother = 60


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


def read_document(path: Path) -> str:
    """Return the text of a file, UTF-8.

    Raises:
        DamagedInput: It is a pipe or a device.
        OSError: It cannot be read, or is larger than any document.
        ValueError: It is not UTF-8.
    """
    require_plain(path)
    if os.path.isfile(path) and path.stat().st_size > _BYTES:
        raise OSError(f"it is larger than {_BYTES} bytes, as no document is")
    return path.read_text(encoding="utf-8")


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


def wrong_keys(problems: Iterable[Any], kind: str) -> list[str]:
    """Return a sentence per wrong key, in words of the document rather than of pydantic.

    Args:
        problems: What pydantic's ``ValidationError.errors()`` returns.
        kind: What the document is: ``config``.
    """
    sentences = []
    for problem in problems:
        path = ".".join(str(part) for part in problem["loc"])
        if problem["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
            sentences.append(f"{kind} {path}: there is no such setting")
        elif problem["type"] == "value_error":  # a stage's own sentence, which names the setting
            sentences.append(f"{kind} {problem['ctx']['error']}")
        else:
            found = "" if problem["type"] == "missing" else f", found {brief(problem['input'])}"
            sentences.append(f"{kind} {path}: {problem['msg'].lower()}{found}")
    return sentences


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
