"""Arrays in memory: numpy, and xarray by the attributes a DataArray has."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..box import Box
from ..errors import ConfigError
from ..grid import LOCAL, Grid, Space, SpaceKind
from ._base import Sink, SinkSpec, Source
from ._channels import choose_channels

Dims = Literal[2, 3]

_CHANNEL_DIMS = ("band", "bands", "channel", "channels", "c")
_X, _Y, _Z = ("x", "lon", "longitude"), ("y", "lat", "latitude"), ("z",)


class MemorySource(Source):
    """An array that is already in memory.

    Args:
        array: Channels first, (c, *spatial); a masked array was not measured where it is masked.
        grid: Where its samples lie; None means nowhere in particular.
        channels: Names; None numbers them.
        nodata: Value that means "not measured", or None.
        wanted: Channels to use, by number or name.
        uri: What to call it.
    """

    def __init__(
        self,
        array: NDArray[Any],
        grid: Grid | None = None,
        channels: tuple[str, ...] | None = None,
        nodata: float | None = None,
        wanted: tuple[int | str, ...] | None = None,
        uri: str = "array",
    ) -> None:
        names = channels or tuple(f"channel {i}" for i in range(1, len(array) + 1))
        chosen = choose_channels(names, wanted)
        self._array = array if wanted is None else array[list(chosen)]
        self.uri = uri
        self.grid = grid or Grid.local(array.shape[1:])
        self.channels = tuple(names[i] for i in chosen)
        self.dtype = numeric_dtype(array.dtype, uri)
        self.nodata = nodata
        self.blocks = (1, *array.shape[2:])

    def read(self, box: Box) -> NDArray[Any]:
        """Return a copy of the samples of ``box``."""
        return np.array(self._array[(slice(None), *box.slices)], dtype=self.dtype)

    def valid(self, box: Box) -> NDArray[np.bool_]:
        """Return where any channel is not masked and differs from the declared nodata value."""
        return differs_from(self._array[(slice(None), *box.slices)], self.nodata)

    def fingerprint(self) -> dict[str, Any]:
        """Return the hash of the samples."""
        whole = np.ascontiguousarray(self._array)
        digest = hashlib.sha256(whole.data)
        if isinstance(self._array, np.ma.MaskedArray):
            digest.update(np.ma.getmaskarray(self._array).tobytes())
        return {"sha256": digest.hexdigest(), "shape": list(whole.shape), "dtype": whole.dtype.str}


def differs_from(values: NDArray[Any], nodata: float | None) -> NDArray[np.bool_]:
    """Return where any channel of (c, *s) values is neither masked nor ``nodata`` (or NaN)."""
    masked = isinstance(values, np.ma.MaskedArray)
    if nodata is None and not masked:
        return np.ones(values.shape[1:], dtype=np.bool_)
    missing, plain = np.ma.getmaskarray(values) if masked else False, np.ma.getdata(values)
    if nodata is not None and np.isnan(nodata):
        missing = missing | (plain != plain)  # NaN; integers have no isnan
    elif nodata is not None:
        missing = missing | (plain == nodata)
    return np.asarray(~np.all(missing, axis=0))


def numeric_dtype(dtype: Any, uri: str) -> np.dtype[Any]:
    """Return the dtype samples are read as; booleans become uint8.

    Raises:
        ConfigError: The samples are no real numbers.
    """
    found = np.dtype(dtype)
    if found.kind == "b":
        return np.dtype(np.uint8)
    if found.kind not in "iuf":
        raise ConfigError(f"{uri} has samples of {found}; expected integers or real numbers")
    native: np.dtype[Any] = found.newbyteorder("=")
    return native


def channels_first(array: Any, dims: Dims, uri: str) -> Any:
    """Return ``array`` with a channel axis in front.

    Args:
        array: (*spatial) or (c, *spatial), anything with shape and ndim.
        dims: Spatial axes of the model.
        uri: What to call it in a message.

    Raises:
        ConfigError: The array has another number of axes, or an empty one.
    """
    if array.ndim not in (dims, dims + 1) or 0 in array.shape:
        raise ConfigError(
            f"{uri} of shape {tuple(array.shape)} is not a {dims}-D image: expected {dims} "
            f"axes, or channels first and {dims} axes, none of them empty"
        )
    return array[None] if array.ndim == dims else array


def xarray_parts(data: Any, dims: Dims) -> dict[str, Any]:
    """Return array (channels first), grid, channel names and nodata of an xarray DataArray.

    Raises:
        ConfigError: Its dimensions or coordinates are not those of an image.
    """
    wanted = (_Z, _Y, _X)[3 - dims :]
    names = [str(d) for d in data.dims]
    spatial = [next((n for n in names if n.lower() in group), None) for group in wanted]
    rest = [n for n in names if n not in spatial]
    if None in spatial or len(rest) > 1 or any(r.lower() not in _CHANNEL_DIMS for r in rest):
        raise ConfigError(
            f"DataArray with dimensions {tuple(names)} is not a {dims}-D image: expected "
            f"{'z, ' if dims == 3 else ''}y and x (or lat and lon), and at most a band or channel"
        )
    ordered = data.transpose(*rest, *spatial)
    channels = None
    if rest and rest[0] in data.coords:
        channels = tuple(str(v) for v in data.coords[rest[0]].to_numpy())
    nodata = data.attrs.get("_FillValue", data.attrs.get("nodata"))
    array = channels_first(ordered.data, dims, "DataArray")
    return {
        "array": array,
        "grid": _xarray_grid(ordered, [str(s) for s in spatial]),
        "channels": channels,
        "nodata": None if nodata is None else _number(nodata),
    }


def _number(nodata: Any) -> float:
    """Return what a DataArray declares as nodata.

    Raises:
        ConfigError: It is no number.
    """
    try:
        return float(nodata)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(
            f"DataArray declares nodata {nodata!r:.60}, which is not a number: correct its "
            "_FillValue or nodata attribute"
        ) from None


def _xarray_grid(data: Any, spatial: list[str]) -> Grid:
    shape = tuple(int(data.sizes[d]) for d in spatial)
    if not all(d in data.coords for d in spatial):
        return Grid.local(shape)
    origin, spacing = [], []
    for name in reversed(spatial):
        values = np.asarray(data.coords[name].to_numpy(), dtype=np.float64)
        step = (values[-1] - values[0]) / max(1, len(values) - 1) or 1.0
        if not np.allclose(np.diff(values), step, rtol=0, atol=abs(step) * 1e-3):
            raise ConfigError(f"coordinate {name!r} is not evenly spaced; resample it first")
        origin.append(float(values[0]))
        spacing.append(float(step))
    reference = data.coords.get("spatial_ref")
    wkt = None if reference is None else reference.attrs.get("crs_wkt")
    return Grid.from_centers(shape, tuple(origin), tuple(spacing), space=_space(wkt))


def _space(wkt: str | None) -> Space:
    """Tell what a CRS is from the first word of its WKT."""
    if not wkt:
        return LOCAL
    if wkt.upper().startswith(("GEOG", "GEODCRS")):
        return Space(SpaceKind.GEOGRAPHIC, wkt)
    if not wkt.upper().startswith("PROJ"):
        return Space(SpaceKind.LOCAL, wkt)
    # The ellipsoid has a unit too, in WKT 2; that of the axes comes last.
    units = re.findall(r'\b(?:LENGTH)?UNIT\["[^"]*",\s*([^],\s]+)', wkt)
    return Space(SpaceKind.PROJECTED, wkt, float(units[-1]) if units else None)


class MemorySink(Sink):
    """Keeps the result in memory; `array` is it, (bands, *shape)."""

    def __init__(self, spec: SinkSpec) -> None:
        super().__init__(Path("memory"), spec)
        self.array = np.empty((0,), dtype=spec.dtype)
        self._whole = False

    def prepare(self) -> None:
        """Make room."""
        self.array = np.empty((len(self.spec.bands), *self.spec.grid.shape), self.spec.dtype)

    def write(self, box: Box, values: NDArray[Any]) -> None:
        """Store rows."""
        self.array[(slice(None), *box.slices)] = values

    def commit(self) -> list[Path]:
        """Return no files: there are none."""
        self._whole = True
        return []

    def abort(self) -> None:
        """Let go of an unfinished array."""
        if not self._whole:
            self.array = self.array[:0]
