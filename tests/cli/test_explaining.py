"""What `why` says, to the letter: times are fixed, folders and line numbers are left out."""

import shlex
import textwrap

import pytest
from msgspec.structs import replace

from infinitic import Flow, gather, sleep, spawn, workflow
from infinitic.cli import reasons
from infinitic.cli.data import reasons_data
from infinitic.engine.alone import ALONE
from infinitic.events import (
    AttemptFailed,
    Retried,
    SignalReceived,
    Started,
    TaskCompleted,
    TaskStarted,
    TerminateRequested,
)
from infinitic.history import encode_turn
from infinitic.messages import Message, encode_message, event_message
from infinitic.records import InboxItem, Mark, StateRecord, Stored, TurnRow, Version, Wait
from infinitic.serialization import error_value
from infinitic.story import NotTakenUp, explain
from infinitic.story.reasons import link, start_of
from infinitic.transports import OnTheWay, Traffic
from tests.cli.desks import Desk
from tests.cli.given import NINE, RUN, SECOND, WORKER, Told, tidy
from tests.cli.trips import Loyalty, backup, branches, careless, many, parent, payment, trip

WORKFLOWS = ("Desk", "Loyalty", "backup", "branches", "careless", "many", "parent", "payment", "trip")
SERVED = {f"workflow:{name}": Traffic(1) for name in WORKFLOWS}
SERVED |= {"service:Hotels": Traffic(1), "service:charge": Traffic(1), "service:copy": Traffic(1)}


def stored(told, reason="", inbox=(), unsent=0):
    """The instance as a storage has it."""
    rows = tuple(TurnRow(RUN, number, encode_turn(turn)) for number, turn in enumerate(told.turns))
    messages = [event_message(event, workflow="w", workflow_id="wf-1") for event in inbox]
    return Stored(
        workflow=told.program.name,
        workflow_id="wf-1",
        version=Version(RUN, len(rows)),
        mark=Mark(RUN, len(rows) - unsent),
        token="t",
        record=replace(told.record(reason), updated=told.at),
        turns=rows,
        inbox=tuple(InboxItem(one.id, encode_message(one)) for one in messages),
    )


def explained(told, serving=None, way=(), chain=(), reason="", **kept):
    chains = {step.position: chain for step in told.story().steps if step.workflow_id}
    return explain(stored(told, reason, **kept), told.story(reason), SERVED | (serving or {}), way, chains)


def said(why, now):
    """The paragraph, folded, and below it the commands."""
    about, text = reasons.paragraph(why, now)
    folded = textwrap.fill(tidy(f"{about} {text}"), 100, break_long_words=False, break_on_hyphens=False)
    return "\n".join([folded, *(f"  infinitic {command}  # {what}" for command, what in reasons.advice(why))])


def later(told, seconds):
    return told.at + seconds * SECOND


def task(attempt=1, position="m0.0", holder="", *, runs=False, service="charge"):
    return OnTheWay(f"service:{service}", Message("task", "t", "w", "wf-1", RUN, position, attempt), holder, runs)


def event(workflow, id="e"):
    return OnTheWay(f"workflow:{workflow}", Message("event", id))


def retried():
    """A payment in its second attempt."""
    told = Told(payment("slow"))
    told.fail("m0.0", 1, retry_in=30)
    told.fire("m0.0", 1, after=30)
    return told


@workflow
def undone() -> Flow[None]:
    try:
        yield from sleep(hours=1)
    finally:
        yield from sleep(hours=1)


@workflow
def failing() -> Flow[None]:
    yield from gather()
    try:
        raise KeyError("city")
    except KeyError as error:
        raise ValueError("no trip without a city") from error


# --- what it waits for ---


@workflow
def knotted() -> Flow[int]:
    """Waits for a branch that waits for itself."""
    branches = []

    def branch() -> Flow[int]:
        yield from sleep(1)
        return (yield from branches[0])

    branches.append(spawn(branch()))
    return (yield from branches[0])


def test_branches_that_wait_for_each_other_are_told():
    told = Told(knotted())
    told.fire("m0.b0.0", after=1)
    why = explained(told, {"workflow:knotted": Traffic(1, 0)})

    assert (
        said(why, later(told, 20))
        .splitlines()[0]
        .startswith("knotted wf-1 is running, and waits for nothing: its branches wait for each other. It last went on")
    )


def test_a_signal_is_waited_for():
    told = Told(Loyalty.run(2))

    assert (
        said(explained(told), later(told, 120))
        == """\
Loyalty wf-1 has waited for a signal in the channel bonus for 2 min (since 2026-11-22 09:00:00 UTC),
at trips.py:N in Loyalty.run: `extra = yield from self.bonus.receive()`.
  infinitic signal wf-1 bonus VALUE  # gives it the signal, of type int
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_signal_of_a_certain_kind_is_waited_for():
    told = Told(Desk.run())

    assert said(explained(told), later(told, 120)).startswith(
        "Desk wf-1 has waited for a signal in the channel papers (int, where=Desk.large) for 2 min"
    )


def test_of_several_waits_the_longest_is_told_first_and_the_others_in_short():
    told = Told(trip("Oslo"))
    told.complete("m0.0", 300)
    told.complete("m0.1", "receipt")

    assert (
        said(explained(told), later(told, 120))
        == """\
trip wf-1 has waited for a signal in the channel confirmed for 2 min (since 2026-11-22 09:00:02
UTC), at trips.py:N in trip: `answer = yield from (confirmed.receive() | sleep(days=2))`. Besides,
it waits for a timer of 2 d (due in 1 d 23 h).
  infinitic signal wf-1 confirmed VALUE  # gives it the signal, of type str
  infinitic show wf-1  # shows all its steps"""
    )


def test_many_waits_are_three_and_a_number():
    told = Told(many())

    assert (
        said(explained(told), later(told, 20))
        == """\
many wf-1 has waited for a timer of 1 d for 20 s (since 2026-11-22 09:00:00 UTC), at trips.py:N in
many: `yield from gather(*(sleep(days=1) for _ in range(30)))`. It is due in 23 h 59 min (2026-11-23
09:00:00 UTC). Besides, it waits for a timer of 1 d (due in 23 h 59 min), a timer of 1 d (due in 23
h 59 min) and 27 more.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_wait_elsewhere_in_the_code_says_where():
    told = Told(branches())
    told.complete("m0.b0.0", 100)
    way = [task(position="m0.b0.1", holder="process 7", runs=True)]

    assert (
        said(explained(told, {"service:Hotels": Traffic()}, way), later(told, 20))
        == """\
branches wf-1 has waited for Hotels.book(city="Rome", nights=1) for 21 s (since 2026-11-22 09:00:00
UTC), at trips.py:N in booked: `price = yield from Hotels.book(city)`. No worker serves the service
Hotels just now. Besides, it waits for charge(card="visa", cents=100), which runs in process 7 (at
trips.py:N).
  infinitic worker MODULE  # a module that implements Hotels
  infinitic show wf-1  # shows all its steps"""
    )


# --- tasks ---


def test_a_task_that_runs_says_in_which_process():
    told = Told(payment("visa"))

    assert (
        said(explained(told, way=[task(holder="process 4711", runs=True)]), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="visa", cents=500) for 3 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. It runs in process 4711.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_task_that_a_worker_has_not_begun_says_so():
    told = Told(payment("visa"))

    assert (
        said(explained(told, way=[task(holder="process 4711")]), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="visa", cents=500) for 3 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. It is next in process 4711, which is
busy with others.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_task_in_the_queue_says_how_many_wait_for_how_many_workers():
    told = Told(payment("visa"))

    assert (
        said(explained(told, {"service:charge": Traffic(2, 5)}, [task()]), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="visa", cents=500) for 3 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. It waits in the queue: 2 workers
serve charge, and 5 tasks wait.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_task_that_nobody_serves_says_so():
    told = Told(payment("visa"))

    assert (
        said(explained(told, {"service:charge": Traffic(0, 3)}, [task()]), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="visa", cents=500) for 3 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. No worker serves the service charge
just now; 3 tasks wait for one.
  infinitic worker MODULE  # a module that implements charge
  infinitic show wf-1  # shows all its steps"""
    )


def test_where_the_transport_does_not_tell_nothing_is_said_of_who_serves():
    told = Told(payment("visa"))

    assert (
        said(explained(told, {"service:charge": None, "workflow:payment": None}), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="visa", cents=500) for 3 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_task_that_is_retried_tells_its_last_error_and_its_next_attempt():
    told = retried()
    told.fail("m0.0", 2, retry_in=60)

    assert (
        said(explained(told), later(told, 20))
        == """\
payment wf-1 has waited for charge(card="slow", cents=500) for 52 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. Attempt 2 failed 20 s ago on vm:17:
ConnectionError: no route to the bank (raised at given.py:N in refused: `raise ConnectionError("no
route to the bank")`); attempt 3 is due in 40 s (2026-11-22 09:01:32 UTC).
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_task_that_is_retried_tells_that_nobody_serves_it_either():
    told = retried()
    told.fail("m0.0", 2, retry_in=60)

    assert (
        said(explained(told, {"service:charge": Traffic()}), later(told, 90))
        == """\
payment wf-1 has waited for charge(card="slow", cents=500) for 2 min 2 s (since 2026-11-22 09:00:00
UTC), at trips.py:N in pay: `return (yield from charge(card, 500))`. Attempt 2 failed 1 min ago on
vm:17: ConnectionError: no route to the bank (raised at given.py:N in refused: `raise
ConnectionError("no route to the bank")`); attempt 3 is overdue by 30 s (2026-11-22 09:01:32 UTC).
No worker serves the service charge just now.
  infinitic worker MODULE  # a module that implements charge
  infinitic show wf-1  # shows all its steps"""
    )


def test_an_attempt_that_runs_after_a_failed_one_tells_both():
    told = retried()

    assert (
        said(explained(told, way=[task(2, holder="process 4711", runs=True)]), later(told, 3))
        == """\
payment wf-1 has waited for charge(card="slow", cents=500) for 34 s (since 2026-11-22 09:00:00 UTC),
at trips.py:N in pay: `return (yield from charge(card, 500))`. Attempt 1 failed 33 s ago on vm:17:
ConnectionError: no route to the bank (raised at given.py:N in refused: `raise ConnectionError("no
route to the bank")`). Attempt 2 runs in process 4711.
  infinitic show wf-1  # shows all its steps"""
    )


# --- other instances ---


def test_a_child_tells_what_it_waits_for():
    told = Told(parent("visa"))
    wait = Wait("m0.0", "task", "charge", attempt=2, next_at=later(told, 60))
    child = StateRecord("payment", "pay-1", "r", waits=(wait,), waiting=1)

    assert (
        said(explained(told, chain=(link("payment", "pay-1", child, Traffic(1)),)), later(told, 20))
        == """\
parent wf-1 has waited for its child payment pay-1 for 20 s (since 2026-11-22 09:00:00 UTC), at
trips.py:N in parent: `paid = yield from payment(card).options(id="pay-1")`. The child waits for
charge, attempt 3 due in 40 s.
  infinitic why pay-1  # tells more of what holds it up
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_child_that_nobody_took_up_says_so():
    told = Told(parent("visa"))

    assert (
        said(explained(told, chain=(link("payment", "pay-1", None, Traffic()),)), later(told, 20))
        == """\
parent wf-1 has waited for its child payment pay-1 for 20 s (since 2026-11-22 09:00:00 UTC), at
trips.py:N in parent: `paid = yield from payment(card).options(id="pay-1")`. The child has not been
taken up by a worker yet (no worker serves payment just now).
  infinitic why pay-1  # tells more of what holds it up
  infinitic show wf-1  # shows all its steps"""
    )


def test_children_are_followed_down_to_the_one_that_holds_all_up():
    told = Told(parent("visa"))
    wait = Wait("m0.0", "child", "audit", workflow_id="audit-1")
    child = StateRecord("payment", "pay-1", "r", waits=(wait,), waiting=1)
    reason = "audit-1: history says one, but audit.py:12 now asks for another. Restore the old code."
    deepest = StateRecord("audit", "audit-1", "r", "suspended", reason)
    chain = (link("payment", "pay-1", child, Traffic(1)), link("audit", "audit-1", deepest, Traffic()))

    assert (
        said(explained(told, chain=chain), later(told, 20))
        == """\
parent wf-1 has waited for its child payment pay-1 for 20 s (since 2026-11-22 09:00:00 UTC), at
trips.py:N in parent: `paid = yield from payment(card).options(id="pay-1")`. The child waits for
audit audit-1, which is suspended (no worker serves audit just now): history says one, but
audit.py:N now asks for another. Restore the old code.
  infinitic why audit-1  # tells more of what holds it up
  infinitic show wf-1  # shows all its steps"""
    )


def test_children_without_workers_say_so_behind_their_ids():
    told = Told(parent("visa"))
    child = StateRecord("payment", "pay-1", "r", waits=(Wait("m0.0", "child", "audit", workflow_id="audit-1"),))
    deepest = StateRecord("audit", "audit-1", "r", waits=(Wait("m0.0", "task", "charge"),))
    chain = (link("payment", "pay-1", child, Traffic()), link("audit", "audit-1", deepest, Traffic()))

    assert (
        "The child waits for audit audit-1 (no worker serves payment just now), which waits for charge "
        "(no worker serves audit just now)."
    ) in reasons.paragraph(explained(told, chain=chain), later(told, 20))[1]


def test_a_suspended_child_is_itself_what_holds_all_up():
    wait = Wait("m0.0", "child", "audit", workflow_id="audit-1")
    record = StateRecord("payment", "pay-1", "r", "suspended", "why", waits=(wait,), waiting=1)

    assert link("payment", "pay-1", record, None).wait is None


# --- who is not there ---


def test_an_orphan_says_that_nobody_serves_it_and_what_was_not_sent():
    told = Told(Loyalty.run(2))
    again = event("Loyalty", "e2")  # from a client that waits for an answer, and sent the same again
    way = [event("Loyalty", "e1"), again, again, event("trip")]

    assert (
        said(explained(told, {"workflow:Loyalty": Traffic(0, 9)}, way, unsent=1), later(told, 3_600))
        == """\
Loyalty wf-1 has waited for a signal in the channel bonus for 1 h (since 2026-11-22 09:00:00 UTC),
at trips.py:N in Loyalty.run: `extra = yield from self.bonus.receive()`. No worker serves the
workflow Loyalty just now: what comes for it waits in the queue (2 messages so far). What the last
turn sends is not known to be sent: the next worker that serves Loyalty sees to it.
  infinitic worker MODULE  # a module that holds the workflow Loyalty
  infinitic signal wf-1 bonus VALUE  # gives it the signal, of type int"""
    )


def test_a_start_that_nobody_took_up_says_who_is_missing():
    assert (
        said(NotTakenUp("trip", "trip-1", NINE, "", Traffic(0, 3)), NINE + 60 * SECOND)
        == """\
trip trip-1 was started 1 min ago (2026-11-22 09:00:00 UTC), and no worker has taken it up yet: its
start waits in the queue. No worker serves the workflow trip just now; 3 messages wait for one.
  infinitic worker MODULE  # a module that holds the workflow trip"""
    )


def test_a_task_alone_that_nobody_took_up_needs_any_worker_of_workflows():
    assert reasons.advice(NotTakenUp(ALONE, "task-1", NINE, "", Traffic(0, 3))) == [
        ("worker MODULE", "a module that holds any workflow")
    ]


def test_a_start_that_waits_for_a_busy_worker_says_so():
    assert (
        said(NotTakenUp("trip", "trip-1", NINE, "", Traffic(2, 3)), NINE + 60 * SECOND)
        == """\
trip trip-1 was started 1 min ago (2026-11-22 09:00:00 UTC), and no worker has taken it up yet: its
start waits in the queue, and 2 workers serve trip.
  infinitic why trip-1  # asks again"""
    )


def test_a_start_that_a_worker_has_in_hand_says_which():
    assert (
        said(NotTakenUp("trip", "trip-1", NINE, "process 17", Traffic(1)), NINE + 60 * SECOND)
        == """\
trip trip-1 was started 1 min ago (2026-11-22 09:00:00 UTC), and no worker has taken it up yet: its
start has come to process 17, which serves trip.
  infinitic why trip-1  # asks again"""
    )


# --- suspended ---


def test_a_divergence_tells_both_sides_and_what_waits_in_the_inbox():
    told = Told(Loyalty.run(2))
    reason = "history says bonus.receive() at position m0.0, but trips.py:12 now asks for sleep(1 s). Restore it."
    inbox = [SignalReceived("s1", "bonus"), SignalReceived("s2", "bonus"), TaskCompleted("c", "m0.0")]

    assert (
        said(explained(told, reason=reason, inbox=inbox), later(told, 200))
        == """\
Loyalty wf-1 has been suspended for 3 min 20 s (since 2026-11-22 09:00:00 UTC): history says
bonus.receive() at position m0.0, but trips.py:N now asks for sleep(1 s). Restore it. Nothing is
lost: it goes on with what waits in its inbox (2 signals, 1 task answer) once a worker starts that
has other code of Loyalty. Before, it waited for a signal in the channel bonus, at trips.py:N in
Loyalty.run: `extra = yield from self.bonus.receive()`.
  infinitic worker MODULE  # with code of Loyalty that fits
  infinitic show wf-1  # shows all its steps"""
    )


def test_code_that_nobody_has_any_more_says_so():
    told = Told(Loyalty.run(2))
    reason = "no workflow named 'Loyalty' is registered here"

    assert (
        said(explained(told, {"workflow:Loyalty": Traffic()}, reason=reason), later(told, 200))
        == """\
Loyalty wf-1 has been suspended for 3 min 20 s (since 2026-11-22 09:00:00 UTC): no workflow named
'Loyalty' is registered here. Nothing is lost: it goes on with the next event for it once a worker
starts that has other code of Loyalty. Before, it waited for a signal in the channel bonus, at
trips.py:N in Loyalty.run: `extra = yield from self.bonus.receive()`. No worker serves the workflow
Loyalty just now: what comes for it waits in the queue.
  infinitic worker MODULE  # with code of Loyalty that fits
  infinitic show wf-1  # shows all its steps"""
    )


# --- ended ---


def test_a_failure_tells_the_attempt_that_it_comes_from():
    told = retried()
    told.fail("m0.0", 2)

    assert (
        said(explained(told), later(told, 200))
        == """\
payment wf-1 failed 3 min ago (2026-11-22 09:00:32 UTC), after 32 s: TaskFailed: charge failed after
2 attempts: ConnectionError: no route to the bank (raised at trips.py:N in pay: `return (yield from
charge(card, 500))`). It comes from attempt 2 of charge(card="slow", cents=500) on vm:17 (raised at
given.py:N in refused: `raise ConnectionError("no route to the bank")`). Nothing will try it again
by itself.
  infinitic retry wf-1  # goes on where it failed
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_retry_that_the_code_cannot_follow_says_so():
    told = retried()
    told.fail("m0.0", 2)
    reason = "history says one, but trips.py:12 now asks for another. Restore it."

    assert said(explained(told, reason=reason, inbox=[Retried("r")]), later(told, 200)).endswith(
        """given.py:N in refused: `raise ConnectionError("no route to the bank")`). What came after that waits
in its inbox (1 retry) and cannot be applied: history says one, but trips.py:N now asks for another.
Restore it.
  infinitic worker MODULE  # with code of payment that fits
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_failure_of_a_child_leads_to_the_child():
    told = Told(parent("visa"))
    told.answer("m0.2", error=ValueError("no card"))

    assert (
        said(explained(told), later(told, 200))
        == """\
parent wf-1 failed 3 min ago (2026-11-22 09:00:01 UTC), after 1 s: WorkflowFailed: payment 'pay-1'
failed: ValueError: no card (raised at trips.py:N in parent: `paid = yield from
payment(card).options(id="pay-1")`). It comes from its child payment pay-1. Nothing will try it
again by itself.
  infinitic retry wf-1  # goes on where it failed
  infinitic why pay-1  # tells how that failed"""
    )


def test_a_failure_of_the_code_itself_is_told_without_a_task():
    told = Told(failing())

    assert (
        said(explained(told), later(told, 200))
        == """\
failing wf-1 failed 3 min ago (2026-11-22 09:00:00 UTC), after 0 ms: ValueError: no trip without a
city (raised at test_explaining.py:N in failing: `raise ValueError("no trip without a city") from
error`). It was caused by KeyError: 'city' (raised at test_explaining.py:N in failing: `raise
KeyError("city")`). Nothing will try it again by itself.
  infinitic retry wf-1  # goes on where it failed
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_completed_instance_is_one_sentence():
    told = Told(payment("visa"))
    told.complete("m0.0", "receipt")

    assert (
        said(explained(told), later(told, 200))
        == """\
payment wf-1 completed 3 min ago (2026-11-22 09:00:01 UTC), after 1 s, and returned "receipt".
  infinitic result wf-1  # prints what it returned
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_cancelled_instance_is_one_sentence():
    told = Told(payment("visa"))
    told.cancel()

    assert (
        said(explained(told), later(told, 200))
        == """\
payment wf-1 was cancelled 3 min ago (2026-11-22 09:00:01 UTC), after 1 s.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_cancelled_instance_that_cleans_up_says_so():
    told = Told(undone())
    told.cancel()

    assert "Its cancellation was asked for 3 min ago (2026-11-22 09:00:01 UTC)." in said(
        explained(told), later(told, 200)
    ).replace("\n", " ")


def test_a_terminated_instance_tells_the_reason():
    told = Told(payment("visa"))
    told.apply(TerminateRequested("t", "sent by mistake"))

    assert (
        said(explained(told), later(told, 200))
        == """\
payment wf-1 was terminated 3 min ago (2026-11-22 09:00:01 UTC), after 1 s: sent by mistake.
  infinitic show wf-1  # shows all its steps"""
    )


def test_a_failure_by_hand_names_no_worker():
    told = Told(payment("visa"))
    told.apply(AttemptFailed("by-hand", "m0.0", error_value(ValueError("no")), 0, worker="client-1"))

    assert 'It comes from charge(card="visa", cents=500), by hand.' in said(explained(told), later(told, 200)).replace(
        "\n", " "
    )


def test_what_is_still_under_way_after_the_end_is_told():
    told = Told(careless())

    assert (
        said(explained(told), later(told, 200))
        == """\
careless wf-1 completed 3 min ago (2026-11-22 09:00:00 UTC), after 0 ms, and returned "done". 1
command is still under way, and nobody waits for the answer.
  infinitic result wf-1  # prints what it returned
  infinitic show wf-1  # shows all its steps"""
    )


# --- facts ---


def test_the_facts_are_there_as_data():
    told = Told(payment("visa"))
    data = reasons_data(explained(told, {"service:charge": Traffic(0, 3)}, [task()]))
    [wanted] = data["wanted"]

    assert (data["workflow_id"], data["status"], data["since"]) == ("wf-1", "running", "2026-11-22T09:00:00+00:00")
    assert data["traffic"] == {"consumers": 1, "waiting": 0}
    assert (wanted["queued"], wanted["traffic"]) == (True, {"consumers": 0, "waiting": 3})
    assert (wanted["step"]["owner"], wanted["step"]["arguments"]) == ("charge", {"card": "visa", "cents": 500})
    assert "methods" not in data


def test_the_start_of_an_instance_is_found_among_its_messages():
    started = Started("s", "trip", RUN, sent=NINE)
    message = event_message(started, workflow="trip", workflow_id="trip-1")
    signal = event_message(SignalReceived("x", "confirmed"), workflow="trip", workflow_id="trip-1")
    way = [OnTheWay("workflow:trip", signal), OnTheWay("workflow:trip", message, "process 7")]

    assert start_of("trip-1", way) == NotTakenUp("trip", "trip-1", NINE, "process 7")
    assert start_of("trip-1", way[:1]) is None


@pytest.mark.parametrize("workflow_id", ["a b", "it's", "$HOME"])
def test_ids_are_quoted_for_the_shell(workflow_id):
    [(command, _)] = reasons.advice(NotTakenUp("trip", workflow_id, NINE, "process 7"))

    assert shlex.split(command) == ["why", workflow_id]


def test_a_task_that_is_limited_says_when_it_was_heard_of_and_what_is_due():
    told = Told(backup())
    told.apply(TaskStarted("", "m0.0", 1, WORKER, told.at, 30 * SECOND))

    assert said(explained(told), later(told, 5)) == BACKING_UP


BACKING_UP = """\
backup wf-1 has waited for copy(files=3) for 6 s (since 2026-11-22 09:00:00 UTC), at trips.py:N in
backup: `return (yield from copy(3))`. Its attempt was last heard of 5 s ago. Its total_timeout is
due in 9 min 54 s (2026-11-22 09:10:00 UTC). Its heartbeat is due in 35 s (2026-11-22 09:00:41 UTC).
  infinitic show wf-1  # shows all its steps"""
