"""Recipe: all settings of one training, as Python values and as a YAML file to edit."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..document import apply_change, brief, checked, read_mapping, to_yaml
from ..errors import ConfigError
from ._data_spec import AugmentSpec, DataSpec, PatchSpec
from ._learning_spec import LossSpec, NetworkSpec, OptimizerSpec, RunSpec

#: Settings that do not change what a training that has begun comes to; the dataset is known by its
#: digest, wherever it lies, and so are weights that it starts from.
_FREE = {
    *("data.dataset", "network.encoder_weights", "network.start", "patches.cache"),
    *("patches.readers", "licence"),
    *("run.checkpoint", "run.checkpoint_minutes", "run.tensorboard", "run.minutes"),
}


class Recipe(BaseModel):
    """All settings of one training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field("trained", description="Name of the model, in its card.")
    licence: str = Field("", description="Licence of the model, in its card: SPDX name or text.")
    data: DataSpec
    network: NetworkSpec
    patches: PatchSpec
    augment: AugmentSpec = AugmentSpec()
    loss: LossSpec = LossSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    run: RunSpec = RunSpec()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        dims, augment = len(self.patches.window), self.augment
        spacing = self.data.spacing
        if spacing is not None and len(spacing) != dims:
            raise ConfigError(f"data.spacing: expected {dims} numbers, found {list(spacing)}")
        if not isinstance(augment.flips, str) and any(a >= dims for a in augment.flips):
            raise ConfigError(f"augment.flips: patches have axes 0 to {dims - 1}")
        if augment.quarter_turns and self.patches.window[-1] != self.patches.window[-2]:
            raise ConfigError(
                f"augment.quarter_turns: needs a window that is square in its last two axes, found "
                f"{list(self.patches.window)}"
            )
        return self

    @classmethod
    def parse(cls, values: dict[str, Any]) -> Recipe:
        """Return the recipe of plain values.

        Raises:
            ConfigError: A wrong or unknown key; the sentence names its path.
        """
        return checked(cls, values, "recipe")

    @classmethod
    def read(cls, path: str | Path, changes: Sequence[str] = ()) -> Recipe:
        """Return the recipe of a YAML file; the dataset's path is taken from its folder.

        Args:
            path: The file.
            changes: ``a.b=value`` texts that overrule it; values are YAML.

        Raises:
            ConfigError: The file cannot be read, or a key is wrong.
        """
        place = Path(path)
        values = read_mapping(place, f"recipe {path}")
        for change in changes:
            apply_change(values, change)
        return cls.parse(values).beside(place.parent)

    def beside(self, folder: Path) -> Recipe:
        """Return the recipe with paths that are relative to a folder made absolute."""
        values = self.to_dict()
        for section, key in (("data", "dataset"), ("network", "encoder_weights")):
            named = values[section].get(key)
            if named is not None:
                values[section][key] = os.path.abspath(folder / named)
        start = self.network.start
        if start is not None and "://" not in start:  # what is elsewhere is refused by name
            from ..models import bundled_folder  # which brings torch

            values["network"]["start"] = str(
                bundled_folder(start) or os.path.abspath(folder / start)
            )
        return self.parse(values)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that `parse` turns back into the recipe; defaults are left out."""
        values: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return values

    def to_yaml(self) -> str:
        """Return the recipe as YAML that `read` turns back into it, with all defaults."""
        values = self.model_dump(mode="json")
        return to_yaml(values)

    def changes(self, other: Recipe) -> tuple[str, ...]:
        """Return what another recipe changes of what comes out, one clause a setting."""
        before, after = self.model_dump(mode="json"), other.model_dump(mode="json")
        found = differences(before, after)
        return tuple(told for path, told in found.items() if path not in _FREE)

    @classmethod
    def schema_text(cls) -> str:
        """Return the JSON schema of a recipe."""
        return json.dumps(cls.model_json_schema(), indent=2)


def differences(before: Any, after: Any, path: str = "") -> dict[str, str]:
    """Return what is different, by the path of a setting, in words."""
    if isinstance(before, dict) and isinstance(after, dict):
        found: dict[str, str] = {}
        for key in dict.fromkeys((*before, *after)):
            inner = f"{path}.{key}" if path else str(key)
            found |= differences(before.get(key), after.get(key), inner)
        return found
    return {} if before == after else {path: f"{path} was {brief(before)} and is {brief(after)}"}
