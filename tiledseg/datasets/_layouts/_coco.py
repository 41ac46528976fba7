"""MS COCO: JSON of instances, stuff or panoptic segments, and folders of images.

The format is that of cocodataset.org (Lin et al. 2014; "Data format"): ``images``, ``categories``,
``annotations``. Folders are COCO's own (``annotations/instances_val2017.json``, ``val2017``), or a
``_annotations.coco.json`` beside its images. Of several kinds of annotations of the same images the
most telling one is taken: panoptic, then instances, then stuff.
"""

from __future__ import annotations

from pathlib import Path

from ...errors import ConfigError
from .._case import Case
from .._coco import CocoFile, read_coco
from .._table import inside
from ._layout import Layout

_KINDS = ("panoptic", "instances", "stuff")
_BESIDE = "_annotations.coco.json"


def matches(folder: Path) -> bool:
    """Whether a folder is laid out so."""
    return bool(_files(folder))


def read(folder: Path) -> Layout:
    """Return what the folder holds.

    Raises:
        ConfigError: There is no JSON, or several do not have the same classes.
        DamagedInput: A JSON is not what it claims to be.
    """
    files = _files(folder)
    if not files:
        raise ConfigError(
            f"{folder} must hold annotations/instances_*.json (or panoptic_, stuff_), or {_BESIDE}"
        )
    return _of_files(files, folder)


def read_file(path: Path) -> Layout:
    """Return what one JSON names; images lie beside it, or as in COCO's folders."""
    above = path.parent.parent if path.parent.name == "annotations" else path.parent
    return _of_files([path], above)


def _of_files(files: list[Path], root: Path) -> Layout:
    opened = [(path, read_coco(path)) for path in files]
    first = opened[0][1]
    for path, other in opened[1:]:
        if other.schema != first.schema:
            raise ConfigError(f"{path} and {files[0]} do not name the same categories")
    cases = [case for path, coco in opened for case in _cases(path, coco, root)]
    return Layout(cases, first.schema, name=f"COCO {first.kind}", modality="photo")


def _files(folder: Path) -> list[Path]:
    for kind in _KINDS:
        if found := sorted((folder / "annotations").glob(f"{kind}_*.json")):
            return found
    return sorted([*folder.glob(_BESIDE), *folder.glob(f"*/{_BESIDE}")])


def _cases(path: Path, coco: CocoFile, root: Path) -> list[Case]:
    beside = path.name == _BESIDE
    part = path.parent.name if beside else path.stem.partition("_")[2]
    split = next((s for s in ("train", "val", "test") if part.startswith(s)), None)
    split = "validation" if split == "val" else split
    folder = path.parent if beside else _images(root, part)
    cases = []
    for image in coco.images.values():
        name = Path(image.file).with_suffix("").as_posix().replace("/", "_")
        place = str(inside(folder, image.file, path))
        cases.append(Case(name, (place,), f"{path}#{image.id}", name, split))
    return cases


def _images(root: Path, part: str) -> Path:
    """Return the folder of the images of ``val2017``, the most telling one that is there."""
    places = (root / part, root / "images" / part, root / "images")
    return next((place for place in places if place.is_dir()), root)
