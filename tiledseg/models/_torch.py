"""Native checkpoints: safetensors weights and a card, in one folder or one file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from stat import S_IMODE
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from ..document import read_values
from ..errors import ConfigError, DamagedInput, OutputFailed
from ._base import Model, ModelCard, Runtime
from ._cache import cache_folder, writing_cache
from ._card import card_from_dict, card_to_dict, write_card
from ._create import create_network
from ._device import exact_device
from ._likeness import fit_or_tell
from ._state import State

_CARD_KEY = "tiledseg_card"
#: Networks, shapes and threads compiled in one process.
_RECOMPILED = 4096
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TorchModel(Model):
    """A network in torch, eager or compiled.

    On the CPU bf16 means bf16 weights and activations; on CUDA bf16 and fp16 mean autocast, which
    keeps what needs float32 in float32.

    Args:
        card: Its card.
        network: The network; it is changed (layout, precision).
        device: Where to run it.
        runtime: ``torch`` or ``compiled``, and the precision.
    """

    def __init__(
        self, card: ModelCard, network: nn.Module, device: torch.device, runtime: Runtime
    ) -> None:
        self.card, self.device, self.runtime = card, device, runtime
        dtype = _DTYPES[runtime.precision]
        self._layout = fast_layout(network, card.dims, device)
        self._dtype = dtype if device.type == "cpu" else torch.float32
        self._autocast = dtype if device.type != "cpu" and dtype != torch.float32 else None
        network.eval().to(device, self._dtype)
        network.to(memory_format=self._layout)  # type: ignore[call-overload]  # torch's stubs lack it
        self.network = network
        self._run = _compiled(network) if runtime.name == "compiled" else network

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
        with torch.inference_mode(), self._casting():
            raw = self._run(x.to(self._dtype).contiguous(memory_format=self._layout))
        return torch.as_tensor(raw).float().contiguous()

    def _casting(self) -> AbstractContextManager[Any]:
        if self._autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._autocast)


def load_network(card: ModelCard, state: State, weights: str) -> nn.Module:
    """Return the network of a card with its weights, in evaluation mode on the CPU.

    Args:
        card: The card.
        state: Reads the weights.
        weights: What to call them in a message.

    Raises:
        ConfigError: The weights do not fit the architecture.
        DamagedInput: They cannot be read.
    """
    network = create_network(card)
    fit_or_tell(network, state(), weights, card.name)
    return network.eval()


def torch_model(card: ModelCard, network: nn.Module, device: str, runtime: Runtime) -> TorchModel:
    """Return the model of a network.

    Raises:
        ConfigError: There is no such device.
    """
    return TorchModel(card, network, exact_device(device), runtime)


def fast_layout(network: nn.Module, dims: int, device: torch.device) -> torch.memory_format:
    """Return the memory layout in which convolutions are fast.

    Instance and group norm are slow with channels last on the CPU: MONAI's BasicUNet takes 1.25
    times as long with it, networks with batch norm 0.5 to 0.6 times.
    """
    per_sample = (nn.modules.instancenorm._InstanceNorm, nn.GroupNorm)
    slow = device.type == "cpu" and any(isinstance(m, per_sample) for m in network.modules())
    if dims == 2 and not slow:
        return torch.channels_last
    if dims == 3 and device.type == "cuda":
        return torch.channels_last_3d
    return torch.contiguous_format


def _compiled(network: nn.Module) -> Callable[[torch.Tensor], Any]:
    """Return the network compiled by torch for the shapes it will see; the first call is slow.

    Raises:
        OutputFailed: The cache cannot be written.
    """
    kept = Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or cache_folder() / "inductor")
    with writing_cache(kept):
        kept.mkdir(parents=True, exist_ok=True)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(kept)
    os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")  # no processes of its own
    compiled = torch.compile(network, dynamic=False)

    def run(x: torch.Tensor) -> Any:
        # Past its limits, which count all networks of a class, torch goes on uncompiled: other
        # bits. What is set holds for the thread that sets it.
        limits = torch._dynamo.config
        limits.recompile_limit = max(_RECOMPILED, limits.recompile_limit)
        limits.accumulated_recompile_limit = max(_RECOMPILED, limits.accumulated_recompile_limit)
        try:
            return compiled(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"torch cannot compile this model here: {reason}") from None

    return run


def read_embedded_card(weights: Path) -> ModelCard | None:
    """Return the card inside a .safetensors file, or None.

    Raises:
        ConfigError: It is wrong.
        DamagedInput: The file is no safetensors file.
    """
    try:
        with safe_open(weights, framework="pt") as file:
            text = (file.metadata() or {}).get(_CARD_KEY)
    except (SafetensorError, OSError) as error:
        raise DamagedInput(f"{weights} is not a safetensors file: {error}") from None
    if text is None:
        return None
    values = read_values(text, f"the card inside {weights}", json.loads)
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
    save_weights(network, card, weights)
    if not single:
        write_card(card, path)


def save_weights(network: nn.Module, card: ModelCard, path: Path) -> None:
    """Write the weights of a network as one .safetensors file, with its card inside.

    Raises:
        OutputFailed: It cannot be written.
    """
    # DynUNet holds one tensor under two names, which safetensors refuses: each gets its own copy.
    state = {
        k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
        for k, v in network.state_dict().items()
    }
    partial = path.with_name(f".partial.{path.name}")
    try:
        partial.touch()
        mode = S_IMODE(partial.stat().st_mode)  # what this user's files have
        save_file(state, partial, {_CARD_KEY: json.dumps(card_to_dict(card))})
        partial.chmod(mode)  # safetensors lets nobody else read them
        partial.replace(path)
    except (SafetensorError, OSError) as error:
        raise OutputFailed(f"{path} cannot be written: {error}") from None
    finally:
        partial.unlink(missing_ok=True)


def read_weights(weights: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a .safetensors file.

    Raises:
        DamagedInput: It is none.
    """
    try:
        return load_file(weights)
    except (SafetensorError, OSError) as error:
        raise DamagedInput(f"{weights} is not a safetensors file: {error}") from None
