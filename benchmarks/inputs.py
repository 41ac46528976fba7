"""Images and models that the contenders run on: made once, kept in the work folder.

The content is that of the demo's scene and phantom, laid out as mirrored copies, so that a file of
any size costs the memory of one strip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from rasterio.windows import Window
from safetensors.torch import load_file
from torch import nn

from tiledseg.demo import MODELS, make_phantom, make_scene
from tiledseg.labels import ClassSchema
from tiledseg.models import ModelCard, create_network, find_card, save_model
from tiledseg.normalize import Linear, Normalization

_BLOCK = 512
_PATCH_2D, _PATCH_3D = 2048, (128, 256, 256)
#: Scores of random weights are scaled to this standard deviation; see `_sharpen`.
_SPREAD = 4.0


@dataclass(frozen=True)
class ImageSpec:
    """An image to make.

    Args:
        shape: Samples, (y, x) or (z, y, x).
        suffix: Kind of file: ``.tif``, ``.nii.gz`` or ``.nii``.
        bands: Of a scene: 3 gives uint8 red, green, blue; 4 gives uint16 with near infrared.
        share: Share of the blocks that hold texture; the others are sparse, and read as 0.
        seen: Share of the scene that is valid; the rest is declared nodata, 0.
    """

    shape: tuple[int, ...]
    suffix: str
    bands: int = 1
    share: float = 1.0
    seen: float = 1.0

    @property
    def name(self) -> str:
        """File name without suffix."""
        extra = [f"{k}{v}" for k, v in (("share", self.share), ("seen", self.seen)) if v < 1]
        return "-".join(["x".join(map(str, self.shape)), f"{self.bands}", *extra])


@dataclass(frozen=True)
class NetworkSpec:
    """A model to make with random weights, or (``demo``) one of the bundled ones."""

    name: str
    dims: int
    channels: int
    classes: int
    architecture: dict[str, Any] = field(default_factory=dict)
    demo: bool = False


def make_image(spec: ImageSpec, work: Path) -> Path:
    """Return the image file, made unless it is there."""
    path = work / "images" / (spec.name + spec.suffix)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name("partial-" + path.name)
        (_write_scene if len(spec.shape) == 2 else _write_volume)(spec, partial)
        partial.replace(path)
    return path


def make_model(spec: NetworkSpec, window: tuple[int, ...], work: Path) -> Path:
    """Return the model folder, made unless it is there."""
    if spec.demo:
        return Path(MODELS) / spec.name
    folder = work / "models" / spec.name
    if not (folder / "model.yaml").exists():
        card = _card(spec, window)
        torch.manual_seed(7)
        network = create_network(card).eval()
        image = ImageSpec(window, ".tif" if spec.dims == 2 else ".nii", spec.channels)
        x = card.normalization(_sample(image), np.ones(window, bool))
        _sharpen(network, torch.from_numpy(x)[None])
        save_model(network, card, folder)
    return folder


def peer_inputs(spec: ImageSpec, model: Path, work: Path) -> dict[str, str]:
    """Return what peers take: the normalised image as .npy, and the pickled torch network."""
    card = find_card(model)
    array = work / "peers" / f"{spec.name}-{card.name.replace(' ', '-')}.npy"
    network = work / "peers" / f"{card.name.replace(' ', '-')}.pt"
    array.parent.mkdir(parents=True, exist_ok=True)
    if not array.exists():
        values = _read(make_image(spec, work))
        partial = array.with_name("partial-" + array.name)
        np.save(partial, card.normalization(values, np.ones(spec.shape, bool)))
        partial.replace(array)
    plain = create_network(card)
    plain.load_state_dict(load_file(model / card.weights))
    torch.save(plain.eval(), network)
    return {"array": str(array), "network": str(network)}


def _card(spec: NetworkSpec, window: tuple[int, ...]) -> ModelCard:
    scale, offset = (1 / 48, -1.5) if spec.dims == 2 else (0.002, 0.0)
    return ModelCard(
        name=spec.name,
        format="tiledseg",
        weights="weights.safetensors",
        dims=spec.dims,
        channels=tuple(f"c{i}" for i in range(spec.channels)),
        schema=ClassSchema.of_names([f"class {i}" for i in range(spec.classes)]),
        window=window,
        architecture=dict(spec.architecture),
        multiple=16,
        normalization=Normalization((Linear((scale,), (offset,)),)),
        locality="global",  # instance norm
        provenance="random weights, for benchmarks",
    )


@torch.no_grad()
def _sharpen(network: nn.Module, x: torch.Tensor) -> None:
    """Scale and centre the last convolution, so that every class occurs and scores are spread.

    Scores of random weights lie close together, and one class can win everywhere; class maps would
    then say nothing about how well two runtimes agree.
    """
    last = [m for m in network.modules() if isinstance(m, nn.modules.conv._ConvNd)][-1]
    assert last.bias is not None
    gain = _SPREAD / float(network(x).std())
    last.weight *= gain
    last.bias *= gain
    raw = network(x)
    last.bias -= raw.mean([0, *range(2, raw.ndim)])


# --------------------------------------------------------------------- files


def _mirrored(extent: int, patch: int) -> NDArray[np.int64]:
    """Return which sample of a patch lies at every place: 0 1 2 2 1 0 0 1 ..."""
    at = np.arange(extent) % (2 * patch)
    return np.minimum(at, 2 * patch - 1 - at)


def _scene_patch(spec: ImageSpec) -> NDArray[Any]:
    """Return blue, green, red, near infrared as uint16; or red, green, blue as uint8."""
    image = make_scene(1, min(_PATCH_2D, max(spec.shape))).image
    if spec.bands == 4:
        return image
    return np.clip(image[2::-1] / 10, 1, 255).astype(np.uint8)


def _sample(spec: ImageSpec) -> NDArray[Any]:
    """Return the start of an image in memory."""
    if len(spec.shape) == 2:
        return _scene_patch(ImageSpec((1024, 1024), ".tif", spec.bands))[
            :, -spec.shape[0] :, -spec.shape[1] :
        ]
    return make_phantom(1, spec.shape).image[None]


def _write_scene(spec: ImageSpec, path: Path) -> None:
    patch = _scene_patch(spec)
    height, width = spec.shape
    y, x = (_mirrored(n, patch.shape[1]) for n in spec.shape)
    textured = np.random.default_rng(2).random((-(-height // _BLOCK), -(-width // _BLOCK)))
    profile: dict[str, Any] = {
        "driver": "GTiff", "height": height, "width": width, "count": len(patch),
        "dtype": patch.dtype, "crs": "EPSG:32633", "compress": "deflate", "tiled": True,
        "transform": rasterio.Affine(10, 0, 399960, 0, -10, 5600040),
        "blockxsize": _BLOCK, "blockysize": _BLOCK, "sparse_ok": True, "bigtiff": "if_safer",
        "nodata": 0 if spec.seen < 1 else None,
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as file:
        for i, j in np.argwhere(textured < spec.share):
            rows = slice(i * _BLOCK, min(height, (i + 1) * _BLOCK))
            columns = slice(j * _BLOCK, min(width, (j + 1) * _BLOCK))
            block = patch[:, y[rows]][:, :, x[columns]]
            if spec.seen < 1:
                block = np.where(_seen(spec, rows, columns), block, 0)
            file.write(block, window=Window.from_slices(rows, columns))


def _seen(spec: ImageSpec, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """Return where the satellite looked: left of a slanted edge."""
    y, x = np.ogrid[rows, columns]
    edge: NDArray[np.bool_] = x + 0.3 * y < (spec.seen + 0.15) * spec.shape[0]
    return edge


def _write_volume(spec: ImageSpec, path: Path) -> None:
    extent = tuple(min(n, p) for n, p in zip(spec.shape, _PATCH_3D, strict=True))
    patch = make_phantom(1, extent).image
    z, y, x = (_mirrored(n, p) for n, p in zip(spec.shape, patch.shape, strict=True))
    image = sitk.GetImageFromArray(np.stack([patch[i][y][:, x] for i in z]))
    sitk.WriteImage(image, str(path), useCompression=spec.suffix.endswith(".gz"))


def _read(path: Path) -> NDArray[Any]:
    """Return all of an image, channels first."""
    if path.suffix != ".tif":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[None]
    with rasterio.open(path) as file:
        return np.asarray(file.read())
