"""Every error tiledseg raises on purpose.

    TiledsegError
    ├── ConfigError (ValueError)        a setting is wrong, or two settings contradict
    │   └── PlanChanged                 unfinished work belongs to another plan, input or model
    ├── GridMismatch (ValueError)       two images that must share a grid do not
    ├── BudgetExceeded (ValueError)     the work cannot be done within the memory budget
    ├── MissingBackend (ImportError)    an optional library is not installed
    ├── UnknownFormat (ValueError)      nothing here reads or writes this kind of file
    ├── DamagedInput (OSError)          the file is there but is not what it claims to be
    ├── OutputFailed (OSError)          a result could not be written (no room, no permission)
    ├── ClusterFailed (RuntimeError)    the workers of a cluster were lost, or cannot compute
    ├── TrainingFailed (RuntimeError)   a training cannot go on: its loss is no number any more
    └── TileFailed (RuntimeError)       at least one tile could not be computed

A message says what was asked, what was found, the limit, and what to change, in one sentence.
"""

from __future__ import annotations


class TiledsegError(Exception):
    """Base of every error raised on purpose."""


class ConfigError(TiledsegError, ValueError):
    """A setting is wrong, or two settings contradict each other."""


class PlanChanged(ConfigError):
    """Unfinished work on disk was made under another plan, input or model."""


class GridMismatch(TiledsegError, ValueError):
    """Two images that must share one grid do not."""


class BudgetExceeded(TiledsegError, ValueError):
    """The work cannot be done within the memory budget."""


class MissingBackend(TiledsegError, ImportError):
    """An optional library is needed and not installed.

    Args:
        package: Name of the package to import.
        extra: The extra of tiledseg that brings it.
        purpose: What it is needed for, as the user asked for it.
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        self._parts = (package, extra, purpose)
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed: "
            f"pip install 'tiledseg[{extra}]'"
        )

    def __reduce__(self) -> tuple[type[MissingBackend], tuple[str, str, str]]:
        """Pickle the parts, not the sentence: workers send errors home."""
        return type(self), self._parts


class UnknownFormat(TiledsegError, ValueError):
    """Nothing here reads or writes this kind of file."""


class DamagedInput(TiledsegError, OSError):
    """A file is there but is not what it claims to be."""


class OutputFailed(TiledsegError, OSError):
    """A result could not be written: no room, no permission, no folder."""


class ClusterFailed(TiledsegError, RuntimeError):
    """The workers of a cluster were lost, or cannot compute."""


class TrainingFailed(TiledsegError, RuntimeError):
    """A training cannot go on as its recipe says: its loss is no number any more."""


class TileFailed(TiledsegError, RuntimeError):
    """At least one tile could not be computed."""
