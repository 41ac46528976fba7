"""The shell: parse, call, print.

Exit status: 0 done; 1 a fault of tiledseg itself; 2 bad use or bad input; 3 finished with failed
tiles or inputs; 4 refused by the memory budget; 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from ..errors import BudgetExceeded, TiledsegError
from ._commands import app

__all__ = ["main"]

_BAD, _OVER_BUDGET, _INTERRUPTED = 2, 4, 130
#: Typer 0.20 and later bring their own click; this is the base of its errors in either.
_UsageError: Any = typer.BadParameter.__base__


def main() -> None:
    """Run the command line of this process."""
    sys.exit(run(sys.argv[1:]))


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
        _say("interrupted; run the same command again to go on")
        return _INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone, as in `tiledseg info x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status if isinstance(status, int) else 0


def _say(error: object) -> None:
    print("tiledseg:", " ".join(str(error).split()), file=sys.stderr)
