"""What `show` prints, to the letter: times are fixed, folders and line numbers are left out."""

from tests.cli.given import Told
from tests.cli.trips import Loyalty, branches, many, parent, payment, trip


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
