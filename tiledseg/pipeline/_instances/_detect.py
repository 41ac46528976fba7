"""A scene of any size -> the objects that a network finds in it, numbered over the whole image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...box import Box
from ...components import Amounts, MapFacts
from ...engine import machine
from ...errors import ConfigError
from ...io import Scratch, Source, open_source
from ...labels import ClassSchema
from ...lattice import Lattice, starts
from ...models import Detector, Seen
from ...objects import FIND_BYTES, Detected, Find, Finds
from .._map_classes import unit_of
from .._settings import OnShare, ignore, is_number, read_settings, several
from ._find import Wanted
from ._instances import Names, told_of, write_all
from ._result import Instances
from ._room import Room
from ._spec import InstancesSpec

#: Share of the time that finding takes.
_FOUND = 0.8


@dataclass(frozen=True)
class DetectSpec:
    """How objects are found in windows.

    Args:
        window: Extent of a window along both axes.
        overlap: Extent that windows share; objects larger than that may be cut more than once.
        threshold: Scores that objects have at least.
        agree: Intersection over union, in what two windows share, from which on two finds of a
            class are one object.
        scale: What the image's numbers are divided by; None: the largest number of its type,
            1 for floats.

    Raises:
        ConfigError: A setting is none of these.
    """

    window: int = 1024
    overlap: int = 256
    threshold: float = 0.5
    agree: float = 0.5
    scale: float | None = None

    def __post_init__(self) -> None:
        for name, extent in (("window", self.window), ("overlap", self.overlap)):
            if not _is_whole(extent):
                raise ConfigError(f"{name} {extent!r:.40} is no whole number of samples")
        if not 0 <= self.overlap < self.window:
            raise ConfigError(
                f"overlap {self.overlap} must be 0 or more and less than the window {self.window}"
            )
        for name, value in (("threshold", self.threshold), ("agree", self.agree)):
            if not (is_number(value) and 0 < value <= 1):
                raise ConfigError(f"{name} {value!r:.40} must be above 0, 1 at most")
        if self.scale is not None and not (is_number(self.scale) and self.scale > 0):
            raise ConfigError(f"scale {self.scale!r:.40} is no number above 0")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def detect(
    image: Any,
    network: Any,
    out: str | Path,
    objects: str | Path | None = None,
    *,
    classes: Sequence[str],
    device: str = "cpu",
    panoptic: bool = False,
    memory: str | None = None,
    on_share: OnShare | None = None,
    **settings: Any,
) -> Instances:
    """Find the objects of a scene of any size with a network like Mask R-CNN.

    The network sees window after window. Objects that windows cut are joined where they agree, and
    what two windows tell twice is told once (see `tiledseg.objects.Finds`), whatever the order of
    windows. Ids are those of `instances`: 1, 2, 3 ... in the order of the objects' first samples.

    Memory: beside what the network needs for a window, some rows of the scene and 900 bytes per
    find, within ``memory``; masks wait on disk.

    Args:
        image: A scene, of as many channels as the network takes.
        network: Module of torch that keeps the contract of torchvision's detection models.
        out: Id map to write; see `instances`.
        objects: Table of the objects to write; see `instances`. Its scores are the objects'.
        classes: Names of the network's labels 1, 2, 3 ...
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        panoptic: Whether COCO's JSON is written, too.
        memory: Bytes that the process may hold, like ``4GB``; None: half of what is free.
        on_share: Told the share that is done, 0 to 1.
        settings: Those of `DetectSpec`.

    Raises:
        ConfigError: A wrong setting, the image is no scene, or the network keeps another contract.
        DamagedInput: The image cannot be read.
        BudgetExceeded: There are more finds than the memory has room for.
        OutputFailed: Something cannot be written; then nothing is.
    """
    spec, tell = read_settings(DetectSpec, "detect", settings), on_share or ignore
    classes = [str(name) for name in several(classes)]
    if not classes:
        raise ConfigError("detect needs the names of the network's classes, from 1 on")
    names = Names.of(out, objects, panoptic)
    schema = ClassSchema.of_names(["background", *classes], 0).with_things(
        range(1, len(classes) + 1)
    )
    detector = Detector(network, device)
    with ExitStack() as stack:
        source = stack.enter_context(open_source(image, dims=2))
        sink = names.checked(source, [])
        limit = machine.limit(memory)
        room = Room.of(source, limit, 1, centred=False, split=False)
        scratch = stack.enter_context(Scratch(names.out.parent))
        finds = Finds(_shape(source), scratch, room.bytes // FIND_BYTES)
        windows = list(_windows(_shape(source), spec))
        for n, window in enumerate(windows):
            finds.add(window, _found(source, window, detector, spec, schema))
            tell(_FOUND * (n + 1) / len(windows))
        measures, unit = unit_of(source.grid)
        amounts = Amounts.of(measures, source.grid.shape[1])
        found = Detected.of(finds.joined(spec.agree), amounts, room.block)
        things = np.array(schema.things, np.int64)
        wanted = Wanted(source, MapFacts(schema, unit, source.uri), things, scored=True)
        segments = wanted.numbered(found, InstancesSpec(), names.most)
        made = write_all(
            names, found, wanted, segments, sink, lambda part: tell(_FOUND + (1 - _FOUND) * part)
        )
    return told_of(made, segments, wanted, 0)


def _shape(source: Source) -> tuple[int, int]:
    height, width = source.grid.shape
    return height, width


def _windows(shape: tuple[int, int], spec: DetectSpec) -> Iterator[Box]:
    """Yield windows of one extent that cover a scene; the last ones reach back to its border."""
    window = tuple(min(spec.window, n) for n in shape)
    stride = spec.window - spec.overlap
    axes = [starts(Lattice.CLAMPED, n, w, stride, 1) for n, w in zip(shape, window, strict=True)]
    for start in product(*axes):
        yield Box.of_shape(window, start)


def _found(
    source: Source, window: Box, detector: Detector, spec: DetectSpec, schema: ClassSchema
) -> list[Find]:
    valid = source.valid(window)
    if not valid.any():
        return []
    values = source.read(window).astype(np.float32)
    values[:, ~valid | ~np.isfinite(values).all(axis=0)] = 0
    if (scale := spec.scale) is None:
        scale = float(np.iinfo(source.dtype).max) if source.dtype.kind in "iu" else 1.0
    finds = [_placed(seen, window, valid) for seen in detector.find(values / scale, spec.threshold)]
    strange = {f.label for f in finds if f is not None} - {*schema.things}
    if strange:
        raise ConfigError(
            f"the network finds objects of class {min(strange)}, and {len(schema) - 1} classes are "
            "named: name them all, from class 1 on"
        )
    return [find for find in finds if find is not None]


def _placed(seen: Seen, window: Box, valid: NDArray[np.bool_]) -> Find | None:
    """Return a find in the image, None where it has no sample that was measured."""
    mask = seen.mask & valid
    if not mask.any():
        return None
    ends = [np.flatnonzero(mask.any(axis=1 - axis))[[0, -1]].tolist() for axis in (0, 1)]
    own = Box(tuple(low for low, _ in ends), tuple(high + 1 for _, high in ends))
    return Find(seen.label, seen.score, own.shift(window.start), mask[own.slices])
