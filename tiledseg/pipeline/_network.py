"""The model of a run: loaded, or combined from several, in any runtime that the settings allow."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from ..config import CombineSpec, RunConfig
from ..errors import ConfigError
from ..models import (
    Model,
    ModelCard,
    Probe,
    Runtime,
    combine,
    find_card,
    find_probe,
    load_model,
    reference,
    runtimes,
    turns_of,
)


class Networks:
    """Opens the model that a config names.

    Args:
        config: The settings.
        models: Where the model is, or the members of an ensemble; or one that is loaded.
        threads: Threads of one call.

    Raises:
        ConfigError: A loaded model is not what the settings ask for.
    """

    def __init__(
        self, config: RunConfig, models: Model | Sequence[str | Path], threads: int
    ) -> None:
        self._config, self.threads = config, threads
        self._loaded = models if isinstance(models, Model) else None
        self._paths = () if isinstance(models, Model) else tuple(models)
        if self._loaded is not None:
            self.threads = _agreed_threads(config, self._loaded) or threads

    def open(self, runtime: Runtime) -> Model:
        """Return the model in a runtime, combined as the settings say."""
        members = [load_model(path, self._device, self.threads, runtime) for path in self._paths]
        if self._loaded is not None:
            members = [self._loaded]
        spec, card = self._config.combine, members[0].card
        mirror = card.mirror if spec.mirror is None else spec.mirror
        if mirror == "all":
            mirror = tuple(range(card.dims))
        turns = turns_of(mirror, spec.quarter_turns, card.dims)
        return combine(members, turns, spec.average or card.average)

    def probe(self, card: ModelCard) -> Probe | None:
        """Return what a probe found of a single model, or None."""
        if len(self._paths) != 1 or self._config.combine != CombineSpec() or card.sha256 is None:
            return None
        return find_probe(self._paths[0], card.sha256)

    @cached_property
    def reference(self) -> Runtime:
        """The plainest runtime that every member runs in."""
        return self._shared[0]

    @cached_property
    def candidates(self) -> tuple[Runtime, ...]:
        """The runtimes that the settings leave open; the first needs no measurement.

        Raises:
            ConfigError: There is none.
        """
        if self._loaded is not None:
            return (self._loaded.runtime,)
        spec = self._config.runtime
        precision = spec.precision or "fp32"
        if spec.runtime != "auto" and precision != "auto":
            return (Runtime(spec.runtime, precision),)
        found = [
            r
            for r in self._shared
            if spec.runtime in ("auto", r.name) and precision in ("auto", r.precision)
        ]
        if spec.runtime == "auto" and self._device == "cpu":
            # Compiling takes 20 to 50 s, and OpenVINO was faster wherever both were tried.
            found = [r for r in found if r.name != "compiled"]
        if found:
            return tuple(found)
        if spec.runtime != "auto":  # opening it says what is missing
            return (Runtime(spec.runtime),)
        raise ConfigError(
            f"runtime.precision {precision} on {self._device}: nothing that is installed runs "
            f"{', '.join(map(str, self._paths))} that way; take fp32, or another device"
        )

    @cached_property
    def _shared(self) -> tuple[Runtime, ...]:
        """The runtimes that are installed and run every member, the plainest first."""
        cards = [find_card(path) for path in self._paths]
        ways = [runtimes(card, self._device) for card in cards]
        shared = tuple(r for r in ways[0] if all(r in others for others in ways[1:]))
        if shared:
            return shared
        if len(cards) == 1:  # opening it says what is missing
            return (reference(cards[0]),)
        raise ConfigError(
            f"no runtime that is installed runs all of {', '.join(map(str, self._paths))} on "
            f"{self._device}: pip install 'tiledseg[onnx,openvino]', or take models of one kind"
        )

    @property
    def _device(self) -> str:
        return self._config.runtime.device or "cpu"


def _agreed_threads(config: RunConfig, model: Model) -> int | None:
    """Return the threads a loaded model is fixed to, after checking what the settings ask for."""
    spec, runtime = config.runtime, model.runtime
    pairs = {
        "runtime": (spec.runtime, runtime.name),
        "precision": (spec.precision, runtime.precision),
        "threads": (spec.threads, model.threads),
        "device": (spec.device, str(model.device)),
    }
    for name, (wanted, found) in pairs.items():
        if wanted not in ("auto", None) and found not in (None, wanted):
            raise ConfigError(
                f"runtime.{name} {wanted}: the model was loaded for {found}; load it again "
                f"with {name}={wanted!r}"
            )
    return model.threads
