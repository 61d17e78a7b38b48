"""Reasons: why an instance stands where it stands, as facts. Pure: storage and queues were read before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from attrs import evolve, frozen

from infinitic.events import AnyEvent, ErrorValue, Started
from infinitic.messages import Delivery, Message, decode_message, event_of
from infinitic.records import BY_HAND, OPEN, RUNNING, SUSPENDED, StateRecord, Stored, Wait
from infinitic.story.nodes import Step, Story
from infinitic.topics import WORKFLOW, service_topic, workflow_topic
from infinitic.transports import OnTheWay, Traffic

Serving = Mapping[str, Traffic | None]
"""How topics stand, by their names; None, or no entry, where that is not known."""


@frozen
class Link:
    """Another instance that is waited for. *status* is "" until a worker has taken it up.

    *wait* is what it waits for itself while it runs, the longest of *waiting*. *traffic* is of its workflow's topic.
    """

    workflow: str
    workflow_id: str
    status: str = ""
    reason: str = ""
    wait: Wait | None = None
    waiting: int = 0
    traffic: Traffic | None = None


@frozen
class Wanted:
    """One thing that is waited for. *traffic* is of the topic of whoever is to answer.

    *holder* is who has the attempt of the task, and *runs* says that it is at work on it; *queued* that nobody has
    it. *chain* leads from the instance that is to answer down to the one that holds up all those above it.
    """

    step: Step
    traffic: Traffic | None = None
    holder: str = ""
    runs: bool = False
    queued: bool = False
    chain: tuple[Link, ...] = ()


@frozen
class Reasons:
    """Why an instance stands where it stands, *since* when.

    *wanted* is what it waits for, the longest first. *traffic* is of its workflow's topic, *coming* counts the
    messages for it that are on their way. *inbox* counts by kind the events that could not be applied when they came,
    *unsent* the turns whose outputs are not known to be sent. *culprit* is the step that failed the run, if it was one.
    *by_hand* says that somebody suspended it.
    """

    story: Story
    since: int
    wanted: tuple[Wanted, ...] = ()
    traffic: Traffic | None = None
    coming: int = 0
    inbox: Mapping[str, int] = {}
    unsent: int = 0
    value: str = "null"
    error: ErrorValue | None = None
    culprit: Step | None = None
    by_hand: bool = False


@frozen
class NotTakenUp:
    """An instance whose start is on its way, since *sent*; *holder* is who is about to take it up."""

    workflow: str
    workflow_id: str
    sent: int
    holder: str = ""
    traffic: Traffic | None = None


# ------------------------------------------------------------------------------------- what is to be read


def waited_for(story: Story) -> list[Step]:
    """The steps that an open instance waits for, the longest first."""
    steps = [step for step in story.steps if step.status == "waiting" and step.wait is not None]
    return sorted(steps, key=lambda step: step.asked) if story.status in OPEN else []


def topic_of(step: Step) -> str:
    """Where somebody must serve so that there is an answer; "" for what needs nobody."""
    if step.kind == "task":
        return service_topic(step.owner)
    return workflow_topic(step.owner) if step.kind in ("child", "call") else ""


def link(workflow: str, workflow_id: str, record: StateRecord | None, traffic: Traffic | None) -> Link:
    """What is said of another instance, by its record, if it has one yet."""
    if record is None:
        return Link(workflow, workflow_id, traffic=traffic)
    waits = sorted(record.waits, key=lambda one: one.since) if record.status == RUNNING else []
    return Link(
        record.workflow, workflow_id, record.status, record.reason, next(iter(waits), None), record.waiting, traffic
    )


def start_of(workflow_id: str, way: Iterable[OnTheWay]) -> NotTakenUp | None:
    """The instance whose start is among these messages on their way to it."""
    for one in way:
        event = _event(one.message) if one.topic.startswith(WORKFLOW) else None
        if isinstance(event, Started):
            return NotTakenUp(event.workflow, workflow_id, event.sent or one.message.at, one.holder)
    return None


# ---------------------------------------------------------------------------------------------- reasoning


def explain(
    stored: Stored, story: Story, serving: Serving, way: Sequence[OnTheWay], chains: Mapping[str, tuple[Link, ...]]
) -> Reasons:
    """Why the stored instance stands where it stands: its *story*, and what was read for it.

    *way* are the messages with its key, *chains* the instances that it waits for, by position.
    """
    wanted = [_wanted(step, story, serving, way, chains) for step in waited_for(story)]
    record = stored.record
    error = record.error if record.status not in OPEN else None
    return Reasons(
        story,
        _since(record, wanted),
        tuple(wanted),
        serving.get(workflow_topic(story.workflow)),
        len({_identity(one.message) for one in way if _is_event_for(story.workflow, one)}),
        Counter(_kind(decode_message(item.body)) for item in stored.inbox),
        _unsent(stored),
        bytes(record.value).decode(errors="replace"),
        error,
        _culprit(story, error),
        record.status == SUSPENDED and record.fingerprint == BY_HAND,
    )


def _since(record: StateRecord, wanted: Sequence[Wanted]) -> int:
    if record.status == RUNNING:
        return wanted[0].step.asked if wanted else record.updated
    return record.updated if record.status == SUSPENDED else record.ended


def _wanted(
    step: Step, story: Story, serving: Serving, way: Sequence[OnTheWay], chains: Mapping[str, tuple[Link, ...]]
) -> Wanted:
    found = Wanted(step, serving.get(topic_of(step)), chain=chains.get(step.position, ()))
    attempt = ("task", story.run, step.position, step.attempt)
    for one in way:
        message = one.message
        if (message.kind, message.run, message.position, message.attempt) == attempt:
            return evolve(found, holder=one.holder, runs=one.runs, queued=not one.holder)
    return found


def _culprit(story: Story, error: ErrorValue | None) -> Step | None:
    """The last step whose error is among the causes of *error*."""
    causes = set()
    while error is not None:
        causes.add((error.type, error.message))
        error = error.cause
    failed = (step for step in reversed(story.steps) if step.error is not None and not step.late)
    return next((step for step in failed if step.error and (step.error.type, step.error.message) in causes), None)


def _unsent(stored: Stored) -> int:
    version, mark = stored.version, stored.mark
    return len(stored.unsent) + version.turns - (mark.turns if mark.run == version.run else 0)


def _is_event_for(workflow: str, one: OnTheWay) -> bool:
    return one.topic == workflow_topic(workflow) and one.message.kind == "event"


def _identity(message: Message) -> tuple[str, str, str, int]:
    """What a message has in common with its repetitions: a client that waits sends the same again and again."""
    return message.id, message.run, message.position, message.attempt


def _kind(message: Message) -> str:
    event = _event(message)
    return "unreadable" if event is None else str(type(event).__struct_config__.tag)


def _event(message: Message) -> AnyEvent | None:
    try:
        return event_of(Delivery("", message)) if message.kind == "event" else None
    except msgspec.DecodeError:
        return None
