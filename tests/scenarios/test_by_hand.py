"""By hand: instances that are terminated, suspended, resumed; timers completed; failed tasks run again."""

import gc
import sys

import pytest

from dsl import (
    Cancelled,
    Channel,
    Flow,
    Retry,
    Workflow,
    continue_as_new,
    dispatch,
    gather,
    method,
    query,
    sleep,
    task,
    timeout,
    workflow,
)
from infinitic.client import Client
from infinitic.errors import (
    InfiniticError,
    ReadOnly,
    TaskFailed,
    UnknownWorkflow,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowFinished,
    WorkflowTerminated,
)
from infinitic.events import to_datetime
from tests.scenarios.given import Gate, events, open_at, until

go = Channel(str, name="go")
cleaned: list[str] = []
broken: set[str] = set()
tried: list[str] = []
gates: list[Gate] = []


@task
def clean(what: str) -> None:
    cleaned.append(what)


@task(retry=Retry(max_attempts=1))
def charge(card: str) -> str:
    tried.append(card)
    if card in broken:
        raise LookupError(f"no money on {card}")
    return f"charged {card}"


@task
def hold() -> str:
    gates[-1].pass_through()
    return "let go"


@workflow
def patient() -> Flow[str]:
    try:
        return (yield from go.receive())
    finally:
        yield from clean("patient")


@workflow
def collecting(count: int) -> Flow[list[str]]:
    seen = []
    for _ in range(count):
        seen.append((yield from go.receive()))
    return seen


@pytest.fixture(autouse=True)
def fresh():
    for one in (cleaned, broken, tried):
        one.clear()


# --- terminate ---


def test_a_terminated_run_ends_at_once_and_none_of_its_code_runs(serve, client):
    serve(patient, clean)
    handle = client.start(patient(), id="p")
    until(lambda: client.count(patient))
    handle.terminate("the customer has left")

    with pytest.raises(WorkflowTerminated) as caught:
        handle.result(20)
    assert str(caught.value) == "patient 'p' was terminated: the customer has left"
    assert (caught.value.workflow_id, caught.value.reason) == ("p", "the customer has left")
    assert handle.status() == "terminated"
    assert events(handle.history()) == ["Started", "TerminateRequested"]
    assert cleaned == []


def test_terminating_twice_is_the_same_as_once_and_nothing_else_arrives_afterwards(serve, client):
    serve(patient, clean)
    handle = client.start(patient(), id="p")
    until(lambda: client.count(patient))
    handle.terminate()
    handle.terminate()

    with pytest.raises(WorkflowFinished):
        handle.cancel()
    with pytest.raises(WorkflowFinished):
        client.run(go.by_id("p").send("too late"))
    assert len(handle.history()) == 2


def test_an_instance_that_never_was_cannot_be_terminated(serve, client):
    serve(patient, clean)
    for operation in ("terminate", "suspend", "resume", "complete_timers"):
        with pytest.raises(UnknownWorkflow):
            getattr(client.get("nobody", patient), operation)()


@workflow
def parent(policy: str) -> Flow[str]:
    call = patient().options(id="kid")
    dispatch(call if policy == "default" else call.options(parent_close=policy))  # type: ignore[arg-type]
    yield from go.receive()
    return "done"


@pytest.mark.parametrize(
    ("end", "policy", "becomes"),
    [
        ("complete", "default", "running"),
        ("complete", "abandon", "running"),
        ("complete", "cancel", "cancelled"),
        ("complete", "terminate", "terminated"),
        ("cancel", "default", "cancelled"),
        ("cancel", "abandon", "running"),
        ("cancel", "terminate", "terminated"),
        ("terminate", "default", "cancelled"),
        ("terminate", "abandon", "running"),
        ("terminate", "terminate", "terminated"),
    ],
)
def test_a_child_becomes_what_its_policy_says_when_its_parent_ends(serve, client, end, policy, becomes):
    serve(parent, patient, clean)
    handle = client.start(parent(policy), id="p")
    until(lambda: client.count(patient))
    if end == "complete":
        client.run(go.by_id("p").send("on"))
    else:
        getattr(handle, end)()
    until(lambda: handle.status() not in ("running", "suspended"))

    kid = client.get("kid", patient)
    if becomes == "running":
        client.run(go.by_id("kid").send("still here"))
        assert kid.result(20) == "still here"
    else:
        until(lambda: kid.status() == becomes)
        assert cleaned == (["patient"] if becomes == "cancelled" else [])


@workflow
def failing_parent(policy: str) -> Flow[str]:
    kid = dispatch(patient().options(id="kid", parent_close=policy))  # type: ignore[arg-type]
    yield from go.receive()
    if broken:
        raise LookupError("broken")
    try:
        return (yield from kid)
    except WorkflowFailed as error:
        return str(error)
    except WorkflowCancelled as error:
        return str(error)


@pytest.mark.parametrize(("policy", "becomes"), [("cancel", "cancelled"), ("terminate", "terminated")])
def test_a_parent_that_is_retried_sees_what_its_failure_made_of_its_child(serve, client, policy, becomes):
    serve(failing_parent, patient, clean)
    broken.add("code")
    handle = client.start(failing_parent(policy), id="p")
    until(lambda: client.count(patient))
    client.run(go.by_id("p").send("on"))
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    until(lambda: "Answered" in events(handle.history()))
    broken.clear()
    handle.retry()

    assert handle.result(20).startswith(f"patient 'kid' was {becomes}")
    assert client.get("kid", patient).status() == becomes


def test_a_parent_sees_that_its_child_was_terminated(serve, client):
    serve(watching, patient, clean)
    handle = client.start(watching(), id="p")
    until(lambda: client.count(patient))
    client.get("kid", patient).terminate("by mistake")

    assert handle.result(20) == "patient 'kid' was terminated: by mistake"


@workflow
def watching() -> Flow[str]:
    try:
        return (yield from patient().options(id="kid"))
    except WorkflowFailed as error:
        return str(error)


RELEASE = """
from dsl import *

go = Channel(str, name="go")

@workflow
def parent(policy: str) -> Flow[str]:
    dispatch(patient().options(id="kid", parent_close=policy))
    return (yield from go.receive())

@workflow
def patient() -> Flow[str]:
    return (yield from go.receive())
"""
CHANGED = RELEASE.replace("    dispatch(", "    yield from sleep(1)\n    dispatch(")


def test_an_instance_whose_code_does_not_fit_can_be_terminated(serve, client, deploy):
    release = deploy(RELEASE)
    first = serve(release.parent, release.patient)
    handle = client.start(release.parent("terminate"), id="p")
    until(lambda: client.count(release.patient))
    first.close()
    changed = deploy(CHANGED)
    serve(changed.parent, changed.patient)
    client.start(go.by_id("p").send("this waits in the inbox"))
    until(lambda: handle.status() == "suspended")
    handle.terminate("it cannot be mended")

    with pytest.raises(WorkflowTerminated):
        handle.result(20)
    until(lambda: client.get("kid", release.patient).status() == "terminated")
    assert events(handle.history()) == ["Started", "TerminateRequested"]
    assert client.count(status="suspended") == 0


class Torn(BaseException):
    """What is no `Exception`."""


class Unready(Workflow):
    @method
    def run(self) -> Flow[str]:
        if broken:
            raise Torn
        return (yield from charge("visa"))

    @method
    def note(self, text: str) -> str:
        return text


@workflow
def parent_of_unready() -> Flow[str]:
    try:
        return (yield from Unready.run().options(id="u"))
    except WorkflowTerminated as error:
        return error.reason


def test_an_instance_whose_code_could_not_even_begin_can_be_terminated(serve, client):
    serve(parent_of_unready, Unready, charge)
    broken.add("code")
    parent = client.start(parent_of_unready(), id="p")
    until(lambda: client.count(Unready, status="suspended"))
    waits = client.start(Unready.by_id("u").note("too early"))
    handle = client.get("u", Unready.run)
    handle.terminate("nobody mends it")
    broken.clear()

    assert parent.result(20) == "nobody mends it"
    with pytest.raises(WorkflowTerminated):
        handle.result(20)
    with pytest.raises(WorkflowFinished):
        waits.result(20)
    with pytest.raises(WorkflowFinished):
        client.run(Unready.by_id("u").note("too late"), timeout=20)
    assert events(handle.history()) == ["Started", "TerminateRequested"]
    assert tried == []
    assert client.start(Unready.run(), id="u", if_exists="restart").result(20) == "charged visa"


# --- suspend and resume ---


def test_what_comes_for_a_suspended_instance_waits_in_order(serve, client):
    serve(collecting)
    handle = client.start(collecting(4), id="c")
    client.run(go.by_id("c").send("0"))
    handle.suspend("the shop is closed")
    for number in (1, 2):
        client.run(go.by_id("c").send(str(number)))

    [record] = client.find(collecting, status="suspended")
    assert record.reason == "somebody suspended it: the shop is closed"
    assert events(handle.history()) == ["Started", "SignalReceived"]

    handle.resume()
    client.run(go.by_id("c").send("3"))
    assert handle.result(20) == ["0", "1", "2", "3"]


def test_suspending_and_resuming_twice_is_the_same_as_once(serve, client):
    serve(collecting)
    handle = client.start(collecting(1), id="c")
    until(lambda: client.count(collecting))
    handle.suspend()
    handle.suspend("again")
    assert handle.status() == "suspended"
    handle.resume()
    handle.resume()
    assert handle.status() == "running"

    client.run(go.by_id("c").send("on"))
    assert handle.result(20) == ["on"]


def test_queries_of_what_stands_still_are_answered_from_where_it_stands(serve, client):
    serve(Later)
    handle = client.start(Later.run(1), id="l")
    later = Later.by_id("l")
    client.run(later.note("before"), timeout=20)
    handle.suspend()
    client.run(later.notes.send("waits"))

    assert [client.run(later.all(), timeout=20) for _ in range(2)] == [["begun", "before"]] * 2
    with pytest.raises(ReadOnly):
        client.run(later.spoil(), timeout=20)
    assert client.run(later.all(), timeout=20) == ["begun", "before"]
    assert (handle.status(), events(handle.history())) == ("suspended", ["Started", "MethodCalled"])
    handle.resume()
    assert handle.result(20) == ["begun", "before", "waits"]


def test_a_query_of_what_stands_still_tells_why_its_code_cannot_answer(serve, client, deploy):
    release, changed = deploy(STATEFUL), deploy(STATEFUL.replace("sleep(0)", "sleep(1)"))
    first = serve(release.Account)
    handle = client.start(release.Account.run(), id="a")
    until(lambda: client.count(release.Account))
    handle.suspend("look first")
    first.close()
    serve(changed.Account)

    with pytest.raises(InfiniticError, match=r"^Account 'a' is suspended: a: history says"):
        client.run(changed.Account.by_id("a").total(), timeout=20)
    [record] = client.find(status="suspended")
    assert record.reason == "somebody suspended it: look first"


STATEFUL = """
from dsl import *

class Account(Workflow):
    closed = Channel(bool)

    @method
    def run(self) -> Flow[None]:
        yield from sleep(0)
        yield from self.closed.receive()

    @query
    def total(self) -> int:
        return 7
"""


def test_a_timer_that_is_due_while_an_instance_is_suspended_waits_too(serve, client, storage):
    serve(napping)
    handle = client.start(napping(), id="n")
    until(lambda: client.count(napping))
    handle.suspend()
    until(lambda: (stored := storage.load("n")) is not None and stored.inbox)
    assert (handle.status(), len(handle.history())) == ("suspended", 1)

    handle.resume()
    assert handle.result(20) == "awake"


@workflow
def napping() -> Flow[str]:
    yield from sleep(1)
    return "awake"


def test_nobody_but_a_person_resumes_what_a_person_suspended(stage, client):
    first = stage.serve(collecting)
    handle = client.start(collecting(1), id="c")
    until(lambda: client.count(collecting))
    handle.suspend()
    first.close()
    stage.serve(collecting, other)
    client.run(go.by_id("c").send("waits"))
    client.run(other.by_id("o").describe(), start=other.run())  # so long has the new worker looked around

    assert handle.status() == "suspended"
    handle.resume()
    assert handle.result(20) == ["waits"]


class other(Workflow):
    @method
    def run(self) -> Flow[str]:
        return (yield from go.receive())

    @method
    def describe(self) -> str:
        return "other"


def test_an_instance_that_its_code_suspended_is_tried_again_by_hand(serve, client, deploy):
    release, changed = deploy(RELEASE), deploy(CHANGED)
    first = serve(release.parent, release.patient)
    handle = client.start(release.parent("abandon"), id="p")
    until(lambda: client.count(release.patient))
    handle.suspend()
    first.close()
    second = serve(changed.parent, changed.patient)
    client.run(go.by_id("p").send("on"))
    with pytest.raises(InfiniticError, match=r"^parent 'p' cannot go on: p: history says patient"):
        handle.resume()
    second.close()
    serve(release.parent, release.patient)

    assert handle.result(20) == "on"  # by itself: nobody keeps it any more


# --- timers ---


@workflow
def waiting_twice() -> Flow[str]:
    yield from gather(sleep(3600), sleep(7200))
    try:
        yield from timeout(go.receive(), 3600)
    except TimeoutError:
        return "over"
    return "received"


def test_timers_are_completed_by_hand(serve, client, storage):
    serve(waiting_twice)
    handle = client.start(waiting_twice(), id="w")
    until(lambda: client.count(waiting_twice))
    handle.complete_timers()
    handle.complete_timers()

    assert handle.result(20) == "over"
    assert events(handle.history()) == ["Started", "TimersCompleted", "TimersCompleted"]
    until(lambda: storage.load("w").timers == ())


class Reminders(Workflow):
    def __init__(self) -> None:
        self.told: list[str] = []

    @method
    def run(self) -> Flow[list[str]]:
        yield from sleep(3600)
        self.told.append("run")
        return self.told

    @method
    def remind(self, name: str) -> Flow[str]:
        yield from sleep(3600)
        self.told.append(name)
        return name


def test_timers_of_one_method_or_call_are_completed(serve, client):
    serve(Reminders)
    handle = client.start(Reminders.run(), id="r")
    calls = [client.start(Reminders.by_id("r").remind(name), id=name) for name in "abc"]
    until(lambda: len(handle.history()) == 4)
    calls[1].complete_timers()
    assert calls[1].result(20) == "b"
    handle.complete_timers("remind")
    assert [call.result(20) for call in calls] == ["a", "b", "c"]

    with pytest.raises(InfiniticError, match=r"^Reminders 'r' runs no method 'forget' \(it runs: run\)$"):
        handle.complete_timers("forget")
    handle.complete_timers("run")
    assert handle.result(20) == ["b", "a", "c", "run"]


# --- failed tasks ---


@workflow
def paying() -> Flow[list[str]]:
    first, second = dispatch(charge("visa")), dispatch(charge("amex"))
    told = []
    try:
        yield from first
    except TaskFailed as error:
        told.append(str(error.error))
    yield from go.receive()
    told.append((yield from first))
    told.append((yield from second))
    return told


def test_a_failed_task_runs_again_and_a_later_await_sees_the_new_answer(stage, client):
    worker = stage.serve(paying, charge)
    broken.update({"visa", "amex"})
    handle = client.start(paying(), id="p")
    until(lambda: events(handle.history()).count("AttemptFailed") == 2)
    with pytest.raises(InfiniticError, match=r"^paying 'p' has dispatched no such task that has failed$"):
        handle.retry(task="refund")
    broken.clear()
    handle.retry(task=charge, status="failed")
    until(lambda: events(handle.history()).count("TaskCompleted") == 2)
    worker.close()
    stage.serve(paying, charge)
    client.run(go.by_id("p").send("on"))

    assert handle.result(20) == ["no money on visa", "charged visa", "charged amex"]
    assert sorted(tried) == ["amex", "amex", "visa", "visa"]


def test_a_retry_of_a_failed_run_runs_again_what_failed_unseen(serve, client):
    serve(forgetful, charge)
    broken.add("visa")
    handle = client.start(forgetful(), id="f")
    until(lambda: "AttemptFailed" in events(handle.history()))
    client.run(go.by_id("f").send("on"))
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    broken.clear()
    handle.retry()

    assert handle.result(20) == "charged visa"
    assert tried == ["visa", "visa"]


@pytest.mark.parametrize("named", [{"task": "refund"}, {"service": "Other"}, {"status": "timed_out"}])
@pytest.mark.parametrize("kept", [True, False], ids=["in hand", "loaded"])
def test_a_retry_of_tasks_that_a_failed_run_has_not_takes_up_nothing(stage, client, named, kept):
    worker = stage.serve(forgetful, charge)
    broken.add("visa")
    handle = client.start(forgetful(), id="f")
    client.run(go.by_id("f").send("on"))
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    before = handle.history()
    if not kept:
        worker.close()
        stage.serve(forgetful, charge)
    broken.clear()
    with pytest.raises(InfiniticError, match=r"^forgetful 'f' has dispatched no such task that has failed$"):
        handle.retry(**named)
    assert (handle.status(), handle.history(), tried) == ("failed", before, ["visa"])

    handle.retry(task=charge)
    assert handle.result(20) == "charged visa"


@workflow
def forgetful() -> Flow[str]:
    charged = dispatch(charge("visa"))
    yield from go.receive()
    return (yield from charged)


def test_only_what_was_named_is_run_again(serve, client):
    serve(paying, charge)
    broken.update({"visa", "amex"})
    handle = client.start(paying(), id="p")
    until(lambda: events(handle.history()).count("AttemptFailed") == 2)
    with pytest.raises(InfiniticError):
        handle.retry(status="timed_out")
    with pytest.raises(InfiniticError):
        handle.retry(service="Other")
    with pytest.raises(InfiniticError, match=r"^paying 'p' is running; only a failed run can be retried$"):
        handle.retry()

    assert sorted(tried) == ["amex", "visa"]


# --- cleanup ---


@workflow(cleanup_timeout=0.2)
def slow_to_clean() -> Flow[str]:
    try:
        return (yield from go.receive())
    except Cancelled:
        yield from hold()
        raise


@workflow
def unlimited() -> Flow[str]:
    try:
        return (yield from go.receive())
    except Cancelled:
        return (yield from go.receive())


def test_cleanup_is_bounded(serve, client, storage):
    gates.append(Gate())
    serve(slow_to_clean, hold)
    handle = client.start(slow_to_clean(), id="s")
    until(lambda: client.count(slow_to_clean))
    handle.cancel()

    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    assert events(handle.history())[:2] == ["Started", "CancelRequested"]
    assert events(handle.history())[-1] == "TimerFired"
    gates[-1].open()
    until(lambda: storage.load("s").timers == ())


def test_cleanup_is_bounded_by_the_call_too(serve, client):
    serve(unlimited)
    handle = client.start(unlimited().options(cleanup_timeout=0.05), id="u")
    until(lambda: client.count(unlimited))
    handle.cancel()

    with pytest.raises(WorkflowCancelled):
        handle.result(20)


def test_a_method_that_was_cancelled_alone_is_bounded_alone(serve, client):
    serve(Tidy)
    handle = client.start(Tidy.run(), id="t")
    call = client.start(Tidy.by_id("t").fuss())
    until(lambda: len(handle.history()) == 2)
    call.cancel()

    with pytest.raises(WorkflowCancelled):
        call.result(20)
    client.run(Tidy.by_id("t").leave.send("bye"))
    assert handle.result(20) == "bye"


class Tidy(Workflow, cleanup_timeout=0.05):
    leave = Channel(str)

    @method
    def run(self) -> Flow[str]:
        return (yield from self.leave.receive())

    @method
    def fuss(self) -> Flow[str]:
        try:
            yield from sleep(3600)
        finally:
            yield from sleep(3600)
        return ""


@workflow(cleanup_timeout=3600)
def breaking() -> Flow[str]:
    try:
        return (yield from go.receive())
    finally:
        yield from sleep(0.01)
        if broken:
            raise LookupError("broken")
        yield from sleep(7200)


def test_cleanup_that_is_taken_up_again_is_bounded_too(serve, client, storage):
    serve(breaking)
    broken.add("code")
    handle = client.start(breaking(), id="b")
    until(lambda: client.count(breaking))
    handle.cancel()
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    broken.clear()
    handle.retry()

    until(lambda: sorted(row.position for row in storage.load("b").timers) == ["cleanup/0", "m0.2"])
    handle.terminate()


# --- begun later ---


class Later(Workflow):
    notes = Channel(str)

    def __init__(self) -> None:
        self.seen: list[str] = []

    @method
    def run(self, count: int) -> Flow[list[str]]:
        self.seen.append("begun")
        for _ in range(count):
            self.seen.append((yield from self.notes.receive()))
        return self.seen

    @method
    def note(self, text: str) -> str:
        self.seen.append(text)
        return text

    @query
    def all(self) -> list[str]:
        return self.seen

    @query
    def spoil(self) -> list[str]:
        self.seen.append("spoilt")
        return self.seen


def test_code_begins_after_the_delay_and_signals_and_calls_come_in_meanwhile(serve, client, storage):
    serve(Later)
    handle = client.start(Later.run(1), id="l", delay=3600)
    client.run(Later.by_id("l").notes.send("kept"))
    assert client.run(Later.by_id("l").note("called"), timeout=20) == "called"
    [record] = client.find(Later)
    assert [(wait.kind, wait.name) for wait in record.waits] == [("start", "its start")]
    assert storage.load("l").timers[0].due - record.started == 3600 * 1_000_000

    client.get("l", Later).cancel()
    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    until(lambda: storage.load("l").timers == ())


def test_code_that_was_to_begin_later_begins(serve, client, storage):
    serve(Later)
    soon = to_datetime(storage.now() + 300_000)
    handles = [
        client.start(Later.run(0), id="a", delay=0.2),
        client.start(Later.run(0), id="b", start_at=soon),
        client.start(Later.run(0), id="c", start_at=to_datetime(0)),
    ]

    assert [handle.result(20) for handle in handles] == [["begun"]] * 3
    assert events(handles[0].history()) == ["Started", "TimerFired"]
    assert handles[1].history()[1].at >= (handles[1].history()[0].event.start_at)
    assert events(handles[2].history()) == ["Started"]


def test_a_child_may_begin_later(serve, client):
    serve(late_parent, napping)
    handle = client.start(late_parent(), id="p")

    assert handle.result(20) == "awake"
    [kid] = client.find(napping)
    assert events(client.get(kid.workflow_id, napping).history()) == ["Started", "TimerFired", "TimerFired"]


@workflow
def late_parent() -> Flow[str]:
    return (yield from napping().options(delay=0.05))


# --- started by a signal or a call ---


def test_a_signal_begins_its_instance_in_one_step(serve, client):
    serve(collecting)
    assert client.run(go.by_id("c").send("first"), start=collecting(2), id="c") is None
    client.run(go.by_id("c").send("second"), start=collecting(2))

    handle = client.get("c", collecting)
    assert handle.result(20) == ["first", "second"]
    assert events(handle.history()) == ["Started", "SignalReceived"]


def test_a_call_begins_its_instance_in_one_step(serve, client):
    serve(Later)
    ada = Later.by_id("ada")
    assert client.run(ada.note("one"), start=Later.run(1), timeout=20) == "one"
    assert client.run(ada.note("two"), start=Later.run(1), timeout=20) == "two"

    assert client.run(ada.all()) == ["begun", "one", "two"]
    assert events(client.get("ada", Later).history()) == ["Started", "MethodCalled"]


def test_a_start_whose_signal_is_refused_begins_nothing(serve, client):
    serve(strict)
    with pytest.raises(InfiniticError, match="Expected `int`"):
        client.run(words.by_id("s").send("no number"), start=strict(), timeout=20)

    assert client.count(strict) == 0


numbers = Channel(int, name="numbers")
words = Channel(str, name="numbers")  # as somebody else has it


@workflow
def strict() -> Flow[int]:
    return (yield from numbers.receive())


def test_the_code_of_a_start_that_is_refused_is_given_up_in_silence(serve, client):
    serve(tidy)
    dropped: list[object] = []
    before, sys.unraisablehook = sys.unraisablehook, dropped.append
    try:
        with pytest.raises(InfiniticError, match="Expected `int`"):
            client.run(words.by_id("t").send("no number"), start=tidy(), timeout=20)
        gc.collect()
    finally:
        sys.unraisablehook = before

    assert dropped == []


@workflow
def tidy() -> Flow[int]:
    try:
        return (yield from numbers.receive())
    finally:
        yield from clean("tidy")


@workflow
def rolling(rounds: int) -> Flow[str]:
    if rounds:
        yield from continue_as_new(rolling(rounds - 1))
    return (yield from go.receive())


def test_a_signal_finds_its_instance_although_that_continues_as_new_at_once(serve, client):
    serve(rolling)
    client.run(go.by_id("r").send("first"), start=rolling(2), timeout=20)

    assert client.get("r", rolling).result(20) == "first"


class Short(Workflow):
    notes = Channel(str)

    @method
    def run(self) -> None:
        return None

    @method
    def note(self, text: str) -> str:
        return text


def test_what_comes_along_with_a_start_that_is_over_at_once_is_told_so_at_once(serve, place):
    serve(Short)
    with Client.over(open_at(place), look_again=3600) as client:  # it never looks: it must be told
        with pytest.raises(WorkflowFinished):
            client.run(Short.by_id("s").notes.send("x"), start=Short.run(), timeout=20)
        with pytest.raises(WorkflowFinished):
            client.run(Short.by_id("t").note("x"), start=Short.run(), timeout=20)
        assert client.get("t", Short.run).status() == "completed"


def test_what_a_start_cannot_be_together_with_is_refused(client):
    wrong = [
        (TypeError, lambda: client.run(collecting(1), start=collecting(1))),
        (TypeError, lambda: client.run(go.by_id("c").send("x"), start=charge("visa"))),
        (TypeError, lambda: client.run(Later.by_id("l").note("x"), start=collecting(1))),
        (ValueError, lambda: client.run(go.by_id("c").send("x"), start=collecting(1), id="d")),
        (TypeError, lambda: client.run(go.by_id("c").send("x"), id="c")),
        (TypeError, lambda: client.start(collecting(1).options(parent_close="cancel"))),
        (TypeError, lambda: client.start(Later.by_id("l").note("x"), delay=5)),
        (ValueError, lambda: client.start(collecting(1), delay=5, start_at=to_datetime(0))),
        (ValueError, lambda: client.start(collecting(1).options(delay=5), start_at=to_datetime(0))),
    ]
    for kind, call in wrong:
        with pytest.raises(kind):
            call()
