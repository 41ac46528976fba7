"""What was measured of a model, kept beside it as a part of its card."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from ..errors import OutputFailed
from ._base import ModelCard
from ._bundled import placed
from ._cache import cache_folder, write_whole
from ._card import CARD_NAME
from ._locality import Reach
from ._trial import Trial


@dataclass(frozen=True, slots=True)
class Probe:
    """What `tiledseg probe` found.

    Args:
        sha256: Of the weights it was found for.
        machine: Processor and cores the times were measured on.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: Threads of one call.
        versions: Of the libraries the times were measured with.
        sample: What agreement was measured on, in words.
        on_image: Whether that is an image; on noise agreement says nothing.
        reach: Multiple, radius, locality, batch invariance.
        window: Window the trials were made with.
        trials: Every runtime, precision and microbatch.
        best_window: Recommended window.
        best_stride: Recommended stride.
        best_margin: Recommended margin.
    """

    sha256: str
    machine: str
    device: str
    threads: int
    versions: dict[str, str]
    sample: str
    on_image: bool
    reach: Reach
    window: tuple[int, ...]
    trials: tuple[Trial, ...]
    best_window: tuple[int, ...]
    best_stride: tuple[int, ...]
    best_margin: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; `from_dict` turns them back."""
        return {
            **{name: getattr(self, name) for name in self.__slots__},
            "reach": asdict(self.reach),
            "trials": [trial.to_dict() for trial in self.trials],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Probe:
        """Return the probe `to_dict` described.

        Raises:
            TypeError: The values are not those of a probe.
            KeyError: One is missing.
            ValueError: One makes no sense.
        """
        if not isinstance(values, dict) or not isinstance(values["reach"], dict):
            raise TypeError("a probe and its reach are objects")
        plain = _tuples(values)
        plain["reach"] = Reach(**_tuples(values["reach"]))
        plain["trials"] = tuple(Trial.from_dict(trial) for trial in values["trials"])
        return _checked(cls(**plain))

    def complete(self, card: ModelCard) -> ModelCard:
        """Return a card with what it left open filled in.

        A window is taken over for local models only, whose result does not depend on it.
        """
        if len(self.window) != card.dims:
            return card
        if card.multiple == 1:
            step = self.reach.multiple
            whole = tuple(-(-n // step) * step for n in card.window)
            card = replace(card, multiple=step, window=whole if card.any_size else card.window)
        if card.locality == "unknown":
            card = replace(card, locality=self.reach.locality)
        if card.locality != "local":
            return card
        window = card.window
        if card.any_size:
            window = tuple(-(-n // card.multiple) * card.multiple for n in self.best_window)
        return replace(card, margin=card.margin or self.reach.radius, window=window)


_TYPES = TypeAdapter(Probe)
#: Samples along an axis beyond which a window is a fault of the file.
_LONGEST = 2**16


def save_probe(probe: Probe, model: str | Path) -> Path:
    """Keep a probe beside its model, or in the user's cache where that cannot be written.

    Args:
        probe: The probe.
        model: What `load_model` takes.

    Returns:
        The file made.

    Raises:
        OutputFailed: Neither can be written.
    """
    text = json.dumps(probe.to_dict(), indent=1, allow_nan=False)
    beside, cached = _places(Path(model), probe.sha256)
    with suppress(OSError):
        return write_whole(beside, text)
    try:
        return write_whole(cached, text)
    except OSError as error:
        raise OutputFailed(
            f"the probe can be kept neither at {beside} nor at {cached}: {error.strerror}"
        ) from None


def find_probe(model: str | Path, sha256: str) -> Probe | None:
    """Return the latest probe of a model with these weights, or None."""
    found: list[tuple[float, Probe]] = []
    for place in _places(Path(model), sha256):
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            probe = Probe.from_dict(json.loads(place.read_text(encoding="utf-8")))
            if probe.sha256 == sha256:
                found.append((place.stat().st_mtime, probe))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _checked(probe: Probe) -> Probe:
    """Return a probe of the types it states, whose numbers a plan can use.

    Raises:
        ValueError: It is none.
    """
    _TYPES.validate_json(json.dumps(probe.to_dict()), strict=True)
    reach, dims = probe.reach, len(probe.window)
    sizes = (probe.window, probe.best_window, probe.best_stride)
    numbers = (reach.multiple, *sum(sizes, ()))
    right = (
        dims in (2, 3)
        and all(len(size) == dims for size in sizes)
        and all(0 < n <= _LONGEST for n in numbers)
        and all(0 <= n <= _LONGEST for n in (reach.radius, probe.best_margin))
        and all(t.microbatch > 0 and not isnan(t.seconds or 0.0) for t in probe.trials)
        and all(0 <= t.agreement <= 1 for t in probe.trials if t.agreement is not None)
    )
    if not right:
        raise ValueError("a probe with numbers that make no sense")
    return probe


def _tuples(values: dict[str, Any]) -> dict[str, Any]:
    return {k: _tuple(v) for k, v in values.items()}


def _tuple(value: Any) -> Any:
    return tuple(map(_tuple, value)) if isinstance(value, list) else value


def _places(model: Path, sha256: str) -> tuple[Path, Path]:
    model = placed(model)
    card = model / CARD_NAME if model.is_dir() else model
    return card.with_suffix(".probe.json"), cache_folder() / "probes" / f"{sha256[:32]}.json"
