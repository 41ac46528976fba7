"""A worker that is told to go says so: its tile must not count as one that kills workers.

Batch systems send SIGTERM to every process of a job that is cancelled, preempted or at the end of
its walltime. A worker's process would end at once, and look like one that its tile has killed.
"""

from __future__ import annotations

import asyncio
import signal
import threading

from distributed import Worker
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin

#: Where workers say that they go.
LEFT = "tiledseg-left"


class Leaving(WorkerPlugin):  # type: ignore[misc]  # has no types
    """Ends a worker in order at SIGTERM, and tells in `LEFT` of every end in order."""

    name = LEFT
    idempotent = True

    def setup(self, worker: Worker) -> None:
        """Take SIGTERM from the process, if it is the worker's own."""
        if threading.current_thread() is threading.main_thread():
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, _leave, worker)

    def teardown(self, worker: Worker) -> None:
        """Tell the drivers; the scheduler hears it before it takes the worker for dead."""
        if worker.status != Status.running:
            worker.log_event(LEFT, worker.address)


def _leave(worker: Worker) -> None:
    """End in order; a nanny that was not told to go starts another worker."""
    worker.loop.add_callback(worker.close, nanny=False, reason="SIGTERM")
