"""What the storage tests write: instances, turns, timers; and a clock that jumps."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import msgspec

from infinitic.events import Caller
from infinitic.records import Append, InboxItem, Mark, StateRecord, Stored, TimerRow, TurnRow, Version, Wait

NOON = 1_800_000_000_000_000
SECOND = 1_000_000
HOUR = 3_600 * SECOND

AWKWARD_IDS = [
    "a",
    "a ",
    " a",
    "A",
    "á",
    "a\u0301",  # the same letter, decomposed
    "a\n",
    "a\t",
    "ab",
    "b",
    "%",
    "a%",
    "a_b",
    "axb",
    "_",
    "*",
    "a*",
    "a?",
    "[a]",
    "'",
    '"',
    "`a`",
    "a\\b",
    "\\",
    "a:b",
    "{a}",
    "a;b",
    "--",
    "x'; DROP TABLE heads; --",
    "ß",
    "ss",
    "\u0131",  # a dotless i
    "İ",
    "日本",
    "🦄",
    "🦄🦄",
    "0",
    "00",
    "1e3",
    "NULL",
    "x" * 255,
    "x" * 254 + "y",
    "é" * 127 + "x",
    "🦄" * 63 + "abc",
]
"""Ids that are all different, and that some database or pattern takes for equal or for something else."""


class JumpingClock:
    """A clock that stands still until it is told to jump."""

    def __init__(self, now=NOON):
        self.now = now

    def __call__(self):
        return self.now

    def jump(self, microseconds):
        self.now += microseconds


def record(workflow_id="trip-1", **fields):
    plain: dict[str, Any] = {"workflow": "trips", "run": "r1", "started": NOON}
    return StateRecord(**(plain | fields), workflow_id=workflow_id)


def child_of(parent):
    """Who a child of this instance answers."""
    return Caller("trips", parent, "r1", "m0.1")


def waits_for(*names, kind="task"):
    """Waits of these names."""
    return tuple(Wait(f"m0.{number}", kind, name) for number, name in enumerate(names))


def turns(count, run="r1", first=0):
    return tuple(TurnRow(run, first + number, f"{run}/{first + number}".encode()) for number in range(count))


def timer(position, due, workflow_id="trip-1", **fields):
    plain: dict[str, Any] = {"workflow": "trips", "run": "r1"}
    return TimerRow(**(plain | fields), workflow_id=workflow_id, position=position, due=due)


def item(key):
    return InboxItem(key, f"body of {key}".encode())


def start(workflow_id="trip-1", count=1, run="r1", **fields):
    """An instance with *count* turns, all of them sent."""
    plain: dict[str, Any] = {
        "workflow": "trips",
        "version": Version(run, count),
        "token": "writer-1",
        "mark": Mark(run, count),
        "turns": turns(count, run),
        "record": record(workflow_id, run=run),
    }
    return Append(**(plain | fields), workflow_id=workflow_id, expected=None)


def after(before, count=0, inbox=0, **fields):
    """An append that follows *before* with *count* more turns of its run, all sent, and no record."""
    version = before.version
    now = Version(version.run, version.turns + count, version.inbox + inbox)
    plain: dict[str, Any] = {
        "version": now,
        "token": "writer-1",
        "mark": Mark(now.run, now.turns),
        "turns": turns(count, version.run, version.turns),
    }
    return Append(**(plain | fields), workflow=before.workflow, workflow_id=before.workflow_id, expected=before.version)


def next_run(before, run, count=1, **fields):
    """An append that begins another run of the instance."""
    plain: dict[str, Any] = {
        "version": Version(run, count, before.version.inbox),
        "mark": Mark(run, count),
        "turns": turns(count, run),
        "record": record(before.workflow_id, run=run),
    }
    return after(before, **(plain | fields))


def kept(append, **fields):
    """What is loaded of an instance of which *append* was the first and only one."""
    plain: dict[str, Any] = {
        "version": append.version,
        "mark": append.mark,
        "token": append.token,
        "record": append.record,
        "turns": append.turns,
        "inbox": append.inbox_added,
        "timers": append.timers_set,
    }
    return Stored(**(plain | fields), workflow=append.workflow, workflow_id=append.workflow_id)


def loaded(storage, workflow_id="trip-1", from_turn=0, run=""):
    """What `load` gives; timers, whose order nothing promises, by position."""
    stored = storage.load(workflow_id, from_turn, run)
    if stored is None:
        return None
    return msgspec.structs.replace(stored, timers=tuple(sorted(stored.timers, key=lambda row: row.position)))


def write(storage, *appends):
    """All of them, one after the other, each of which must win."""
    for append in appends:
        assert storage.append([append]) == [True], append


def in_threads(*works):
    """What each of *works* returned, when all of them ran at once."""

    barrier = Barrier(len(works))

    def run(work):
        barrier.wait()
        return work()

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))
