"""Several tiles at once in the threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ._events import Event
from ._runner import Runner, Unit, compute


class ThreadRunner(Runner):
    """Computes ``workers`` tiles at a time; memory is that of ``workers`` tiles.

    Args:
        workers: Tiles at a time, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, units: Iterable[Unit]) -> None:
        """Compute ``units``."""
        lock = threading.Lock()

        def computed(unit: Unit) -> None:
            def one_at_a_time(event: Event) -> None:
                with lock:
                    unit.on_event(event)

            one_at_a_time(compute(unit.task, unit.tile, one_at_a_time))

        running: set[Future[None]] = set()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="tile") as pool:
            for unit in units:
                running.add(pool.submit(computed, unit))
                if len(running) == self.workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        future.result()
            for future in running:
                future.result()
