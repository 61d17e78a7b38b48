"""Ends of the command: what each error means to a shell, and the one line that says it."""

from __future__ import annotations

import traceback

import click
from rich.text import Text

from infinitic.cli.console import errors
from infinitic.errors import (
    Bug,
    InfiniticError,
    InvalidId,
    NoStorage,
    OperatorError,
    PayloadError,
    RemoteError,
    TaskFailed,
    WorkflowCancelled,
    WorkflowFailed,
)

OK, FAILED, USAGE, OPERATOR, TIMED_OUT, REFUSED, DIVERGED, BUG, INTERRUPTED = 0, 1, 2, 3, 4, 5, 6, 70, 130

TABLE = """\b
Exit codes:
  0    done
  1    the workflow failed, timed out or was cancelled, or refused the call
  2    wrong use: an unknown option, malformed JSON, arguments that do not fit
  3    for the operator: configuration, storage, transport, registration
  4    waited longer than --timeout; what was sent stays sent
  5    the id is unknown or in use, or the instance has finished
  6    there are instances that the code cannot replay (check)
  130  interrupted"""


def code_of(error: BaseException) -> int:
    """The exit code that *error* ends the command with."""
    match error:
        case WorkflowFailed() | WorkflowCancelled() | TaskFailed() | RemoteError():
            return FAILED
        case click.UsageError() | PayloadError() | InvalidId():
            return USAGE
        case OperatorError():
            return OPERATOR
        case TimeoutError():
            return TIMED_OUT
        case Bug():
            return BUG
        case InfiniticError():
            return REFUSED
        case click.Abort() | KeyboardInterrupt():
            return INTERRUPTED
    return BUG


def report(error: BaseException, *, debug: bool) -> int:
    """Say on stderr in one line what happened, after the traceback when *debug*; the exit code."""
    code = code_of(error)
    if code == INTERRUPTED:
        return code
    console = errors()
    if debug:
        console.print("".join(traceback.format_exception(error)), end="", soft_wrap=True)
    line = Text.assemble(("error: ", "bold red"), " ".join(sentence(error).split("\n")))
    console.print(line, soft_wrap=True)
    return code


def sentence(error: BaseException) -> str:
    """What happened, and what to do about it."""
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx is not None else "infinitic"
        message = error.format_message().removesuffix(".")
        return f"{message}{'' if message.endswith('?') else '.'} See {path} --help."
    if isinstance(error, click.ClickException):
        return error.format_message()
    if isinstance(error, NoStorage):
        return f"{error.message}. Give --storage URL, or INFINITIC_STORAGE."
    if isinstance(error, InfiniticError | TimeoutError):
        return str(error)
    name = type(error).__name__
    return f"{name}: {error}. This is a bug in Infinitic for Python: please report it with what --debug shows."
