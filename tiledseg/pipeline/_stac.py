"""A collection of STAC items: an image of every item, chosen from its assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from ._lists import Entry, joined, read_json

_TIFF = ("image/tiff", "image/geotiff", "image/vnd.stac.geotiff", "image/x.geotiff")
_PREVIEWS = {"thumbnail", "overview"}


@dataclass(frozen=True)
class _Asset:
    """A file of an item.

    Args:
        key: What the item calls it.
        href: Where it is.
        roles: What it is for.
        tiff: Whether it is a GeoTIFF.
        bands: Names of every band, lower case; nothing where the item does not tell.
    """

    key: str
    href: str
    roles: tuple[str, ...]
    tiff: bool
    bands: tuple[tuple[str, ...], ...]


def read_items(path: Path, wanted: Sequence[int | str]) -> list[Entry] | None:
    """Return an image per item, or None where the file is no collection of items.

    Args:
        path: A JSON file with an item, or a collection of them.
        wanted: Channels. If all are names of assets or of their bands, those are taken in that
            order; else the asset for the role ``data``, then ``visual``, then the only GeoTIFF.

    Raises:
        ConfigError: It cannot be read, is empty, or an item does not say which asset to take.
    """
    values = read_json(path)
    kind = values.get("type") if isinstance(values, dict) else None
    if kind not in ("Feature", "FeatureCollection"):
        return None
    items = [values] if kind == "Feature" else values.get("features")
    if not isinstance(items, list) or not items:
        raise ConfigError(f"item collection {path} holds no items")
    return [_entry(path, number, item, wanted) for number, item in enumerate(items, 1)]


def _entry(path: Path, number: int, item: Any, wanted: Sequence[int | str]) -> Entry:
    name = item.get("id") if isinstance(item, dict) else None
    if not isinstance(name, str) or not name:
        raise ConfigError(f"item collection {path}: item {number} has no id")
    assets = _assets(path, item)
    names = [want.lower() for want in wanted if isinstance(want, str)]
    chosen = _by_channels(assets, names) if len(names) == len(wanted) else None
    if chosen is None:
        return Entry((joined(path, _main(path, name, assets, wanted).href),), name)
    bands = tuple(band for _, band in chosen)
    if all(band == 0 for band in bands):  # files of one band each
        return Entry(tuple(joined(path, a.href) for a, _ in chosen), name, channels=())
    return Entry((joined(path, chosen[0][0].href),), name, channels=bands)


def _assets(path: Path, item: dict[str, Any]) -> list[_Asset]:
    found = item.get("assets")
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"item {item['id']} of {path} has no assets, so it is no STAC item")
    assets = []
    for key, value in found.items():
        href = value.get("href") if isinstance(value, dict) else None
        if not isinstance(href, str) or not href or "\0" in href:
            raise ConfigError(f"item {item['id']} of {path}: asset {key} has no href")
        roles = value.get("roles")
        roles = tuple(r for r in roles if isinstance(r, str)) if isinstance(roles, list) else ()
        tiff = str(value.get("type") or "").lower().split(";")[0].strip() in _TIFF
        if not _PREVIEWS & set(roles):
            assets.append(_Asset(key, href, roles, tiff, _bands(value)))
    return assets


def _bands(asset: dict[str, Any]) -> tuple[tuple[str, ...], ...]:
    """Return the names of every band: STAC 1.1's ``bands``, or the extension ``eo:bands``."""
    bands = asset.get("bands") or asset.get("eo:bands")
    if not isinstance(bands, list):
        return ()
    keys = ("eo:common_name", "common_name", "name")
    plain = [band if isinstance(band, dict) else {} for band in bands]
    return tuple(
        tuple(band[key].lower() for key in keys if isinstance(band.get(key), str)) for band in plain
    )


def _by_channels(assets: list[_Asset], names: list[str]) -> list[tuple[_Asset, int]] | None:
    """Return asset and band number of every channel; 0 is the only band of a file.

    All are files of one band, or all are bands of one file; None where neither is there.
    """
    single = [_single(assets, name) for name in names]
    if all(asset is not None for asset in single):
        return [(asset, 0) for asset in single if asset is not None]
    for asset in assets:
        numbers = [_numbers(asset, name) for name in names]
        if all(len(found) == 1 for found in numbers):
            return [(asset, found[0]) for found in numbers]
    return None


def _single(assets: list[_Asset], name: str) -> _Asset | None:
    """Return the one asset of one band that has a name as key, else as a name of its band."""
    ones = [asset for asset in assets if len(asset.bands) <= 1]
    keyed = [asset for asset in ones if asset.key.lower() == name]
    found = keyed or [asset for asset in ones if name in (*asset.bands, ())[0]]
    tiffs = [asset for asset in found if asset.tiff]
    found = found if len(found) == 1 else tiffs
    return found[0] if len(found) == 1 else None


def _numbers(asset: _Asset, name: str) -> list[int]:
    return [number for number, band in enumerate(asset.bands, 1) if name in band]


def _main(path: Path, item: str, assets: list[_Asset], wanted: Sequence[int | str]) -> _Asset:
    """Return the asset that is the image."""
    for found in (
        [asset for asset in assets if "data" in asset.roles],
        [asset for asset in assets if "visual" in asset.roles],
        [asset for asset in assets if asset.tiff],
    ):
        if len(found) == 1:
            return found[0]
    told = "; ".join(
        asset.key + (f" ({', '.join('/'.join(b) for b in asset.bands)})" if asset.bands else "")
        for asset in assets
    )
    raise ConfigError(
        f"item {item} of {path} does not say which asset to take: none is named as the channels "
        f"{', '.join(map(str, wanted))}, and not one alone has the role data or visual or is a "
        f"GeoTIFF; it has {told[:400]}; name the bands (input.channels, on "
        "the command line --channels)"
    )
