"""A MONAI bundle: a folder with inference.json or .yaml, metadata.json and weights.

Nothing of it is run. What tiledseg reads is what MONAI would make of it: the network, the windows,
what is done to the image before and to the scores after. Where it finds data, sets up a machine or
writes results is nobody's business here and is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...document import brief
from ...errors import ConfigError, DamagedInput
from ._bundle_after import After, understand_after, understand_inferer
from ._bundle_before import Before, understand_before
from ._bundle_config import Config, Part
from ._bundle_expression import NeedsCode
from ._bundle_files import CONFIGS, METADATA, BundleFiles, is_bundle
from ._bundle_network import Sizes, understand_network
from ._understood import Understood

#: Composes inside of others that are looked into.
_DEEP = 4
#: What there is besides, for those who trust a bundle.
_TRUST = (
    "tiledseg segment --trust-code has MONAI run the bundle's own code, which may do all that you "
    "may"
)


def claims(path: Path) -> bool:
    """Return whether this is a folder with the config and the metadata of a bundle."""
    return is_bundle(path)


def read(path: Path) -> Understood:
    """Return what a bundle is.

    Raises:
        ConfigError: It has something that tiledseg does not do, or would have to run code for.
        DamagedInput: A config is far larger than any, or holds what none does.
    """
    files = BundleFiles(path)
    name = next(name for name in CONFIGS if files.has(name))
    try:
        values, metadata = files.values(name), files.values(METADATA)
        config = Config({**values, "bundle_root": ".", "_meta_": metadata}, files.values)
        return _understood(files, config, metadata)
    except NeedsCode as error:
        raise ConfigError(f"{path} ({name}): {error}; {_TRUST}") from None
    except (ConfigError, DamagedInput) as error:
        raise type(error)(f"{path} ({name}): {error}") from None
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise DamagedInput(
            f"{path} ({name}): it has a value of a kind that no bundle has there ({told:.120})"
        ) from None


def _understood(files: BundleFiles, config: Config, metadata: dict[str, Any]) -> Understood:
    formats = _dict(metadata, "network_data_format")
    image: Any = next(iter(_dict(formats, "inputs").values()), None)
    shape = image.get("spatial_shape") if isinstance(image, dict) else None
    dims = len(shape) if isinstance(shape, list) and len(shape) in (2, 3) else 3
    window, tiling = understand_inferer(config.get("inferer"), dims)
    net = understand_network(config, files, formats, window)
    dims, channels, _ = net.sizes
    if dims != len(window):
        raise ConfigError(f"a network of {dims} axes cannot take windows of {window}")
    before = understand_before(_transforms(config, "preprocessing"), dims, channels)
    after = understand_after(_transforms(config, "postprocessing"), before.image)
    card = {
        **described(metadata, files.path, net.sizes, before.image or "image"),
        "window": list(window),
        **net.card,
        "activation": after.activation,
        "normalization": before.steps,
        **_spacing(before, after),
        **_axes(before, dims),
        "tiling": tiling,
    }
    states = () if net.state is None else (net.state,)
    notes = (*_told(before, after), *before.notes, *net.notes, *after.notes)
    return Understood("MONAI bundle", card, tuple(files.read), states, graph=net.graph, notes=notes)


def described(metadata: dict[str, Any], path: Path, sizes: Sizes, image: str) -> dict[str, Any]:
    """Return what the metadata say of a card: names, licence and provenance.

    Args:
        metadata: The bundle's.
        path: Where it is.
        sizes: Of the network.
        image: What the metadata call the image.
    """
    formats = _dict(metadata, "network_data_format")
    names = _names(_dict(formats, "outputs", "pred"), sizes.outputs, "class")
    if sizes.outputs == 1:
        names = ["background", names[0]]
    return {
        "name": str(metadata.get("name") or path.stem),
        "dims": sizes.dims,
        "channels": _names(_dict(formats, "inputs", image), sizes.channels, "channel"),
        "classes": [{"name": name} for name in names],
        "background": 0 if names[0].lower() == "background" else None,
        "single_output": sizes.outputs == 1,
        **_origin(metadata),
    }


def _transforms(config: Config, name: str) -> list[Any]:
    """Return the transforms of a Compose, those of nested ones in their place."""
    part = config.get(name)
    if part is None:
        return []
    return list(_composed(part, name, 0))


def _composed(part: Any, place: str, depth: int) -> Iterator[Any]:
    if not isinstance(part, Part) or part.name != "Compose" or depth > _DEEP:
        raise ConfigError(f"{place}: expected a Compose of transforms, found {brief(part)}")
    if part.disabled:
        return
    transforms = part.get("transforms")
    if transforms is not None and not isinstance(transforms, list | tuple):
        raise DamagedInput(f"{place}: expected a list of transforms, found {brief(transforms)}")
    for item in transforms or ():
        nested = isinstance(item, Part) and item.name == "Compose"
        yield from _composed(item, item.place, depth + 1) if nested else (item,)


# --------------------------------------------------------------------- words


def _dict(values: Any, *keys: str) -> dict[str, Any]:
    """Return a dict inside of dicts; empty where there is none."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    return values if isinstance(values, dict) else {}


def _names(described: dict[str, Any], count: int, word: str) -> list[str]:
    """Return the names of channels, each of its own."""
    given = _dict(described, "channel_def")
    names: list[str] = []
    for i in range(count):
        name = given.get(str(i))
        text = name.strip() if isinstance(name, str) and name.strip() else f"{word} {i}"
        names.append(text if text not in names else f"{text} ({i})")
    return names


def _origin(metadata: dict[str, Any]) -> dict[str, str]:
    """Return licence and provenance, as far as the metadata tell them."""
    told = {
        key: " ".join(str(metadata[key]).split())
        for key in ("license", "licence", "authors", "copyright", "data_source", "version")
        if isinstance(metadata.get(key), str | int | float)
    }
    licence = told.pop("license", "") or told.pop("licence", "")
    parts = [f"{key} {value}" for key, value in told.items()]
    return {
        **({"licence": licence} if licence else {}),
        **({"provenance": "MONAI bundle: " + ", ".join(parts)} if parts else {}),
    }


def _spacing(before: Before, after: After) -> dict[str, Any]:
    """Return spacing and resampling; MONAI leaves no image as it is for being nearly right."""
    if before.spacing is None:
        return {}
    scores = "nearest" if after.labels_go_back else before.method
    resampling = {"image": before.method, "scores": scores, "align": "monai", "tolerance": 0.0}
    return {"spacing": list(before.spacing), "resampling": resampling}


def _axes(before: Before, dims: int) -> dict[str, Any]:
    """Return along which axes the network sees the image: MONAI's readers put x first."""
    if before.orientation is not None:
        return {"orientation": before.orientation}
    return {"axes": [*range(dims)][::-1]}


def _told(before: Before, after: After) -> Iterator[str]:
    """Yield what was understood."""
    if before.spacing is not None:
        told = " x ".join(f"{s:g}" for s in before.spacing)
        back = "labels go back as the nearest" if after.labels_go_back else "scores go back"
        yield f"images are resampled to {told} mm, {before.method}, as MONAI does; {back}"
    if before.orientation is not None:
        yield f"array axes run to {before.orientation}"
