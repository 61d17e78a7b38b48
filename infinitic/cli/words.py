"""Words: durations, instants, values and errors as people read them. Instants are microseconds since 1970."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from itertools import pairwise
from pathlib import PurePath
from typing import Any

from infinitic.events import ErrorValue, Frame, to_datetime
from infinitic.records import StateRecord, Wait

MILLISECOND, SECOND = 1_000, 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3_600 * SECOND, 86_400 * SECOND
UNITS = ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s"))
LONG = 60
OURS = ("infinitic/worker/", "infinitic/serialization/", "infinitic/engine/", "infinitic/testing/", "dsl/")


def duration(length: int) -> str:
    """As in `35 ms`, `1.2 s`, `4 min 10 s`, `2 d 3 h`."""
    length = max(0, length)
    if length < SECOND:
        return f"{round(length / MILLISECOND)} ms"
    if length < 10 * SECOND:
        return f"{length / SECOND:.1f}".removesuffix(".0") + " s"
    for (unit, name), (smaller, its) in pairwise(UNITS):
        if length >= unit:
            rest = length % unit // smaller
            return f"{length // unit} {name} {rest} {its}" if rest else f"{length // unit} {name}"
    return f"{length // SECOND} s"


def ago(when: int, now: int) -> str:
    """As in `3 min ago`, in the largest unit alone."""
    passed = now - when
    unit, name = next(((unit, name) for unit, name in UNITS if passed >= unit), (SECOND, "s"))
    return f"{passed // unit} {name} ago" if passed >= SECOND else "just now"


def due(when: int, now: int) -> str:
    """As in `due in 3 min`, or `overdue by 5 s`."""
    if when > now:
        return f"due in {duration(when - now)}"
    return "due now" if now - when < SECOND else f"overdue by {duration(now - when)}"


def counted(number: int, noun: str) -> str:
    """As in `1 turn`, `7 turns`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def instant(when: int) -> str:
    """As in `2026-11-22 09:18:20 UTC`."""
    return f"{to_datetime(when):%Y-%m-%d %H:%M:%S} UTC"


def iso(when: int) -> str:
    """As in `2026-11-22T09:18:20.123456+00:00`, for programs."""
    return to_datetime(when).isoformat()


def value(data: str, limit: int = LONG) -> str:
    """JSON, shortened."""
    if data.startswith('{"$codec"'):
        return f"({json.loads(data).get('$codec', 'encoded')})"
    return shortened(data, limit)


def shortened(text: str, limit: int = LONG) -> str:
    """*text* in one line of at most *limit* characters."""
    text = " ".join(text.split()) if "\n" in text else text
    return text if len(text) <= limit else text[: limit - 1] + "…"


def call(label: str, arguments: str, limit: int = LONG) -> str:
    """As in `Hotels.book(city="Oslo", nights=3)`: each argument shortened."""
    given: Any = json.loads(arguments)
    if not isinstance(given, dict) or "$codec" in given:
        return f"{label}({'' if given is None else value(arguments, limit)})"
    each = max(12, limit // max(1, len(given)))
    shown = [f"{name}={value(json.dumps(one, ensure_ascii=False), each)}" for name, one in given.items()]
    return f"{label}({', '.join(shown)})"


def error(one: ErrorValue, limit: int = 300) -> str:
    """As in `ConnectionError: no route`; a library error that says all by itself without its name."""
    return shortened(one.summary, limit)


def own_frames(stack: tuple[Frame, ...]) -> tuple[Frame, ...]:
    """The frames that are the user's: without this library's, which come before them."""
    begin = next((n for n, frame in enumerate(stack) if not _is_ours(frame.file)), len(stack))
    return stack[begin:]


def _is_ours(file: str) -> bool:
    path = PurePath(file).as_posix()
    return any(f"/{part}" in path for part in OURS)


def place(frame: Frame) -> str:
    """As in `trips.py:12 in trip: hotel = yield from Hotels.book(city)`."""
    source = f": {shortened(frame.source, 100)}" if frame.source else ""
    return f"{short_path(frame.file)}:{frame.line} in {frame.function}{source}"


def short_path(file: str) -> str:
    """The path as seen from the working directory, when it lies in it."""
    path = PurePath(file)
    return str(path.relative_to(os.getcwd())) if path.is_relative_to(os.getcwd()) else file


def wait(one: Wait, now: int) -> str:
    """As in `charge, attempt 3 due in 12 s: ConnectionError: no route`."""
    if one.kind == "timer":
        return f"sleep, {due(one.next_at, now)}"
    name = f"{one.name}.receive({one.which})" if one.kind == "receive" else one.name
    if one.delegated:
        return f"{name}, which somebody is to complete"
    if one.kind == "task" and one.next_at:
        failure = f": {error(one.error, LONG)}" if one.error is not None else ""
        return f"{name}, attempt {one.attempt + 1} {due(one.next_at, now)}{failure}"
    return f"{name}, attempt {one.attempt}" if one.kind == "task" and one.attempt > 1 else name


def limits(one: Wait, now: int) -> Iterable[str]:
    """As in `total_timeout due in 3 min`, `last heard of 5 s ago`: what limits a task, and how its attempt is."""
    if one.heard:
        yield f"last heard of {ago(one.heard, now)}"
    for name, when in one.deadlines.items():
        yield f"{name} {due(when, now)}"


def reason(text: str, workflow_id: str) -> str:
    """Why an instance is suspended, without its id, which stands beside it, its paths as seen from here."""
    return text.removeprefix(f"{workflow_id}: ").replace(os.path.join(os.getcwd(), ""), "")


def waits(record: StateRecord, now: int) -> str:
    """What an instance waits for, in one line; why it is suspended, how it failed, what it answered."""
    if record.reason:
        return shortened(reason(record.reason, record.workflow_id), 120)
    if record.error is not None:
        return error(record.error)
    if record.ended:
        data = bytes(record.value).decode(errors="replace")
        return "" if data == "null" else f"→ {value(data)}"
    shown = [wait(one, now) for one in record.waits[:2]]
    more = record.waiting - len(shown)
    return "; ".join(shown) + (f"; and {more} more" if more > 0 else "")
