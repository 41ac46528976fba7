"""Classes that a file lists."""

from __future__ import annotations

from pathlib import Path

from ..document import read_file
from ..errors import ConfigError
from ..labels import ClassSchema
from ..models import find_card


def read_classes(path: Path) -> ClassSchema:
    """Return the classes of a YAML with ``classes`` (a model's card is one), or of a model.

    Raises:
        ConfigError: There is no such file, or it lists none.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        return find_card(path).schema
    values = read_file(path, f"file {path}")
    try:
        entries = [c if isinstance(c, dict) else {"name": c} for c in values["classes"]]
        return ClassSchema.from_dict({"classes": entries, "background": values.get("background")})
    except ConfigError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError):
        raise ConfigError(
            f"{path} lists no classes: write classes: [{{id: 0, name: water}}, ...], or give a "
            "model's card"
        ) from None
