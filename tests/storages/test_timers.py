"""Timers: set, cleared, claimed, overdue, leased."""

from itertools import chain

import msgspec
import pytest

from infinitic.storages import Due
from tests.storages.given import (
    HOUR,
    SECOND,
    after,
    in_threads,
    loaded,
    next_run,
    start,
    timer,
    turns,
    write,
)

LEASE = 10 * SECOND
AHEAD = 2 * SECOND


def claim(storage, workflows=("trips",), ahead=AHEAD, limit=100, lease=LEASE):
    """The positions that a sweep claims, in order."""
    return [row.position for row in storage.claim_due_timers(workflows, ahead, limit, lease).timers]


def claimed(row, until):
    return msgspec.structs.replace(row, claimed_until=until)


def test_without_timers_a_sweep_finds_none(storage):
    write(storage, start())

    due = storage.claim_due_timers(["trips"], AHEAD, 100, LEASE)
    assert due == Due(due.now, ())


def test_a_sweep_tells_the_storages_clock(storage):
    before = storage.now()
    due = storage.claim_due_timers(["trips"], AHEAD, 100, LEASE)

    assert before <= due.now <= storage.now()


def test_a_timer_is_replaced_by_one_at_the_same_position(storage):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now + HOUR),))
    write(storage, first, after(first, 1, timers_set=(timer("m0.1", now + 2 * HOUR, attempt=3),)))

    assert loaded(storage).timers == (timer("m0.1", now + 2 * HOUR, attempt=3),)


def test_timers_are_cleared_by_run_and_position(storage):
    now = storage.now()
    rows = tuple(timer(position, now + HOUR) for position in ("m0.1", "m0.10", "m0.2", "M0.1"))
    first = start(timers_set=rows)
    write(
        storage,
        first,
        after(first, 1, timers_cleared=(("r1", "m0.1"), ("r2", "m0.2"), ("r1", "never there"))),
    )

    assert loaded(storage).timers == (rows[3], rows[1], rows[2])


def test_clearing_comes_before_setting(storage):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now + HOUR),))
    again = timer("m0.1", now + 2 * HOUR, attempt=2)
    write(storage, first, after(first, 1, timers_cleared=(("r1", "m0.1"),), timers_set=(again,)))

    assert loaded(storage).timers == (again,)


def test_the_end_of_a_run_clears_its_timers_before_others_are_set(storage):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now), timer("m0.2", now + HOUR)))
    expiry = timer("expiry", now + HOUR)
    write(storage, first, after(first, 1, runs_ended=("r1",), timers_set=(expiry,)))

    assert loaded(storage).timers == (expiry,)
    assert claim(storage) == []


def test_the_end_of_a_run_leaves_the_timers_of_other_runs_and_instances(storage):
    now = storage.now()
    a = start("a", timers_set=(timer("m0.1", now, "a"),))
    b = start("b", timers_set=(timer("m0.2", now, "b"),))
    write(storage, a, b)
    write(storage, next_run(a, "r2", timers_set=(timer("m0.3", now, "a", run="r2"),), runs_ended=("r1",)))

    assert sorted(claim(storage)) == ["m0.2", "m0.3"]


def test_a_timer_of_a_former_run_that_was_not_cleared_is_still_claimed(storage):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now),))
    write(storage, first, next_run(first, "r2"))

    assert claim(storage) == ["m0.1"]


def test_a_lost_append_sets_and_clears_nothing(storage):
    now = storage.now()
    first = start(count=2, timers_set=(timer("m0.1", now),))
    write(storage, first)
    late = after(
        start(count=1),
        1,
        timers_set=(timer("late", now),),
        timers_cleared=(("r1", "m0.1"),),
        runs_ended=("r1",),
    )

    assert storage.append([late]) == [False]
    assert loaded(storage).timers == (timer("m0.1", now),)
    assert claim(storage) == ["m0.1"]


def test_only_timers_of_the_workflows_that_are_asked_for_are_claimed(storage):
    now = storage.now()
    for name in ("trips", "Trips", "trips2", "visits", "others"):
        rows = (timer(name, now, name, workflow=name),)
        write(storage, start(name, workflow=name, timers_set=rows))

    assert sorted(claim(storage, ["trips", "visits", "unknown"])) == ["trips", "visits"]
    assert claim(storage, []) == []


def test_claimed_timers_come_in_order_of_due_whoever_owns_them(storage):
    now = storage.now()
    dues = {"a": -3, "b": 1, "c": -9, "d": 0, "e": -1}
    for name, seconds in dues.items():
        write(storage, start(name, timers_set=(timer(name, now + seconds * SECOND, name),)))

    assert claim(storage) == ["c", "a", "e", "d", "b"]


def test_timers_due_beyond_the_look_ahead_are_not_claimed(storage):
    now = storage.now()
    write(storage, start(timers_set=(timer("soon", now + HOUR), timer("late", now + 3 * HOUR))))

    assert claim(storage, ahead=2 * HOUR) == ["soon"]


def test_the_first_due_are_claimed_when_there_are_more_than_the_limit(storage):
    now = storage.now()
    write(storage, start(timers_set=tuple(timer(f"{n}", now + HOUR + n) for n in (5, 3, 1, 4, 2))))

    assert claim(storage, ahead=2 * HOUR, limit=2) == ["1", "2"]
    assert claim(storage, ahead=2 * HOUR, limit=2) == ["3", "4"]
    assert claim(storage, ahead=2 * HOUR, limit=2) == ["5"]
    assert claim(storage, ahead=2 * HOUR, limit=2) == []


def test_a_timer_that_is_born_claimed_is_left_to_its_claimer(storage):
    now = storage.now()
    write(storage, start(timers_set=(timer("m0.1", now + HOUR, claimed_until=now + 2 * HOUR),)))

    assert claim(storage, ahead=3 * HOUR) == []


def test_a_timer_whose_claim_has_passed_is_free(storage):
    now = storage.now()
    write(storage, start(timers_set=(timer("m0.1", now + HOUR, claimed_until=now - 1),)))

    assert claim(storage, ahead=3 * HOUR) == ["m0.1"]


def test_a_year_late_a_timer_is_still_claimed(storage):
    write(storage, start(timers_set=(timer("m0.1", storage.now() - 365 * 24 * HOUR), timer("zero", 0))))

    assert claim(storage) == ["zero", "m0.1"]


def test_claiming_leases_a_coming_timer_from_its_due_on(storage):
    now = storage.now()
    row = timer("m0.1", now + HOUR)
    write(storage, start(timers_set=(row,)))
    held = claimed(row, row.due + LEASE)

    assert storage.claim_due_timers(["trips"], 2 * HOUR, 100, LEASE).timers == (held,)
    assert loaded(storage).timers == (held,)


def test_claiming_leases_a_timer_that_is_due_from_now_on(storage):
    row = timer("m0.1", storage.now() - SECOND)
    write(storage, start(timers_set=(row,)))

    due = storage.claim_due_timers(["trips"], AHEAD, 100, LEASE)
    assert due.timers == loaded(storage).timers == (claimed(row, due.now + LEASE),)


def test_a_claim_is_no_change_of_the_instance(storage):
    first = start(timers_set=(timer("m0.1", storage.now()),))
    write(storage, first)

    assert claim(storage) == ["m0.1"]
    assert storage.append([after(first, 1)]) == [True]


def test_a_cleared_timer_is_not_claimed(storage):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now),))
    write(storage, first, after(first, 1, timers_cleared=(("r1", "m0.1"),)))

    assert claim(storage) == []


def test_a_timer_is_free_again_at_the_instant_its_lease_ends(storage, jump):
    row = timer("m0.1", storage.now() + SECOND)
    write(storage, start(timers_set=(row,)))
    assert claim(storage, lease=LEASE) == ["m0.1"]

    jump(SECOND + LEASE - 1)
    assert claim(storage) == []

    jump(1)
    assert claim(storage) == ["m0.1"]


def test_the_look_ahead_is_exact(storage, jump):
    row = timer("m0.1", storage.now() + AHEAD + 1)
    write(storage, start(timers_set=(row,)))
    assert claim(storage) == []

    jump(1)
    assert claim(storage) == ["m0.1"]


def test_due_never_moves(storage, jump):
    row = timer("m0.1", storage.now() + SECOND)
    write(storage, start(timers_set=(row,)))

    for _ in range(3):
        until = max(storage.now(), row.due) + LEASE
        assert storage.claim_due_timers(["trips"], AHEAD, 100, LEASE).timers == (claimed(row, until),)
        jump(HOUR)


def test_racing_sweeps_share_the_timers_among_them(storage, count):
    timers = count(200, 2_000)
    now = storage.now()
    rows = tuple(timer(f"m0.{number}", now + HOUR + number) for number in range(timers))
    write(storage, start(timers_set=rows))

    def sweep():
        mine = []
        while got := claim(storage, ahead=2 * HOUR, limit=7):
            mine += got
        return mine

    shares = in_threads(*[sweep] * 4)

    assert sorted(chain.from_iterable(shares)) == sorted(row.position for row in rows)


@pytest.mark.parametrize("ending", ["purge", "clear"])
def test_what_is_gone_leaves_no_timer_behind(storage, ending):
    now = storage.now()
    first = start(timers_set=(timer("m0.1", now),), expires=now - 1)
    write(storage, first)
    if ending == "purge":
        assert storage.purge(now) == 1
    else:
        write(storage, after(first, 1, runs_ended=("r1",)))

    assert claim(storage) == []


def test_turns_and_timers_of_one_append_are_there_together(storage):
    now = storage.now()
    first = start()
    write(storage, first, after(first, 1, timers_set=(timer("m0.1", now),)))

    stored = loaded(storage)
    assert (stored.turns, stored.timers) == (turns(2), (timer("m0.1", now),))
