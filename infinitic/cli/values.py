"""Values on the command line: JSON or text, arguments by name, lengths of time. A misfit is wrong use."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from infinitic.cli.console import output, put_json
from infinitic.errors import InfiniticError

SECONDS = {"ms": 0.001, "s": 1, "m": 60, "min": 60, "h": 3_600, "d": 86_400, "w": 604_800}
LENGTH = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")


def parsed(text: str) -> Any:
    """JSON when it is JSON, else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def arguments(given: str | None, pairs: Iterable[str], what: str = "arguments") -> dict[str, Any]:
    """The arguments by name, of `--args` and of KEY=VALUE pairs. Raises `click.BadParameter`, naming *what*."""
    found: dict[str, Any] = {} if given is None else _object(_content(given))
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.BadParameter(f"{pair!r} is no KEY=VALUE, as in city=Oslo", param_hint=what)
        if name in found:
            raise click.BadParameter(f"{name} is given twice", param_hint=what)
        found[name] = parsed(text)
    return found


def _content(given: str) -> str:
    """The text itself, that of a file named @FILE, or the standard input's for "-"."""
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise click.BadParameter(f"{given[1:]} cannot be read: {error}", param_hint="--args") from None


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"malformed JSON: {error}", param_hint="--args") from None
    if not isinstance(found, dict):
        kind = type(found).__name__
        problem = f"""arguments go by name, as in '{{"city": "Oslo"}}', and this is a {kind}"""
        raise click.BadParameter(problem, param_hint="--args")
    wrong = next((name for name in found if not name.isidentifier()), None)
    if wrong is not None:
        raise click.BadParameter(f"{wrong!r} is no parameter's name", param_hint="--args")
    return found


def pairs(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, Any]:
    """The KEY=VALUE options `--meta` as a dict."""
    return arguments(None, given, "--meta")


def duration(text: str) -> timedelta:
    """A length of time: seconds, or a number with a unit as in 500ms, 30s, 5m, 2h, 7d."""
    match = LENGTH.fullmatch(text.strip())
    if match is None or match[2] not in {"", *SECONDS}:
        raise click.BadParameter(f"{text!r} is no length of time: write 30, 500ms, 30s, 5m, 2h or 7d")
    try:
        return timedelta(seconds=float(match[1]) * SECONDS[match[2] or "s"])
    except OverflowError:
        raise click.BadParameter(f"{text!r} is too long") from None


def since(text: str) -> datetime:
    """An instant: a length of time ago, or a date with or without a time, UTC unless it says otherwise."""
    if LENGTH.fullmatch(text.strip()):
        return datetime.now(UTC) - duration(text)
    return moment(text, "2h, 7d, ")


def moment(text: str, also: str = "") -> datetime:
    """A date with or without a time, UTC unless it says otherwise. *also* is what else may be written."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{text!r} is no instant: write {also}2026-07-01 or 2026-07-01T12:00"
        raise click.BadParameter(problem) from None
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)


@contextmanager
def naming(what: str) -> Iterator[None]:
    """What cannot be meant in the block is wrong use of *what*."""
    try:
        yield
    except InfiniticError:
        raise
    except (TypeError, ValueError) as error:
        raise click.BadParameter(str(error), param_hint=what) from None


def put_answer(value: Any, *, json_wanted: bool) -> None:
    """Print an answer: JSON in one line for programs; for people texts are bare and JSON indented."""
    if json_wanted:
        put_json(json.dumps(value, ensure_ascii=False))
    elif isinstance(value, str):
        output().print(value, soft_wrap=True)
    else:
        output().print(json.dumps(value, ensure_ascii=False, indent=2), soft_wrap=True)
