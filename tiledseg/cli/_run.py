"""A command line -> what it asks for, or one sentence on why not."""

from __future__ import annotations

import os
import sys
from typing import Any

import typer

from ..errors import BudgetExceeded, TiledsegError
from . import (  # noqa: F401  # they add their commands to the app
    _instance_commands,
    _map_commands,
    _measure_commands,
    _vector_commands,
)
from ._data_commands import app
from ._tell import line

_BAD, _OVER_BUDGET, _INTERRUPTED = 2, 4, 130
#: Typer 0.20 and later bring their own click; this is the base of its errors in either.
_UsageError: Any = typer.BadParameter.__base__


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run a command line; return its exit status, and a line on what was wrong or nothing."""
    try:
        status = typer.main.get_command(app).main(
            arguments, prog_name="tiledseg", standalone_mode=False
        )
    except TiledsegError as error:
        return _OVER_BUDGET if isinstance(error, BudgetExceeded) else _BAD, line(error)
    except _UsageError as error:
        if arguments:
            return _BAD, line(error.format_message())
        print(error.format_message(), file=sys.stderr)  # the help text itself
        return _BAD, ""
    except typer.Abort:
        return _INTERRUPTED, ""
    except SystemExit as stop:
        status = stop.code
    except BrokenPipeError:  # the reader of our output has gone, as in `tiledseg info x | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0, ""
    return status if isinstance(status, int) else 0, ""
