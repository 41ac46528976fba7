"""The shell: parse, call, print.

Exit status: 0 done; 1 a fault of tiledseg itself; 2 bad use or bad input; 3 finished with failed
tiles or inputs; 4 refused by the memory budget; 130 interrupted; 143 terminated.

Everything else is imported by `run`, so that a signal finds its handler from the first.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys

__all__ = ["main", "run"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: How a run that was stopped from outside is spoken of.
_STOPPED = {130: "interrupted", 143: "terminated"}
#: Seconds until a stop that a library has dropped is tried again.
_AGAIN = 0.05
_stopped: list[int] = []


def main() -> None:
    """Run the command line of this process."""
    atexit.register(_ignore)  # called last
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    sys.unraisablehook = _dropped
    status = run(sys.argv[1:])
    sys.stdout.flush()
    _leave_with(status)  # what is closed at exit would tell of a signal in its own way
    sys.exit(status)


def _ignore() -> None:
    """Have no signal change the exit status while the interpreter is taken apart."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _stop(number: int, frame: object) -> None:
    """Unwind, so that locks and temporary files are removed; a second signal leaves at once.

    Work on disk is whole at any time, and the next run goes on with it.
    """
    _stopped.append(128 + number)
    _leave_with(128 + number)
    raise SystemExit(128 + number)


def _dropped(unraisable: sys.UnraisableHookArgs) -> None:
    """Try a stop again that met a callback of a compiler or a destructor, which pass nothing on."""
    if not (_stopped and unraisable.exc_type is SystemExit):
        sys.__unraisablehook__(unraisable)
        return
    signal.signal(signal.SIGALRM, _stop_again)
    signal.setitimer(signal.ITIMER_REAL, _AGAIN)


def _stop_again(number: int, frame: object) -> None:
    raise SystemExit(_stopped[0])


def _leave_with(status: int) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, frame: os._exit(status))


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; errors become one line on stderr."""
    sentence = ""
    try:
        from ._run import run_command

        status, sentence = run_command(arguments)
    except KeyboardInterrupt:
        status = 130
    except BaseException:  # libraries turn what unwinds them into errors of their own
        if not _stopped:
            raise
        status = _stopped[0]
    if _stopped and status:
        status = _stopped[0]
    if status in _STOPPED:
        sentence = f"{_STOPPED[status]}; run the same command again to go on"
    if sentence:
        print("tiledseg:", sentence, file=sys.stderr)
    return status
