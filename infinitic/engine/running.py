"""Running: the loop that resumes generators, issues what they yield, and goes on until everything waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Raw

from dsl.combinators import All, Combinator, First, Gather, Race, Settle, Timeout
from dsl.deferreds import Deferred
from dsl.errors import Cancelled, ProtocolError
from dsl.inlines import ContinueAsNew
from dsl.protocol import is_flow, no_event_loop, wrong_return, wrong_yield
from infinitic.engine.branches import Branch, stack_of
from infinitic.engine.ending import (
    branch_cancelled,
    branch_raised,
    branch_returned,
    close_quietly,
    continue_run,
)
from infinitic.engine.instance import Instance
from infinitic.engine.issuing import ISSUE as SIMPLE
from infinitic.engine.issuing import checked_arguments, issued_at, place, start_options
from infinitic.engine.joins import RULES
from infinitic.engine.settling import joined
from infinitic.engine.slots import COMPLETED, RUNNING, BranchSlot, JoinSlot, Slot
from infinitic.events import ErrorValue, Started
from infinitic.history import ContinueIssued
from infinitic.ids import derived_run
from infinitic.serialization import canonical, rebuild


def drain(instance: Instance) -> None:
    """Resume every branch that can go on, in the order in which their answers came."""
    ready = instance.ready
    while ready and not instance.ended:
        branch, slot = ready.popleft()
        if branch.path not in instance.branches:
            continue
        if branch.cancelling:
            branch.cancelling = False
            run(instance, branch, None, Cancelled())
        elif slot is not None and slot.status == COMPLETED:
            run(instance, branch, slot.value, None)
        elif slot is not None:
            run(instance, branch, None, slot.error())


def run(instance: Instance, branch: Branch, value: Any, error: BaseException | None) -> None:
    """Resume the branch with an answer or an error, until it waits or ends."""
    previous, instance.current = instance.current, branch
    fatal: BaseException | None = None
    try:
        while True:
            try:
                yielded = branch.generator.send(value) if error is None else branch.generator.throw(error)
            except StopIteration as stop:
                if fatal is None and _driven(branch, stop.value):
                    value, error = None, None
                    continue
                _stopped(instance, branch, stop.value, fatal)
                return
            except BaseException as raised:
                _raised(instance, branch, raised, fatal)
                return
            if instance.divergence is not None:
                raise instance.divergence
            if fatal is not None:
                close_quietly(branch.generator)
                branch_raised(instance, branch, fatal)
                return
            if branch.cancelling:
                branch.cancelling = False
                value, error = None, Cancelled()
                continue
            slot, fatal = _asked(instance, branch, yielded)
            if slot is None:
                if fatal is None:
                    return  # the run goes on as a new one
                value, error = None, fatal
            elif slot.status == RUNNING:
                slot.observers.append(branch)
                branch.waiting = slot
                return
            else:
                value, error = (slot.value, None) if slot.status == COMPLETED else (None, slot.error())
    finally:
        instance.current = previous


def _driven(branch: Branch, value: Any) -> bool:
    """A returned generator or coroutine is run in place of the one that returned it."""
    if not is_flow(value):
        return False
    branch.generator = value
    return True


def _stopped(instance: Instance, branch: Branch, value: Any, fatal: BaseException | None) -> None:
    if instance.divergence is not None:
        raise instance.divergence
    wrong = fatal or wrong_return(value, instance.program.name)
    if wrong is not None:
        branch_raised(instance, branch, wrong)
    else:
        branch_returned(instance, branch, value)


def _raised(instance: Instance, branch: Branch, error: BaseException, fatal: BaseException | None) -> None:
    if instance.divergence is not None:
        raise instance.divergence
    if isinstance(error, Cancelled) and fatal is None:
        branch_cancelled(instance, branch)
        return
    if not isinstance(error, Exception) and not isinstance(error, Cancelled | SystemExit | GeneratorExit):
        raise error
    hint = no_event_loop(error)
    if hint:
        error.add_note(hint)
    branch_raised(instance, branch, fatal if fatal is not None else error)


def _asked(instance: Instance, branch: Branch, yielded: Any) -> tuple[Slot | None, BaseException | None]:
    """The slot of what was yielded, or the error for yielding it; neither when the run was continued as new."""
    if isinstance(yielded, ContinueAsNew):
        return None, _continued(instance, branch, yielded)
    try:
        return issue(instance, branch, yielded), None
    except Exception as error:
        return None, error


def issue(instance: Instance, branch: Branch, command: Any) -> Slot:
    """Issue whatever may be yielded. Raises `ProtocolError` for what may not, and `Diverged`."""
    function = ISSUE.get(type(command))
    if function is not None:
        return function(instance, branch, command)
    if is_flow(command):
        return spawn(instance, branch, command)
    stack = stack_of(branch.generator, instance.surroundings.source)
    where = f"{stack[-1].file}:{stack[-1].line}" if stack else instance.program.name
    if stack and stack[-1].source:
        where += f": `{stack[-1].source}`"
    raise wrong_yield(command, where)


def spawn(instance: Instance, branch: Branch, flow: Any) -> BranchSlot:
    """Run a generator or coroutine beside *branch*, at once until it waits."""
    child = Branch(branch.prefix + "b" + place(branch).rpartition(".")[2], flow, branch.method, instance.at)
    child.shielded = branch.shielded
    instance.branches[child.path] = child
    run(instance, child, None, None)
    return child.slot


def compensate(instance: Instance, branch: Branch, flow: Any) -> None:
    """Run undos beside *branch*, which settles only after them; a cancellation leaves them alone."""
    branch.undos += 1
    child = Branch(branch.prefix + "b" + place(branch).rpartition(".")[2], _undoing(flow), branch.method, instance.at)
    child.shielded = True
    child.undoes = branch
    instance.branches[child.path] = child
    run(instance, child, None, None)


def _undoing(flow: Any) -> Any:
    return (yield from flow)


def issue_join(instance: Instance, branch: Branch, command: Combinator[Any]) -> Slot:
    """Ask for every item of a combinator, and wait as it says."""
    rule, losers = RULES[type(command)]
    items = [issue(instance, branch, item) for item in command.items]
    join = JoinSlot(items, rule, losers, instance.at)
    join.names = getattr(command, "names", ())
    if not items:
        joined(instance, join, -1)
    for index, item in enumerate(items):
        if join.status != RUNNING:
            break
        if item.status != RUNNING:
            joined(instance, join, index)
        else:
            item.observers.append((join, index))
    return join


def issue_deferred(instance: Instance, branch: Branch, deferred: Deferred[Any]) -> Slot:
    """Wait for what was dispatched before."""
    return deferred.slot  # type: ignore[return-value]  # only the engine makes deferreds


def _continued(instance: Instance, branch: Branch, command: ContinueAsNew) -> BaseException | None:
    """End the run in favour of the next; the error why it cannot be, or None."""
    if len(instance.methods) > 1 or branch.method.branch is not branch or branch.method.ordinal != 0:
        return ProtocolError(
            "continue_as_new() works in the run's first method only, outside spawned branches, "
            "and when no other method runs: wait for them first."
        )
    call = command.call
    definition = call.definition
    if definition.owner != instance.program.name:
        return ProtocolError(f"continue_as_new() goes on as {instance.program.name}, not as {definition.owner}")
    asked = checked_arguments(instance, definition, call.arguments)
    if isinstance(asked, ErrorValue):
        return rebuild(asked)
    issued = _continue_issued(instance, branch, command, asked)
    close_quietly(branch.generator)
    continue_run(instance, _next_start(instance, issued))
    return None


def _continue_issued(instance: Instance, branch: Branch, command: ContinueAsNew, asked: bytes) -> ContinueIssued:
    call = command.call
    method = "" if call.definition.kind == "workflow" else call.definition.name
    signature = instance.surroundings.codec.signature(call.definition)

    def same(old: ContinueIssued) -> bool:
        data = bytes(old.arguments)
        return old.method == method and (
            data == asked or canonical(data, signature.arguments_type) == canonical(asked, signature.arguments_type)
        )

    def make(position: str) -> ContinueIssued:
        run_id = derived_run(instance.run, position)
        return ContinueIssued(
            position, instance.program.name, run_id, method, Raw(asked), start_options(call.given)
        )

    issued, _ = issued_at(instance, branch, command, ContinueIssued, same, make)
    return issued


def _next_start(instance: Instance, issued: ContinueIssued) -> Started:
    old = instance.started
    assert old is not None
    options = issued.options
    return Started(
        id=f"{issued.run}",
        workflow=issued.workflow,
        run=issued.run,
        method=issued.method,
        arguments=issued.arguments,
        tags=tuple(options.get("tags", old.tags)),
        meta={**old.meta, **options.get("meta", {})},
        caller=old.caller,
        root=old.root,
        reply_to=old.reply_to,
        timeout=options.get("timeout", old.timeout),
        version=old.version,
        previous=instance.run,
        signals=tuple(signal for mailbox in instance.mailboxes.values() for signal in mailbox),
        senders=tuple(instance.senders),
    )


ISSUE: dict[type, Callable[[Instance, Branch, Any], Slot]] = {
    **SIMPLE,
    Deferred: issue_deferred,
    Gather: issue_join,
    All: issue_join,
    First: issue_join,
    Race: issue_join,
    Settle: issue_join,
    Timeout: issue_join,
}
