"""Architectures by name: the table from which cards, users and the README are told.

Every row names a door, a module that builds its networks and alone imports their library. A door
has three functions: `defaults`, `multiple` and `build`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Literal, Protocol

from torch import nn

from ..document import brief
from ..errors import ConfigError, TiledsegError

DoorName = Literal["monai", "smp", "segnet", "meshnet", "separable", "nnunet"]

#: Packages, besides torch and MONAI, that a door's networks are made with.
_BEHIND: dict[DoorName, tuple[str, ...]] = {
    "smp": ("segmentation_models_pytorch", "timm", "torchvision")
}


class Door(Protocol):
    """What a module that builds networks offers."""

    def defaults(self, name: str) -> Mapping[str, Any]:
        """Return what an architecture takes, with the defaults; `Parameter.empty`: has none."""

    def multiple(self, name: str, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        """Return what input extents must be multiples of, per axis."""

    def build(
        self, name: str, dims: int, channels: int, classes: int, arguments: Mapping[str, Any]
    ) -> nn.Module:
        """Return the network (n, channels, *s) -> (n, classes, *s), raw scores; any error."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A row of the table.

    Args:
        name: What users call it.
        dims: Numbers of spatial axes it is there for.
        multiple: Of input extents, with the default arguments; the same on every axis.
        locality: Whether tiled can equal whole, with the default arguments, as a probe finds it.
        door: The module that builds it.
        library: Package it comes from.
        licence: SPDX name of that package's.
        encoder: The default encoder, where it takes one.
        local_with: Arguments that make a global one local, as a user writes them.
        refuses: Whether it fails on extents that are no multiples; others pad or crop inside.
    """

    name: str
    dims: tuple[int, ...]
    multiple: int
    locality: Literal["local", "global"]
    door: DoorName
    library: str
    licence: str
    encoder: str | None = None
    local_with: str = ""
    refuses: bool = True


def _smp(name: str, multiple: int, locality: Literal["local", "global"], **more: Any) -> Any:
    library = "segmentation_models_pytorch"
    more = {"encoder": "resnet34", **more}
    return Architecture(name, (2,), multiple, locality, "smp", library, "MIT", **more)


def _monai(name: str, multiple: int, locality: Literal["local", "global"], **more: Any) -> Any:
    dims, licence = (2, 3), "Apache-2.0"
    return Architecture(name, dims, multiple, locality, "monai", "monai", licence, **more)


def _own(name: Literal["segnet", "meshnet"], multiple: int, **more: Any) -> Architecture:
    return Architecture(
        name, (2, 3), multiple, "local", name, "tiledseg", "Apache-2.0", refuses=False, **more
    )


def _nnunet(name: str) -> Architecture:
    return Architecture(
        name, (2, 3), 8, "global", "nnunet", "tiledseg", "Apache-2.0", local_with="norm=batch"
    )


#: `unet` is there twice: with an encoder it is smp's, without one MONAI's.
ARCHITECTURES: tuple[Architecture, ...] = (
    Architecture(
        *("fcn", (2,), 8, "local", "smp", "torchvision", "BSD-3-Clause"),
        encoder="resnet50",
        refuses=False,
    ),
    _monai("unet", 16, "local"),
    _smp("unet", 32, "local", refuses=False),
    _smp("unetplusplus", 32, "local"),
    _own("segnet", 32, encoder="vgg16_bn"),
    _smp("pspnet", 8, "global"),
    _smp("deeplabv3", 8, "global"),
    _smp("deeplabv3plus", 16, "global"),
    _smp("fpn", 32, "global"),
    _smp("pan", 128, "global", refuses=False),
    _smp("upernet", 32, "global"),
    _smp("segformer", 32, "global", encoder="mit_b0"),
    _monai("basic_unet", 16, "global", local_with="norm=batch", refuses=False),
    _monai("dynunet", 16, "local"),
    _monai("segresnet", 8, "global", local_with="norm=batch"),
    _monai("swin_unetr", 32, "global"),
    _monai("unetr", 16, "global"),
    _own("meshnet", 1),
    Architecture(
        *("separable_unet", (2,), 4, "local", "separable", "tiledseg", "Apache-2.0"),
    ),
    _nnunet("plain_conv_unet"),
    _nnunet("residual_encoder_unet"),
)

#: Columns of the table for people.
ARCHITECTURE_COLUMNS = (
    *("name", "dims", "encoder", "multiple", "channels", "tiled = whole", "library", "licence"),
)


def architecture_rows(name: str | None = None) -> Iterator[tuple[str, ...]]:
    """Yield rows of texts for people, of all architectures or of one; `ARCHITECTURE_COLUMNS`.

    Raises:
        ConfigError: There is no such architecture.
    """
    for row in ARCHITECTURES if name is None else find_architectures(name):
        local = "yes" if row.locality == "local" else "no"
        yield (
            row.name,
            ", ".join(f"{dims}-D" for dims in row.dims),
            row.encoder or "-",
            str(row.multiple),
            "any",
            f"{local}; with {row.local_with} yes" if row.local_with else local,
            row.library,
            row.licence,
        )


def usual_locality(architecture: Mapping[str, Any], dims: int) -> str | None:
    """Return what the table says of how far a card's network looks; None: it does not say.

    >>> usual_locality({"name": "basic_unet", "norm": "batch"}, 2)
    'basic_unet is local with norm=batch (tiledseg models)'
    """
    try:
        row = find_architecture(architecture.get("name"), architecture.get("encoder"), dims)
    except ConfigError:  # a graph
        return None
    if row.locality == "local":
        with_batch = " with encoders of batch norm" if row.encoder else ""
        return f"{row.name} is local{with_batch} unless told otherwise (tiledseg models)"
    argument, _, value = row.local_with.partition("=")
    if row.local_with and str(architecture.get(argument)) == value:
        return f"{row.name} is local with {row.local_with} (tiledseg models)"
    local = f", local with {row.local_with}" if row.local_with else ""
    return f"{row.name} is global unless told otherwise{local} (tiledseg models)"


def packages_of(architecture: Mapping[str, Any], dims: int) -> tuple[str, ...]:
    """Return the packages, besides torch and MONAI, that the bits of a card's network depend on."""
    if not architecture:  # a graph
        return ()
    row = find_architecture(architecture.get("name"), architecture.get("encoder"), dims)
    return _BEHIND.get(row.door, ())


def find_architectures(name: Any) -> tuple[Architecture, ...]:
    """Return the rows of a name.

    Raises:
        ConfigError: There is none.
    """
    rows = tuple(row for row in ARCHITECTURES if row.name == name)
    if not rows:
        known = list(dict.fromkeys(row.name for row in ARCHITECTURES))
        raise ConfigError(
            f"architecture {brief(name)} is not known{close(name, known)}; known are "
            f"{', '.join(known)}"
        )
    return rows


def find_architecture(name: Any, encoder: Any, dims: int) -> Architecture:
    """Return the row of an architecture.

    Raises:
        ConfigError: There is none, or it takes no encoder, or not for these axes.
    """
    wanted = [row for row in find_architectures(name) if encoder is None or row.encoder]
    if not wanted:
        takers = dict.fromkeys(row.name for row in ARCHITECTURES if row.encoder)
        raise ConfigError(
            f"architecture {name!r} takes no encoder, found {brief(encoder)}: leave it out, or "
            f"choose one of {', '.join(takers)}"
        )
    for row in wanted:
        if dims in row.dims:
            return row
    others = dict.fromkeys(row.name for row in ARCHITECTURES if dims in row.dims)
    raise ConfigError(
        f"architecture {name!r}{' with an encoder' * (encoder is not None)} is not there for "
        f"{brief(dims)} axes, only for {' and '.join(map(str, wanted[0].dims))}: choose one of "
        f"{', '.join(others) or 'none'}{' without an encoder' * (encoder is not None)}"
    )


def multiple_of(row: Architecture, dims: int, arguments: Mapping[str, Any]) -> tuple[int, ...]:
    """Return what the input extents of an architecture must be multiples of, per axis.

    Raises:
        ConfigError: The arguments are of no use.
        MissingBackend: Its library is not installed.
    """
    try:
        steps = door_of(row.door).multiple(row.name, dims, arguments)
        fine = len(steps) == dims and all(int(step) >= 1 for step in steps)
    except TiledsegError:
        raise
    except Exception as error:  # values of any kind fail in places of their own
        reason = " ".join(str(error).split())[:300]
        raise ConfigError(f"architecture {row.name!r}: {reason}") from None
    if not fine:
        raise ConfigError(f"architecture {row.name!r}: extents cannot be multiples of {steps}")
    return steps


def close(name: Any, known: list[str]) -> str:
    """Return a hint at names that look alike."""
    close = get_close_matches(name, known, 3) if isinstance(name, str) else []
    return f" (like {', '.join(close)}?)" if close else ""


def door_of(name: DoorName) -> Door:
    """Return the module that builds networks; its library is imported now.

    Raises:
        MissingBackend: The library is not installed.
    """
    if name == "monai":
        from . import _monai as monai

        return monai
    if name == "smp":
        from . import _smp as smp

        return smp
    if name == "segnet":
        from . import _segnet as segnet

        return segnet
    if name == "separable":
        from . import _separable as separable

        return separable
    if name == "nnunet":
        from . import _nnunet_nets as nnunet

        return nnunet
    from . import _meshnet as meshnet

    return meshnet
