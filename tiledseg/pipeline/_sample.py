"""Points to be looked at, drawn from a class map by class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import vector
from ..components import rows_of
from ..errors import ConfigError
from ..io import Source, open_source, read_schema
from ..labels import ClassSchema
from ..metrics import Confusion, StratifiedDraw, allocate, labels_of, sample_size
from ._names import Output, check_outputs, output_path, spare_inputs
from ._settings import OnShare, ignore, read_settings

#: Samples read at a time, whole rows.
_BLOCK = 1 << 22
#: Points of a file.
_MOST = 1_000_000
#: Points of a rare class (Olofsson et al. 2014, section 5.1.2: 50 to 100), and its accuracy.
_MINIMUM, _EXPECTED = 50, 0.85


@dataclass(frozen=True)
class SampleSpec:
    """How many points of every class, by one of three ways.

    Args:
        per_class: So many of each.
        total: So many together, in proportion to the classes' areas, ``minimum`` of each at least.
        standard_error: As many as give the overall accuracy with this standard error, if every
            class has the user's accuracy ``expected``; allocated like ``total``.
        minimum: Points of a rare class, with ``total`` or ``standard_error``; None: 50.
        expected: User's accuracy that is expected of the classes, with ``standard_error``; None:
            0.85.
        seed: What the draw depends on.

    Raises:
        ConfigError: None or several of the ways were chosen, a setting has no effect with the one
            that was, or a number is below 1.
    """

    per_class: int | None = None
    total: int | None = None
    standard_error: float | None = None
    minimum: int | None = None
    expected: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        ways = [w for w in (self.per_class, self.total, self.standard_error) if w is not None]
        if len(ways) != 1:
            raise ConfigError(
                "say how many points: per class (--per-class 50), in total (--total 500), or by "
                "the standard error of the accuracy (--standard-error 0.01); one of the three"
            )
        if any(n is not None and n < 1 for n in (self.per_class, self.total)):
            raise ConfigError("points per class and in total must be at least 1")
        if self.minimum is not None and self.per_class is not None:
            raise ConfigError(
                "minimum (--minimum) is for points in total (--total) or by standard error "
                "(--standard-error), not per class; leave it out"
            )
        if self.expected is not None and self.standard_error is None:
            raise ConfigError(
                "expected (--expected) is for points by standard error (--standard-error) alone; "
                "leave it out"
            )
        for name, value in (("seed", self.seed), ("minimum", self.minimum or 0)):
            if value < 0:
                raise ConfigError(f"{name} {value} must not be below 0")

    def wanted(self, held: dict[int, int]) -> dict[int, int]:
        """Return how many points of every class, at most as many as there are samples."""
        if self.per_class is not None:
            many = [self.per_class] * len(held)
        else:
            counts = np.array(list(held.values()), np.float64)
            many = allocate(self.together(held), counts / counts.sum(), self.least)
        return {label: min(n, held[label]) for label, n in zip(held, many, strict=True)}

    @property
    def least(self) -> int:
        """Points of a rare class."""
        return _MINIMUM if self.minimum is None else self.minimum

    def together(self, held: dict[int, int]) -> int:
        """Return how many points were asked for, of all classes."""
        if self.per_class is not None:
            return self.per_class * len(held)
        if self.total is not None:
            return self.total
        counts = np.array(list(held.values()), np.float64)
        users = [_EXPECTED if self.expected is None else self.expected] * len(held)
        return sample_size(counts / counts.sum(), users, self.standard_error or 0.0)

    def note(self, held: dict[int, int], wanted: dict[int, int]) -> str:
        """Return why there are more, or fewer, points than were asked for; nothing if not so."""
        asked, drawn = self.together(held), sum(wanted.values())
        if drawn < asked:
            return f"{drawn:,} points, not {asked:,}: the map has no more samples of some classes"
        if drawn == asked:
            return ""
        return (
            f"{drawn:,} points, not {asked:,}: every class gets {self.least} at least, which a "
            f"smaller minimum changes (--minimum {asked // len(held)})"
        )


@dataclass(frozen=True)
class Sample:
    """A sample that was drawn.

    Args:
        output: The file of points.
        held: Name of every class -> samples of the map.
        drawn: Name of every class -> points.
        note: Why these are not as many as were asked for; empty where they are.
    """

    output: Path
    held: dict[str, int]
    drawn: dict[str, int]
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        told = {"outputs": [str(self.output)], "held": self.held, "drawn": self.drawn}
        return {**told, "note": self.note} if self.note else told

    def summary(self) -> str:
        """Return a few lines for people."""
        width = max(map(len, self.held))
        lines = [f"  {n:{width}}  {self.drawn[n]:6,} of {self.held[n]:,}" for n in self.held]
        return "\n".join(
            [
                *lines,
                *([f"note: {self.note}"] if self.note else []),
                f"{sum(self.drawn.values()):,} points; fill in the column truth (id or name of a "
                "class), then: tiledseg evaluate MAP --points POINTS",
                f"wrote {self.output}",
            ]
        )


def sample(
    class_map: str | Path, out: str | Path, *, on_share: OnShare | None = None, **settings: Any
) -> Sample:
    """Draw points of every class of a map, to be given their true class by a person.

    The map is read twice, row by row: once to count, once to find. Within a class every set of
    samples is equally likely, whatever the size of the raster.

    Args:
        class_map: Class map of a scene.
        out: Points to write (.gpkg, .geojson, .fgb): class_id, class_name, x, y and an empty
            ``truth``; they lie at sample centres, in row-major order.
        on_share: Told the share that is done, 0 to 1.
        settings: Those of `SampleSpec`: ``per_class``, ``total`` or ``standard_error``, and more.

    Returns:
        What was drawn.

    Raises:
        ConfigError: The image is no class map of a scene, a setting is wrong, or ``out`` is there
            already: it may be filled in.
        UnknownFormat: The suffix of ``out`` is none of these.
    """
    spec, target = read_settings(SampleSpec, "sample", settings), output_path("out", str(out))
    vector.check_point_format(target)
    tell = on_share or ignore
    with open_source(class_map) as source:
        outputs = [Output("out", target)]
        check_outputs(outputs)
        spare_inputs(outputs, source.files())
        if target.exists():
            raise ConfigError(
                f"points {target} are there already, and somebody may have filled in their "
                "truth: give another --out, or remove the file"
            )
        require_scene(class_map, source)
        schema = read_schema(class_map)
        held = count_classes(source, schema, lambda share: tell(share / 2))
        if not held:
            raise ConfigError(f"{class_map} holds no class: every sample is nodata")
        wanted = spec.wanted(held)
        if sum(wanted.values()) > _MOST:
            raise ConfigError(
                f"{sum(wanted.values()):,} points were asked for, at most {_MOST:,} are drawn: "
                "people are to look at them; ask for fewer"
            )
        draw = StratifiedDraw(held, wanted, spec.seed)
        places, labels = _find(source, schema, draw, lambda share: tell(0.5 + share / 2))
        names = class_names(schema, held)
        centres = source.grid.index_to_world(places + 0.5)
        vector.write_points(target, _points(centres, labels, names), source.grid.space)
    return Sample(
        target,
        {names[i]: n for i, n in held.items()},
        {names[i]: n for i, n in wanted.items()},
        spec.note(held, wanted),
    )


def require_scene(class_map: Any, source: Source) -> None:
    """Refuse what is no class map of a scene.

    Raises:
        ConfigError: It is none.
    """
    if len(source.channels) != 1 or source.grid.ndim != 2:
        raise ConfigError(
            f"{class_map} is no class map of a scene: it has {len(source.channels)} channels and "
            f"{source.grid.ndim} axes, expected one channel of labels and 2 axes"
        )


def labelled_rows(
    source: Source, schema: ClassSchema | None, on_share: OnShare
) -> Iterator[tuple[int, NDArray[np.int32]]]:
    """Yield the map in whole rows, in order: first row, and label values, -1 where there is none.

    Values that are no classes of the map, where it names its classes, are none.
    """
    known = np.array([c.id for c in schema.unique]) if schema else None
    for box in source.grid.box.pieces(rows_of(source, _BLOCK)):
        values, valid = source.read(box)[0], source.valid(box)
        if values.dtype.kind == "f":
            valid &= np.isfinite(values)
        if known is not None:
            valid &= np.isin(values, known)
        labels = np.full(box.shape, -1, np.int32)
        labels[valid] = labels_of(values[valid], f"map {source.uri}")
        yield box.start[0], labels
        on_share(box.stop[0] / source.grid.shape[0])


def count_classes(source: Source, schema: ClassSchema | None, on_share: OnShare) -> dict[int, int]:
    """Return label values -> samples, by ascending label; classes without samples are left out."""
    counts = Confusion()
    for _, labels in labelled_rows(source, schema, on_share):
        counts.add(labels, labels, labels >= 0)
    return {label: int(n) for label, n in zip(counts.ids, counts.truth, strict=True) if n}


def class_names(schema: ClassSchema | None, ids: Any) -> dict[int, str]:
    """Return label values -> names; without a schema, classes are named by their label."""
    if schema is None:
        return {i: f"class {i}" for i in ids}
    return {c.id: c.name for c in schema.unique}


def _find(
    source: Source, schema: ClassSchema | None, draw: StratifiedDraw, on_share: OnShare
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Return the points' indices, (n, 2), and label values, in row-major order."""
    columns = source.grid.shape[1]
    places: list[tuple[int, int]] = []
    labels: list[int] = []
    for top, rows in labelled_rows(source, schema, on_share):
        for place, label in draw.take(rows.ravel()):
            places.append((top + place // columns, place % columns))
            labels.append(label)
    return np.array(places, np.int64).reshape(-1, 2), np.array(labels, np.int32)


def _points(
    centres: NDArray[np.float64], labels: NDArray[np.int32], names: dict[int, str]
) -> vector.Points:
    fields: dict[str, NDArray[Any]] = {
        "class_id": labels,
        "class_name": np.array([names[int(i)] for i in labels], dtype=object),
        "x": centres[:, 0],
        "y": centres[:, 1],
        "truth": np.full(len(labels), None, dtype=object),
    }
    return vector.Points(centres, fields)
