"""Case and Pair: an image with its labels, named and opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from ..box import Box
from ..errors import ConfigError, TiledsegError
from ..grid import Grid
from ..io import Source
from ._labels import LabelSource

#: Splits: what is learned from, what is held out, what is looked at only once, at the end.
TRAIN, VALIDATION, TEST = "train", "validation", "test"
_WORDS = {
    **{word: word for word in (TRAIN, VALIDATION, TEST)},
    **dict.fromkeys(("val", "valid"), VALIDATION),
}


def split_of(word: str) -> str:
    """Return the split that a word stands for, in whatever letters.

    Raises:
        ConfigError: It stands for none: a case of a split that nobody knows would be learned from.

    >>> split_of("Val")
    'validation'
    """
    found = _WORDS.get(word.strip().casefold())
    if found is None:
        raise ConfigError(
            f"split {word!r:.40} must be {TRAIN}, {VALIDATION} (val, valid) or {TEST}; rename it"
        )
    return found


@dataclass(frozen=True, slots=True)
class Case:
    """One image with its labels: a scene, a photo, a patient's scan.

    Args:
        name: What it is called; no two cases of a dataset share a name.
        images: Files, folders or URLs; several are stacked as channels.
        labels: File of its labels; ``file.json#7``: image 7 of COCO's file; None: it has none.
        group: What it must not be separated from in splits: a patient, a scene, a city.
        split: The split it was given by whoever made the dataset, ``train``, ``validation`` or
            ``test``, or None; other spellings of these words become them.
        box: The part of the image that is meant; None: all of it.

    Raises:
        ConfigError: There is no such split.
    """

    name: str
    images: tuple[str, ...]
    labels: str | None
    group: str
    split: str | None = None
    box: Box | None = None

    def __post_init__(self) -> None:
        if self.split is not None:
            with telling(self.name):
                object.__setattr__(self, "split", split_of(self.split))


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and its labels, open, on one grid.

    Args:
        case: What was opened.
        image: The image.
        labels: Its labels.
    """

    case: Case
    image: Source
    labels: LabelSource

    @property
    def grid(self) -> Grid:
        """The grid both lie on."""
        return self.image.grid

    def close(self) -> None:
        """Close both."""
        self.image.close()
        self.labels.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


@contextmanager
def telling(case: str) -> Iterator[None]:
    """Put the name of a case in front of what is wrong with it."""
    try:
        yield
    except TiledsegError as error:
        raise type(error)(f"case {case}: {error}") from error
