"""The shell: parse, call, print.

Exit status: 0 done; 1 a fault of tiledseg itself; 2 bad use or bad input; 3 finished with failed
tiles or inputs; 4 refused by the memory budget; 130 interrupted; 143 terminated.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import typer

from ..errors import BudgetExceeded, TiledsegError
from . import _measure_commands  # noqa: F401  # adds its commands to the app
from ._data_commands import app
from ._tell import line

__all__ = ["main"]

_BAD, _OVER_BUDGET, _INTERRUPTED, _TERMINATED = 2, 4, 130, 143
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: How a run that was stopped from outside is spoken of.
_STOPPED = {_INTERRUPTED: "interrupted", _TERMINATED: "terminated"}
#: Typer 0.20 and later bring their own click; this is the base of its errors in either.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line of this process."""
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _stop)
    sys.exit(run(sys.argv[1:]))


def _stop(number: int, frame: object) -> None:
    """Unwind, so that locks and temporary files are removed; a second signal leaves at once.

    Work on disk is whole at any time, and the next run goes on with it.
    """
    for again in _SIGNALS:
        signal.signal(again, lambda number, frame: os._exit(128 + number))
    raise SystemExit(128 + number)


def run(arguments: list[str]) -> int:
    """Run a command line and return its exit status; errors become one line on stderr."""
    try:
        status = typer.main.get_command(app).main(
            arguments, prog_name="tiledseg", standalone_mode=False
        )
    except TiledsegError as error:
        _say(error)
        return _OVER_BUDGET if isinstance(error, BudgetExceeded) else _BAD
    except _UsageError as error:
        if not arguments:  # then the error is the help text itself
            print(error.format_message(), file=sys.stderr)
        else:
            _say(error.format_message())
        return _BAD
    except (KeyboardInterrupt, typer.Abort):
        status = _INTERRUPTED
    except SystemExit as stop:
        status = stop.code
    except BrokenPipeError:  # the reader of our output has gone, as in `tiledseg info x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    status = status if isinstance(status, int) else 0
    if status in _STOPPED:  # newer Typer makes a status of an interrupt
        _say(f"{_STOPPED[status]}; run the same command again to go on")
    return status


def _say(error: object) -> None:
    print("tiledseg:", line(error), file=sys.stderr)
