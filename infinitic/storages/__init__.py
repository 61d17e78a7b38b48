"""The `Storage` protocol: what keeps histories, state records, timers and inboxes.

A storage moves bytes and records and never sees a generator. All of it may be called from several threads at once.
Instants and durations are whole microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from infinitic.errors import StorageError, WorkflowInUse
from infinitic.records import Append, Filter, Mark, StateRecord, Stored, TimerRow, TurnRow, Version


class Due(Struct, frozen=True):
    """What a sweep claimed, in order of due, and the storage's clock when it did."""

    now: int
    timers: tuple[TimerRow, ...]


class Page(Struct, frozen=True):
    """Instances, newest start first; *after* goes into the next call, "" when this was the last page."""

    records: tuple[StateRecord, ...]
    after: str = ""


def token_of(record: StateRecord) -> str:
    """What `after` is of a page that ends with *record*."""
    return f"{record.started}:{record.workflow_id}"


def place_of(token: str) -> tuple[int, str]:
    """The start and the id that *token* was made of. Raises `StorageError`."""
    started, _, workflow_id = token.partition(":")
    try:
        return int(started), workflow_id
    except ValueError:
        raise StorageError(f"{token!r} is no place in a list", "Give what the page before had as `after`.") from None


class Past(Struct, frozen=True):
    """An ended instance: as of which *version*, when it *expires*, and whether its mark is *behind*."""

    record: StateRecord
    version: Version
    expires: int
    behind: bool = False


class Storage(Protocol):
    """What every storage does. Trouble with the storage itself raises `infinitic.errors.StorageError`."""

    def load(self, workflow_id: str, from_turn: int = 0, run: str = "") -> Stored | None:
        """The instance with the turns of its current run from number *from_turn* on, or None.

        When *run* is given and is not the current run, *from_turn* is taken as 0. Timers are those of the current
        run. `unsent` holds the turns of former runs that the mark has not passed.
        """

    def history(self, workflow_id: str, run: str) -> tuple[TurnRow, ...]:
        """All turns of one run, current or former; empty when there is none."""

    def records(self, workflow_ids: Sequence[str]) -> list[StateRecord | None]:
        """The state records of many instances in one round trip, in the order of the ids."""

    def append(self, batch: Sequence[Append]) -> list[bool]:
        """Write each append whose expected version still holds; True where it did.

        Each is atomic by itself, the batch needs not be. A lost race is a False, never an exception. An append that
        changes nothing reports whether the expected version holds. Two appends of one batch never name the same
        instance.
        """

    def claim_due_timers(self, workflows: Sequence[str], ahead: int, limit: int, lease: int) -> Due:
        """Claim up to *limit* timers of these workflows that are due within *ahead* from now.

        A timer is free when its `claimed_until` has passed. Claiming sets that to max(now, due) + *lease*; `due` never
        moves. Decided by the storage's own clock.
        """

    def offers(self, fingerprints: Mapping[str, str], behind_since: int, limit: int) -> list[tuple[str, str]]:
        """(workflow, workflow id) of instances that somebody should look at again, by workflow name → fingerprint.

        Those of these workflows with a non-empty inbox and a record whose fingerprint differs from the given one, but
        for what somebody suspended (`BY_HAND`); and those whose mark has been behind their turns since before the
        instant *behind_since*.
        """

    def find(self, where: Filter, limit: int, after: str = "") -> Page:
        """One page of at most *limit* instances, newest start first (then by id)."""

    def count(self, where: Filter) -> int:
        """How many instances there are."""

    def ended(self, where: Filter, limit: int, after: Past | None = None) -> tuple[Past, ...]:
        """At most *limit* ended instances, those first that expire first (then by id): those that follow *after*."""

    def remove(self, past: Sequence[Past]) -> list[bool]:
        """Remove these instances, their expiry notwithstanding; True where one went.

        One whose mark is behind stays. Compares the version while it deletes, so an instance that moved stays too.
        """

    def purge(self, now: int) -> int:
        """`remove` all whose `expires` lies before *now*; how many went."""

    def compact(self) -> int:
        """Give space that is not used any more back to the file system; how many bytes. 0 where a server sees to it."""

    def now(self) -> int:
        """The storage's clock."""

    def server_settings(self) -> Mapping[str, str]:
        """What the server is set to, by the names that it gives, and its "version"; empty where there is none."""

    def close(self) -> None:
        """Give everything back; further calls are an error."""


def purge_in_pages(storage: Storage, now: int, size: int = 200) -> int:
    """`Storage.purge` for those that remove what has expired page by page."""
    total, after = 0, None
    while page := [one for one in storage.ended(Filter(), size, after) if one.expires < now]:
        total, after = total + sum(storage.remove(page)), page[-1]
    return total


NO_TURNS = 1 << 31
"""More turns than a run has: who loads from here on loads none."""


def delete(storage: Storage, workflow_id: str) -> bool:
    """Remove one ended instance now, its expiry notwithstanding; whether there was one.

    Raises `WorkflowInUse` for one that has not ended, or whose mark is behind.
    """
    before = None
    while (stored := storage.load(workflow_id, NO_TURNS)) is not None:
        version, record = stored.version, stored.record
        if not record.ended or stored.mark != Mark(version.run, version.turns) or version == before:
            raise WorkflowInUse(record.workflow, workflow_id, record.status)
        if storage.remove([Past(record, version, expires=0)]) == [True]:
            return True
        before = version  # it went on meanwhile, or somebody else was faster
    return False
