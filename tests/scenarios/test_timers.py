"""Timers: never early by the recorded time, never lost, gone when nobody waits for them."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from dsl import Flow, gather, now, sleep, sleep_until, workflow
from infinitic.errors import WorkflowFailed, WorkflowTimedOut
from infinitic.events import TimerFired
from infinitic.history import TimerIssued
from infinitic.worker import changes, sweeps
from tests.scenarios.given import events, until


@workflow
def napping(seconds: float) -> Flow[float]:
    before = now()
    yield from sleep(seconds)
    return (now() - before).total_seconds()


@workflow
def napping_until(when: datetime) -> Flow[bool]:
    yield from sleep_until(when)
    return now() >= when


@workflow
def many_naps(count: int) -> Flow[int]:
    yield from gather(*[sleep(0.001 * number) for number in range(count)])
    return count


@workflow
def patient() -> Flow[None]:
    yield from sleep(days=1)


def test_a_timer_is_never_early(serve, client):
    serve(napping)
    handle = client.start(napping(0.02), id="n")

    assert handle.result(20) >= 0.02
    started, fired = handle.history()
    assert isinstance(fired.event, TimerFired)
    [timer] = started.commands
    assert isinstance(timer, TimerIssued)
    assert fired.at >= timer.due >= started.at + 20_000


def test_a_timer_of_zero_completes_at_once(serve, client):
    serve(napping)
    handle = client.start(napping(0), id="n")

    assert handle.result(20) == 0
    assert events(handle.history()) == ["Started"]


def test_a_timer_may_be_set_to_an_instant(serve, client):
    serve(napping_until)
    soon = datetime.now(UTC) + timedelta(milliseconds=20)

    assert client.run(napping_until(soon), timeout=20) is True
    assert client.run(napping_until(datetime(2000, 1, 1, tzinfo=UTC)), timeout=20) is True


def test_many_timers_fire_in_order_of_their_due(serve, client):
    serve(many_naps)
    handle = client.start(many_naps(50), id="m")

    assert handle.result(20) == 50
    fired = [turn for turn in handle.history() if isinstance(turn.event, TimerFired)]
    due = {one.position: one.due for one in handle.history()[0].commands if isinstance(one, TimerIssued)}
    instants = [due[turn.event.position] for turn in fired if isinstance(turn.event, TimerFired)]
    assert len(instants) == 49
    assert all(turn.at >= instant for turn, instant in zip(fired, instants, strict=True))
    assert instants == sorted(instants)


def test_a_timer_survives_the_worker_that_set_it(serve, client):
    first = serve(napping)
    handle = client.start(napping(0.3), id="n")
    until(lambda: client.count(napping))
    first.close()
    serve(napping)

    assert handle.result(20) >= 0.3


def test_a_timer_that_was_due_while_no_worker_ran_fires_late(serve, client, storage):
    for delay in (0.05, 0.5, 5.0):  # as short as the worker that sets it is slow to close
        first = serve(napping)
        handle = client.start(napping(delay), id=f"n{delay}")
        until(partial(storage.load, handle.id))
        first.close()
        if timers := storage.load(handle.id).timers:
            break
    until(lambda: storage.now() > timers[0].due)
    serve(napping)

    assert handle.result(20) >= delay


def test_the_rows_of_timers_that_have_fired_go(serve, client, storage):
    serve(many_naps)
    client.start(many_naps(20), id="m").result(20)

    until(lambda: storage.load("m").timers == ())


def test_a_run_that_takes_too_long_has_timed_out(serve, client, storage):
    serve(patient)
    handle = client.start(patient().options(timeout=0.01), id="p")

    with pytest.raises(WorkflowTimedOut):
        handle.result(20)
    assert handle.status() == "failed"
    assert storage.load("p").timers == ()


def test_a_run_that_ends_in_time_leaves_no_timer(serve, client, storage):
    serve(napping)
    client.start(napping(0.001).options(timeout=3600), id="n").result(20)

    until(lambda: storage.load("n").timers == ())


@workflow
def with_limit() -> Flow[None]:
    yield from patient().options(timeout=0.01)


def test_a_child_that_timed_out_tells_its_parent(serve, client):
    serve(with_limit, patient)

    with pytest.raises(WorkflowFailed) as raised:
        client.run(with_limit(), timeout=20)
    assert isinstance(raised.value.error, WorkflowTimedOut)


def test_more_overdue_timers_than_one_sweep_takes_all_fire(serve, client, storage, monkeypatch):
    """Each sweep takes a page or two, and the next follows at once."""
    monkeypatch.setattr(sweeps, "PAGE", 4)
    monkeypatch.setattr(sweeps, "LONG", 0)
    monkeypatch.setattr(changes, "HELD_LONGER", 0)
    first = serve(napping)
    handles = [client.start(napping(0.1), id=f"n{number}") for number in range(30)]
    until(lambda: client.count(napping) == 30)
    first.close()
    due = [row.due for handle in handles for row in storage.load(handle.id).timers]
    until(lambda: storage.now() > max(due, default=0))
    serve(napping)

    assert all(handle.result(20) >= 0.1 for handle in handles)
    assert client.run(napping(0), timeout=20) == 0


@workflow
def crowd(count: int) -> Flow[int]:
    yield from gather(*[sleep(days=number + 1) for number in range(count)])
    return count


def test_ten_thousand_timers_in_one_instance(serve, client, storage):
    serve(crowd)
    handle = client.start(crowd(10_000), id="c")
    until(lambda: client.count(crowd))
    assert len(storage.load("c").timers) == 10_000
    handle.complete_timers()

    assert handle.result(60) == 10_000
    until(lambda: storage.load("c").timers == ())
