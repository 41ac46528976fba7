"""State dicts under the names of a network: wrappers put words in front of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..errors import ConfigError, DamagedInput
from ._wrapped import prefix_of

#: Reads the weights of one network from their file.
State = Callable[[], dict[str, torch.Tensor]]
#: Counts that batch norm keeps for training; old files have none.
_COUNTER = "num_batches_tracked"
_NAMED = 3


def fit_state(
    network: nn.Module, state: dict[str, torch.Tensor], weights: str, card: str
) -> str | None:
    """Load a state dict into a network, in place; nothing of it may be missing.

    Words that wrappers put in front of every name (``module.``) are taken off where it then fits,
    and what lies outside of them (the weights of a loss) is left out.

    Args:
        network: The network.
        state: Names and tensors.
        weights: What to call it in a message.
        card: Name of the card that the network was built for.

    Returns:
        A sentence on what was changed; None where nothing was.

    Raises:
        ConfigError: They do not fit together.
        DamagedInput: There is NaN in them.
    """
    wanted = network.state_dict()
    prefix = prefix_of(state.keys(), wanted.keys())
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    problem = "; ".join(_problems(found, wanted))
    if problem:
        raise ConfigError(
            f"weights {weights} do not fit card {card!r} ({type(network).__name__}): {problem}"
        )
    network.load_state_dict(found, strict=False)  # only counters can be missing
    damaged = [k for k, v in network.state_dict().items() if v.isnan().any()]
    if damaged:
        raise DamagedInput(f"weights {weights} are damaged: there is NaN in {_some(damaged)}")
    left = len(state) - len(found)
    if not prefix:
        return None
    outside = f", {left} tensors outside of it were left out" if left else ""
    return f"{prefix!r} was taken off the names of the weights{outside}"


def _problems(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> list[str]:
    bare = [k for k, v in found.items() if not _is_plain(v)]
    if bare:
        return [f"{_count(bare)} not stored as plain numbers ({_some(bare)})"]
    missing = [k for k in wanted if k not in found and not k.endswith(_COUNTER)]
    strange = [k for k in found if k not in wanted]
    other = [
        f"{k} is {_shape(found[k])}, should be {_shape(wanted[k])}"
        for k in wanted
        if k in found and found[k].shape != wanted[k].shape
    ]
    numbers = [
        f"{k} is {found[k].dtype}".replace("torch.", "")
        for k, v in wanted.items()
        if k in found and v.is_floating_point() and not found[k].is_floating_point()
    ]
    told = [
        (missing, "missing"),
        (strange, "not known to it"),
        (other, "of another shape"),
        (numbers, "of numbers that are no weights"),
    ]
    return [f"{_count(keys)} {what} ({_some(keys)})" for keys, what in told if keys]


def _is_plain(tensor: torch.Tensor) -> bool:
    """Whether a tensor's numbers are there, one after the other."""
    return not (tensor.is_nested or tensor.is_meta) and tensor.layout == torch.strided


def _count(keys: list[str]) -> str:
    return "1 tensor is" if len(keys) == 1 else f"{len(keys)} tensors are"


def _some(keys: Iterable[str]) -> str:
    listed = list(keys)
    more = [f"and {len(listed) - _NAMED} more"] if len(listed) > _NAMED else []
    return ", ".join([*(f"{key:.80}" for key in listed[:_NAMED]), *more])


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
