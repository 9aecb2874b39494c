"""The command ``zoo``: a thin layer over the public functions of zoo, training and export.

What a command imports is what it needs: ``zoo --help`` and ``zoo list`` load neither Keras nor
TensorFlow. Exit codes: 0 the answer is good, 1 a check failed or something broke, 2 the input
cannot be used, 130 interrupted, 143 terminated.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

from zoo.cli.interrupts import INTERRUPTED, TERMINATED, terminating
from zoo.cli.startup import LEVEL, SILENT

DEBUG = "--debug"


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code; see `run`."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: Sequence[str]) -> int:
    """Run one command, and tell errors in one line each.

    Args:
        argv: The words after ``zoo``. ``--debug`` may stand anywhere: errors then come with a
            traceback.

    Returns:
        The exit code.

    Example:
        >>> run(["list", "resnet*"])
    """
    args = [word for word in argv if word != DEBUG] or ["--help"]
    debug = DEBUG in argv
    if not debug:
        os.environ.setdefault(LEVEL, SILENT)
    try:
        with terminating():
            return _invoke(args)
    except KeyboardInterrupt as interrupt:
        terminated = getattr(interrupt, "terminated", False)  # a training's has it too
        what = "terminated" if terminated else "interrupted"
        line = str(interrupt) or f"{what}; no file was left half-written"
        _say(line)
        _print_failure(line, args)
        return TERMINATED if terminated else INTERRUPTED
    except BrokenPipeError:
        return 1  # the reader, such as `head`, has enough; Rich does the same where a person reads
    except Exception as error:  # the outermost place: whatever it is becomes one line
        if debug:
            traceback.print_exc()
        code, line = _told(error)
        _say(f"error: {line}")
        _print_failure(line, args)
        return code
    finally:
        _let_go_of_stdout()


def _invoke(args: list[str]) -> int:
    """Run one command; its errors pass."""
    import typer

    from zoo.cli.app import app
    from zoo.errors import InputError, nearest

    command: Any = typer.main.get_command(app)
    if not args[0].startswith("-") and args[0] not in command.commands:
        raise InputError(f"unknown command {args[0]!r}; {nearest(args[0], command.commands)}")
    try:
        with command.make_context("zoo", args) as context:
            command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return 0


def _told(error: Any) -> tuple[int, str]:
    """Choose the exit code and the one line for an error."""
    import typer

    from export.errors import ExportError
    from zoo.errors import InputError

    usage_error: Any = typer.BadParameter.__bases__[0]  # typer does not name it
    if isinstance(error, usage_error):
        return 2, _one_line(error.format_message())
    line = _one_line(str(error))
    if isinstance(error, InputError):
        return 2, line
    if isinstance(error, ExportError):
        return 1, line
    return 1, f"unexpected {type(error).__name__}: {line}; run again with --debug for the traceback"


def _print_failure(line: str, args: list[str]) -> None:
    """Tell machines too, where they were promised a document and stdout takes one."""
    if "--json" in args:
        from zoo.cli.screen import print_json

        with suppress(OSError):
            print_json({"ok": False, "error": line})


def _let_go_of_stdout() -> None:
    """Drop what stdout does not take, which Python would complain of at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _one_line(text: str) -> str:
    """Join the lines of a message."""
    return " ".join(text.split())


def _say(line: str) -> None:
    """Print one line where a person looks for errors."""
    print(line, file=sys.stderr, flush=True)
