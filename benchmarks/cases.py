"""What is measured: the cases, and for every contender of a case the task it is given."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from math import ceil, prod
from pathlib import Path
from typing import Any, Literal

from .inputs import ImageSpec, NetworkSpec, make_image, make_model, peer_inputs

Way = tuple[str, str]
#: Runtime and precision; ``compiled fp32`` is left to ``--runtimes``, it compiles for a minute.
WAYS: tuple[Way, ...] = (
    ("torch", "fp32"),
    ("torch", "bf16"),
    ("onnxruntime", "fp32"),
    ("openvino", "fp32"),
    ("openvino", "bf16"),
)
QUICK_WAYS: tuple[Way, ...] = (("torch", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
BATCHES = (1, 2, 4)

_UNET_2D = {"name": "basic_unet"}
_UNET_3D = {
    "name": "unet",
    "channels": [16, 32, 64, 128, 256],
    "strides": [2, 2, 2, 2],
    "num_res_units": 2,
}
_COVER = NetworkSpec("cover6", 2, 3, 6, _UNET_2D)
_ORGANS14 = NetworkSpec("organs14", 3, 1, 14, _UNET_3D)
_ORGANS105 = NetworkSpec("organs105", 3, 1, 105, _UNET_3D)
#: Without its last convolution of 105 to 105 channels, which takes ten times the rest.
_ORGANS105_PLAIN = NetworkSpec("organs105plain", 3, 1, 105, {**_UNET_3D, "num_res_units": 0})
_DEMO_COVER = NetworkSpec("scene", 2, 4, 6, demo=True)
_DEMO_ORGANS = NetworkSpec("organs", 3, 1, 7, demo=True)


@dataclass(frozen=True)
class Case:
    """One comparison.

    Args:
        name: What the user calls it.
        title: What the table is headed with.
        kind: ``compare`` contenders on one image; over ``sizes`` of images; ``skip`` nodata.
        images: One image; for ``sizes`` several, for ``skip`` the full and the empty one.
        quick: Those of a quick run.
        network: The model.
        window: Samples of a window along every axis.
        stride: Between window starts.
        turns: At most so many turns; cases of an hour get one.
        only: The ways that make sense, or empty: all.
        by_default: Whether it runs unless asked for.
    """

    name: str
    title: str
    kind: Literal["compare", "sizes", "skip"]
    images: tuple[ImageSpec, ...]
    quick: tuple[ImageSpec, ...]
    network: NetworkSpec
    window: int
    stride: int
    turns: int = 99
    only: tuple[Way, ...] = ()
    by_default: bool = True

    @property
    def dims(self) -> int:
        """Spatial axes."""
        return len(self.images[0].shape)

    def scaled(self, factor: float) -> Case:
        """Return the case with images of other extents, at least a window and a stride."""
        low = self.window + self.stride
        images = tuple(
            replace(i, shape=tuple(max(low, round(n * factor / 64) * 64) for n in i.shape))
            for i in self.images
        )
        return replace(self, images=images)

    def made_quick(self) -> Case:
        """Return the case with the images of a quick run."""
        return replace(self, images=self.quick)

    def windows(self, image: ImageSpec) -> int:
        """Return how many windows cover an image: MONAI, nnU-Net and tiledseg agree on it."""
        return prod(ceil(max(0, n - self.window) / self.stride) + 1 for n in image.shape)

    def peer_bytes(self, image: ImageSpec) -> int:
        """Return the arrays MONAI holds: image, scores, weights (float32) and arg max (int64)."""
        return prod(image.shape) * (4 * self.network.channels + 4 * self.network.classes + 4 + 8)


def _scenes(*sizes: int, bands: int = 3, share: float = 1.0) -> tuple[ImageSpec, ...]:
    return tuple(ImageSpec((n, n), ".tif", bands, share) for n in sizes)


def _cube(n: int) -> tuple[ImageSpec, ...]:
    return (ImageSpec((n, n, n), ".nii.gz"),)


def _long(*lengths: int) -> tuple[ImageSpec, ...]:
    return tuple(ImageSpec((n, 256, 256), ".nii") for n in lengths)


def _partly(size: int) -> tuple[ImageSpec, ...]:
    return (ImageSpec((size, size), ".tif", 3), ImageSpec((size, size), ".tif", 3, seen=0.3))


_FULL_VOLUME = (ImageSpec((400, 512, 512), ".nii.gz"),)
_FASTEST: tuple[Way, ...] = (("openvino", "bf16"),)
CASES = (
    Case(
        *("scene", "scene, 3 bands, 6 classes, MONAI BasicUNet", "compare"),
        *(_scenes(8192), _scenes(2048), _COVER, 512, 384),
    ),
    Case(
        *("volume14", "volume, 14 classes, MONAI UNet", "compare"),
        *(_cube(256), _cube(128), _ORGANS14, 96, 48),
    ),
    Case(
        *("volume105small", "volume, 105 classes, MONAI UNet", "compare"),
        *(_cube(192), _cube(128), _ORGANS105, 96, 48),
    ),
    Case(
        *("volume105", "volume, 105 classes, MONAI UNet", "compare"),
        *(_cube(256), _cube(128), _ORGANS105, 96, 48, 1),
    ),
    Case(
        *("skip", "scene, 70 % nodata against none", "skip"),
        *(_partly(8192), _partly(2048), _COVER, 512, 384),
        only=(("openvino", "fp32"),),
    ),
    Case(
        *("memory2d", "scenes of growing size, demo model, 6 classes", "sizes"),
        _scenes(4096, 8192, 16384, 32768, bands=4, share=0.1),
        _scenes(1024, 2048, bands=4, share=0.1),
        *(_DEMO_COVER, 512, 384, 1, (("torch", "fp32"),)),
    ),
    Case(
        *("memory3d", "volumes of growing length, demo model, 7 classes", "sizes"),
        *(_long(128, 256, 512, 1024), _long(128, 192), _DEMO_ORGANS, 96, 48),
        *(1, (("openvino", "fp32"),)),
    ),
    Case(
        *("classes105", "volume, 105 classes, MONAI UNet without residual units", "sizes"),
        *(_FULL_VOLUME, _cube(128), _ORGANS105_PLAIN, 96, 48, 1, _FASTEST),
        by_default=False,
    ),
)
QUICK = ("scene", "volume14")


@dataclass(frozen=True)
class Settings:
    """What the user chose; the words are those of the command line."""

    work: Path
    turns: int = 3
    threads: int = 2
    memory: str = "4GB"
    microbatch: int | None = None
    enough: float = 20.0
    ways: tuple[Way, ...] = WAYS
    nnunet: Path | None = None
    peer_memory: float = 12e9
    device: str = "cpu"


@dataclass(frozen=True)
class Contender:
    """One line of a table: a label and the task of its process."""

    label: str
    task: dict[str, Any]


@dataclass(frozen=True)
class Field:
    """Everybody who runs on one image of a case."""

    case: Case
    image: ImageSpec
    settings: Settings

    def ways(self) -> Iterable[Way]:
        """Return the ways that both the case and the user want; the case's own if none are."""
        both = [w for w in self.settings.ways if not self.case.only or w in self.case.only]
        return both or self.case.only

    def ours(self, kinds: tuple[str, ...] = ("pure", "tiledseg")) -> Iterator[Contender]:
        """Yield tiledseg, and the model alone, in every way."""
        for runtime, precision in self.ways():
            for kind in kinds:
                label = f"{kind} {runtime} {precision}"
                task = self._task(kind, label) | {"runtime": runtime, "precision": precision}
                yield Contender(label, task)

    def monai(self, batch: int, crop: bool = False) -> Contender:
        """Return MONAI, on the image or on a corner of eight windows."""
        low = self.case.window + self.case.stride
        extents = (low, low, low) if self.case.dims == 3 else (low, low + 2 * self.case.stride)
        corner = [min(n, c) for n, c in zip(self.image.shape, extents, strict=True)]
        task = self._task("monai", f"MONAI {batch}") | self._peer() | {"batch": batch}
        return Contender(f"MONAI, batch {batch}", task | {"crop": corner if crop else None})

    def nnunet(self) -> Contender:
        """Return nnU-Net's predictor."""
        return Contender("nnU-Net", self._task("nnunet", "nnunet") | self._peer())

    def limit(self) -> Contender:
        """Return what the non-model part costs at least."""
        return Contender("limit", self._task("limit", "limit"))

    def peers_fit(self) -> bool:
        """Whether MONAI's arrays fit in the memory that peers may use."""
        return self.case.peer_bytes(self.image) <= self.settings.peer_memory

    def _task(self, kind: str, label: str) -> dict[str, Any]:
        case, work = self.case, self.settings.work
        suffix = {"tiledseg": self.image.suffix, "limit": ".raw"}.get(kind, ".npy")
        out = work / "maps" / f"{case.name}-{self.image.name}-{label.replace(' ', '-')}{suffix}"
        out.parent.mkdir(parents=True, exist_ok=True)
        known = asdict(self.settings)
        return {
            "kind": kind,
            "image": str(make_image(self.image, work)),
            "model": str(make_model(case.network, (case.window,) * case.dims, work)),
            "out": str(out),
            "window": (case.window,) * case.dims,
            "stride": (case.stride,) * case.dims,
            "windows": case.windows(self.image),
            "channels": case.network.channels,
            "classes": case.network.classes,
            **{k: known[k] for k in ("threads", "memory", "microbatch", "enough", "device")},
        }

    def _peer(self) -> dict[str, str]:
        model = make_model(
            self.case.network, (self.case.window,) * self.case.dims, self.settings.work
        )
        return peer_inputs(self.image, model, self.settings.work)
