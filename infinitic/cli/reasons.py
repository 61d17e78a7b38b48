"""Reasons in words: why an instance stands where it stands, as one paragraph, and the commands that help."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from shlex import quote
from typing import TypeAlias

from infinitic.cli import words
from infinitic.engine.alone import ALONE
from infinitic.events import ErrorValue, Frame
from infinitic.records import COMPLETED, FAILED, OPEN, RUNNING, SUSPENDED, TERMINATED
from infinitic.story import Link, Note, NotTakenUp, Reasons, Step, Story, Wanted
from infinitic.transports import Traffic
from infinitic.worker.exports import IMPORTED

Advice: TypeAlias = tuple[str, str]
"""A command, without `infinitic`, and what it does."""

SHOWN = 3
HELPS = 2
SOON = 5 * words.SECOND
"""For so long it is no news that a turn's outputs are not known to be sent."""
EVENTS: Mapping[str, str] = {
    "started": "start",
    "completed": "task answer",
    "attempt_failed": "failed attempt",
    "task_started": "begun attempt",
    "heartbeat": "heartbeat",
    "fired": "timer",
    "signal": "signal",
    "call": "method call",
    "cancel": "cancellation",
    "answered": "answer of another instance",
    "retried": "retry",
    "terminate": "termination",
    "complete_timers": "completion of timers",
    "tags": "change of tags",
}


def paragraph(why: Reasons | NotTakenUp, now: int) -> tuple[str, str]:
    """Who it is about, and what is said of it after that."""
    if isinstance(why, NotTakenUp):
        return f"{why.workflow} {why.workflow_id}", _not_taken_up(why, now)
    story = why.story
    if story.status == RUNNING:
        said = [*_waits(why, now), *_cancelling(story, now), *_orphaned(why, now)]
    elif story.status == SUSPENDED:
        said = [*_suspended(why, now), *_orphaned(why, now)]
    else:
        said = [*_ended(why, now)]
    return f"{story.workflow} {story.workflow_id}", " ".join(said)


def advice(why: Reasons | NotTakenUp) -> list[Advice]:
    """What helps, the best first."""
    if isinstance(why, NotTakenUp):
        if why.holder or (why.traffic is not None and why.traffic.consumers):
            return [(f"why {quote(why.workflow_id)}", "asks again")]
        return [_worker_of(why.workflow)]
    return list(dict.fromkeys(_helps(why)))[:HELPS]


# ------------------------------------------------------------------------------------------- not taken up


def _not_taken_up(why: NotTakenUp, now: int) -> str:
    said = f"was started {_when(why.sent, now)}, and no worker has taken it up yet: "
    if why.holder:
        return f"{said}its start has come to {why.holder}, which serves {why.workflow}."
    if why.traffic is not None and why.traffic.consumers:
        return f"{said}its start waits in the queue, and {_served(why.traffic)} {why.workflow}."
    return f"{said}its start waits in the queue. {_unserved('workflow', why.workflow, why.traffic)}".rstrip()


# ------------------------------------------------------------------------------------------------ running


def _waits(why: Reasons, now: int) -> Iterable[str]:
    if why.story.begins:
        yield f"has not begun yet: its code is {_due(why.story.begins, now)}."
        return
    if not why.wanted:
        idle = not (why.coming or why.unsent or why.inbox)
        cause = ": its branches wait for each other" if idle else " that is known"
        yield f"is running, and waits for nothing{cause}. It last went on {_when(why.since, now)}."
        return
    first, *rest = why.wanted[:SHOWN]
    stack = first.step.stack
    yield f"has waited for {_what(first.step)} {_lasting(first.step.asked, now)}{_at(stack)}."
    yield from _detail(first, now)
    if rest:
        others = [f"{_what(one.step)}{_state(one, now)}{_elsewhere(one.step, stack)}" for one in rest]
        yield f"Besides, it waits for {_listed(others, why.story.waiting - SHOWN)}."


def _cancelling(story: Story, now: int) -> Iterable[str]:
    """What an instance waits for that was cancelled, it waits for in its cleanup."""
    asked = [one.at for one in story.methods[0].nodes if isinstance(one, Note) and one.kind == "cancel"]
    if asked:
        yield f"Its cancellation was asked for {_when(asked[0], now)}."


def _what(step: Step) -> str:
    match step.kind:
        case "timer":
            return f"a timer of {words.duration(step.delay)}" if step.delay is not None else "a timer"
        case "receive":
            return f"a signal in the channel {step.label}{f' ({step.which})' if step.which else ''}"
        case "child":
            return f"its child {step.owner} {step.workflow_id}"
        case "call":
            return f"the method {step.label} of {step.workflow_id}"
    return words.call(step.label, step.arguments, 100)


def _at(stack: tuple[Frame, ...]) -> str:
    if not stack:
        return ""
    source = f": `{words.shortened(stack[-1].source, 100)}`" if stack[-1].source else ""
    return f", at {words.short_path(stack[-1].file)}:{stack[-1].line} in {stack[-1].function}{source}"


def _elsewhere(step: Step, stack: tuple[Frame, ...]) -> str:
    return (
        f" (at {words.short_path(step.stack[-1].file)}:{step.stack[-1].line})" if step.stack not in ((), stack) else ""
    )


def _detail(one: Wanted, now: int) -> Iterable[str]:
    """What else is to be said of the wait that lasts longest."""
    step = one.step
    if step.kind == "timer":
        yield f"It is {_due(step.due, now)}."
    if step.kind == "task":
        yield from _attempts(step, now)
        yield from _progress(one)
        yield from _limits(step, now)
    if one.chain:
        yield f"{'The child' if step.kind == 'child' else 'That one'} {_chain(one.chain, now)}."


def _attempts(step: Step, now: int) -> Iterable[str]:
    last = step.attempts[-1] if step.attempts else None
    if last is None or last.error is None:
        return
    where = f" on {last.worker}" if last.worker else ""
    how = "timed out" if last.status == "timed_out" else "failed"
    said = f"Attempt {last.number} {how} {words.ago(last.ended, now)}{where}: {words.error(last.error)}"
    said += _raised(last.error)
    yield f"{said}; attempt {step.attempt + 1} is {_due(step.next_at, now)}." if step.next_at else f"{said}."


def _limits(step: Step, now: int) -> Iterable[str]:
    if step.wait is None:
        return
    if step.wait.heard:
        yield f"Its attempt was last heard of {words.ago(step.wait.heard, now)}."
    for name, when in step.wait.deadlines.items():
        yield f"Its {name} is {_due(when, now)}."


def _raised(error: ErrorValue) -> str:
    stack = words.own_frames(error.stack)
    return f" (raised{_at(stack).removeprefix(',')})" if stack else ""


def _progress(one: Wanted) -> Iterable[str]:
    """Where the attempt of a task is, as far as it is known."""
    step, traffic = one.step, one.traffic
    attempt = f"Attempt {step.attempt}" if step.attempt > 1 else "It"
    if step.stopped:
        yield "Its cancellation was sent."
    elif step.task_id:
        yield f"Its function has returned, and it waits for client.complete({step.task_id!r}, …)."
    elif one.runs:
        yield f"{attempt} runs in {one.holder}."
    elif one.holder:
        yield f"{attempt} is next in {one.holder}, which is busy with others."
    elif traffic is not None and not traffic.consumers:
        yield _unserved("service", step.owner, traffic)
    elif one.queued and traffic is not None:
        yield f"{attempt} waits in the queue: {_served(traffic)} {step.owner}, and {_queued(traffic, 'task')}."


def _state(one: Wanted, now: int) -> str:
    """The same of another wait, in a few words."""
    step = one.step
    if step.kind == "timer":
        return f" ({words.due(step.due, now)})"
    if step.kind == "task" and step.next_at:
        last = step.attempts[-1].error if step.attempts else None
        failed = f": {words.error(last, words.LONG)}" if last is not None else ""
        return f", attempt {step.attempt + 1} of which is {words.due(step.next_at, now)}{failed}"
    if step.task_id:
        return ", which somebody is to complete"
    if step.kind == "task" and one.runs:
        return f", which runs in {one.holder}"
    if step.kind == "task" and one.traffic is not None and not one.traffic.consumers:
        return f", but no worker serves {step.owner}"
    return f", which {_stands(one.chain[0], now)}" if one.chain else ""


def _listed(items: list[str], more: int) -> str:
    items = [*items, f"{more} more"] if more > 0 else items
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


# ------------------------------------------------------------------------------------------ other instances


def _chain(chain: tuple[Link, ...], now: int) -> str:
    """How the others stand, down to the one that holds up all above it."""
    below = (*(f" {one.workflow_id}" for one in chain[1:]), "")
    return ", which ".join(_stands(one, now, id) for one, id in zip(chain, below, strict=True))


def _stands(one: Link, now: int, below: str = "") -> str:
    unserved = one.traffic is not None and not one.traffic.consumers
    served = f" (no worker serves {one.workflow} just now)" if unserved else ""
    if not one.status:
        return f"has not been taken up by a worker yet{served}"
    if one.status == SUSPENDED:
        reason = words.reason(one.reason, one.workflow_id).rstrip(".")
        return f"is suspended{served}: {words.shortened(reason, 200)}"
    if one.status not in OPEN:
        return f"is {one.status}: its answer is on the way"
    return f"waits for {words.wait(one.wait, now)}{below}{served}" if one.wait is not None else f"is running{served}"


# ----------------------------------------------------------------------------------------- who is not there


def _orphaned(why: Reasons, now: int) -> Iterable[str]:
    story = why.story
    if why.traffic is not None and not why.traffic.consumers:
        coming = f" ({words.counted(why.coming, 'message')} so far)" if why.coming else ""
        yield f"No worker serves the workflow {story.workflow} just now: what comes for it waits in the queue{coming}."
    if why.unsent and now - story.updated > SOON:
        turns = "the last turn sends" if why.unsent == 1 else f"the last {why.unsent} turns send"
        yield f"What {turns} is not known to be sent: the next worker that serves {story.workflow} sees to it."
    if why.inbox and story.status == RUNNING:
        yield f"What is in its inbox ({_inbox(why)}) waits to be applied."


def _unserved(what: str, name: str, traffic: Traffic | None) -> str:
    if traffic is None:
        return ""
    waiting = f"; {_queued(traffic, 'task' if what == 'service' else 'message')} for one" if traffic.waiting else ""
    return f"No worker serves the {what} {name} just now{waiting}."


def _served(traffic: Traffic) -> str:
    return "1 worker serves" if traffic.consumers == 1 else f"{traffic.consumers} workers serve"


def _queued(traffic: Traffic, noun: str) -> str:
    return f"{words.counted(traffic.waiting, noun)} {'waits' if traffic.waiting == 1 else 'wait'}"


def _inbox(why: Reasons) -> str:
    return ", ".join(words.counted(number, EVENTS.get(kind, f"{kind} event")) for kind, number in why.inbox.items())


# ------------------------------------------------------------------------------------- suspended and ended


def _suspended(why: Reasons, now: int) -> Iterable[str]:
    story = why.story
    reason = words.reason(story.reason, story.workflow_id).rstrip(".")
    yield f"has been suspended {_lasting(why.since, now)}: {reason}."
    if not _is_imported(story):
        yield _goes_on(why)
    if why.wanted:
        first = why.wanted[0].step
        yield f"Before, it waited for {_what(first)}{_at(first.stack)}."


def _is_imported(story: Story) -> bool:
    """Whether it is only a picture of one that goes on elsewhere: to resume it would do everything twice."""
    return IMPORTED in story.reason


def _goes_on(why: Reasons) -> str:
    what = f"what waits in its inbox ({_inbox(why)})" if why.inbox else "the next event for it"
    when = "somebody resumes it" if why.by_hand else f"a worker starts that has other code of {why.story.workflow}"
    return f"Nothing is lost: it goes on with {what} once {when}."


def _ended(why: Reasons, now: int) -> Iterable[str]:
    story = why.story
    took = f"after {words.duration(story.ended - story.started)}"
    verb = {COMPLETED: "completed", FAILED: "failed", TERMINATED: "was terminated"}.get(
        story.status, f"was {story.status}"
    )
    said = f"{verb} {_when(why.since, now)}, {took}"
    if story.status == COMPLETED:
        yield f"{said}, and returned {words.value(why.value, 200) if why.value != 'null' else 'nothing'}."
    elif why.error is not None and story.status == FAILED:
        yield f"{said}: {words.error(why.error)}{_raised(why.error)}."
        yield from _culprit(why)
        if not story.reason:
            yield "Nothing will try it again by itself."
    else:
        given = why.error.fields.get("reason") if why.error is not None else None
        yield f"{said}: {given}." if given else f"{said}."
    if story.reason:
        reason = words.reason(story.reason, story.workflow_id).rstrip(".")
        yield f"What came after that waits in its inbox ({_inbox(why)}) and cannot be applied: {reason}."
    if story.late:
        are = "command is" if story.late == 1 else "commands are"
        yield f"{story.late} {are} still under way, and nobody waits for the answer."


def _culprit(why: Reasons) -> Iterable[str]:
    """The step that failed the run, or else the cause of its error."""
    step, error = why.culprit, why.error
    if step is not None:
        last = step.attempts[-1] if step.attempts else None
        attempt = f"attempt {last.number} of " if last is not None and last.number > 1 else ""
        where = f" on {last.worker}" if last is not None and last.number else ", by hand" if last is not None else ""
        yield f"It comes from {attempt}{_what(step)}{where}{_raised(step.error) if step.error is not None else ''}."
    elif error is not None and error.cause is not None:
        yield f"It was caused by {words.error(error.cause)}{_raised(error.cause)}."


# ------------------------------------------------------------------------------------------- what helps


def _helps(why: Reasons) -> Iterable[Advice]:
    story, id = why.story, quote(why.story.workflow_id)
    if story.status == SUSPENDED or story.reason:
        yield from _resumes(why, id)
    elif story.status == FAILED:
        yield f"retry {id}", "goes on where it failed"
        if why.culprit is not None and why.culprit.workflow_id:
            yield f"why {quote(why.culprit.workflow_id)}", "tells how that failed"
    elif story.status == COMPLETED:
        yield f"result {id}", "prints what it returned"
    elif story.status == RUNNING:
        if why.traffic is not None and not why.traffic.consumers:
            yield _worker_of(story.workflow)
        for one in why.wanted[:SHOWN]:
            yield from _helps_with(one, id)
    yield f"show {id}", "shows all its steps"


def _resumes(why: Reasons, id: str) -> Iterable[Advice]:
    if not why.by_hand:
        yield _worker(f"with code of {why.story.workflow} that fits")
    elif not _is_imported(why.story):
        yield f"resume {id}", "lets it go on"


def _helps_with(one: Wanted, id: str) -> Iterable[Advice]:
    step = one.step
    if step.task_id:
        yield f"complete {step.task_id} VALUE", f"answers {step.label}"
    elif step.kind == "task" and one.traffic is not None and not one.traffic.consumers:
        yield _worker(f"a module that implements {step.owner}")
    elif step.kind == "receive":
        kind = step.wait.expects if step.wait is not None else ""
        what = f"gives it the signal, of type {kind}" if kind not in ("", "Any") else "gives it the signal"
        yield f"signal {id} {quote(step.label)} VALUE", what
    elif one.chain:
        yield f"why {quote(one.chain[-1].workflow_id)}", "tells more of what holds it up"


def _worker_of(workflow: str) -> Advice:
    return _worker(
        "a module that holds any workflow" if workflow == ALONE else f"a module that holds the workflow {workflow}"
    )


def _worker(what: str) -> Advice:
    return "worker MODULE", what


def _lasting(since: int, now: int) -> str:
    return f"for {words.duration(now - since)} (since {words.instant(since)})"


def _due(when: int, now: int) -> str:
    return f"{words.due(when, now)} ({words.instant(when)})"


def _when(when: int, now: int) -> str:
    return f"{words.ago(when, now)} ({words.instant(when)})"
