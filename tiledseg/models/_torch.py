"""Native checkpoints: safetensors weights and a card, in one folder or one file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..errors import ConfigError, DamagedInput
from ._base import Model, ModelCard
from ._card import CARD_NAME, card_from_dict, card_to_dict
from ._monai import create_network

_CARD_KEY = "tiledseg_card"


class TorchModel(Model):
    """A network in torch eager, float32."""

    def __init__(self, card: ModelCard, network: nn.Module, device: torch.device) -> None:
        self.card, self.device = card, device
        layout = torch.channels_last if card.dims == 2 else torch.contiguous_format
        self._layout = layout
        network.eval().to(device).to(memory_format=layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self._network = network

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
        with torch.inference_mode():
            raw = self._network(x.contiguous(memory_format=self._layout))
        return torch.as_tensor(raw).contiguous()


def load_torch(card: ModelCard, weights: Path, device: str) -> Model:
    """Load a native checkpoint.

    Raises:
        ConfigError: The weights do not fit the architecture, or there is no such device.
        DamagedInput: The file is no safetensors file.
    """
    network = create_network(card)
    state = _tensors(weights)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        first = " ".join(str(error).split())[:300]
        raise ConfigError(f"weights {weights} do not fit card {card.name!r}: {first}") from None
    found = find_device(device)
    if found.type == "cuda":  # fp32 as promised, and the same bits every time
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return TorchModel(card, network, found)


def find_device(name: str) -> torch.device:
    """Return a device that is there.

    Raises:
        ConfigError: It is not.
    """
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"runtime.device {name!r} cannot be used: {reason}") from None
    return device


def read_embedded_card(weights: Path) -> ModelCard:
    """Return the card inside a .safetensors file.

    Raises:
        ConfigError: There is none.
        DamagedInput: The file is no safetensors file.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            text = (file.metadata() or {}).get(_CARD_KEY)
    except (SafetensorError, OSError) as error:
        raise DamagedInput(f"{weights} is not a safetensors file: {error}") from None
    if text is None:
        raise ConfigError(f"{weights} has no card inside; give the folder or card it belongs to")
    try:
        values = json.loads(text)
    except ValueError as error:
        raise ConfigError(f"the card inside {weights} is not JSON: {error}") from None
    return replace(card_from_dict(values, f"inside {weights}"), weights=weights.name)


def save_model(network: nn.Module, card: ModelCard, path: Path) -> None:
    """Write a native checkpoint: one file where ``path`` ends in .safetensors, else a folder.

    Args:
        network: What `create_network` built for the card.
        card: Its card; format and weights are set here.
        path: Where.
    """
    single = path.suffix == ".safetensors"
    weights = path if single else path / "weights.safetensors"
    weights.parent.mkdir(parents=True, exist_ok=True)
    card = replace(card, format="tiledseg", weights=weights.name, sha256=None)
    # DynUNet holds one tensor under two names, which safetensors refuses: each gets its own copy.
    state = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
        for k, v in network.state_dict().items()
    }
    partial = weights.with_name(f".partial.{weights.name}")
    save_file(state, partial, {_CARD_KEY: json.dumps(card_to_dict(card))})
    partial.replace(weights)
    if not single:
        text = yaml.safe_dump(card_to_dict(card), sort_keys=False, allow_unicode=True)
        (path / CARD_NAME).write_text(text, encoding="utf-8")


def _tensors(weights: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(weights)
    except (SafetensorError, OSError) as error:
        raise DamagedInput(f"{weights} is not a safetensors file: {error}") from None
