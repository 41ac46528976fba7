"""Jobs of a batch system that takes none: dask-jobqueue prints a traceback and waits for ever."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from distributed.deploy.spec import ProcessInterface

#: Characters of what a program said that are passed on.
_SAID = 300


def told_of(job: Any) -> Any:
    """Return a class of jobs of dask-jobqueue that keep what the batch system says against them.

    Args:
        job: The class of the batch system's jobs.
    """

    class Job(job):  # type: ignore[misc]  # known at run time only
        refused: str | None = None

        async def start(self) -> None:
            """Submit the job; one that is refused counts as one that waits."""
            try:
                await super().start()
            except (RuntimeError, ValueError, OSError) as error:
                said = str(error)
                self.refused = " ".join((said.rpartition("stderr:")[2].strip() or said).split())
                await ProcessInterface.start(self)

    return Job


def refusal(program: str, jobs: Iterable[Any]) -> str | None:
    """Return a sentence where a batch system refused all of the jobs; None where it took one.

    Args:
        program: What submits jobs.
        jobs: Of the class that `told_of` makes.
    """
    said = [job.refused for job in jobs]
    if not said or None in said:
        return None
    return (
        f"no job could be submitted with {program}: {said[0][:_SAID]}; change the cluster file, "
        "then run the same command again"
    )
