"""The card of a graph file: what a person wrote beside it, completed by what the file knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..document import brief
from ..errors import ConfigError, MissingBackend
from ._base import Format
from ._companions import require_companions
from ._deepness import deepness_values, require_segmentor, written_by_deepness
from ._fit import FLOATS, WHOLE, Facts, Port
from ._kinds import kind_of

#: Windows for graphs that take any extents and name none, by number of axes.
_WINDOW = {2: 512, 3: 128}
#: Values of a list that a message shows all of.
_SHOWN = 12
#: Keys that a file can tell; a card with all of them is taken as it is.
_KNOWN = ("name", "format", "weights", "dims", "channels", "window", "classes")
GRAPHS: tuple[Format, ...] = ("onnx", "openvino", "torchscript", "pt2")
#: Keys that are looked at before the card is checked as a whole, and their forms.
_FORMS: dict[str, Callable[[Any], bool]] = {
    "dims": lambda value: type(value) is int,
    "channels": lambda value: isinstance(value, list),
    "window": lambda value: isinstance(value, list) and all(type(n) is int for n in value),
    "classes": lambda value: isinstance(value, list),
    "layout": lambda value: isinstance(value, str),
    "output": lambda value: value is None or isinstance(value, str),
    "format": lambda value: value in GRAPHS,
}


def graph_format(path: Path) -> Format | None:
    """Return the format of a graph file, told by its content; None where it is none."""
    kind = kind_of(path)
    return next((known for known in GRAPHS if known == kind), None)


def completed(given: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the keys of a graph's card, and notes on what was found and left out.

    Args:
        given: Keys that a person wrote; they overrule the file.
        path: The graph file.

    Raises:
        ConfigError: The file is no graph, or the card and the file say too little; the sentence
            says what to write.
        DamagedInput: The file is damaged.
        MissingBackend: The library that reads it is not installed.
    """
    found = graph_format(path)
    if found is None:
        raise ConfigError(f"{path} is no graph in a format known here: {', '.join(GRAPHS)}")
    require_companions(path, found)
    _check_given(given, path)
    values = {"name": path.stem, "format": found, "weights": path.name, **given}
    if all(key in values for key in _KNOWN):
        return values, ()
    facts = _FACTS[found](path)
    stated = _stated(values, facts)
    notes: tuple[str, ...] = ()
    if written_by_deepness(facts.metadata):
        told, notes = _from_deepness(path, values, stated, facts)
        stated |= told
    return _agreed({**stated, **values}, facts), notes


def _check_given(given: Mapping[str, Any], path: Path) -> None:
    """Refuse keys of other forms than those they are looked at in; the rest is checked later.

    Raises:
        ConfigError: There is one.
    """
    for key, fits in _FORMS.items():
        if key in given and not fits(given[key]):
            raise ConfigError(f"card of {path}: {key} cannot be {brief(given[key])}")


def graph_values(given: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the keys of a graph's card, which name its classes.

    Raises:
        ConfigError: They do not; the sentence says what to write. Or as `completed`.
        DamagedInput: As `completed`.
        MissingBackend: As `completed`.
    """
    values, _ = completed(given, path)
    if "classes" in values:
        return values
    found = graph_format(path)
    raise ConfigError(_missing(path, values, Facts() if found is None else _FACTS[found](path)))


def _from_deepness(
    path: Path, values: Mapping[str, Any], stated: Mapping[str, Any], facts: Facts
) -> tuple[dict[str, Any], tuple[str, ...]]:
    if "classes" not in values:
        require_segmentor(str(path), facts.metadata)
    names = [port.name for port in facts.outputs]
    output = values.get("output")
    number = names.index(output) if output in names else 0
    channels = len(values.get("channels") or stated.get("channels") or ())
    told, notes = deepness_values(str(path), facts.metadata, channels, number)
    if not stated.get("any_size", False):
        told.pop("window", None)
    window = values.get("window") or told.get("window") or stated.get("window")
    overlap = told.pop("overlap", None)
    if overlap and window:
        told["tiling"] = {"stride": [max(1, round(n * (1 - overlap))) for n in window]}
    return told, notes


# --------------------------------------------------------------------- what ports say


def _stated(values: Mapping[str, Any], facts: Facts) -> dict[str, Any]:
    """Return the keys that the input of a graph tells."""
    if len(facts.inputs) != 1 or len(facts.inputs[0].shape) not in (4, 5):
        return {}
    shape = facts.inputs[0].shape
    dims = len(shape) - 2
    last = _is_last(values, shape)
    inner = shape[1:-1] if last else shape[2:]
    count = shape[-1] if last else shape[1]
    free = [not isinstance(n, int) for n in inner]
    hint = facts.window or (0, 0, *(_WINDOW[dims],) * dims)
    hints = hint[1:-1] if last else hint[2:]
    window = [n if isinstance(n, int) else h for n, h in zip(inner, hints, strict=True)]
    told: dict[str, Any] = {
        "dims": dims,
        "window": window,
        # Axes of one name must be of one extent.
        "any_size": all(free) and len(set(map(str, inner))) == dims,
    }
    if last:
        told["layout"] = "channels_last"
    if isinstance(count, int) and count > 0:
        told["channels"] = [f"channel {i}" for i in range(1, count + 1)]
    multiple = max((_multiple(n) for n in inner), default=1)
    if multiple > 1:
        told["multiple"] = multiple
    rim = _rim(window, facts.outputs, last) if not any(free) else 0
    if rim:
        told |= {"rim": rim, "margin": rim, "window": [n - 2 * rim for n in window]}
    return told


def _is_last(values: Mapping[str, Any], shape: Any) -> bool:
    """Whether channels come last: as said, as many as said, or the one fixed or smallest extent."""
    layout = values.get("layout", "auto")
    if layout != "auto":
        return bool(layout == "channels_last")
    first, last = shape[1], shape[-1]
    count = len(values.get("channels") or ())
    if count and count in (first, last):
        return bool(first != count)
    if isinstance(first, int) and isinstance(last, int):
        return last < first
    return isinstance(last, int) and not isinstance(first, int)


def _multiple(extent: int | str | None) -> int:
    head = extent.partition("*")[0] if isinstance(extent, str) and "*" in extent else ""
    return int(head) if head.isdigit() else 1


def _rim(window: list[int], outputs: tuple[Port, ...], last: bool) -> int:
    """Return by how much a fixed output is smaller on every side; 0: not at all, or otherwise."""
    for port in outputs:
        if port.kind not in FLOATS or len(port.shape) != len(window) + 2:
            continue
        inner = port.shape[1:-1] if last else port.shape[2:]
        pairs = [(w, n) for w, n in zip(window, inner, strict=True) if isinstance(n, int) and n > 0]
        less = {w - n for w, n in pairs}
        if len(pairs) == len(window) and len(less) == 1 and any(w % n for w, n in pairs):
            by = less.pop()
            return by // 2 if by > 0 and by % 2 == 0 else 0
    return 0


def _agreed(values: dict[str, Any], facts: Facts) -> dict[str, Any]:
    """Return a card that says what a single output channel, or labels, stand for."""
    counts = _output_channels(values, facts)
    classes = values.get("classes")
    known = len(classes) if isinstance(classes, list) else 2
    if counts and counts[0] == 1 and known == 2 and known not in counts:
        values.setdefault("single_output", True)
    if values.get("single_output"):
        values.setdefault("activation", "sigmoid")
    if counts and counts[0] == 0:
        values.setdefault("activation", "none")
    return values


def _output_channels(values: Mapping[str, Any], facts: Facts) -> list[int]:
    """Return the channels of the outputs that are maps, as far as they are told; labels have 0."""
    dims, last = values.get("dims"), values.get("layout") == "channels_last"
    found = []
    for number, port in enumerate(facts.outputs):
        if values.get("output") not in (None, port.name, str(number)) or dims is None:
            continue
        whole, rank = port.kind in WHOLE, len(port.shape) - dims
        count = port.shape[-1] if last and rank == 2 else port.shape[1] if rank == 2 else 1
        if rank in (1, 2) and (whole or port.kind in FLOATS) and isinstance(count, int):
            found.append(0 if whole else count)
    return found


def class_names(values: Mapping[str, Any], path: Path) -> list[str]:
    """Return names to be replaced by a person, as many as a graph has classes, as far as it tells.

    Args:
        values: What is known of its card.
        path: The graph file.

    Raises:
        DamagedInput: The file is damaged.
        MissingBackend: The library that reads it is not installed.
    """
    found = graph_format(path)
    return _class_names(values, Facts() if found is None else _FACTS[found](path))


def _class_names(values: Mapping[str, Any], facts: Facts) -> list[str]:
    counts = _output_channels(values, facts)
    return [f"class {n}" for n in range(max(2, counts[0] if counts else 2))]


def _missing(path: Path, values: Mapping[str, Any], facts: Facts) -> str:
    """Return the sentence on a card that has to name its classes, with one to complete."""
    names = _class_names(values, facts)
    first = [key for key in ("dims", "channels", "window") if key not in values]
    dims = len(facts.kernel) - 2
    channels = ", ".join(f"channel {i}" for i in range(1, facts.kernel[1] + 1))
    window = ", ".join([str(_WINDOW[dims])] * dims)
    lines = {"dims": str(dims), "channels": f"[{channels}]", "window": f"[{window}]"}
    told = [*(f"{key}: {lines[key]}" for key in first), f"classes: [{', '.join(names)}]"]
    known = [f"{key} {_listed(values[key])}" for key in ("channels", "window") if key in values]
    knows = f"; the file itself tells {' and '.join(known)}" if known else ""
    return (
        f"{path} needs a card that says what its classes are: write {path.with_suffix('.yaml')} "
        f"with {{{', '.join(told)}}}, and normalization (none) and "
        f"activation ({values.get('activation', 'softmax')}) where they are others; cards of "
        f"published networks are in configs/models of the repository{knows}"
    )


def _listed(values: Any) -> str:
    """Return values of a list, the first and the last of a long one."""
    if not isinstance(values, list):
        return brief(values)
    shown = values if len(values) <= _SHOWN else [*values[:3], "...", values[-1]]
    return f"[{', '.join(map(str, shown))}]"


# --------------------------------------------------------------------- doors


def _onnx(path: Path) -> Facts:
    try:
        from ._onnx import onnx_facts
    except MissingBackend:  # OpenVINO reads it as well, without the metadata
        return _openvino(path)
    return onnx_facts(path)


def _openvino(path: Path) -> Facts:
    from ._openvino import openvino_facts

    return openvino_facts(path)


def _program(path: Path) -> Facts:
    from ._program import program_facts

    return program_facts(path)


def _script(path: Path) -> Facts:
    from ._script import first_kernel, load_script

    return Facts(kernel=first_kernel(load_script(path)) or Facts().kernel)


_FACTS: dict[Format, Callable[[Path], Facts]] = {
    "onnx": _onnx,
    "openvino": _openvino,
    "pt2": _program,
    "torchscript": _script,
}
