"""What a worker of this machine does when it starts: Ctrl-C is for the driver, which ends it."""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Take no notice of an interrupt: a terminal sends it to every process at once."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
