"""Consoles: where text goes. No colour in a pipe, with NO_COLOR, or on a terminal that has none.

The law of the place: what users wrote is printed as it is, never read as markup; in a pipe no line is folded.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper

from rich.console import Console, RenderableType

WIDE = 10_000
ASCII = str.maketrans({"✔": "+", "✗": "x", "●": "*", "○": "-", "↻": "~", "→": "->", "·": "-", "…": "..."})


def output() -> Console:
    """What the command was asked for: the standard output."""
    return _console(stderr=False)


def errors() -> Console:
    """What is said besides: the standard error."""
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    wide = None if stream.isatty() else WIDE
    return Console(stderr=stderr, width=wide, highlight=False, markup=False, emoji=False)


def put(shown: RenderableType, console: Console | None = None) -> None:
    """Print something made for people: as it is on a terminal, without padding elsewhere."""
    where = console or output()
    if where.is_terminal and not where.options.ascii_only:
        where.print(shown)
        return
    with where.capture() as kept:
        where.print(shown)
    text = "\n".join(line.rstrip() for line in kept.get().splitlines())
    where.print(text.translate(ASCII) if where.options.ascii_only else text, soft_wrap=True)


def put_json(text: str) -> None:
    """Print JSON for a program to read: one line."""
    output().print(text, soft_wrap=True)


def say(text: str) -> None:
    """A remark for whoever sits at the terminal: not there, not said."""
    console = errors()
    if console.is_terminal:
        console.print(text, style="dim", soft_wrap=True)


def accept_all_text() -> None:
    """Have text that the terminal's encoding does not know replaced, instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
