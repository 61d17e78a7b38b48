"""Workflows of the simulation: programs in JSON, run by one workflow class, whose outcome no fault may change.

A program is a list of statements; each gives a note, and the run returns all notes. What a program may do is chosen
so that its notes follow from the program alone, in whatever order things come: a race has an entrant that cannot win,
signals of several senders are noted sorted, and methods that run beside add up.
"""

from __future__ import annotations

from typing import Any

from dsl import (
    Channel,
    Flow,
    Retry,
    Workflow,
    add_tags,
    compensations,
    continue_as_new,
    current_workflow,
    dispatch,
    first,
    gather,
    inline,
    method,
    patched,
    query,
    race,
    random,
    remove_tags,
    settle,
    sleep,
    spawn,
    task,
    timeout,
    uuid4,
    workflow,
)
from dsl.context import current_task
from dsl.errors import BranchCancelled, TaskFailed, WorkflowCancelled, WorkflowFailed
from tests.simulation.chance import Chance

Program = list[Any]
STEADY = Retry(max_attempts=4, initial=0.5, factor=2.0, jitter=0.0)
MOODS: dict[str, bool] = {}
"""Which moody tasks succeed by now."""


@task(retry=STEADY)
def add_one(number: int) -> int:
    return number + 1


@task(retry=STEADY)
def flaky(number: int, failures: int) -> int:
    """Fails as many attempts as it is told to."""
    if current_task().attempt <= failures:
        raise ConnectionError(f"attempt {current_task().attempt}")
    return number


@task(retry=Retry(max_attempts=100, initial=0.5, jitter=0.0), heartbeat=30, queue_timeout=100_000)
def watched(number: int) -> int:
    """Somebody waits to hear of it; an even one says nothing."""
    if number % 2:
        current_task().heartbeat(number)
    return number


@task(retry=Retry(max_attempts=2, initial=0.5, jitter=0.0))
def moody(key: str) -> str:
    """Fails until its mood changes."""
    if not MOODS.get(key):
        raise ConnectionError("not today")
    return "well"


@workflow
def leg(number: int) -> Flow[int]:
    """A child that is a function."""
    once = yield from add_one(number)
    yield from sleep(1)
    return (yield from add_one(once))


@workflow(name="leg", version=2)
def leg_2(number: int) -> Flow[int]:
    """Goes another way than before, to the same."""
    yield from sleep(0.5)
    once = yield from add_one(number)
    return (yield from add_one(once))


@workflow
def saga(number: int) -> Flow[str]:
    """What it has done is undone."""
    try:
        with compensations() as undo:
            undo(add_one(number))
            undo(add_one(number + 5))
            yield from flaky(0, 99)
    except TaskFailed:
        yield from sleep(0.1)
    return "undone"


class Play(Workflow):
    """Runs a program."""

    signals = Channel(list)
    tagged = Channel(str)
    never = Channel(int)
    asks = True  # an earlier release knew of no patch

    def __init__(self) -> None:
        self.added = 0
        self.last: dict[str, int] = {}

    @method
    def run(self, program: Program, rest: list[Program], before: list[Any]) -> Flow[list[Any]]:
        """The notes of *before*, of *program*, and of each of *rest*, which is a run of its own."""
        notes = before + (yield from self.block(program))
        if rest:
            yield from continue_as_new(Play.run(rest[0], rest[1:], notes))
        # ids are remembered for a run: a call that comes twice may come to the run before a restart and to the next
        return notes if before == ["restarted"] else [*notes, self.added]

    @method
    def add(self, number: int) -> Flow[int]:
        """Adds *number*, by way of a task."""
        more = yield from add_one(number)
        self.added += more
        return more

    @method
    def plus(self, number: int) -> int:
        """Adds *number* at once."""
        self.added += number
        return number

    @query
    def total(self) -> int:
        return self.added

    # --- statements ---

    def block(self, program: Program) -> Flow[list[Any]]:
        notes = []
        for node in program:
            notes.append((yield from getattr(self, f"do_{node[0]}")(*node[1:])))
        return notes

    def made(self, node: Program) -> Any:
        """The command or flow that a node stands for."""
        kind, *rest = node
        makers: dict[str, Any] = {
            "work": add_one,
            "flaky": flaky,
            "watched": watched,
            "leg": leg,
            "sleep": sleep,
            "never": self.never.receive,
            "block": self.block,
            "child": lambda program: Play.run(program, [], []),
        }
        return makers[kind](*rest)

    def do_one(self, node: Program) -> Flow[Any]:
        return (yield self.made(node))

    def do_gather(self, nodes: list[Program]) -> Flow[Any]:
        return list((yield gather(*map(self.made, nodes))))

    def do_settle(self, nodes: list[Program]) -> Flow[Any]:
        outcomes = yield settle(self.fatal(), *map(self.made, nodes))
        return [one.value if one.ok else type(one.error).__name__ for one in outcomes]

    def do_first(self, node: Program) -> Flow[Any]:
        return (yield first(self.never.receive(), self.made(node)))

    def do_race(self, node: Program) -> Flow[Any]:
        name, value = yield race(never=self.never.receive(), late=sleep(days=300), good=self.made(node))
        return [name, value]

    def do_timeout(self, seconds: int) -> Flow[Any]:
        try:
            return (yield timeout(self.never.receive(), seconds))
        except TimeoutError:
            return "too late"

    def do_dispatch(self, nodes: list[Program]) -> Flow[Any]:
        deferreds = [(spawn if node[0] == "block" else dispatch)(self.made(node)) for node in nodes]
        yield from sleep(0.5)
        return list((yield gather(*reversed(deferreds))))

    def do_spawn(self, program: Program, beside: Program) -> Flow[Any]:
        branch = spawn(self.block(program))
        notes = yield from self.block(beside)
        return [notes, (yield from branch)]

    def do_receive(self, count: int) -> Flow[Any]:
        """So many signals, each [sender, number]: of one sender they come in order."""
        got = []
        for _ in range(count):
            sender, number = yield from self.signals.receive(where=lambda signal: signal[1] > 0)
            if number <= self.last.get(sender, 0):
                got.append(["out of order", sender, number])
            self.last[sender] = number
            got.append([sender, number])
        return sorted(got)

    def do_fatal(self) -> Flow[Any]:
        try:
            return (yield from self.fatal())
        except TaskFailed as failed:
            return len(failed.attempts)

    def fatal(self) -> Flow[Any]:
        return (yield from flaky(0, 99).options(retry=Retry(max_attempts=2, initial=0.5, jitter=0.0)))

    def do_failing_child(self) -> Flow[Any]:
        try:
            return (yield from Play.run([["raise"]], [], []))
        except WorkflowFailed as failed:
            return str(failed.__cause__)

    def do_cancelled_child(self, program: Program) -> Flow[Any]:
        deferred = dispatch(Play.run([*program, ["forever"]], [], []))
        yield from sleep(1)
        deferred.cancel()
        try:
            return (yield from deferred)
        except WorkflowCancelled:
            return "cancelled"

    def do_cancelled_branch(self, number: int) -> Flow[Any]:
        def patient() -> Flow[None]:
            try:
                yield from self.never.receive()
            finally:
                yield from add_one(number)

        branch = spawn(patient())
        yield from sleep(0.2)
        branch.cancel()
        try:
            yield from branch
        except BranchCancelled:
            return "cancelled"
        return "went on"

    def do_saga(self, number: int) -> Flow[Any]:
        """In a run of its own, which ends only when all is undone."""
        return (yield from saga(number))

    def do_talk(self, number: int) -> Flow[Any]:
        """A child, signals to it and a call of its method."""
        name = str(uuid4())
        child = dispatch(Play.run([["receive", 2]], [], []).options(id=name))
        yield from Play.by_id(name).signals.send(["parent", 1])
        answer = yield from Play.by_id(name).plus(number)
        yield from Play.by_id(name).signals.send(["parent", 2])
        return [answer, (yield from child)]

    def do_by_tag(self, number: int) -> Flow[Any]:
        """A signal to all that have a tag, which are this one; several may wait for theirs at a time."""
        tag = str(uuid4())
        yield from add_tags(tag, "play")
        yield from Play.by_tag(tag).tagged.send("heard")
        heard = yield from self.tagged.receive()
        yield from remove_tags(tag)
        return [heard, tag in current_workflow().tags]

    def do_patched(self, number: int) -> Flow[Any]:
        if self.asks and patched("more"):
            yield from flaky(number, 0)
        return (yield from add_one(number))

    def do_inline(self, number: int) -> Flow[Any]:
        return (yield from inline(lambda: number))

    def do_entropy(self) -> Flow[Any]:
        yield from add_one(int(random() * 100))
        return "entropy"

    def do_moody(self, key: str) -> Flow[Any]:
        return (yield from moody(key))

    def do_many(self, count: int) -> Flow[Any]:
        return sum((yield from gather(*[add_one(one) for one in range(count)])))

    def do_raise(self) -> Flow[Any]:
        yield from add_one(1)
        raise ValueError("raised")

    def do_forever(self) -> Flow[Any]:
        try:
            return (yield from self.never.receive())
        finally:
            yield from add_one(7)


SERVICES = (add_one, flaky, watched, moody)
PLAIN = ("one", "one", "timeout", "fatal", "inline", "entropy", "saga", "cancelled_branch", "by_tag", "patched")
NESTED = ("gather", "settle", "first", "race", "dispatch", "spawn", "many", "failing_child", "cancelled_child", "talk")


def command(chance: Chance, depth: int) -> Program:
    """Something that ends by itself."""
    kinds = ["work", "flaky", "watched", "leg", "sleep"] + (["block", "child"] if depth > 0 else [])
    kind = chance.choice(kinds)
    if kind in ("block", "child"):
        return [kind, block(chance, depth - 1, chance.below(3))]
    if kind == "flaky":
        return [kind, chance.below(9), chance.below(4)]
    return [kind, chance.below(4)]


def commands(chance: Chance, depth: int) -> list[Program]:
    return [command(chance, depth) for _ in range(chance.below(4))]


def statement(chance: Chance, depth: int) -> Program:
    """One statement, which ends by itself."""
    kind = chance.choice((*PLAIN, *NESTED) if depth > 0 else PLAIN)
    makers: dict[str, Any] = {
        "one": lambda: [command(chance, depth)],
        "first": lambda: [command(chance, depth)],
        "race": lambda: [command(chance, depth)],
        "gather": lambda: [commands(chance, depth)],
        "settle": lambda: [commands(chance, depth)],
        "dispatch": lambda: [commands(chance, depth)],
        "spawn": lambda: [block(chance, depth - 1, chance.below(3)), block(chance, depth - 1, chance.below(3))],
        "cancelled_child": lambda: [block(chance, depth - 1, chance.below(2))],
        "many": lambda: [5 + chance.below(20)],
    }
    bare = ("fatal", "failing_child", "entropy")
    rest = makers[kind]() if kind in makers else [] if kind in bare else [chance.below(5)]
    return [kind, *rest]


def block(chance: Chance, depth: int, size: int) -> Program:
    return [statement(chance, depth) for _ in range(size)]
