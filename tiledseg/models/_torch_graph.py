"""Graphs that torch itself runs, eagerly and in float32: TorchScript and programs of torch.export.

Each is called as it was exported. torch's just-in-time optimiser is off: it rewrites a graph after
some calls, and the same window must have the same bits in every call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ._base import Model, ModelCard, Runtime
from ._device import exact_device
from ._fit import Call, Fit, Port, fit_of, is_map
from ._placed import numbers_of
from ._program import load_program, program_facts
from ._script import load_script


class TorchGraph(Model):
    """A graph that torch runs.

    Args:
        card: Its card.
        device: Where to run it.
        call: Runs windows (n, c, *window) on that device.
    """

    runtime = Runtime("torch")

    def __init__(self, card: ModelCard, device: torch.device, call: Call) -> None:
        self.card, self.device, self._call = card, device, call

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return raw outputs (n, k, *window) for inputs (n, c, *window)."""
        with torch.inference_mode():
            return self._call(x)


def load_torch_graph(card: ModelCard, path: Path, device: str) -> TorchGraph:
    """Return the model of a TorchScript archive or of a .pt2 file, as its card says.

    Raises:
        ConfigError: It does more than compute, does not fit its card, or there is no such device.
        DamagedInput: It is damaged.
    """
    found = exact_device(device)
    make = _scripted if card.format == "torchscript" else _program
    return TorchGraph(card, found, make(card, path, found))


def _scripted(card: ModelCard, path: Path, device: torch.device) -> Call:
    """Return the call of a TorchScript archive, which states nothing about in- and output."""
    network = load_script(path, device)  # `to` would leave tensors that are no parameters behind
    fit = Fit(card, str(path), last=card.layout == "channels_last")

    def run(x: torch.Tensor) -> torch.Tensor:
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]  # no stubs
            return _picked(fit, _told(path, network, x))

    return fit.around(run)


def _program(card: ModelCard, path: Path, device: torch.device) -> Call:
    """Return the call of a program, which states its extents."""
    facts = program_facts(path)
    fit = fit_of(card, str(path), facts.inputs, facts.outputs)
    program = load_program(path)
    if device.type != "cpu":
        from torch.export.passes import move_to_device_pass

        program = move_to_device_pass(program, device)
    network = program.module()
    fixed = isinstance(facts.inputs[0].shape[0], int)

    def run(x: torch.Tensor) -> torch.Tensor:
        parts = torch.split(x, fit.batch) if fixed else (x,)
        each = [_flat(_told(path, network, part))[fit.output] for part in parts]
        return each[0] if len(each) == 1 else torch.cat(each)

    return fit.around(run)


def _told(path: Path, network: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Any:
    """Run a network; what torch says of extents that do not suit it becomes one sentence.

    Raises:
        RuntimeError: It cannot.
    """
    try:
        return network(x)
    except (RuntimeError, AssertionError, ValueError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise RuntimeError(f"{path}: {' '.join(lines[-1:])[:300]}") from None


def _picked(fit: Fit, raw: Any) -> torch.Tensor:
    """Return the output that the card names, else the first that is a map.

    Raises:
        ConfigError: There is none.
    """
    found = dict(_named(raw))
    card = fit.card
    if card.output is not None:
        if card.output in found:
            return found[card.output]
        raise ConfigError(
            f"{fit.where} gives outputs {', '.join(found)}, the card says {card.output!r}"
        )
    ports = {name: Port(name, tuple(t.shape), numbers_of(t)) for name, t in found.items()}
    for name, port in ports.items():
        if is_map(card, fit.last, port):
            return found[name]
    raise ConfigError(
        f"{fit.where} gives {', '.join(map(str, ports.values())) or 'nothing'}, expected float "
        f"scores {['n', card.outputs]} + extents: correct the card's classes, or export it again"
    )


def _named(raw: Any) -> list[tuple[str, torch.Tensor]]:
    """Return the outputs of a network by name, or by number."""
    if isinstance(raw, torch.Tensor):
        return [("0", raw)]
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(raw, Mapping):
        pairs = raw.items()
    elif isinstance(raw, Sequence):
        pairs = enumerate(raw)
    return [(str(name), t) for name, t in pairs if isinstance(t, torch.Tensor)]


def _flat(raw: Any) -> list[torch.Tensor]:
    """Return the outputs of a program in the order it states them."""
    leaves = torch.utils._pytree.tree_leaves(raw)
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
