"""A MONAI bundle whose own code is run by MONAI, because its user says that it is trusted.

Nothing leads here but `tiledseg.models.own_bundle`, and nothing leads there but the argument of a
call or the option of a command: no card, config or bundle can ask for it.
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # MONAI warns about optional packages while it is imported
    from monai.bundle import ConfigParser
    from monai.data import MetaTensor
    from monai.transforms import Compose, SaveImaged, SpatialResample
    from monai.utils import SpaceKeys

from ...document import require_plain
from ...errors import ConfigError, TiledsegError
from .._base import Model, ModelCard, Runtime
from .._cache import known_sha256
from .._card import card_from_dict
from .._state import fit_state
from .._torch import load_network, torch_model
from .._torch_graph import load_torch_graph
from . import _archive
from ._bundle import described
from ._bundle_after import WHOLE, understand_inferer
from ._bundle_config import Config, Part
from ._bundle_expression import NeedsCode
from ._bundle_files import CONFIGS, METADATA, BundleFiles, is_bundle
from ._bundle_network import Net, stated_network, understand_network

#: What MONAI's evaluators call the image and the network's output (monai.utils.CommonKeys).
_IMAGE, _PRED = "image", "pred"


@dataclass(frozen=True)
class Case:
    """An image after a bundle's own preprocessing.

    Args:
        samples: float32, (c, *s), axes as the bundle has them: mostly x first.
        data: What the bundle's transforms gave, with what they need to lead back.
        affine: (4, 4), float64: indices of samples of the file as MONAI read it, first axis first,
            to patient space (LPS, mm); None where MONAI says none.
    """

    samples: NDArray[np.float32]
    data: Mapping[str, Any]
    affine: NDArray[np.float64] | None = None


class OwnBundle:
    """A bundle that runs its own code.

    Args:
        path: Its folder, or a zip archive of it.

    Raises:
        ConfigError: It is no bundle, its code fails, or its network or windows are not known.
        DamagedInput: A file of it is not what it claims to be.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._root = path, _folder(path)
        self._files = BundleFiles(self._root)
        name = next(name for name in CONFIGS if self._files.has(name))
        values, self._metadata = self._files.values(name), self._files.values(METADATA)
        values = {**values, "bundle_root": str(self._root), "_meta_": self._metadata}
        self._config = Config(values, self._files.values, self._value)
        with self._running("config"):
            self._parser = ConfigParser()
            self._parser.read_config(str(self._root / name))
            self._parser.read_meta(str(self._root / METADATA))
            self._parser["bundle_root"] = str(self._root)

    def before(self, images: list[str]) -> Case:
        """Return an image after the bundle's preprocessing.

        Args:
            images: Its files; several are read as channels.

        Raises:
            ConfigError: The bundle's code fails, or gives no image.
        """
        transform = self._composed("preprocessing")
        with self._running("preprocessing"):
            data = transform({_IMAGE: images[0] if len(images) == 1 else images})
        image = data.get(_IMAGE) if isinstance(data, dict) else None
        if not isinstance(image, torch.Tensor) or image.ndim not in (3, 4):
            raise ConfigError(
                f"{self.path}: its own preprocessing gives no tensor {_IMAGE!r} with channels "
                "first and 2 or 3 axes"
            )
        plain = image.as_tensor() if isinstance(image, MetaTensor) else image
        return Case(plain.detach().cpu().float().contiguous().numpy(), data, _affine(image))

    def model(self, case: Case, device: str) -> Model:
        """Return the network, which takes a case and gives raw scores; torch runs it in float32.

        Raises:
            ConfigError: Network, weights and case do not fit together, or the windows are not
                known.
            DamagedInput: The weights ask for code to be run, or are none.
        """
        net, card = self._described(case)
        if net.graph is not None:
            return load_torch_graph(card, net.graph, device)
        if net.state is None:
            raise ConfigError(f"{self.path} holds no weights")
        if card.architecture:
            network = load_network(card, net.state, str(self.path))
        else:
            network = self._network()
            fit_state(network, net.state(), str(self.path), card.name)
        return torch_model(card, network, device, Runtime("torch"))

    def after(self, case: Case, scores: NDArray[np.float32]) -> NDArray[Any]:
        """Return the labels of the bundle's postprocessing on the grid of the file.

        What the bundle would save is left out; where its transforms do not lead back to the file's
        grid, labels are brought there as the nearest, as MONAI does when it saves them.

        Args:
            case: The image.
            scores: What the network gave, float32 (k, *s); the memory is not used afterwards.

        Returns:
            Integers, axes reversed: (z, y, x) or (y, x).

        Raises:
            ConfigError: The bundle's code fails, or gives no labels.
        """
        transform = self._composed("postprocessing")
        pred = torch.from_numpy(scores)
        with self._running("postprocessing"):
            image = case.data[_IMAGE]
            if isinstance(image, MetaTensor):
                pred = MetaTensor(pred).copy_meta_from(image)
            made = transform({**case.data, _PRED: pred})
            labels = self._back(self._decided(made[_PRED]))
        whole = labels.round()
        if (whole != labels).any() or (labels < 0).any():
            raise ConfigError(f"{self.path}: its own postprocessing gives no labels but fractions")
        return np.asarray(whole.to(torch.int32).numpy()).T

    def _sha256(self) -> str:
        """Digest of the bundle's configs, code and weights, in hexadecimal."""
        if self.path != self._root:
            return known_sha256(self.path)
        code = [*self._root.rglob("*.py"), *(self._root / "configs").rglob("*"), *self._files.read]
        names = sorted({file for file in code if file.is_file()})
        told = [f"{file.relative_to(self._root)} {known_sha256(file)}" for file in names]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def _described(self, case: Case) -> tuple[Net, ModelCard]:
        """Return the network, and the card of it alone."""
        dims = case.samples.ndim - 1
        window, tiling = self._windows(case.samples.shape[1:])
        formats = self._metadata.get("network_data_format")
        formats = formats if isinstance(formats, dict) else {}
        try:
            net = understand_network(self._config, self._files, formats, window)
        except NeedsCode:
            net = stated_network(self._config, self._files, formats, window)
        found = net.sizes
        if (found.dims, found.channels, len(window)) != (dims, len(case.samples), dims):
            raise ConfigError(
                f"{self.path}: its own preprocessing gives {len(case.samples)} channels of {dims} "
                f"axes, the network takes {found.channels} of {found.dims}, in windows of {window}"
            )
        values = {
            **described(self._metadata, self.path, found, _IMAGE),
            "window": list(window),
            "weights": "weights.safetensors",
            **net.card,
            "activation": "none",
            "tiling": tiling,
        }
        return net, replace(card_from_dict(values, f"of {self.path}"), sha256=self._sha256())

    def _network(self) -> nn.Module:
        """Return a network of the bundle's own, as MONAI makes it."""
        with self._running("network"):
            made = self._parser.get_parsed_content("network_def")
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{self.path}: network_def gives {type(made).__name__}, no network")
        return made

    def _windows(self, shape: tuple[int, ...]) -> tuple[tuple[int, ...], dict[str, Any]]:
        """Return the window, and the wishes of a card."""
        part = self._config.get("inferer")
        if isinstance(part, Part) and part.name == WHOLE:
            return shape, {"margin": 0, "taper": "flat", "lattice": "clamped", "blend": "logits"}
        return understand_inferer(part, len(shape))

    def _composed(self, name: str) -> Any:
        """Return the bundle's transforms, but for those that save."""
        if name not in self._config:
            return Compose([])
        with self._running(name):
            made = self._parser.get_parsed_content(name)
            if not isinstance(made, Compose):
                return made
            kept = [t for t in made.flatten().transforms if not isinstance(t, SaveImaged)]
            return Compose(kept, map_items=made.map_items, unpack_items=made.unpack_items)

    def _decided(self, pred: Any) -> torch.Tensor:
        """Return what the transforms made of scores as labels, (1, *s)."""
        plain: torch.Tensor = pred if isinstance(pred, torch.Tensor) else torch.as_tensor(pred)
        if len(plain) == 1:
            return plain
        if not torch.allclose(plain.float().sum(0), torch.ones(()), atol=1e-3):
            raise ConfigError(
                f"{self.path}: its own postprocessing gives {len(plain)} channels that are not "
                "one label a sample: a class map cannot hold that"
            )
        return plain.argmax(0, keepdim=True)

    def _back(self, labels: torch.Tensor) -> torch.Tensor:
        """Return labels (1, *s) on the grid of the file, (*s)."""
        meta = labels.meta if isinstance(labels, MetaTensor) else {}
        affine, shape = meta.get("original_affine"), meta.get("spatial_shape")
        if affine is not None and shape is not None:
            shape = [int(n) for n in np.asarray(shape).ravel()[: labels.ndim - 1]]
            back = SpatialResample(mode="nearest", padding_mode="border")
            labels = back(labels.float(), dst_affine=affine, spatial_size=shape)
        plain = labels.as_tensor() if isinstance(labels, MetaTensor) else labels
        return plain[0].detach().cpu().float()

    def _value(self, place: str) -> Any:
        """Return the value of an id that takes code to work out."""
        with self._running(place):
            return self._parser.get_parsed_content(place)

    @contextmanager
    def _running(self, what: str) -> Iterator[None]:
        """Have the bundle's own modules found while its code runs; tell in a sentence what fails.

        They are forgotten afterwards, so that the next bundle's, of the same names, are found.
        """
        kept, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        sys.path.insert(0, str(self._root))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except TiledsegError:
            raise
        except Exception as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())
            raise ConfigError(f"{self.path}: its own {what} failed: {told:.300}") from error
        finally:
            sys.path.remove(str(self._root))
            sys.dont_write_bytecode = kept
            for name in [n for n, m in sys.modules.items() if self._holds(m)]:
                del sys.modules[name]

    def _holds(self, module: Any) -> bool:
        """Whether a module lies in the bundle."""
        file = getattr(module, "__file__", None) or next(iter(getattr(module, "__path__", ())), "")
        return isinstance(file, str) and Path(file).is_relative_to(self._root)


def _affine(image: torch.Tensor) -> NDArray[np.float64] | None:
    """Return where MONAI says that the samples of a file lie, in LPS, or None."""
    meta = image.meta if isinstance(image, MetaTensor) else {}
    found = np.asarray(meta.get("original_affine", ()), np.float64)
    if found.shape != (4, 4):
        return None
    is_lps = meta.get("space") == SpaceKeys.LPS
    return found if is_lps else np.diag([-1.0, -1.0, 1.0, 1.0]) @ found


def _folder(path: Path) -> Path:
    """Return the folder of a bundle.

    Raises:
        ConfigError: It is none.
    """
    require_plain(path)
    places = _archive.places(_archive.unpacked(path)) if _archive.claims(path) else iter((path,))
    found = next(filter(is_bundle, places), path)
    if not is_bundle(found):
        raise ConfigError(
            f"--trust-code: {path} is no MONAI bundle, and of other models no code is ever run; "
            "leave it out"
        )
    return found.absolute()
