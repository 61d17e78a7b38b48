"""Running: the loop that resumes generators, issues what they yield, and goes on until everything waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dsl.calls import MethodCall
from dsl.channels import Receive
from dsl.combinators import All, Combinator, First, Gather, Race, Settle, Timeout
from dsl.deferreds import Deferred
from dsl.errors import Cancelled, ProtocolError
from dsl.inlines import ContinueAsNew
from dsl.protocol import is_flow, misuse, wrong_return, wrong_yield
from infinitic.engine.branches import Branch, discard, is_fresh
from infinitic.engine.comparing import places_of
from infinitic.engine.continuing import continue_as_new
from infinitic.engine.ending import branch_ended, close_quietly
from infinitic.engine.instance import FAILURES, Instance
from infinitic.engine.issuing import ISSUE as SIMPLE
from infinitic.engine.joins import RULES
from infinitic.engine.receiving import issue_receive
from infinitic.engine.settling import cancel_branch, hold, joined
from infinitic.engine.slots import CANCELLED, COMPLETED, FAILED, RUNNING, JoinSlot, Slot

Answer = tuple[Any, BaseException | None]
"""What a branch is resumed with: a value, or an error to be thrown."""
NOTHING: Answer = (None, None)


def drain(instance: Instance) -> None:
    """Resume every branch that can go on, in the order in which their answers came."""
    ready = instance.ready
    while ready and instance.end is None:
        branch, slot = ready.pop(0)
        if branch.status != RUNNING or branch.outcome is not None:
            continue
        if branch.fatal is not None:
            run(instance, branch, (None, branch.fatal))
        elif branch.cancelling:
            branch.cancelling = False
            run(instance, branch, (None, Cancelled()))
        elif slot is not None:
            run(instance, branch, answer_of(slot))


def answer_of(slot: Slot) -> Answer:
    """What whoever awaits a settled slot is resumed with."""
    return (slot.value, None) if slot.status == COMPLETED else (None, slot.error())


def run(instance: Instance, branch: Branch, answer: Answer | None) -> None:
    """Resume the branch with an answer, until it waits or ends."""
    previous, instance.current = instance.current, branch
    branch.stack = None
    try:
        while answer is not None:
            value, error = answer
            try:
                yielded = branch.generator.send(value) if error is None else branch.generator.throw(error)
            except StopIteration as stop:
                answer = returned(instance, branch, stop.value)
            except BaseException as what:
                answer = raised(instance, branch, what)
            else:
                answer = asked(instance, branch, yielded)
    finally:
        instance.current = previous


def returned(instance: Instance, branch: Branch, value: Any) -> Answer | None:
    """The branch's code returned: a generator or coroutine is run in place of the one that returned it."""
    if instance.divergence is not None:
        raise instance.divergence
    if branch.fatal is None and is_flow(value):
        branch.generator = value
        return NOTHING
    wrong = branch.fatal or wrong_return(value, instance.program.name)
    branch_ended(instance, branch, COMPLETED if wrong is None else FAILED, value, wrong)
    return None


def raised(instance: Instance, branch: Branch, error: BaseException) -> Answer | None:
    """The branch's code raised."""
    if instance.divergence is not None:
        raise instance.divergence
    if not isinstance(error, FAILURES):
        raise error
    if branch.fatal is None and isinstance(error, Cancelled):
        branch_ended(instance, branch, CANCELLED)
        return None
    error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next  # without the engine's own frame
    branch_ended(instance, branch, FAILED, error=branch.fatal or misuse(error) or error)
    return None


def asked(instance: Instance, branch: Branch, yielded: Any) -> Answer | None:
    """What the branch is to be resumed with after it yielded; None when it waits or is over."""
    if instance.divergence is not None:
        raise instance.divergence
    if branch.fatal is None and not branch.cancelling:
        return _waits(instance, branch, yielded)
    discard(yielded)
    if branch.fatal is None:
        branch.cancelling = False
        return None, Cancelled()
    close_quietly(instance, branch.generator)
    branch_ended(instance, branch, FAILED, error=branch.fatal)
    return None


def _waits(instance: Instance, branch: Branch, yielded: Any) -> Answer | None:
    try:
        if type(yielded) is MethodCall:
            yielded.check_wait()
        continues = type(yielded) is ContinueAsNew
        slot = (continue_as_new if continues else issue)(instance, branch, yielded)
    except BaseException as error:
        discard(yielded)
        if not isinstance(error, Exception):
            raise
        branch.fatal = error
        return None, error
    if slot is None:  # the run goes on as a new one
        return None
    if slot.status != RUNNING:
        return answer_of(slot)
    slot.observers += (branch,)
    branch.waiting = slot
    if branch.cancelling:  # by a branch that ran just now
        cancel_branch(instance, branch)
    return None


def issue(instance: Instance, branch: Branch, command: Any) -> Slot:
    """Issue whatever may be yielded. Raises `ProtocolError` for what may not, and `Diverged`."""
    function = ISSUE.get(type(command))
    if function is not None:
        return function(instance, branch, command)
    if is_flow(command):
        return spawn(instance, branch, command)
    if type(command) is ContinueAsNew:
        raise ProtocolError(f"{command.label} ends the run: write `yield from {command.label}`, by itself.")
    place = places_of(instance, branch)[-1]
    source = f": `{place.source}`" if place.source else ""
    raise wrong_yield(command, f"{place.file}:{place.line}{source}")


def spawn(instance: Instance, branch: Branch, flow: Any) -> Branch:
    """Run a generator or coroutine beside *branch*, at once until it waits."""
    if not is_fresh(flow):
        raise ProtocolError(f"{flow!r} runs already or is over: call its function once more for another branch.")
    child = _child(instance, branch, flow)
    child.shielded = branch.shielded
    run(instance, child, NOTHING)
    return child


def compensate(instance: Instance, branch: Branch, flow: Any) -> None:
    """Run undos beside *branch*: it and its method settle only after them; they cannot be cancelled."""
    child = _child(instance, branch, flow)
    child.shielded = True
    hold(child, branch, branch.method.branch)
    run(instance, child, NOTHING)


def _child(instance: Instance, branch: Branch, flow: Any) -> Branch:
    number = branch.place().rpartition(".")[2]
    return new_branch(instance, f"{branch.prefix}b{number}", flow, branch.method)


def new_branch(instance: Instance, path: str, flow: Any, method: Any) -> Branch:
    """A branch that is among the instance's, and has not run yet."""
    branch = Branch(path, instance.at, generator=flow, method=method, prefix=f"{path}.")
    instance.branches[path] = branch
    return branch


def issue_join(instance: Instance, branch: Branch, command: Combinator[Any]) -> Slot:
    """Ask for every item of a combinator, and wait as it says."""
    rule, losers = RULES[type(command)]
    items = [issue(instance, branch, item) for item in command.items]
    names = command.names if isinstance(command, Race) else ()
    join = JoinSlot("", instance.at, items=items, rule=rule, losers=losers, left=len(items), names=names)
    if not items:
        joined(instance, join, -1)
    for index, item in enumerate(items):
        if join.status != RUNNING:
            break
        if item.status != RUNNING:
            joined(instance, join, index)
        else:
            item.observers += ((join, index),)
    return join


def issue_deferred(instance: Instance, branch: Branch, deferred: Deferred[Any]) -> Slot:
    """Wait for what was dispatched before."""
    slot: Any = deferred.slot  # only the engine makes deferreds
    instance.unseen = tuple(one for one in instance.unseen if one is not slot)
    return slot  # type: ignore[no-any-return]  # as above


ISSUE: dict[type, Callable[[Instance, Branch, Any], Slot]] = {
    **SIMPLE,
    Receive: issue_receive,
    Deferred: issue_deferred,
    Gather: issue_join,
    All: issue_join,
    First: issue_join,
    Race: issue_join,
    Settle: issue_join,
    Timeout: issue_join,
}
