"""What `show` prints, to the letter: times are fixed, folders and line numbers are left out."""

from infinitic import Flow, TaskFailed, dispatch, sleep, workflow
from infinitic.events import AttemptFailed, Heartbeat, Retried, TaskStarted, TerminateRequested
from infinitic.ids import task_id
from infinitic.serialization import error_value
from tests.cli.desks import Desk
from tests.cli.given import RUN, SECOND, WORKER, Told
from tests.cli.trips import Loyalty, backup, branches, charge, many, parent, patient_backup, payment, trip


def test_a_waiting_instance():
    told = Told(trip("Oslo"), tags=("vip",))
    told.complete("m0.0", 300)
    told.fail("m0.1", 1, retry_in=30)
    told.fire("m0.1", 1, after=30)
    told.complete("m0.1", "receipt", attempt=2)

    assert told.picture(after=120) == WAITING


WAITING = """\
trip wf-1 is running
  started 2 min ago (2026-11-22 09:00:00 UTC) · 5 turns · tags vip

trip(city="Oslo", card="visa")
├── side by side
│   ├── ✔ Hotels.book(city="Oslo", nights=3) → 300 · 1 s
│   └── ✔ charge(card="visa", cents=100) → "receipt" · 2 attempts · 33 s
│       └── ✗ attempt 1: ConnectionError: no route to the bank · 500 ms · on vm:17 · again after 30 s
└── side by side
    ├── ● confirmed.receive() · for 2 min
    ├── ● sleep(2 d) · due in 1 d 23 h (2026-11-24 09:00:33 UTC)
    └── waits at trips.py:N in trip: answer = yield from (confirmed.receive() | sleep(days=2))"""


def test_a_retrying_instance():
    told = Told(payment("slow"))
    told.fail("m0.0", 1, retry_in=30)
    told.fire("m0.0", 1, after=30)
    told.fail("m0.0", 2, retry_in=60)

    assert told.picture(after=20) == RETRYING


RETRYING = """\
payment wf-1 is running
  started 52 s ago (2026-11-22 09:00:00 UTC) · 4 turns

payment(card="slow")
└── ↻ charge(card="slow", cents=500) · attempt 3 due in 40 s · for 52 s
    ├── ✗ attempt 1: ConnectionError: no route to the bank · 500 ms · on vm:17 · again after 30 s
    ├── ✗ attempt 2: ConnectionError: no route to the bank · 500 ms · on vm:17 · again after 1 min
    ├── raised at given.py:N in refused: raise ConnectionError("no route to the bank")
    ├── waits at trips.py:N in payment: return (yield from pay(card))
    └── waits at trips.py:N in pay: return (yield from charge(card, 500))"""


def test_a_task_that_waits_for_somebody_and_one_that_was_failed_by_hand():
    told = Told(payment("visa"))
    told.apply(TaskStarted("", "m0.0", 1, WORKER, delegated=True))
    assert told.picture().splitlines()[4:] == DELEGATED.splitlines()

    other = Told(payment("visa"))
    other.fail("m0.0", 1, retry_in=30)
    other.apply(AttemptFailed("by-hand", "m0.0", error_value(ValueError("no")), 0, worker="client"))
    assert "✗ by hand: ValueError: no · 0 ms · on client" in other.picture()


def test_a_run_that_is_terminated_says_once_why():
    told = Told(patient_backup())
    told.apply(TerminateRequested("t", "by mistake"))

    assert told.picture().splitlines()[3:] == [
        "patient_backup()",
        "├── ○ copy(files=3) · cancelled",
        "├── ○ its termination was asked for · 2026-11-22 09:00:01 UTC",
        "└── ✗ WorkflowTerminated: patient_backup 'wf-1' was terminated: by mistake · after 1 s",
    ]


@workflow
def twice_asked() -> Flow[str]:
    receipt = dispatch(charge("visa", 1))
    try:
        yield from receipt
    except TaskFailed:
        yield from sleep(hours=1)
    return (yield from receipt)


def test_failed_tasks_that_run_again_take_no_failure_of_the_run_back():
    told = Told(twice_asked())
    told.fail("m0.0")
    told.apply(Retried("r", tasks=True))

    assert told.picture().splitlines()[-1] == "└── ↻ its failed tasks were retried by hand · 2026-11-22 09:00:02 UTC"


ID = task_id("payment", "wf-1", RUN, "m0.0")
DELEGATED = f"""\
└── ● charge(card="visa", cents=500) · waits for client.complete('{ID}', …) · for 2 s
    ├── waits at trips.py:N in payment: return (yield from pay(card))
    └── waits at trips.py:N in pay: return (yield from charge(card, 500))"""


def test_a_suspended_instance():
    told = Told(payment("visa"))
    reason = "history says charge({}) at position m0.0, but trips.py:12 now asks for sleep(5 s). Restore it."

    assert told.picture(reason=reason) == SUSPENDED


SUSPENDED = """\
payment wf-1 is suspended
  history says charge({}) at position m0.0, but trips.py:N now asks for sleep(5 s). Restore it.
  started 1 s ago (2026-11-22 09:00:00 UTC) · 1 turn

payment(card="visa")
└── ● charge(card="visa", cents=500) · for 1 s
    ├── waits at trips.py:N in payment: return (yield from pay(card))
    └── waits at trips.py:N in pay: return (yield from charge(card, 500))"""


def test_a_failed_instance():
    told = Told(payment("stolen"))
    told.fail("m0.0", 1, retry_in=5)
    told.fire("m0.0", 1, after=5)
    told.fail("m0.0", 2)

    assert told.picture() == BROKEN


BROKEN = """\
payment wf-1 failed
  started 8 s ago (2026-11-22 09:00:00 UTC), took 7 s · 4 turns

payment(card="stolen")
├── ✗ charge(card="stolen", cents=500): ConnectionError: no route to the bank · 2 attempts · 7 s
│   ├── ✗ attempt 1: ConnectionError: no route to the bank · 500 ms · on vm:17 · again after 5 s
│   ├── ✗ attempt 2: ConnectionError: no route to the bank · 500 ms · on vm:17
│   └── raised at given.py:N in refused: raise ConnectionError("no route to the bank")
└── ✗ TaskFailed: charge failed after 2 attempts: ConnectionError: no route to the bank · after 7 s
    ├── raised at trips.py:N in payment: return (yield from pay(card))
    ├── raised at trips.py:N in pay: return (yield from charge(card, 500))
    └── caused by ConnectionError: no route to the bank"""


def test_an_instance_that_was_retried_by_hand():
    told = Told(payment("stolen"))
    told.fail("m0.0", 1)
    told.retry()
    told.complete("m0.0", "receipt", attempt=2)

    assert told.picture() == RETRIED


RETRIED = """\
payment wf-1 completed
  started 4 s ago (2026-11-22 09:00:00 UTC), took 3 s · 4 turns

payment(card="stolen")
├── ✔ charge(card="stolen", cents=500) → "receipt" · 2 attempts · 3 s
│   └── ✗ attempt 1: ConnectionError: no route to the bank · 500 ms · on vm:17
├── ✗ TaskFailed: charge failed: ConnectionError: no route to the bank · 2026-11-22 09:00:01 UTC
│   ├── raised at trips.py:N in payment: return (yield from pay(card))
│   ├── raised at trips.py:N in pay: return (yield from charge(card, 500))
│   └── caused by ConnectionError: no route to the bank
├── ↻ the failure was taken back: retried by hand · 2026-11-22 09:00:02 UTC
└── ✔ returned "receipt" · after 3 s"""


def test_methods_signals_children_and_branches_have_their_places():
    loyal = Told(Loyalty.run(2))
    loyal.signal("bonus", 3)
    loyal.call("redeem", points=2)
    child = Told(parent("visa"))
    spawning = Told(branches())
    spawning.complete("m0.b0.0", 100)
    spawning.cancel()

    assert f"{loyal.picture()}\n{child.picture()}\n{spawning.picture()}" == PLACES


def test_a_receive_shows_what_it_is_for_and_what_was_dropped_is_counted():
    told = Told(Desk.run())
    told.signal("rings", 1)
    told.signal("rings", 2)
    picture = told.picture()
    told.signal("papers", 7)

    assert f"{picture}\n{told.picture()}" == CHOOSING


CHOOSING = """\
Desk wf-1 is running
  started 3 s ago (2026-11-22 09:00:00 UTC) · 3 turns

run()
└── ● papers.receive(int, where=Desk.large) · for 3 s
    └── waits at desks.py:N in Desk.run: found = yield from self.papers.receive(int, where=self.large)
○ rings has dropped 2 signals, for which nobody waited
Desk wf-1 failed
  started 4 s ago (2026-11-22 09:00:00 UTC), took 3 s · 4 turns

run()
├── ✗ papers.receive(int, where=Desk.large): ZeroDivisionError: integer division or modulo by zero · 3 s
│   └── raised at desks.py:N in large: return number > 100 // abs(number - 7)
└── ✗ ZeroDivisionError: integer division or modulo by zero · after 3 s
    └── raised at desks.py:N in Desk.run: found = yield from self.papers.receive(int, where=self.large)
● papers holds 7, which nothing has received yet
○ rings has dropped 2 signals, for which nobody waited"""


PLACES = """\
Loyalty wf-1 is running
  started 3 s ago (2026-11-22 09:00:00 UTC) · 3 turns

run(weeks=2)
├── ✔ bonus.receive() → 3 · 1 s
└── ● bonus.receive() · for 2 s
    └── waits at trips.py:N in Loyalty.run: extra = yield from self.bonus.receive()
redeem(points=2) · called 1 s ago
└── ✔ returned true · after 0 ms
parent wf-1 is running
  started 1 s ago (2026-11-22 09:00:00 UTC) · 1 turn

parent(card="visa")
├── ✔ inline dice → 4
├── ✔ confirmed.send("yes") · to trip-1
└── ● payment(card="visa") · id pay-1 · for 1 s
    └── waits at trips.py:N in parent: paid = yield from payment(card).options(id="pay-1")
branches wf-1 was cancelled
  started 3 s ago (2026-11-22 09:00:00 UTC), took 2 s · 3 turns

branches()
├── side by side
│   ├── branch b0
│   │   ├── ✔ Hotels.book(city="Oslo", nights=1) → 100 · 1 s
│   │   └── ○ charge(card="visa", cents=100) · cancelled
│   └── branch b1
│       └── ○ Hotels.book(city="Rome", nights=1) · cancelled
├── ○ its cancellation was asked for · 2026-11-22 09:00:02 UTC
└── ○ cancelled · after 2 s"""


def test_of_a_long_history_the_middle_is_folded_but_never_what_waits():
    told = Told(Loyalty.run(200))
    for number in range(150):
        told.signal("bonus", number)

    folded = told.picture(everything=False).splitlines()

    assert "├── … 91 steps more, done: --all" in folded
    assert sum("receive()" in line for line in folded) == 10 + 50 + 1  # and the line that waits
    assert len(told.picture().splitlines()) > 150


def test_what_users_wrote_is_no_markup():
    told = Told(trip("[bold]Oslo[/bold] :smile:"))

    assert 'trip(city="[bold]Oslo[/bold] :smile:", card="visa")' in told.picture()


def test_thirty_timers_are_thirty_lines():
    told = Told(many())

    assert told.picture().count("sleep(1 d) · due in 23 h 59 min") == 30


def backed_up(call) -> Told:
    """A backup whose first attempt fell silent, and whose second one has said something."""
    told = Told(call)
    told.apply(TaskStarted("", "m0.0", 1, WORKER, told.at, 30 * SECOND))
    told.fire("m0.0/beat", after=40)
    told.apply(TaskStarted("", "m0.0", 2, WORKER, told.at, 30 * SECOND))
    told.apply(Heartbeat("", "m0.0", 2), after=8)
    return told


def test_a_task_that_is_limited_says_by_what_and_when_it_was_heard_of():
    assert backed_up(backup()).picture(after=5).splitlines()[4:6] == [
        "└── ● copy(files=3) · attempt 2 · last heard of 5 s ago · total_timeout due in 9 min 5 s · "
        "heartbeat due in 35 s · for 55 s",
        "    ├── ✗ attempt 1: timed out · 41 s · on vm:17",
    ]


def test_a_task_that_broke_a_limit_says_which_and_what_came_of_its_attempts():
    told = backed_up(patient_backup())
    told.fire("m0.0/total", after=600)
    told.complete("m0.0", 3, attempt=2)

    assert told.picture().splitlines()[4:7] == [
        "├── ✗ copy(files=3): TimeoutError: copy took longer than its total_timeout of 600 s · 2 attempts "
        "· 10 min 50 s",
        "│   ├── ✗ attempt 1: timed out · 41 s · on vm:17",
        "│   └── ○ attempt 2: returned too late, and nothing came of it · 500 ms · on vm:17",
    ]
