"""The ambient context: what `dispatch`, `spawn`, `now()`, `random()` … of workflow code reach."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from contextvars import Token
from datetime import datetime
from typing import Any

from dsl.calls import check_id
from dsl.context import WORKFLOW, Context, CurrentWorkflow
from dsl.errors import OutsideWorkflow, ReadOnly
from infinitic.engine.branches import Branch, discard
from infinitic.engine.ending import close_branches
from infinitic.engine.instance import EVICTING, LIVE, QUERY, Diverged, Instance, LogLine
from infinitic.engine.receiving import issue_receive
from infinitic.engine.running import compensate, issue, spawn
from infinitic.engine.settling import cancel, unseen
from infinitic.engine.slots import COMPLETED, FAILED, Slot
from infinitic.events import to_datetime
from infinitic.history import PatchIssued
from infinitic.serialization import meta_of


class Ambient:
    """`dsl.context.Context` for one instance, whose code runs in `with Ambient(instance)`; `Diverged` gives it up.

    Meanwhile no garbage is collected: the cleanup of a generator that somebody dropped would run as this instance.
    """

    __slots__ = ("_collects", "_instance", "_token")

    def __init__(self, instance: Instance) -> None:
        self._instance = instance

    def __enter__(self) -> None:
        self._collects = gc.isenabled()
        gc.disable()
        self._token: Token[Context | None] = WORKFLOW.set(self)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is Diverged:
            close_branches(self._instance)
        WORKFLOW.reset(self._token)
        if self._collects:
            gc.enable()

    def _branch(self, what: str) -> Branch:
        instance = self._instance
        if instance.mode == QUERY:  # which may only read
            raise ReadOnly(what)
        if instance.mode == EVICTING or instance.current is None:
            raise OutsideWorkflow(what)
        return instance.current

    def issue(self, command: Any) -> Slot:
        """Ask for a command now, without waiting."""
        return self._shared(issue, "a command", command)

    def spawn(self, flow: Any) -> Slot:
        """Run a generator beside the present branch, from now on."""
        return self._shared(spawn, "a branch", flow)

    def _shared(self, ask: Callable[[Instance, Branch, Any], Slot], what: str, asked: Any) -> Slot:
        """The slot of what is *asked*, to which workflow code has a handle."""
        try:
            slot = ask(self._instance, self._branch(what), asked)
        except BaseException:
            discard(asked)
            raise
        slot.owned = False
        if slot.status == FAILED:
            unseen(self._instance, slot)
        return slot

    def compensate(self, flow: Any) -> None:
        """Run undos beside the present branch, which settles only after them."""
        compensate(self._instance, self._branch("a compensation"), flow)

    def cancel(self, slot: Slot) -> None:
        """Cancel what a deferred stands for."""
        self._branch("a cancellation")
        cancel(self._instance, slot)

    def drain(self, channel: str, type: Any) -> list[Any]:
        """All buffered signals of a channel, each recorded as a receive of its own; those before one that raises."""
        branch, mailbox = self._branch("a channel's signals"), self._instance.mailboxes.get(channel, [])
        values = []
        for signal in tuple(mailbox):
            slot = issue_receive(self._instance, branch, type.receive())
            if slot.status == COMPLETED:
                values.append(slot.value)
            elif not values:
                raise slot.error()
            else:
                mailbox.insert(0, signal)  # for the next: what came before it is not to be lost
                break
        return values

    def now(self) -> datetime:
        """The time of the present turn."""
        return to_datetime(self._instance.at)

    def random(self) -> random.Random:
        """The present branch's source of random numbers."""
        return self._branch("random numbers").random(self._instance.run)

    def patched(self, patch: str) -> bool:
        """Whether a change of the code holds in this run: as was said before, else as history says, else it does.

        A query, which may record nothing, is told what the next turn would be told.
        """
        instance, patches = self._instance, self._instance.patches
        if patch not in patches and instance.mode != QUERY:
            place = f"{self._branch('patched()').prefix}patch{len(patches)}"
            marker, recorded = PatchIssued(place, check_id(patch, "the id of a patch")), instance.draft.recorded
            if recorded is None:
                instance.draft.commands.append(marker)
            # by its name alone: other patches may have come before it since, and in other branches
            patches[patch] = recorded is None or patch in [getattr(one, "patch", "") for one in recorded.commands]
        return patches.get(patch, True)

    def log(self, level: int, message: str, args: tuple[Any, ...], extra: dict[str, Any]) -> None:
        """Keep a line, to be logged once the turn is stored; nothing while replaying."""
        if self._instance.mode == LIVE:
            self._instance.draft.logs += (LogLine(level, message, args, extra),)

    def about(self) -> CurrentWorkflow:
        """What workflow code may know of its instance."""
        instance = self._instance
        started = instance.started
        assert started is not None
        return CurrentWorkflow(
            id=instance.workflow_id,
            name=instance.program.name,
            run=instance.run,
            tags=frozenset(instance.tags),
            meta=meta_of(started.meta),
            parent=started.caller.workflow_id if started.caller is not None else None,
            root=started.root or instance.workflow_id,
        )
