"""Watching: turns are made as ever, and what their code does that it must not do is told with file and line.

Three looks: an audit hook of the interpreter (files, sockets, processes, sleeps, imports); a profile function of the
stepping thread (clocks, chance, commands that nobody yields); and each turn is replayed at once, which finds what
else is not the same twice. For development and tests: a worker that does not watch has none of it.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from types import FrameType, TracebackType
from typing import Any, Literal, TypeVar

from attrs import define, frozen

from dsl.commands import Command
from dsl.deferreds import Deferred
from dsl.inlines import Inline
from infinitic.engine import turns
from infinitic.engine.instance import Diverged, Instance, Refusal, Surroundings
from infinitic.errors import ConfigurationError, InfiniticError, NonDeterminismError
from infinitic.events import AnyEvent, Retried
from infinitic.history import Turn, encode_turn
from infinitic.storages import Storage
from infinitic.worker.applying import Applier
from infinitic.worker.deeds import EVENTS, REPLAY, UNUSED, Finding, of_call, of_entry, of_event
from infinitic.worker.source import source_line, whose

T = TypeVar("T")

Mode = Literal["off", "warn", "error"]
MODES = ("off", "warn", "error")
MARK = "+watch"
"""Ends the fingerprint of code under `watch="error"`: who does not watch may go on with what that suspends."""
KEPT = 1_000
"""How many instances are replayed beside: those that moved last."""
YIELDED = Command.__iter__.__code__

log = logging.getLogger("infinitic.worker")


def checked_mode(mode: str) -> str:
    """*mode* itself. Raises `ConfigurationError` for what is none."""
    if mode not in MODES:
        raise ConfigurationError(f"watch = {mode!r} is not known", 'It is "off", "warn" or "error".')
    return mode


class Here(threading.local):
    """Who looks at what runs in this thread."""

    look: Look | None = None


# The interpreter keeps an audit hook for good, so there is one a process, which asks who looks.
HERE = Here()


@cache
def install() -> None:
    """Have the interpreter tell; once a process."""
    sys.addaudithook(_audit)


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event in EVENTS and HERE.look is not None:
        HERE.look.event(event, args, sys._getframe(1))


def unwatched(run: Callable[[Inline[Any]], T]) -> Callable[[Inline[Any]], T]:
    """*run*, which may do everything: nobody looks meanwhile."""

    def inside(command: Inline[Any]) -> T:
        look, profile = HERE.look, sys.getprofile()
        HERE.look = None
        sys.setprofile(None)
        try:
            return run(command)
        finally:
            HERE.look = look
            sys.setprofile(profile)

    return inside


@frozen
class Made:
    """A command that the user's code has made, and nobody yielded yet."""

    command: Command[Any]
    file: str
    line: int

    def finding(self) -> Finding:
        label = getattr(self.command, "label", "a command")
        return Finding(self.file, self.line, f"made {label}, which nobody yielded", UNUSED)


class Look:
    """What the code of one turn is found to do. When it is *strict*, what is not mild ends the turn at once."""

    def __init__(self, instance: Instance, made: dict[int, Made], strict: bool) -> None:
        self._instance, self._made, self._strict = instance, made, strict
        self.findings: list[Finding] = []

    def __enter__(self) -> None:
        self._before = HERE.look, sys.getprofile()
        HERE.look = self
        sys.setprofile(self._profile)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        HERE.look, profile = self._before
        sys.setprofile(profile)

    def event(self, event: str, args: tuple[Any, ...], frame: FrameType) -> None:
        """The interpreter's audit tells of something."""
        HERE.look = None  # what is done to look at it is not looked at
        try:
            self._keep(of_event(event, args, frame))
        finally:
            HERE.look = self

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            self._keep(of_call(arg, frame))
        elif event == "call":
            self._keep(of_entry(frame))
            if _is_language(frame):
                self._given(frame.f_locals.values())
        elif event == "return" and isinstance(arg, Command) and not isinstance(arg, Deferred):
            self._came(frame, arg)

    def _keep(self, finding: Finding | None) -> None:
        if finding is None:
            return
        self.findings.append(finding)
        if self._strict and not finding.deed.mild:
            self._instance.divergence = refusal(self._instance, finding)
            raise self._instance.divergence

    # --- commands ---

    def _came(self, frame: FrameType, command: Command[Any]) -> None:
        """A function gave a command, or yielded it."""
        caller = frame.f_back
        if whose(frame.f_code.co_filename) == "user":
            self._made.pop(id(command), None)
        elif caller is not None and _is_language(frame) and frame.f_code is not YIELDED:
            file, line = caller.f_code.co_filename, caller.f_lineno
            if whose(file) == "user":
                self._made[id(command)] = Made(command, file, line)

    def _given(self, values: Iterable[Any]) -> None:
        """What the language is given is accounted for: yielded, dispatched, or part of something else."""
        for value in values:
            if isinstance(value, Command):
                self._made.pop(id(value), None)
            elif type(value) in (tuple, list):
                self._given(value)

    def dropped(self) -> list[Finding]:
        """The commands that nobody can yield any more."""
        gone = [key for key, made in self._made.items() if sys.getrefcount(made.command) <= 2]
        return [self._made.pop(key).finding() for key in gone]


def _is_language(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("dsl.")


def refusal(instance: Instance, finding: Finding) -> Diverged:
    """What suspends an instance for a finding."""
    return Diverged(InfiniticError(f"{instance.workflow_id}: {finding}"))


@define(eq=False)
class Beside:
    """What is kept for a live instance: another one that only replays (None once that has no use), and commands."""

    instance: Instance
    shadow: Instance | None
    made: dict[int, Made]


class Watch:
    """Makes turns as `engine.turns` does. *history* gives the stored turns of an instance's run."""

    def __init__(self, mode: str, surroundings: Surroundings, history: Callable[[str, str], Sequence[bytes]]) -> None:
        install()
        self._strict = mode == "error"
        self._surroundings, self._history = surroundings, history
        self._beside: OrderedDict[str, Beside] = OrderedDict()
        self._told: set[tuple[str, int, str]] = set()

    def apply(self, instance: Instance, event: AnyEvent, at: int) -> Turn | Refusal | None:
        """As `turns.apply`. Raises `Diverged` for what must not be, when that is an error."""
        beside = self._kept(instance)
        made, findings = self._looked_at(instance, beside.made, lambda: turns.apply(instance, event, at))
        if isinstance(made, Turn):
            self._replay(beside, made, again=not findings)
            if instance.ended:
                self._forget(instance.workflow_id)
        return made

    def retry(self, instance: Instance, bodies: Sequence[bytes], failed_turn: int, event: Retried, at: int) -> Turn:
        """As `turns.retry`."""
        self._forget(instance.workflow_id)
        return self._looked_at(instance, {}, lambda: turns.retry(instance, bodies, failed_turn, event, at))[0]

    def _looked_at(
        self, instance: Instance, commands: dict[int, Made], make: Callable[[], T]
    ) -> tuple[T, Sequence[Finding]]:
        look = Look(instance, commands, self._strict)
        try:
            with look:
                made = make()
        finally:
            self._tell(instance, look.findings)
        self._refuse(instance, look.findings)
        self._tell(instance, look.dropped())
        return made, look.findings

    def _refuse(self, instance: Instance, findings: Iterable[Finding]) -> None:
        """Raises `Diverged` for what was not mild, though the code may have swallowed that."""
        for finding in findings:
            if self._strict and not finding.deed.mild:
                turns.close(instance)
                raise refusal(instance, finding)

    def _tell(self, instance: Instance, findings: Iterable[Finding]) -> None:
        """Warn of each line and kind once; of what suspends the instance its reason tells."""
        for one in findings:
            key = (one.file, one.line, one.deed.kind)
            if key not in self._told and (one.deed.mild or not self._strict):
                self._told.add(key)
                about = {"workflow": instance.program.name, "workflow_id": instance.workflow_id}
                log.warning("%s", one, extra=about)

    # --- replay after each turn ---

    def _kept(self, instance: Instance) -> Beside:
        """What is kept beside a live instance; its shadow has all turns that it has."""
        beside = self._beside.get(instance.workflow_id)
        if beside is None or beside.instance is not instance:
            self._forget(instance.workflow_id)
            beside = self._beside[instance.workflow_id] = Beside(instance, self._shadow(instance), {})
        self._beside.move_to_end(instance.workflow_id)
        while len(self._beside) > KEPT:
            self._forget(next(iter(self._beside)))
        return beside

    def _shadow(self, instance: Instance) -> Instance | None:
        bodies = self._history(instance.workflow_id, instance.run) if instance.turns else ()
        shadow = Instance(instance.program, instance.workflow_id, self._surroundings)
        if len(bodies) != instance.turns:
            return None  # of turns that are not stored yet: from the next load on
        try:
            turns.replay(shadow, bodies)
        except Diverged:
            return None
        return shadow

    def _replay(self, beside: Beside, turn: Turn, *, again: bool) -> None:
        """Replay the turn; not one that was found to do what must not be done twice."""
        shadow, beside.shadow = beside.shadow, None
        if shadow is None:
            return
        if not again:
            turns.close(shadow)
            return
        try:
            turns.replay(shadow, [encode_turn(turn)])
        except Diverged as diverged:
            turns.close(shadow)
            self._differs(beside.instance, diverged.error)
        else:
            beside.shadow = shadow

    def _differs(self, instance: Instance, error: BaseException) -> None:
        if isinstance(error, NonDeterminismError):
            did = f"asked for {error.recorded} at {error.position}, and for {error.replayed} when replayed at once"
            finding = Finding(error.file, error.line, did, REPLAY)
        else:
            finding = Finding("", 0, str(error), REPLAY)
        self._tell(instance, [finding])
        self._refuse(instance, [finding])

    def _forget(self, workflow_id: str) -> None:
        beside = self._beside.pop(workflow_id, None)
        if beside is not None and beside.shadow is not None:
            turns.close(beside.shadow)


def watch_over(applier: Applier, mode: str, surroundings: Surroundings, storage: Storage) -> None:
    """Have *applier* make its turns under a watch. Inline functions of *surroundings* may do everything."""
    surroundings.run_inline = unwatched(surroundings.run_inline)
    own = Surroundings(surroundings.codec, source_line)
    watch = Watch(mode, own, lambda *of: [row.body for row in storage.history(*of)])
    applier.apply, applier.retry = watch.apply, watch.retry
