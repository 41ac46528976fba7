"""The state of a training at one step: what a checkpoint holds."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from ..errors import DamagedInput
from ._learning_spec import OptimizerSpec
from ._network import Learner
from ._rates import make_optimizer

Tensors = dict[str, torch.Tensor]


@dataclass
class Numbers:
    """What of the state is not a tensor.

    Args:
        step: Steps done.
        validated: Step of the last validation.
        best: Score of the best validation, larger is better, or None.
        best_step: Its step.
        figures: What the best validation found.
        stale: Validations since the best.
        ended: Whether training ended early.
        seconds: Spent so far.
        precision: Arithmetic of the forward pass.
    """

    step: int = 0
    validated: int = 0
    best: float | None = None
    best_step: int = 0
    figures: dict[str, Any] = field(default_factory=dict)
    stale: int = 0
    ended: bool = False
    seconds: float = 0.0
    precision: str = "fp32"


class State:
    """Network, optimiser, moving average and numbers.

    Args:
        learner: The network, on its device.
        spec: The optimiser's settings.
        precision: ``fp16`` needs a scale of the loss, which is part of the state.
    """

    def __init__(self, learner: Learner, spec: OptimizerSpec, precision: str) -> None:
        self.learner, self._decay = learner, spec.ema
        self.optimizer = make_optimizer(spec, learner.parameters())
        device = next(learner.parameters()).device.type
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")
        self.numbers = Numbers(precision=precision)
        self._average = self._copy() if spec.ema else None

    def weights(self) -> Tensors:
        """Return the weights to validate and keep: of the network alone, averaged if asked."""
        return self._average or self.learner.network.state_dict()

    @torch.no_grad()
    def average(self) -> None:
        """Take the weights as they are into the moving average; counts and statistics too.

        The first steps decay faster, (1 + n) / (10 + n) after n, or else a short training would
        keep its random beginning (`num_updates` of TensorFlow's ``ExponentialMovingAverage``).
        """
        if self._average is None:
            return
        decay = min(self._decay, (1 + self.numbers.step) / (10 + self.numbers.step))
        for name, tensor in self.learner.network.state_dict().items():
            kept = self._average[name]
            if kept.dtype.is_floating_point:
                kept.lerp_(tensor, 1 - decay)
            else:
                kept.copy_(tensor)

    def tensors(self) -> Tensors:
        """Return all tensors by name."""
        found = {f"learner.{k}": v for k, v in self.learner.state_dict().items()}
        found |= {f"average.{k}": v for k, v in (self._average or {}).items()}
        for place, values in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer.{place}.{k}": v for k, v in values.items() if v is not None}
        found |= {f"scaler.{k}": torch.tensor(v) for k, v in self.scaler.state_dict().items()}
        return found

    def plain(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return asdict(self.numbers)

    def restore(self, tensors: Tensors, numbers: dict[str, Any]) -> None:
        """Take over what `tensors` and `plain` returned.

        Raises:
            DamagedInput: They are those of another network or optimiser.
        """
        parts: dict[str, Tensors] = {}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            parts.setdefault(part, {})[rest] = tensor
        try:
            self.learner.load_state_dict(parts.get("learner", {}))
            self._restore_optimizer(parts.get("optimizer", {}))
            for name, tensor in (self._average or {}).items():
                tensor.copy_(parts["average"][name])
            scale = {k: v.item() for k, v in parts.get("scaler", {}).items()}
            self.scaler.load_state_dict(scale)
            self.numbers = Numbers(**numbers)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DamagedInput(
                f"the checkpoint does not fit this training ({reason}): start again with --fresh"
            ) from None

    def _restore_optimizer(self, tensors: Tensors) -> None:
        state: dict[int, Tensors] = {}
        for name, tensor in tensors.items():
            place, _, key = name.partition(".")
            state.setdefault(int(place), {})[key] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    def _copy(self) -> Tensors:
        return {k: v.detach().clone() for k, v in self.learner.network.state_dict().items()}
