"""Plans: what clients want of the instances of one world, and the scripts by which they see to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from attrs import Factory, frozen

from dsl.calls import Query
from infinitic.client import calls
from infinitic.client.awaited import Awaited
from infinitic.client.calls import Given, Request
from infinitic.client.operations import Operation
from infinitic.errors import StorageError, TransportError
from infinitic.events import (
    CancelRequested,
    ResumeRequested,
    Retried,
    SuspendRequested,
    TagsChanged,
    TerminateRequested,
    TimersCompleted,
)
from infinitic.messages import Reply
from tests.simulation import wild
from tests.simulation.chance import Chance
from tests.simulation.client import Client
from tests.simulation.programs import MOODS, Play, Program, block
from tests.simulation.witness import check

Script = Iterator[str]
SENDERS = ("ada", "bob")


@frozen
class Plan:
    """One instance: its program, what is sent to it, and how it ends."""

    id: str
    program: Program
    rest: list[Program] = Factory(list)
    senders: dict[str, int] = Factory(dict)  # how many signals each sends
    calls: list[tuple[str, int]] = Factory(list)
    queries: int = 0
    ending: str = "completes"  # completes, cancelled, terminated, retried, raises, restarted, twice
    pauses: int = 0  # how often somebody suspends it and has it resumed
    delay: int = 0  # seconds
    certain: bool = False  # whether the starter wants to know that it has begun
    wild: bool = False

    @classmethod
    def drawn(cls, chance: Chance, id: str) -> Plan:
        """A plan; the smallest choices make the simplest."""
        if chance.one_in(3):
            return cls(id, wild.drawn(chance, 1 + chance.below(8)), wild=True)
        size = 1 + chance.below(3)
        program = block(chance, 2, size)
        rest = [block(chance, 1, chance.below(2)) for _ in range(chance.choice((0, 0, 0, 1, 3)))]
        senders = {name: chance.below(3) for name in SENDERS[: chance.below(3)]}
        calls = [] if rest else [(chance.choice(("plus", "add")), chance.below(5)) for _ in range(chance.below(3))]
        endings = ("completes", "completes", "cancelled", "terminated", "retried", "raises", "restarted", "twice")
        ending = chance.choice(endings)
        pauses, delay = chance.choice((0, 0, 1, 3)), chance.choice((0, 0, 0, 2))
        return cls(id, program, rest, senders, calls, chance.below(3), ending, chance.below(2) == 1, pauses, delay)

    @property
    def steps(self) -> list[Program]:
        """The programs of all its runs, with what they wait for from outside."""
        first, *rest = [self.program, *self.rest]
        total = sum(self.senders.values()) + bool(self.calls)  # "go" comes when all calls are answered
        last = [["receive", total]] if total else []
        ends = {
            "cancelled": [["forever"]],
            "terminated": [["forever"]],
            "retried": [["moody", self.id]],
            "raises": [["raise"]],
        }
        last += ends.get(self.ending, [])
        return [first, *rest[:-1], [*rest[-1], *last]] if rest else [[*first, *last]]


def starting(client: Client, plan: Plan) -> Script:
    """Start the instance, and see it to its end."""
    steps = plan.steps
    call = Play.run(steps[0], steps[1:], [])
    call = call.options(delay=plan.delay) if plan.delay else call
    stopped = {"cancelled": CancelRequested, "terminated": TerminateRequested}.get(plan.ending)
    certain = plan.certain or plan.senders or plan.calls or plan.pauses or stopped is not None
    request, awaited = client.session.begin(call, Given(plan.id, if_exists="fail" if certain else "attach"))
    if certain:
        reply = yield from _answer(client, request)
        check(reply.status == "received", "a start is received", plan.id, reply)
        client.world.begun.add(plan.id)
    else:
        yield from _sending(client, request)
    if plan.ending == "twice":
        again, _ = client.session.begin(call, Given(plan.id))
        yield from _sending(client, again)
    if stopped is not None:
        yield from _others(client, plan)
        reply = yield from _answer(client, asked(client, "Play", stopped(calls.new_id()), plan.id))
        check(reply.status == "received", "an end is received", plan.id, reply)
    reply = yield from _end(client, awaited)
    if plan.ending == "retried":
        reply = yield from _retrying(client, plan, awaited, reply)
    if plan.ending == "restarted":
        yield from _others(client, plan)
        reply = yield from _restarting(client, plan)
    client.world.heard[plan.id] = (reply.status, bytes(reply.value))


def _retrying(client: Client, plan: Plan, awaited: Awaited, reply: Reply) -> Iterator[str]:
    check(reply.status == "failed", "a run fails with its task", plan.id, reply)
    awaited.tell(reply)
    MOODS[plan.id] = True
    answer = yield from _answer(client, asked(client, "Play", Retried(calls.new_id()), plan.id))
    check(answer.status == "received", "a retry is received", plan.id, answer)
    client.session.waits.forget(answer)
    return (yield from _end(client, awaited))


def _restarting(client: Client, plan: Plan) -> Iterator[str]:
    call = Play.run([["one", ["work", 40]]], [], ["restarted"])
    request, awaited = client.session.begin(call, Given(plan.id, if_exists="restart"))
    reply = yield from _answer(client, request)
    check(reply.status == "received", "a restart is received", plan.id, reply)
    return (yield from _end(client, awaited))


def calling(client: Client, plan: Plan) -> Script:
    """Call methods, each when the one before was answered; then say so."""
    yield from _begun(client, plan)
    for name, number in plan.calls:
        call = getattr(Play.by_id(plan.id), name)(number)
        request, awaited = client.session.begin(call, Given())
        yield from _sending(client, request)
        reply = yield from _end(client, awaited)
        expected = number + (name == "add")
        check(reply.status == "completed" and bytes(reply.value) == str(expected).encode(), "a call is answered", reply)
    yield from _signalling(client, plan, "go", 1)


def pausing(client: Client, plan: Plan) -> Script:
    """Suspend it and have it resumed, again and again: nothing comes of that in the end."""
    yield from _begun(client, plan)
    for _ in range(plan.pauses):
        for event in (SuspendRequested(calls.new_id()), ResumeRequested(calls.new_id())):
            yield from _pause(client)
            reply = yield from _answer(client, asked(client, "Play", event, plan.id))
            known = ("received", "finished", "refused")  # a broken release cannot go on by that
            check(reply.status in known, "a pause is received", plan.id, event, reply)


def sending(client: Client, plan: Plan, sender: str) -> Script:
    """Send signals, in order."""
    yield from _begun(client, plan)
    for number in range(1, plan.senders[sender] + 1):
        yield from _signalling(client, plan, sender, number)


def _signalling(client: Client, plan: Plan, sender: str, number: int) -> Iterator[str]:
    answered = client.world.chance.below(2) == 1
    request = client.session.signal(Play.by_id(plan.id).signals.send([sender, number]), answered=answered)
    if not answered:
        yield from _sending(client, request)
        return
    reply = yield from _answer(client, request)
    check(reply.status == "received", "a signal is received", plan.id, sender, number, reply)


def asking(client: Client, plan: Plan) -> Script:
    """Ask for the total, at any time: there is always an answer."""
    for _ in range(plan.queries):
        yield from _pause(client)
        question: Query[Any] = Play.by_id(plan.id).total()
        reply = yield from _answer(client, client.session.request(question))
        check(reply.status in ("completed", "unknown", "failed"), "a query is answered", plan.id, reply)


def stirring(client: Client, plan: Plan) -> Script:
    """Start a wild instance, and do this and that to it; nobody knows what will be answered."""
    chance = client.world.chance
    call = wild.Wild.main(plan.program)
    call = call.options(delay=3) if chance.one_in(4) else call
    request, _ = client.session.begin(call, Given(plan.id, ("wild",)))
    if chance.one_in(4):
        request, _ = client.session.begin_with(wild.Wild.by_id(plan.id).red.send(-1), call, plan.id)
    yield from _sending(client, request)
    made: list[str] = []
    for number in range(chance.below(12)):
        yield from _pause(client)
        it = wild.Wild.by_id(plan.id)
        kind = chance.choice(KINDS)
        if kind in ("red", "blue", "all"):
            channel = wild.Wild.by_tag("wild").red if kind == "all" else getattr(it, kind)
            request = client.session.signal(channel.send(number), answered=False)
        elif kind in ("quick", "other"):
            call = it.quick() if kind == "quick" else it.other(number, wild.drawn(chance, 2))
            request, _ = client.session.begin(call, Given())
            made.append(request.call_id)
        elif kind == "seen":
            request = client.session.request(it.seen())
        elif kind == "restart":
            request, _ = client.session.begin(wild.Wild.main(plan.program), Given(plan.id, if_exists="restart"))
        else:
            call_id = chance.choice(made) if kind.endswith("a call") and made else ""
            request = asked(client, "Wild", OPERATIONS[kind](calls.new_id(), call_id), plan.id)
        yield from _sending(client, request)


OPERATIONS: dict[str, Callable[[str, str], Operation]] = {
    "retry": lambda id, _: Retried(id),
    "retry tasks": lambda id, _: Retried(id, tasks=True),
    "cancel": lambda id, _: CancelRequested(id),
    "cancel a call": CancelRequested,
    "complete timers": lambda id, _: TimersCompleted(id),
    "complete timers of a call": TimersCompleted,
    "terminate": lambda id, _: TerminateRequested(id),
    "suspend": lambda id, _: SuspendRequested(id),
    "resume": lambda id, _: ResumeRequested(id),
    "tag": lambda id, _: TagsChanged(id, ("odd",)),
    "take tags": lambda id, _: TagsChanged(id, (), ("wild", "odd")),
}
KINDS = ("red", "blue", "all", "quick", "other", "seen", "restart", *OPERATIONS)


def asked(client: Client, workflow: str, event: Operation, id: str) -> Request:
    """What asks an instance for an operation."""
    return client.session.writer.operation(event, workflow, id, "it")


# --- parts of scripts: each yields what it waits for ---


def _pause(client: Client) -> Iterator[str]:
    for _ in range(client.world.chance.below(8)):
        yield "nothing"


def _others(client: Client, plan: Plan) -> Iterator[str]:
    """Until all scripts are through that need the instance to go on."""
    while not client.others_done(plan.id):
        yield f"the others of {plan.id}"


def _begun(client: Client, plan: Plan) -> Iterator[str]:
    while plan.id not in client.world.begun:
        yield f"the start of {plan.id}"


def _sending(client: Client, request: Request) -> Iterator[str]:
    """Publish; again, the very same, when it is not certain that the broker holds it."""
    while True:
        try:
            client.session.publish(request)
            return
        except TransportError:
            yield "the broker"


def _answer(client: Client, request: Request) -> Iterator[str]:
    """Publish, and wait for the answer to the message itself."""
    awaited = client.session.expect_answer(request)
    yield from _sending(client, request)
    return (yield from _end(client, awaited))


def _end(client: Client, awaited: Awaited) -> Iterator[str]:
    """Wait as `Session.wait` does."""
    while awaited.news is None:
        with client.session.waits.waiting(awaited):
            try:
                client.session.waits.freshen(awaited)
            except (StorageError, TransportError):
                yield "the storage"
                continue
            while awaited.news is None:
                yield f"the answer of {awaited.workflow_id}: {awaited.label}"
    return awaited.news
