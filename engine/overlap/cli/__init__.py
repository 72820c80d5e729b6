"""The command line: read arguments, call one function, print."""

import os
import sys
import traceback
from typing import NoReturn

from overlap.cli.app import app
from overlap.cli.output import print_error
from overlap.errors import ClusterLostError, OverlapError
from overlap.supervise import INTERRUPTED, OWN_BUG, RAY_LOST, supervisor

__all__ = ["main"]

BAD_ARGUMENTS = 3


def main() -> None:
    """Runs the command line and exits with its documented code."""
    try:
        sys.exit(run(sys.argv[1:]))
    except Exception:
        if supervisor() is None:
            raise
        traceback.print_exc()
        sys.exit(OWN_BUG)


def run(arguments: list[str]) -> int:
    """Runs one command; errors meant for the user are printed plainly, bugs show their traceback."""
    try:
        code = app(arguments, prog_name="overlap", standalone_mode=False, obj=arguments)
    except ClusterLostError as error:
        if supervisor() is None:
            print_error(str(error))
        _end_at_once(RAY_LOST if supervisor() is not None else error.exit_code)
    except OverlapError as error:
        print_error(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        print_error("interrupted; run the same command again to continue")
        return INTERRUPTED
    except Exception as error:
        if not hasattr(error, "format_message"):  # every usage error of the command-line library has it
            raise
        if message := error.format_message():  # empty when a bare command has just shown its help
            print_error(f"{message} (try --help)")
        return BAD_ARGUMENTS
    if code == INTERRUPTED and supervisor() is None:  # the command-line library turns Ctrl-C into this
        print_error("interrupted; run the same command again to continue")
    return code if isinstance(code, int) else 0


def _end_at_once(code: int) -> NoReturn:
    """Ends the process without the orderly end of libraries that would wait for a Ray which is gone."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
