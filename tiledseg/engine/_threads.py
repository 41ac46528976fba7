"""Several tiles at once in the threads of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from ..tiling import Tile
from ._events import Event, OnEvent
from ._runner import Runner, Task, compute


class ThreadRunner(Runner):
    """Computes ``workers`` tiles at a time; memory is that of ``workers`` tiles.

    Args:
        workers: Tiles at a time, at least 1.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, task: Task, tiles: Iterable[Tile], on_event: OnEvent) -> None:
        """Compute ``tiles``."""
        lock = threading.Lock()

        def one_at_a_time(event: Event) -> None:
            with lock:
                on_event(event)

        running: set[Future[Event]] = set()
        with ThreadPoolExecutor(self.workers, thread_name_prefix="tile") as pool:
            for tile in tiles:
                if len(running) == self.workers:
                    done, running = wait(running, return_when=FIRST_COMPLETED)
                    for future in done:
                        one_at_a_time(future.result())
                running.add(pool.submit(compute, task, tile, one_at_a_time))
            for future in running:
                one_at_a_time(future.result())
