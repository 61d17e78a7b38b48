"""The named points at which a process can be killed, and the tripwire that does it. Nothing of this is in the product.

One table: each point is told by a statement that reaches SQLite, or by a function that is called. A statement that
no point tells, or more than one, is noted, and fails the sweep: whoever adds a statement adds its point.
"""

import functools
import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from attrs import field, frozen

T = TypeVar("T")
BEFORE, AFTER = "before", "after"
MOMENTS = (BEFORE, AFTER)


@frozen
class Point:
    """A place on the way. *statement* is the beginning of an SQL text ("many " before that of an `executemany`), as a
    pattern; *place* is "module:Class.function". Each life reaches it *upto* so many times, if it lasts; *errand* names
    what a client must do beside the usual, so that it is reached at all.
    """

    stage: str
    name: str
    statement: str = ""
    place: str = ""
    upto: int = field(default=1, kw_only=True)
    errand: str = field(default="", kw_only=True)


COMMIT, QUEUE, TIMERS, PURGE = "commit", "queue", "timers", "purge"
OPENING, CLOSING = "opening", "closing"

MANY = 40
FILE, QUEUES = "infinitic.sqlite_file", "infinitic.transports.sqlite"

POINTS = (
    # --- the commit path: what every write goes through, what a step writes, and what follows the commit
    Point(COMMIT, "the turnstile is taken", place=f"{FILE}.turnstile:Turnstile.__enter__", upto=MANY),
    Point(COMMIT, "the turnstile is left", place=f"{FILE}.turnstile:Turnstile.__exit__", upto=MANY),
    Point(COMMIT, "a write begins", r"BEGIN IMMEDIATE$", upto=MANY),
    Point(COMMIT, "a write is committed", r"COMMIT$", upto=MANY),
    Point(COMMIT, "a reading begins", r"BEGIN$", upto=MANY),
    Point(COMMIT, "a reading ends", r"ROLLBACK$", upto=MANY),
    Point(COMMIT, "something is read", r"(SELECT|WITH)\b", upto=MANY),
    Point(COMMIT, "an instance comes to be", r"INSERT INTO heads "),
    Point(COMMIT, "an instance goes on", r"UPDATE heads SET run = \?", upto=MANY),
    Point(COMMIT, "an instance changes", r"UPDATE heads SET run = :run,.* record = :record"),
    Point(COMMIT, "an instance keeps its record", r"UPDATE heads SET run = :run,(?!.* record = )"),
    Point(COMMIT, "a turn is written", r"INSERT INTO turns ", upto=MANY),
    Point(COMMIT, "a run begins", r"many INSERT INTO runs "),
    Point(COMMIT, "an old run's turns go", r"many DELETE FROM turns "),
    Point(COMMIT, "an old run goes", r"many DELETE FROM runs "),
    Point(COMMIT, "a timer is set", r"INSERT OR REPLACE INTO timers "),
    Point(COMMIT, "a timer is cleared", r"DELETE FROM timers .* AND position = \?$"),
    Point(COMMIT, "an ended run's timers go", r"DELETE FROM timers .* AND run = \?$"),
    Point(COMMIT, "an item is put into the inbox", r"INSERT OR IGNORE INTO inbox "),
    Point(COMMIT, "an item of the inbox is done with", r"DELETE FROM inbox .* AND key = \?$"),
    Point(COMMIT, "the inbox is counted", r"UPDATE heads SET waiting "),
    Point(COMMIT, "labels go", r"many DELETE FROM labels ", upto=MANY),
    Point(COMMIT, "a label is written", r"many INSERT OR IGNORE INTO labels ", upto=MANY),
    Point(COMMIT, "a message is sent", r"INSERT INTO messages ", upto=MANY),
    Point(COMMIT, "a message is done with", r"DELETE FROM messages WHERE id = ", upto=MANY),
    Point(COMMIT, "what is done is forgotten", place=f"{QUEUES}.consumer:SqliteConsumer.settle", upto=MANY),
    Point(COMMIT, "those concerned are woken", place=f"{QUEUES}:SqliteTransport.wake", upto=MANY),
    Point(COMMIT, "another process is woken", place=f"{QUEUES}.owners:Bells.ring", upto=MANY),
    Point(COMMIT, "tasks are handed over", place="infinitic.worker.executor:Executor.submit", upto=MANY),
    Point(COMMIT, "a result is handed in", place="infinitic.backends.sqlite:SqliteBackend.handed_over", upto=MANY),
    # --- the queue: who is there, who has what, who takes over
    Point(QUEUE, "an owner is written", r"INSERT INTO owners ", upto=3),
    Point(QUEUE, "a subscription is written", r"many INSERT OR IGNORE INTO subscriptions ", upto=3),
    Point(QUEUE, "subscriptions of nobody go", r"DELETE FROM subscriptions WHERE owner <> 0 AND owner NOT IN "),
    Point(QUEUE, "messages of nobody are free", r"UPDATE messages SET owner = 0 WHERE owner <> 0 AND owner NOT IN "),
    Point(QUEUE, "leases of nobody are free", r"UPDATE leases SET owner = 0 WHERE owner <> 0 AND owner NOT IN "),
    Point(QUEUE, "an owner's files are made", place=f"{QUEUES}.owners:Presence.__init__", upto=3),
    Point(QUEUE, "a lock is tried", place=f"{QUEUES}.owners:try_lock", upto=6),
    Point(QUEUE, "the slots are mapped", place=f"{QUEUES}.owners:_mapped", upto=3),
    Point(QUEUE, "the FIFO is made", place="os:mkfifo", upto=3),
    Point(QUEUE, "strays are removed", place=f"{QUEUES}.owners:remove_strays", upto=3),
    Point(QUEUE, "an owner's files are removed", place=f"{QUEUES}.owners:remove_files", upto=6),
    Point(QUEUE, "messages are received", place=f"{QUEUES}.consumer:SqliteConsumer.receive", upto=MANY),
    Point(QUEUE, "an instance is taken", r"INSERT INTO leases "),
    Point(QUEUE, "an instance's messages are taken", r"UPDATE messages SET owner = \? WHERE topic "),
    Point(QUEUE, "tasks are taken", r"many UPDATE messages SET owner = \? WHERE id "),
    Point(QUEUE, "a slot says what runs", place=f"{QUEUES}.owners:Presence.began", upto=MANY),
    Point(QUEUE, "a slot is emptied", place=f"{QUEUES}.owners:Presence.ended", upto=MANY),
    Point(QUEUE, "instances are let go", place=f"{QUEUES}.consumer:SqliteConsumer.release"),
    Point(QUEUE, "a lease goes", r"DELETE FROM leases WHERE topic "),
    Point(QUEUE, "a lease that counts is free", r"UPDATE leases SET owner = 0 WHERE topic "),
    Point(QUEUE, "messages are given back", r"many UPDATE messages SET owner = 0 WHERE id ", errand="crowd"),
    Point(QUEUE, "what cannot be read is put away", r"INSERT INTO dead ", errand="rubbish"),
    Point(QUEUE, "a sweep looks for the dead", place=f"{QUEUES}:SqliteTransport.sweep", upto=6),
    Point(QUEUE, "one who may be dead is looked at", place=f"{QUEUES}:SqliteTransport._take_over_if_dead", upto=6),
    Point(QUEUE, "a task's death is counted", r"UPDATE messages SET deaths ", errand="deadly task"),
    Point(QUEUE, "an instance's death is counted", r"UPDATE leases SET deaths = deaths ", errand="deadly workflow"),
    Point(QUEUE, "an instance's deaths are forgiven", r"UPDATE leases SET deaths = 0 ", errand="deadly workflow"),
    Point(QUEUE, "an owner goes", r"DELETE FROM owners "),
    Point(QUEUE, "an owner's subscriptions go", r"DELETE FROM subscriptions WHERE owner = "),
    Point(QUEUE, "an owner's hints go", r"DELETE FROM messages WHERE owner = "),
    Point(QUEUE, "an owner's messages are free", r"UPDATE messages SET owner = 0 WHERE owner = "),
    Point(QUEUE, "an owner's leases go", r"DELETE FROM leases WHERE owner = "),
    Point(QUEUE, "an owner's leases that count are free", r"UPDATE leases SET owner = 0 WHERE owner = "),
    # --- timers whose holder is gone
    Point(TIMERS, "due timers are looked for", place="infinitic.storages.sqlite:SqliteStorage.claim_due_timers"),
    Point(TIMERS, "timers are claimed", r"many INSERT OR REPLACE INTO timers ", errand="orphans"),
    # --- what has expired; the labels go by the statement that a record's do
    Point(PURGE, "a purge is asked for", place="infinitic.storages.sqlite:SqliteStorage.purge", errand="bygones"),
    Point(PURGE, "an instance's turns are purged", r"DELETE FROM turns WHERE workflow_id = \?$", errand="bygones"),
    Point(PURGE, "an instance's runs are purged", r"DELETE FROM runs WHERE workflow_id = \?$", errand="bygones"),
    Point(PURGE, "an instance's timers are purged", r"DELETE FROM timers WHERE workflow_id = \?$", errand="bygones"),
    Point(PURGE, "an instance's inbox is purged", r"DELETE FROM inbox WHERE workflow_id = \?$", errand="bygones"),
    Point(PURGE, "an instance's head is purged", r"DELETE FROM heads ", errand="bygones"),
    # --- a file that is opened: by whoever comes first it is made, by a newer release it is brought up
    Point(OPENING, "the file is looked at", r"PRAGMA (application_id|user_version)$"),
    Point(OPENING, "a connection is set up", r"PRAGMA (synchronous|fullfsync|journal_size_limit|query_only) = "),
    Point(OPENING, "the log is switched on", r"PRAGMA journal_mode = WAL$"),
    Point(
        OPENING, "a part of the schema is made", r"(--[^\n]*\s+|\s+)*(CREATE|ALTER|DROP|INSERT INTO (heads_2|labels))\s"
    ),
    Point(OPENING, "the file is made ours", r"PRAGMA application_id = "),
    Point(OPENING, "the version is written", r"PRAGMA user_version = "),
    # --- a worker that was asked to end
    Point(CLOSING, "the transport is closed", place=f"{QUEUES}:SqliteTransport.close"),
    Point(CLOSING, "a consumer is closed", place=f"{QUEUES}.consumer:SqliteConsumer.close", upto=3),
    Point(CLOSING, "a listener is closed", place=f"{QUEUES}.owners:Listener.close", upto=3),
    Point(CLOSING, "an owner leaves", place=f"{QUEUES}.owners:Presence.leave", upto=3),
    Point(CLOSING, "the file is closed", place=f"{FILE}:SqliteFile.close"),
    Point(CLOSING, "the connections are closed", place=f"{FILE}:SqliteFile._close_connections"),
)
BY_NAME = {point.name: point for point in POINTS}
PATTERNS = {point.name: re.compile(point.statement, re.DOTALL) for point in POINTS if point.statement}


def of_stage(stage: str) -> list[Point]:
    return [point for point in POINTS if point.stage == stage]


@functools.cache
def told_by(statement: str) -> list[str]:
    """The points that a statement tells: one, if all is well."""
    return [name for name, pattern in PATTERNS.items() if pattern.match(statement)]


def whereabouts(place: str) -> tuple[Any, str]:
    """The module or class that has the function of a place, and the function's name."""
    module, _, path = place.partition(":")
    *owners, function = path.split(".")
    return functools.reduce(getattr, owners, import_module(module)), function


class Tripwire:
    """Sends this process *how* when *point* is reached for the *nth* time, and notes in *folder* that it was."""

    def __init__(self, folder: Path, point: str = "", moment: str = BEFORE, nth: int = 1, how: int = signal.SIGKILL):
        self._folder, self._armed, self._nth, self._how = folder, (point, moment), nth, how
        self._mutex = threading.Lock()
        self.passed: Counter[tuple[str, str]] = Counter()

    def set_up(self) -> None:
        """From here on all that this process does is watched."""
        trip, unknown = self.pass_through, self._note_unknown

        class Watched(sqlite3.Connection):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                return _between(
                    trip, _known(statement, unknown), lambda: super(Watched, self).execute(statement, *values)
                )

            def executemany(self, statement: str, values: Any) -> sqlite3.Cursor:
                rows = list(values)
                name = _known(f"many {statement}", unknown) if rows else ""
                return _between(trip, name, lambda: super(Watched, self).executemany(statement, rows))

        sqlite3.connect = functools.partial(sqlite3.connect, factory=Watched)  # type: ignore[assignment]
        for point in POINTS:
            if point.place:
                self._watch(point.name, *whereabouts(point.place))

    def _watch(self, name: str, owner: Any, function: str) -> None:
        original = getattr(owner, function)

        @functools.wraps(original)
        def watched(*args: Any, **named: Any) -> Any:
            return _between(self.pass_through, name, lambda: original(*args, **named))

        setattr(owner, function, watched)

    def pass_through(self, name: str, moment: str) -> None:
        with self._mutex:
            self.passed[name, moment] += 1
            if (name, moment) != self._armed or self.passed[name, moment] != self._nth:
                return
        (self._folder / f"{os.getpid()}.reached").write_text(f"{moment} {name}")
        os.kill(os.getpid(), self._how)

    def _note_unknown(self, statement: str) -> None:
        with (self._folder / "unknown").open("a") as file:
            file.write(f"{statement!r} is told by {told_by(statement)}\n")


def _known(statement: str, unknown: Callable[[str], None]) -> str:
    names = told_by(statement)
    if not statement.strip():
        return ""
    if len(names) != 1:
        unknown(statement)
        return ""
    return names[0]


def _between(trip: Callable[[str, str], None], name: str, call: Callable[[], T]) -> T:
    if not name:
        return call()
    trip(name, BEFORE)
    answer = call()
    trip(name, AFTER)
    return answer
