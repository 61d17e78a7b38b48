"""Appending: the compare-and-set, races, and what one append may hold."""

import msgspec
import pytest

from infinitic.records import Mark, StateRecord, TurnRow, Version
from tests.storages.given import (
    AWKWARD_IDS,
    NOON,
    after,
    in_threads,
    item,
    kept,
    loaded,
    next_run,
    record,
    start,
    timer,
    turns,
    write,
)


def test_a_started_instance_is_loaded_as_it_was_written(storage):
    first = start(
        count=3,
        inbox_added=(item("k1"), item("k2")),
        timers_set=(timer("m0.1", NOON), timer("m0.2", NOON + 5, attempt=2)),
    )

    assert storage.append([first]) == [True]
    assert loaded(storage) == kept(first)


def test_an_instance_that_was_never_started_is_not_there(storage):
    assert storage.load("trip-1") is None
    assert storage.history("trip-1", "r1") == ()
    assert storage.records(["trip-1"]) == [None]


def test_a_record_comes_back_with_all_its_fields(storage):
    full = record(
        status="failed",
        reason='it\'s "broken" 🦄',
        method="run",
        tags=("eu", "vip 'x'"),
        meta={"a": [1, 2.5, None, {"b": True}]},
        root="root",
        started=NOON,
        updated=NOON + 1,
        ended=NOON + 2,
        turns=7,
        reply_to="client-1",
        value=msgspec.Raw(b'{"n": 1}'),
        timed_out=True,
        waiting=3,
        buffered={"bonus": 2},
        open_calls=("c1",),
        starts=("s1", "s2"),
        late=4,
    )
    write(storage, start(record=full))

    assert storage.records(["trip-1"]) == [full]


def test_turns_are_added_to_those_that_are_there(storage):
    first = start()
    second = after(first, 2)
    write(storage, first, second)

    assert loaded(storage) == kept(first, version=Version("r1", 3), mark=Mark("r1", 3), turns=turns(3))


def test_an_append_without_a_record_leaves_the_record(storage):
    first = start(record=record(tags=("eu",)))
    write(storage, first, after(first, 1))

    assert storage.records(["trip-1"]) == [record(tags=("eu",))]


def test_an_append_with_a_record_replaces_it(storage):
    first = start(record=record(tags=("eu",), reason="x"))
    write(storage, first, after(first, record=record(status="completed")))

    assert storage.records(["trip-1"]) == [record(status="completed")]


def test_the_token_is_that_of_the_last_writer(storage):
    first = start(token="ann")
    write(storage, first, after(first, 1, token="bob"))

    assert loaded(storage).token == "bob"


ELSEWHERE = [
    Version("r1", 0),
    Version("r1", 1),
    Version("r1", 3),
    Version("r2", 2),
    Version("R1", 2),
    Version("r1", 2, 1),
    Version("r1", 2, -1),
]


@pytest.mark.parametrize("expected", ELSEWHERE)
def test_an_append_that_expects_another_version_loses_and_changes_nothing(storage, expected):
    first = start(count=2)
    write(storage, first)
    late = after(start(version=expected), 1, token="late", record=record(reason="late"), inbox_added=(item("late"),))

    assert storage.append([late]) == [False]
    assert loaded(storage) == kept(first)


@pytest.mark.parametrize("expected", ELSEWHERE)
def test_an_append_that_changes_nothing_tells_that_its_version_does_not_hold(storage, expected):
    first = start(count=2)
    write(storage, first)
    nothing = after(start(version=expected), token="late")

    assert not nothing.changes
    assert storage.append([nothing]) == [False]
    assert loaded(storage) == kept(first)


@pytest.mark.parametrize("expected", [Version("r1", 0), Version("r1", 1), Version("", 0)])
@pytest.mark.parametrize("count", [0, 1])
def test_nobody_appends_to_an_instance_that_is_not_there(storage, expected, count):
    assert storage.append([after(start(version=expected), count, record=record())]) == [False]
    assert storage.append([after(start(version=expected), count)]) == [False]
    assert storage.load("trip-1") is None


def test_a_second_start_loses_even_with_the_same_run(storage):
    first = start(token="ann")

    assert storage.append([first]) == [True]
    assert storage.append([start(token="bob")]) == [False]
    assert storage.append([start(token="bob", workflow="others")]) == [False]
    assert loaded(storage) == kept(first)


def test_an_append_that_changes_nothing_tells_that_its_version_holds(storage):
    first = start(count=2)
    write(storage, first)
    nothing = after(first)

    assert not nothing.changes
    assert storage.append([nothing]) == [True]
    assert loaded(storage) == kept(first)


def test_a_lost_race_inside_a_batch_leaves_the_others_alone(storage):
    a, b, c = start("a"), start("b"), start("c")
    write(storage, a, b)
    lost = after(start("b", version=Version("r1", 7)), 1)

    assert storage.append([after(a, 1), lost, c, start("a"), after(start("ghost"), 1)]) == [
        True,
        False,
        True,
        False,
        False,
    ]
    assert [stored and stored.version for stored in map(storage.load, ["a", "b", "c", "ghost"])] == [
        Version("r1", 2),
        Version("r1", 1),
        Version("r1", 1),
        None,
    ]


def test_an_empty_batch_is_no_work(storage):
    assert storage.append([]) == []


def test_results_are_in_the_order_of_the_batch(storage):
    odd = [start(f"trip-{number}") for number in range(1, 100, 2)]
    assert storage.append(odd) == [True] * 50

    batch = [start(f"trip-{number}") for number in reversed(range(100))]
    assert storage.append(batch) == [False, True] * 50


def test_ids_that_look_alike_are_different_instances(storage):
    starts = [start(id_, record=record(id_, reason=repr(id_))) for id_ in AWKWARD_IDS]

    assert storage.append(starts) == [True] * len(starts)
    assert [loaded(storage, id_) for id_ in AWKWARD_IDS] == [kept(first) for first in starts]
    assert storage.records(AWKWARD_IDS) == [first.record for first in starts]


def test_awkward_names_of_workflows_runs_positions_and_keys_come_back(storage):
    for number, name in enumerate(AWKWARD_IDS):
        first = start(
            f"trip-{number}",
            run=name,
            token=name,
            inbox_added=(item(name),),
            timers_set=(timer(name, NOON, f"trip-{number}", run=name),),
        )
        write(storage, first)
        assert loaded(storage, f"trip-{number}") == kept(first)


def test_bodies_are_any_bytes_and_three_megabytes_are_not_too_many(storage):
    every = bytes(range(256))
    large = every * (3 * 4096)
    rows = (TurnRow("r1", 0, b""), TurnRow("r1", 1, every), TurnRow("r1", 2, large))
    first = start(count=3, turns=rows, inbox_added=(msgspec.structs.replace(item("k"), body=large),))
    write(storage, first)

    assert loaded(storage) == kept(first)


def test_a_thousand_turns_come_in_order_whole_or_from_any_on(storage):
    first = start(count=400)
    second = after(first, 600)
    write(storage, first, second)

    assert storage.load("trip-1").turns == turns(1_000)
    assert storage.history("trip-1", "r1") == turns(1_000)
    for from_turn in (1, 9, 10, 99, 100, 399, 400, 401, 999):
        assert storage.load("trip-1", from_turn).turns == turns(1_000 - from_turn, first=from_turn)
    assert storage.load("trip-1", 1_000).turns == storage.load("trip-1", 5_000).turns == ()


def test_records_come_in_the_order_that_was_asked_for(storage):
    write(storage, start("a"), start("b"))

    assert storage.records(["b", "ghost", "a", "b"]) == [record("b"), None, record("a"), record("b")]
    assert storage.records([]) == []


def test_one_of_many_starts_at_once_wins(storage):
    def begin(writer):
        return lambda: storage.append([start(token=writer, record=record(reason=writer))])

    writers = [f"writer-{number}" for number in range(8)]
    results = in_threads(*map(begin, writers))

    assert sorted(results) == [[False]] * 7 + [[True]]
    winner = writers[results.index([True])]
    assert loaded(storage) == kept(start(token=winner, record=record(reason=winner)))


def test_eight_racing_writers_leave_no_gap_and_each_win_is_one_turn(storage, count):
    rounds = count(25, 200)
    write(storage, start(count=0))

    def race():
        won = 0
        while won < rounds:
            stored = storage.load("trip-1")
            won += storage.append([after(stored, 1)])[0]
        return won

    assert in_threads(*[race] * 8) == [rounds] * 8
    assert loaded(storage).version == Version("r1", 8 * rounds)
    assert storage.load("trip-1").turns == turns(8 * rounds)


def test_writers_of_overlapping_batches_leave_no_gap(storage, count):
    names = [f"trip-{number}" for number in range(6)]
    write(storage, *(start(name, count=0) for name in names))
    rounds = count(20, 200)

    def race(shift):
        def work():
            won = 0
            mine = names[shift:] + names[:shift]
            for _ in range(rounds):
                batch = [after(storage.load(name), 1) for name in mine[:4]]
                won += sum(storage.append(batch))
            return won

        return work

    won = in_threads(*(race(shift) for shift in range(6)))

    histories = [storage.load(name).turns for name in names]
    assert histories == [turns(len(history)) for history in histories]
    assert sum(map(len, histories)) == sum(won)


def test_a_reader_never_sees_half_an_append(storage, count):
    write(storage, start(count=0, record=record(turns=0)))
    rounds = count(50, 500)

    def writer():
        for _ in range(rounds):
            stored = storage.load("trip-1")
            turn = stored.version.turns
            one = after(stored, 2, record=record(turns=turn + 2), timers_set=(timer(f"{turn}", NOON + turn),))
            write(storage, one)

    def reader():
        torn = []
        while (stored := storage.load("trip-1")).version.turns < 2 * rounds:
            seen = (len(stored.turns), stored.record.turns, 2 * len(stored.timers), stored.mark.turns)
            torn += [seen] * (set(seen) != {stored.version.turns})
        return torn

    assert in_threads(writer, reader, reader) == [None, [], []]


def test_a_new_run_replaces_the_one_before(storage):
    first = start(count=2)
    second = next_run(first, "r2")
    write(storage, first, second)

    assert loaded(storage) == kept(second, inbox=(), timers=())
    assert storage.append([after(first, 1)]) == [False]


def test_the_last_turn_of_a_run_and_the_first_of_the_next_are_one_append(storage):
    first = start(count=2)
    both = next_run(first, "r2", turns=turns(1, "r1", 2) + turns(1, "r2"))
    write(storage, first, both)

    assert storage.history("trip-1", "r1") == turns(3)
    assert storage.history("trip-1", "r2") == turns(1, "r2")
    assert storage.history("trip-1", "r3") == ()
    assert storage.history("trip-2", "r1") == ()


def test_a_record_may_be_as_plain_as_can_be(storage):
    plain = StateRecord("trips", "trip-1", "r1")
    write(storage, start(record=plain))

    assert storage.records(["trip-1"]) == [plain]
