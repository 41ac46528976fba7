"""The files of a MONAI bundle, by their names inside its folder."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePosixPath
from typing import Any

from ...document import read_values
from ...errors import ConfigError, DamagedInput

METADATA = "configs/metadata.json"
#: Names of the config that segments; the first that is there is taken.
CONFIGS = tuple(f"configs/inference.{suffix}" for suffix in ("json", "yaml", "yml"))
#: Bytes of a text beyond which it is a trap.
_TEXT = 16_000_000


def is_bundle(path: Path) -> bool:
    """Return whether a folder is laid out as a bundle."""
    files = BundleFiles(path)
    return files.has(METADATA) and any(map(files.has, CONFIGS))


class BundleFiles:
    """The files of a bundle.

    Args:
        path: Its folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.read: dict[Path, None] = {}

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return os.path.isfile(self.path / name)

    def find(self, name: str) -> Path:
        """Return a file, which from now on belongs to what the model is made of.

        Raises:
            ConfigError: There is none, or it lies outside the bundle.
        """
        plain = PurePosixPath(name)
        if plain.is_absolute() or ".." in plain.parts:
            raise ConfigError(f"file {name!r:.80} lies outside the bundle")
        if not self.has(name):
            raise ConfigError(f"there is no file {name!r:.80}")
        self.read[self.path / plain] = None
        return self.path / plain

    def values(self, name: str) -> dict[str, Any]:
        """Return the keys and values of a JSON or YAML file.

        Raises:
            ConfigError: There is none, or it cannot be read, or it lies outside the bundle.
            DamagedInput: It is far larger than a config.
        """
        file = self.find(name)
        if file.stat().st_size > _TEXT:
            raise DamagedInput(f"{file} is larger than {_TEXT} bytes, as no config is")
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"file {name!r:.80} cannot be read: {reason}") from None
        told = f"file {name!r:.80}"
        plain = name.endswith(".json")
        values = read_values(text, told, json.loads) if plain else read_values(text, told)
        if not isinstance(values, dict):
            raise ConfigError(f"{told}: expected keys and values")
        return values
