"""Inputs of a batch in progress, and the thread that finishes them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field

from ..budget import end_bytes
from ..errors import TiledsegError
from ._inputs import Input
from ._run import Run


@dataclass
class Part:
    """An input in progress.

    Args:
        one: The input.
        run: Its run.
        stack: What is closed when it ends.
        flying: Tiles that a worker has.
        given: Whether all its tiles have been given out.
        stopped: What stopped it.
        ending: Its finish; None while it has tiles.
    """

    one: Input
    run: Run
    stack: ExitStack
    flying: set[int] = field(default_factory=set)
    given: bool = False
    stopped: TiledsegError | None = None
    ending: Future[None] | None = None

    @property
    def held(self) -> int:
        """Bytes it may hold besides its tiles until it has ended."""
        job = self.run.job
        overview = sum(array.nbytes for array in job.overview)
        return end_bytes(job.plan, job.cost) + overview


class _Abandoned(Exception):
    """The batch ends before an input is finished."""


class Parts:
    """The inputs in progress; those that are through are finished one after the other.

    Args:
        finish: Finishes an input, in a thread that does nothing else. It calls `go_on` now and
            then.
    """

    def __init__(self, finish: Callable[[Part], None]) -> None:
        self._finish = finish
        self._parts: list[Part] = []
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="finish")
        self._abandoned = threading.Event()

    def __iter__(self) -> Iterator[Part]:
        return iter(self._parts)

    def __bool__(self) -> bool:
        return bool(self._parts)

    def add(self, part: Part) -> None:
        """Take an input in."""
        self._parts.append(part)

    def end(self, all_of_them: bool = False) -> None:
        """Have inputs finished whose last tile has ended, and forget those that are finished.

        An error of ``finish`` surfaces here.

        Args:
            all_of_them: Wait for all that are being finished.
        """
        for part in self._parts:
            if part.ending is None and part.given and not part.flying:
                part.ending = self._pool.submit(self._finish, part)
        for part in list(self._parts):
            if part.ending is not None and (all_of_them or part.ending.done()):
                part.ending.result()
                self._parts.remove(part)

    def wait_for_one(self) -> bool:
        """Wait until one more input is finished; return False where none is being finished."""
        before = len(self._parts)
        self.end()
        if len(self._parts) == before:
            ending = [part.ending for part in self._parts if part.ending is not None]
            wait(ending, return_when=FIRST_COMPLETED)
            self.end()
        return len(self._parts) < before

    def go_on(self) -> None:
        """End a finish that nobody waits for; what is unfinished is kept on disk."""
        if self._abandoned.is_set():
            raise _Abandoned

    def close(self) -> None:
        """Abandon and close what is in progress."""
        self._abandoned.set()
        self._pool.shutdown(cancel_futures=True)
        for part in self._parts:
            part.stack.close()
