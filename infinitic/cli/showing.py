"""Showing: a story as a tree of lines. Styles are hints; all that matters is in the text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from attrs import evolve
from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from infinitic.cli import words
from infinitic.events import ErrorValue, Frame
from infinitic.records import COMPLETED, RUNNING, SUSPENDED
from infinitic.serialization import meta_of
from infinitic.story import Attempt, Branch, Method, Node, Note, Step, Story, Together
from infinitic.story.nodes import NoteKind

DONE, BROKEN, OPEN, GONE, AGAIN = "✔", "✗", "●", "○", "↻"
STYLES = {DONE: "green", BROKEN: "red", OPEN: "cyan", GONE: "dim", AGAIN: "yellow"}
STATUS_STYLES = {
    RUNNING: "cyan",
    SUSPENDED: "bold yellow",
    COMPLETED: "green",
    "failed": "bold red",
    "cancelled": "magenta",
    "terminated": "magenta",
    "continued": "dim",
}
SAID = {
    RUNNING: "is running",
    SUSPENDED: "is suspended",
    "cancelled": "was cancelled",
    "terminated": "was terminated",
    "continued": "went on as a new run",
}
Grow: TypeAlias = Callable[[Tree, Sequence[Node], int], None]

FIRST, LAST = 10, 50
FRAMES = 5
CAUSES = 4


def shown(story: Story, now: int, *, everything: bool = True) -> RenderableType:
    """The story: a head, and a tree with one root a method. Long ones are folded unless *everything*."""
    parts: list[RenderableType] = [*_head(story, now), Text()]
    grow = _grow if everything else _grow_folded
    parts += [_method(method, story, now, grow) for method in story.methods]
    parts += _tail(story)
    return Group(*parts)


# --- head and tail ---


def _head(story: Story, now: int) -> Iterable[Text]:
    status = Text(SAID.get(story.status, story.status), style=STATUS_STYLES.get(story.status, ""))
    yield Text.assemble((f"{story.workflow} {story.workflow_id} ", "bold"), status)
    if story.reason:
        why = words.reason(story.reason, story.workflow_id)
        yield Text(f"  {words.shortened(why, 2_000)}", style="yellow")
    yield _facts("  ", _times(story, now), words.counted(story.turns, "turn"), *_relations(story))


def _times(story: Story, now: int) -> str:
    started = f"started {words.ago(story.started, now)} ({words.instant(story.started)})"
    return f"{started}, took {words.duration(story.ended - story.started)}" if story.ended else started


def _relations(story: Story) -> Iterable[str]:
    if story.tags:
        yield "tags " + ", ".join(story.tags)
    if story.meta:
        yield "meta " + ", ".join(f"{name}={one}" for name, one in meta_of(story.meta).items())
    if story.parent is not None:
        yield f"child of {story.parent.workflow} {story.parent.workflow_id}"
    if story.version > 1:
        yield f"version {story.version}"
    if story.previous:
        yield f"goes on from run {story.previous}"


def _tail(story: Story) -> Iterable[Text]:
    for signal in story.unreceived:
        data = words.value(bytes(signal.value).decode(errors="replace"))
        yield _line(OPEN, f"{signal.channel} holds {data}, which nothing has received yet")
    for channel, count in Counter(signal.channel for signal in story.dropped).items():
        yield _line(GONE, f"{channel} has dropped {words.counted(count, 'signal')}, for which nobody waited")
    if story.late:
        yield _line(OPEN, f"{story.late} under way although the run has ended: nobody waits for it")


# --- methods ---


def _method(method: Method, story: Story, now: int, grow: Grow) -> Tree:
    label = words.call(method.name or story.workflow, method.arguments, 100)
    called = f" · called {words.ago(method.started, now)}" if method.call_id else ""
    tree = Tree(Text.assemble((label, "bold"), (called, "dim")), guide_style="dim")
    grow(tree, method.nodes, now)
    if method.status != RUNNING:
        _end(tree, method)
    elif story.begins and not method.call_id:
        tree.add(_line(OPEN, f"its code is {words.due(story.begins, now)}", words.instant(story.begins)))
    elif not method.nodes:
        tree.add(_line(OPEN, "has asked for nothing yet"))
    return tree


def _grow_folded(tree: Tree, nodes: Sequence[Node], now: int) -> None:
    """As `_grow`, without what is done and neither among the first nor among the last."""
    middle = nodes[FIRST : max(FIRST, len(nodes) - LAST)]
    kept = [node for node in middle if not (isinstance(node, Step) and node.status == "completed")]
    _grow(tree, nodes[:FIRST], now)
    if len(kept) < len(middle):
        tree.add(Text(f"… {words.counted(len(middle) - len(kept), 'step')} more, done: --all", style="dim"))
    _grow(tree, [*kept, *nodes[FIRST + len(middle) :]], now)


def _end(tree: Tree, method: Method) -> None:
    took = words.duration(method.ended - method.started) if method.ended else ""
    if method.error is not None:
        end = tree.add(_line(BROKEN, words.error(method.error), f"after {took}" if took else "", style="bold red"))
        _trace(end, method.error)
    elif method.status == COMPLETED:
        tree.add(_line(DONE, f"returned {words.value(method.value, 200)}", f"after {took}" if took else ""))
    elif method.status != "continued":
        tree.add(_line(GONE, method.status, f"after {took}" if took else ""))


def _trace(node: Tree, error: ErrorValue) -> None:
    """Where an error came from, and what caused it."""
    _frames(node, words.own_frames(error.stack))
    for note in error.notes:
        node.add(Text(words.shortened(note, 200), style="dim"))
    cause, depth = error.cause, 0
    while cause is not None and depth < CAUSES:
        node = node.add(Text(f"caused by {words.error(cause)}", style="red"))
        _frames(node, words.own_frames(cause.stack))
        cause, depth = cause.cause, depth + 1


def _frames(node: Tree, stack: tuple[Frame, ...]) -> None:
    for frame in stack[-FRAMES:]:
        node.add(Text(f"raised at {words.place(frame)}", style="dim"))


# --- nodes ---


def _grow(tree: Tree, nodes: Iterable[Node], now: int) -> None:
    for node in nodes:
        match node:
            case Step():
                _step(tree, node, now)
            case Note():
                _note(tree, node)
            case Together():
                _together(tree.add(Text("side by side", style="dim")), node, now)
            case Branch():
                _grow(tree.add(Text(f"branch {node.path.rpartition('.')[2]}", style="dim")), node.nodes, now)


def _together(tree: Tree, node: Together, now: int) -> None:
    """Steps side by side; what waits at one place says so once."""
    stacks = {step.stack for step in node.nodes if isinstance(step, Step) and step.stack}
    if len(stacks) != 1:
        _grow(tree, node.nodes, now)
        return
    steps = [evolve(one, wait=None) if isinstance(one, Step) else one for one in node.nodes]
    _grow(tree, steps, now)
    _waits_at(tree, *stacks)


def _waits_at(tree: Tree, stack: tuple[Frame, ...]) -> None:
    for frame in stack[-FRAMES:]:
        tree.add(Text(f"waits at {words.place(frame)}", style="dim"))


NOTES: Mapping[NoteKind, tuple[str, str]] = {
    "cancel": (GONE, "its cancellation was asked for"),
    "timeout": (BROKEN, "the run took longer than its timeout"),
    "cleanup": (BROKEN, "its cleanup took longer than its timeout"),
    "terminate": (GONE, "its termination was asked for"),
    "timers": (DONE, "its timers were completed by hand"),
    "retried": (AGAIN, "the failure was taken back: retried by hand"),
    "again": (AGAIN, "its failed tasks were retried by hand"),
    "failed": (BROKEN, "failed"),
    "tags": (DONE, "tags {} · from outside"),
}


def _note(tree: Tree, note: Note) -> None:
    symbol, text = NOTES[note.kind]
    said = words.error(note.error) if note.error else text.format(note.text)
    node = tree.add(_line(symbol, said, words.instant(note.at)))
    if note.kind == "failed" and note.error is not None:
        _trace(node, note.error)


def _step(tree: Tree, step: Step, now: int) -> None:
    node = tree.add(_line(_symbol(step), _what(step), *_detail(step, now), style=_style(step)))
    if len(step.attempts) > 1 or step.status in ("waiting", "timed_out"):
        for attempt in step.attempts:
            _attempt(node, attempt)
    if step.error is not None:
        _trace(node, step.error)
    elif step.attempts and step.status == "waiting" and step.attempts[-1].error is not None:
        _frames(node, words.own_frames(step.attempts[-1].error.stack))
    _waits_at(node, step.stack)


def _symbol(step: Step) -> str:
    if step.status == "waiting":
        return AGAIN if step.next_at or len(step.attempts) >= step.attempt > 0 else OPEN
    return {"completed": DONE, "failed": BROKEN, "timed_out": BROKEN}.get(step.status, GONE)


def _style(step: Step) -> str:
    return {"withdrawn": "dim", "voided": "dim", "cancelled": "dim"}.get(step.status, "")


def _what(step: Step) -> str:
    """The command as it stands in the code, and its answer."""
    answer = f" → {words.value(step.value)}" if step.status == "completed" and step.value != "null" else ""
    failure = f": {words.error(step.error)}" if step.error is not None else ""
    match step.kind:
        case "timer":
            length = words.duration(step.delay) if step.delay is not None else words.instant(step.due)
            return f"{step.label}({length})"
        case "receive":
            return f"{step.label}.receive({step.which}){answer}{failure}"
        case "signal":
            return f"{step.label}.send({words.value(step.value)})"
        case "tags":
            return f"tags {step.label}"
        case "inline":
            return f"inline {step.label}{answer}"
        case "patch":
            return f'patched("{step.label}")'
        case "continue":
            return f"continues as new: {words.call(step.label, step.arguments)}"
    return f"{words.call(step.label, step.arguments)}{answer}{failure}"


def _detail(step: Step, now: int) -> Iterable[str]:
    """The facts beside: whose, how often, how long, until when."""
    if step.workflow_id:
        yield ("to " if step.kind == "signal" else "on " if step.kind == "call" else "id ") + step.workflow_id
    if step.to_tag:
        yield f"to all tagged {step.to_tag}"
    if step.kind == "continue":
        yield f"run {step.run}"
    if step.status == "waiting":
        yield from _waiting(step, now)
        return
    if len(step.attempts) > 1:
        yield words.counted(len(step.attempts), "attempt")
    if step.status in ("completed", "failed", "timed_out"):
        yield words.duration(step.duration) if not step.instant else ""
    else:
        yield {"withdrawn": "no longer wanted", "voided": "taken back by the retry"}.get(step.status, "cancelled")
    if step.late:
        yield "after the run had ended"


def _waiting(step: Step, now: int) -> Iterable[str]:
    if step.kind == "timer":
        yield f"{words.due(step.due, now)} ({words.instant(step.due)})"
        return
    if step.next_at:
        yield f"attempt {step.attempt + 1} {words.due(step.next_at, now)}"
    elif step.attempt > 1:
        yield f"attempt {step.attempt}"
    if step.stopped:
        yield "its cancellation was sent"
    if step.task_id:
        yield f"waits for client.complete({step.task_id!r}, …)"
    if step.wait is not None:
        yield from words.limits(step.wait, now)
    yield f"for {words.duration(now - step.asked)}"


def _attempt(tree: Tree, attempt: Attempt) -> None:
    took, where = words.duration(attempt.ended - attempt.began), f"on {attempt.worker}" if attempt.worker else ""
    if attempt.status == "ignored":
        tree.add(_line(GONE, f"attempt {attempt.number}: returned too late, and nothing came of it", took, where))
    if attempt.error is None:
        return
    how = "timed out" if attempt.status == "timed_out" else words.error(attempt.error)
    name = f"attempt {attempt.number}" if attempt.number else "by hand"
    next_in = f"again after {words.duration(attempt.next_at - attempt.ended)}" if attempt.next_at else ""
    tree.add(_line(BROKEN, f"{name}: {how}", took, where, next_in))


# --- lines ---


def _line(symbol: str, text: str, *facts: str, style: str = "") -> Text:
    line = Text.assemble((f"{symbol} ", STYLES[symbol]), (text, style))
    return line.append_text(_facts(" · " if any(facts) else "", *facts))


def _facts(before: str, *facts: str) -> Text:
    return Text.assemble((before + " · ".join(fact for fact in facts if fact), "dim"))
