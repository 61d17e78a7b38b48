"""Loading over several runs, the mark, and the inbox."""

import msgspec
import pytest

from infinitic.records import Mark, Version
from tests.storages.given import NOON, after, item, kept, loaded, next_run, record, start, timer, turns, write


def test_a_suffix_of_the_run_that_is_known_is_loaded_as_asked(storage):
    write(storage, start(count=5))

    assert storage.load("trip-1", 3, "r1").turns == turns(2, first=3)
    assert storage.load("trip-1", 5, "r1").turns == ()


def test_when_another_run_is_known_the_current_one_is_loaded_whole(storage):
    first = start(count=5)
    write(storage, first, next_run(first, "r2", 4))

    assert storage.load("trip-1", 3, "r1").turns == turns(4, "r2")
    assert storage.load("trip-1", 3, "r2").turns == turns(1, "r2", 3)
    assert storage.load("trip-1", 3).turns == turns(1, "r2", 3)


def test_timers_that_are_loaded_are_those_of_the_current_run(storage):
    first = start(timers_set=(timer("m0.1", NOON),))
    write(storage, first, next_run(first, "r2", timers_set=(timer("m0.2", NOON, run="r2"),)))

    assert storage.load("trip-1").timers == (timer("m0.2", NOON, run="r2"),)


def test_the_mark_is_kept_as_it_was_written(storage):
    first = start(count=3, mark=Mark("r1", 1))
    write(storage, first)
    assert loaded(storage) == kept(first)

    write(storage, after(first, 1, mark=Mark("r1", 3)))
    assert storage.load("trip-1").mark == Mark("r1", 3)


def test_the_mark_moves_in_an_append_that_changes_nothing_else(storage):
    first = start(count=3, mark=Mark("r1", 0), record=record(reason="x"), expires=NOON)
    write(storage, first, after(first, mark=Mark("r1", 3), token="marker"))

    stored = storage.load("trip-1")
    assert (stored.version, stored.mark, stored.record) == (first.version, Mark("r1", 3), first.record)


def test_a_mark_that_moves_alone_leaves_the_writer_token_and_the_expiry(storage):
    first = start(count=3, mark=Mark("r1", 0), expires=NOON - 1)
    write(storage, first, after(first, mark=Mark("r1", 3), token="marker"))

    assert storage.load("trip-1").token == "writer-1"
    assert storage.purge(NOON) == 1


def test_a_mark_of_a_lost_append_does_not_move(storage):
    first = start(count=3, mark=Mark("r1", 1))
    write(storage, first)
    late = after(start(version=Version("r1", 2)), 1, mark=Mark("r1", 3))

    assert storage.append([late]) == [False]
    assert loaded(storage) == kept(first)


@pytest.mark.parametrize("sent", [0, 1, 2, 3])
def test_turns_of_a_former_run_are_unsent_from_the_mark_on(storage, sent):
    first = start(count=3, mark=Mark("r1", sent))
    write(storage, first, next_run(first, "r2", 2, mark=Mark("r1", sent)))

    stored = storage.load("trip-1")
    assert stored.unsent == turns(3 - sent, "r1", sent)
    assert stored.turns == turns(2, "r2")
    assert stored.mark == Mark("r1", sent)


def test_turns_of_the_current_run_are_never_unsent(storage):
    write(storage, start(count=3, mark=Mark("r1", 0)))

    assert storage.load("trip-1").unsent == ()


def test_unsent_turns_of_several_runs_come_oldest_run_first(storage):
    # Run ids are random: their order is not the order of the runs.
    first = start(count=2, run="z", mark=Mark("z", 1))
    second = next_run(first, "a", 2, mark=Mark("z", 1))
    third = next_run(second, "m", 3, mark=Mark("z", 1))
    write(storage, first, second, third)

    assert storage.load("trip-1").unsent == turns(1, "z", 1) + turns(2, "a")
    assert storage.load("trip-1", 2, "m").unsent == turns(1, "z", 1) + turns(2, "a")

    write(storage, after(third, mark=Mark("a", 1)))
    assert storage.load("trip-1").unsent == turns(1, "a", 1)

    write(storage, after(third, mark=Mark("a", 2)))
    assert storage.load("trip-1").unsent == ()

    write(storage, after(third, mark=Mark("m", 0)))
    assert storage.load("trip-1").unsent == ()


def test_runs_that_begin_in_one_append_are_each_unsent_from_their_first_turn(storage):
    both = start(run="r2", count=1, mark=Mark("r1", 0), turns=(*turns(2, "r1"), *turns(1, "r2")))
    write(storage, both)

    assert loaded(storage) == kept(both, turns=turns(1, "r2"), unsent=turns(2, "r1"))

    more = next_run(both, "r4", mark=Mark("r1", 1), turns=(*turns(1, "r3"), *turns(1, "r4")))
    write(storage, more)

    assert storage.load("trip-1").unsent == (*turns(1, "r1", 1), *turns(1, "r2"), *turns(1, "r3"))


def test_the_mark_of_a_new_run_passes_all_runs_before_it(storage):
    first = start(count=2, mark=Mark("r1", 0))
    second = next_run(first, "r2", mark=Mark("r1", 0))
    write(storage, first, second, after(second, 1, mark=Mark("r2", 1)))

    assert storage.load("trip-1").unsent == ()
    assert storage.load("trip-1").mark == Mark("r2", 1)


def test_unsent_turns_are_whole_however_many_turns_the_loader_knows(storage):
    first = start(count=3, mark=Mark("r1", 1))
    write(storage, first, next_run(first, "r2", 3, mark=Mark("r1", 1)))

    assert storage.load("trip-1", 2, "r2").unsent == turns(2, "r1", 1)
    assert storage.load("trip-1", 2, "r2").turns == turns(1, "r2", 2)


def test_the_turns_of_a_former_run_stay_while_it_is_unsent(storage):
    first = start(count=3, mark=Mark("r1", 1))
    write(storage, first, next_run(first, "r2", mark=Mark("r1", 1)))

    assert storage.history("trip-1", "r1") == turns(3)


def test_what_comes_into_the_inbox_is_kept_in_order(storage):
    first = start()
    second = after(first, inbox=1, inbox_added=(item("z"), item("a")))
    third = after(second, inbox=1, inbox_added=(item("m"),))
    write(storage, first, second, third)

    stored = storage.load("trip-1")
    assert stored.inbox == (item("z"), item("a"), item("m"))
    assert stored.version == Version("r1", 1, 2)


def test_the_inbox_keeps_an_item_once_per_key_and_in_its_first_place(storage):
    first = start(inbox_added=(item("a"), item("b")))
    again = after(first, inbox=1, inbox_added=(msgspec.structs.replace(item("a"), body=b"again"), item("c")))
    write(storage, first, again)

    assert storage.load("trip-1").inbox == (item("a"), item("b"), item("c"))


def test_items_leave_the_inbox_by_key(storage):
    first = start(inbox_added=(item("a"), item("a "), item("A"), item("b")))
    write(storage, first, after(first, 1, inbox=1, inbox_removed=("a", "b", "never there")))

    assert storage.load("trip-1").inbox == (item("a "), item("A"))


def test_one_append_may_empty_the_inbox_and_fill_it_anew(storage):
    first = start(inbox_added=(item("a"), item("b")))
    write(storage, first, after(first, 1, inbox=1, inbox_removed=("a", "b"), inbox_added=(item("c"),)))

    assert storage.load("trip-1").inbox == (item("c"),)


def test_an_item_that_left_the_inbox_may_come_again_behind_the_others(storage):
    first = start(inbox_added=(item("a"), item("b")))
    second = after(first, inbox=1, inbox_removed=("a",))
    write(storage, first, second, after(second, inbox=1, inbox_added=(item("a"),)))

    assert storage.load("trip-1").inbox == (item("b"), item("a"))


def test_the_inboxes_of_two_instances_do_not_mix(storage):
    a, b = start("a", inbox_added=(item("k"),)), start("b", inbox_added=(item("k"),))
    write(storage, a, b, after(a, inbox=1, inbox_removed=("k",)))

    assert storage.load("a").inbox == ()
    assert storage.load("b").inbox == (item("k"),)


def test_an_inbox_that_changed_loses_the_race_of_who_did_not_see_it(storage):
    first = start()
    write(storage, first, after(first, inbox=1, inbox_added=(item("a"),)))

    assert storage.append([after(first, 1)]) == [False]
    assert storage.load("trip-1").turns == turns(1)


def test_the_inbox_lives_on_over_runs(storage):
    first = start(inbox_added=(item("a"),))
    write(storage, first, next_run(first, "r2"))

    assert storage.load("trip-1").inbox == (item("a"),)
