"""Dataset: images with labels, the classes, and what label files stand for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from ..box import Box
from ..errors import ConfigError
from ..grid import Grid
from ..io import CroppedSource, Source, open_source
from ..labels import ClassSchema
from ._align import aligned
from ._burnt import POLYGON_FILES, BurntLabels
from ._case import TEST, Case, Pair, split_of, telling
from ._coco import open_coco
from ._dicom import holds_segments, open_segments
from ._labels import CroppedLabels, ImageLabels, LabelSource
from ._legend import Legend

#: How intensities come about: HU of CT, arbitrary units of MR, scenes from above, photos, which
#: have an up and a down; or not known.
Modality = Literal["ct", "mr", "image", "photo", ""]


@dataclass(frozen=True)
class Dataset:
    """Images with labels.

    Args:
        name: What it is called.
        cases: The images with their labels; at least one, names are unique.
        schema: The classes.
        legend: What values, colours or texts of label files stand for.
        channels: Which channels of every image, by number from 1 or name; None takes all.
        dims: Spatial axes, where a Zarr array could be read either way; None: as it says.
        field: Field of polygon files that holds the class, or None.
        rest: Class id of what lies in no polygon; the schema's `nodata` where nobody looked there.
        modality: How the intensities come about.
        licence: Of the data.
        home: File or folder that it was read from, or None.

    Raises:
        ConfigError: There is no case, or two share a name.
    """

    name: str
    cases: tuple[Case, ...]
    schema: ClassSchema
    legend: Legend
    channels: tuple[int | str, ...] | None = None
    dims: Literal[2, 3] | None = None
    field: str | None = None
    rest: int | None = None
    modality: Modality = ""
    licence: str = ""
    home: Path | None = None

    def __post_init__(self) -> None:
        if not self.cases:
            raise ConfigError(f"dataset {self.name} has no cases")
        twice = [name for name, n in Counter(c.name for c in self.cases).items() if n > 1]
        if twice:
            raise ConfigError(
                f"dataset {self.name}: {len(twice)} names belong to several cases ({twice[0]!r:.80}"
                f"{', ...' * (len(twice) > 1)}); give every case a name of its own"
            )

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def labelled(self) -> tuple[Case, ...]:
        """The cases that have labels."""
        return tuple(case for case in self.cases if case.labels is not None)

    @property
    def learnable(self) -> tuple[Case, ...]:
        """The cases that have labels and are not kept for the test: to learn from, or hold out."""
        return tuple(case for case in self.labelled if case.split != TEST)

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that cases were given, in the order they first occur."""
        return tuple(dict.fromkeys(c.split for c in self.cases if c.split is not None))

    @property
    def _rest(self) -> int:
        """What lies in no polygon: the background where there is one, else nobody knows."""
        if self.rest is not None:
            return self.rest
        return self.schema.nodata if self.schema.background is None else self.schema.background

    def of(self, names: Iterable[str]) -> Dataset:
        """Return the dataset of some of the cases only, by name, in the dataset's order.

        Raises:
            ConfigError: There is no such case, or none is left.
        """
        wanted = set(names)
        if unknown := sorted(wanted - {c.name for c in self.cases}):
            raise ConfigError(f"dataset {self.name} has no case {unknown[0]!r:.80}")
        return replace(self, cases=tuple(c for c in self.cases if c.name in wanted))

    def split(self, *splits: str) -> Dataset:
        """Return the dataset of the cases of some splits only.

        Raises:
            ConfigError: There is no such split, or no case belongs to them.
        """
        wanted = [split_of(split) for split in splits]
        return self.of(c.name for c in self.cases if c.split in wanted)

    def open(self, case: Case) -> Pair:
        """Open a case.

        Raises:
            ConfigError: It has no labels, or a file is not there or not as the legend says.
            DamagedInput: A file is not what it claims to be.
            GridMismatch: Image and labels do not lie on one grid.
        """
        with telling(case.name):
            if case.labels is None:
                raise ConfigError("it has no labels; leave it out, or label it")
            image = self._open_whole(case)
            try:
                pair = Pair(case, image, self._open_labels(case.labels, image.grid))
                return pair if case.box is None else _part(pair, case.box)
            except BaseException:
                image.close()
                raise

    def open_image(self, case: Case) -> Source:
        """Open the image of a case.

        Raises:
            ConfigError: A file or channel is not there.
            DamagedInput: A file is not what it claims to be.
            GridMismatch: Images that are stacked do not lie on one grid.
        """
        image = self._open_whole(case)
        return image if case.box is None else CroppedSource(image, case.box)

    def _open_whole(self, case: Case) -> Source:
        if len(case.images) == 1:
            return open_source(case.images[0], channels=self.channels, dims=self.dims)
        return open_source(list(case.images), channels=self.channels, dims=self.dims)

    def _open_labels(self, labels: str, grid: Grid) -> LabelSource:
        if labels.lower().endswith(POLYGON_FILES):
            path = Path(labels)
            return BurntLabels.of_file(path, grid, self.schema, self.legend, self.field, self._rest)
        if ".json#" in labels.lower():
            return open_coco(labels, grid, self.schema, self.legend)
        if labels.lower().endswith(".dcm") and holds_segments(labels):
            return open_segments(labels, grid, self.schema, self.legend, self._rest)
        dims: Literal[2, 3] = 2 if grid.ndim == 2 else 3
        opened = open_source(labels, dims=dims)
        try:
            return ImageLabels(aligned(opened, grid), self.schema, self.legend)
        except BaseException:
            opened.close()
            raise


def _part(pair: Pair, box: Box) -> Pair:
    """Return the part of a pair."""
    if not pair.grid.box.contains(box):
        raise ConfigError(f"its part {box.start} to {box.stop} lies outside of {pair.grid.shape}")
    return Pair(pair.case, CroppedSource(pair.image, box), CroppedLabels(pair.labels, box))
