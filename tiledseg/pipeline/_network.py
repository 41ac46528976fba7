"""The model of a run: loaded, or combined from several, in any runtime that the settings allow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..config import CombineSpec, RunConfig
from ..errors import ConfigError
from ..models import (
    Model,
    ModelCard,
    Probe,
    Runtime,
    combine,
    find_probe,
    load_model,
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

    def open(self, runtime: Runtime | None) -> Model:
        """Return the model, combined as the settings say; None: in its reference runtime."""
        members = [
            load_model(path, self._config.runtime.device, self.threads, runtime)
            for path in self._paths
        ]
        if self._loaded is not None:
            members = [self._loaded]
        spec = self._config.combine
        turns = turns_of(spec.mirror, spec.quarter_turns, members[0].card.dims)
        return combine(members, turns, spec.average)

    def probe(self, card: ModelCard) -> Probe | None:
        """Return what a probe found of a single model, or None."""
        if len(self._paths) != 1 or self._config.combine != CombineSpec() or card.sha256 is None:
            return None
        return find_probe(self._paths[0], card.sha256)

    @property
    def asked(self) -> Runtime | None:
        """The runtime that the settings fix, or None where they leave something open."""
        spec = self._config.runtime
        if spec.runtime == "auto" or spec.precision == "auto" or self._loaded is not None:
            return None
        return Runtime(spec.runtime, spec.precision)

    def candidates(self, model: Model) -> tuple[Runtime, ...]:
        """Return the runtimes that the settings leave open; the first needs no measurement.

        Raises:
            ConfigError: There is none.
        """
        spec = self._config.runtime
        if self._loaded is not None or self.asked is not None:
            return (model.runtime,)
        found = [
            r
            for r in runtimes(model.card, spec.device)
            if spec.runtime in ("auto", r.name) and spec.precision in ("auto", r.precision)
        ]
        if spec.runtime == "auto" and spec.device == "cpu":
            # Compiling takes 20 to 50 s, and OpenVINO was faster wherever both were tried.
            found = [r for r in found if r.name != "compiled"]
        if not found:
            raise ConfigError(
                f"runtime.precision {spec.precision} on {spec.device}: nothing installed runs "
                f"model {model.card.name!r} that way; take fp32, or another device"
            )
        return tuple(found)


def _agreed_threads(config: RunConfig, model: Model) -> int | None:
    """Return the threads a loaded model is fixed to, after checking what the settings ask for."""
    spec, runtime = config.runtime, model.runtime
    asked = {"runtime": spec.runtime, "precision": spec.precision, "threads": spec.threads}
    found = {"runtime": runtime.name, "precision": runtime.precision, "threads": model.threads}
    for name, wanted in asked.items():
        open_ = wanted in ("auto", None) or (name, wanted) == ("precision", "fp32")  # the default
        if not open_ and found[name] not in (None, wanted):
            raise ConfigError(
                f"runtime.{name} {wanted}: the model was loaded for {found[name]}; load it again "
                f"with {name}={wanted!r}"
            )
    return model.threads
