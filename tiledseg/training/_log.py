"""What a training leaves to read: a line of JSON for every report, and TensorBoard's files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..io import write_text, writing


class Log:
    """``train.log.jsonl``: losses and validations, in the order of the steps.

    Args:
        path: The file; of an earlier run it is continued.
        step: Lines of later steps are dropped: they are about to be written again.
    """

    def __init__(self, path: Path, step: int) -> None:
        self._path = path
        kept = [line for line in read_log(path) if line["step"] <= step] if step else []
        write_text(path, "".join(json.dumps(line) + "\n" for line in kept))

    def add(self, **values: Any) -> None:
        """Append a line.

        Raises:
            OutputFailed: It cannot be written.
        """
        with writing(self._path), self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a log; one that a killed process left unfinished is left out."""
    if not path.is_file():
        return []
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except ValueError:
            continue
        if isinstance(values, dict) and isinstance(values.get("step"), int):
            found.append(values)
    return found
