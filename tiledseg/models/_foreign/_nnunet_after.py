"""What nnU-Net found to be worth doing after its network: only the largest component is kept.

It writes ``crossval_results_folds_*/postprocessing.pkl``, a pickle of functions that is never read,
and beside it ``postprocessing.json`` with the functions' names and arguments (nnunetv2 2.0 and
later, nnunetv2/postprocessing/remove_connected_components.py). There is one such function: the
union of some labels, in which samples that touch at a corner belong together (26 neighbours), loses
all but its largest component.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...document import brief

_FUNCTION = "remove_all_but_largest_component_from_segmentation"
_NEIGHBOURS = 26


def after_of(path: Path, classes: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the steps that a model's folder asks for, and notes on them.

    Args:
        path: The folder.
        classes: Those of the card, with names and ids.
    """
    found = sorted(path.glob("crossval_results_folds_*/postprocessing.*"))
    if not found:
        return [], []
    file = found[0].with_suffix(".json")
    name = file.relative_to(path)
    try:
        steps = list(_steps(json.loads(file.read_bytes()), {c["id"]: c["name"] for c in classes}))
    except FileNotFoundError:
        pickle = name.with_suffix(".pkl")
        return [], [f"{pickle} was not applied: it is a pickle, which could run anything"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return [], [f"{name} was not applied: it is not as nnU-Net writes it ({brief(error)})"]
    told = (" and ".join(step["keep_largest"]["classes"]) for step in steps)
    return steps, [f"{name}: only the largest component of {which} is kept" for which in told]


def _steps(values: dict[str, Any], names: dict[int, str]) -> Iterator[dict[str, Any]]:
    """Yield the steps of a ``postprocessing.json``.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: It is none, or asks for something else.
    """
    functions, arguments = values["postprocessing_fns"], values["postprocessing_kwargs"]
    for function, given in zip(functions, arguments, strict=True):
        if function != _FUNCTION or given.get("background_label", 0) != 0:
            raise ValueError(f"{function} of {given} is not known")
        ids = _flat(given["labels_or_regions"])
        classes = [name for id_, name in names.items() if id_ in ids and id_ != 0]
        if classes:
            settings = {"classes": classes, "together": True, "connectivity": _NEIGHBOURS}
            yield {"keep_largest": settings}


def _flat(labels: Any) -> set[int]:
    """Return the labels of one, of a list of them, or of a list of regions."""
    if isinstance(labels, list):
        return set().union(*map(_flat, labels))
    if not isinstance(labels, int) or isinstance(labels, bool):
        raise TypeError(f"{labels!r:.40} is no label")
    return {labels}
