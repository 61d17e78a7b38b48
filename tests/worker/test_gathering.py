"""Gathering, and the executor over it: what joins which lot, what leaves it, how much more may be taken."""

import threading

import pytest
from msgspec import Raw
from msgspec.json import decode, encode

from dsl import Batch, Cancelled, current_batch, task
from infinitic.events import AnyEvent, AttemptFailed, Heartbeat, TaskCompleted, TaskStarted
from infinitic.messages import Delivery, Message, TaskRequest, encode_payload
from infinitic.serialization import Serializer
from infinitic.topics import service_topic
from infinitic.worker.executor import Executor
from infinitic.worker.gathering import Gathering, Lot, unit_of
from infinitic.worker.registry import Registry
from infinitic.worker.tasks import Attempt, TaskStep
from infinitic.worker.work import Said
from tests.scenarios.given import PATIENCE, until
from tests.worker.given import Clock

WHOLE = 3_600
ran: list[list[int]] = []
go = threading.Event()


@task
def triple(number: int, of: str = "") -> int:
    raise NotImplementedError


@task(batch=Batch(triple, size=4, wait=WHOLE, key=lambda number, of: of))
def triple_all(calls: list[tuple[int, str]]) -> list[int]:
    assert len(current_batch()) == len(calls)
    ran.append([number for number, _ in calls])
    assert go.wait(PATIENCE)
    return [3 * number for number, _ in calls]


@task
def hashless(number: int) -> int:
    raise NotImplementedError


@task(batch=Batch(hashless, key=lambda number: []))
def hashless_all(calls: list[tuple[int]]) -> list[int]:
    return [number for (number,) in calls]


@task
def alone(number: int) -> int:
    assert go.wait(PATIENCE)
    return number


@task(heartbeat=WHOLE)
def toil(number: int) -> int:
    raise NotImplementedError


@task(batch=Batch(toil, size=2, wait=WHOLE))
def toil_all(calls: list[tuple[int]]) -> list[int]:
    """Each says something; until it is interrupted."""
    here = current_batch()
    for (number,), one in zip(calls, here, strict=True):
        one.heartbeat(10 * number)
    ran.append([number for (number,) in calls])
    try:
        until(lambda: len(ran) > 1)
        for one in here:
            one.heartbeat()  # some of them may be cancelled, but not all
        ran.append([one.cancelled for one in here])
        until(lambda: False)
    except Cancelled:
        ran.append([one.cancelled for one in here])
        raise
    raise AssertionError


CODEC = Serializer()
REGISTRY = Registry([], [triple_all, hashless_all, toil_all, alone], codec=CODEC)
STEP = TaskStep(REGISTRY, CODEC, Clock(), "me")


def delivery(number: int, name: str = "triple", suspect: bool = False, **arguments) -> Delivery:
    payload = encode_payload(TaskRequest(name, name, Raw(encode({"number": number, **arguments}))))
    message = Message("task", f"{name}{number}", "trip", "w", "r", f"m0.{number}", 1, payload=payload)
    return Delivery(service_topic(name), message, number, suspect=suspect)


def attempt(number: int, **arguments) -> Attempt:
    made = STEP.attempt(delivery(number, **arguments))
    assert isinstance(made, Attempt)
    return made


@pytest.fixture
def told():
    return []


@pytest.fixture
def executor(told):
    ran.clear()
    go.clear()
    made = Executor(STEP, 2, lambda *those: told.append(those))
    yield made
    go.set()
    made.stop()


def answers(told) -> dict[str, AnyEvent]:
    return {one.task.message.id: decode(one.result.message.payload, type=AnyEvent) for those in told for one in those}


# ------------------------------------------------------------------------------------------ lots


def test_calls_of_one_key_join_one_lot_until_it_is_full():
    gathering = Gathering()
    first, begins = gathering.add(attempt(1))
    assert (begins, gathering.add(attempt(2)), gathering.is_full(first)) == (True, (first, False), False)
    other, _ = gathering.add(attempt(3, of="x"))
    gathering.add(attempt(4))
    gathering.add(attempt(5))

    assert gathering.is_full(first)
    assert [one.arguments.number for one in first.items] == [1, 2, 4, 5]
    assert (gathering.lots, gathering.count) == ((first, other), 5)
    assert (gathering.take(first), gathering.take(first)) == (True, False)
    assert (gathering.lots, gathering.count) == ((other,), 1)


def test_there_is_room_for_as_many_as_may_join_but_not_for_ever_more_lots():
    gathering = Gathering()
    assert gathering.extra(2) == 0

    gathering.add(attempt(1))
    assert (gathering.extra(2), gathering.extra(1), gathering.extra(0), gathering.extra(-3)) == (2, 2, 0, 0)

    gathering.add(attempt(2, of="x"))
    gathering.add(attempt(3, of="y"))
    assert (gathering.extra(3), gathering.extra(2)) == (6, -2)


def test_what_has_left_a_lot_is_not_in_it_any_more():
    gathering, one, other = Gathering(), attempt(1), attempt(2)
    lot, _ = gathering.add(one)
    gathering.add(other)

    assert gathering.leave(one)
    assert (list(lot.items), gathering.count, gathering.extra(1)) == ([other], 1, 2)
    assert gathering.leave(other)
    assert not gathering.take(lot)
    assert (gathering.count, gathering.extra(1), gathering.lots) == (0, 0, ())


def test_a_lot_sheds_what_was_answered_before_it_ran():
    one, other = attempt(1), attempt(2)
    lot = Lot(one)
    lot.join(other)
    one.answered = True

    assert (lot.shed(), list(lot.items)) == (True, [other])
    other.answered = True
    assert not lot.shed()


def test_what_runs_an_attempt_by_itself_is_a_lot_of_one_where_it_must_be():
    plain, batched = attempt(1, name="alone"), attempt(2)

    assert unit_of(plain) is plain
    assert list(unit_of(batched).items) == [batched]


# ------------------------------------------------------------------------------------------ the executor


def test_a_lot_takes_one_place_and_its_answers_are_told_together(executor, told):
    assert (executor.capacity(), executor.room) == (2, 2)
    executor.submit([delivery(1), delivery(2)])
    assert (executor.capacity(), executor.room) == (4 - 1, 5)
    executor.submit([delivery(3), delivery(4)])
    until(lambda: ran)
    assert (executor.capacity(), executor.room) == (1, 5)

    go.set()
    assert executor.wait_idle(PATIENCE)

    assert ran == [[1, 2, 3, 4]]
    assert [len(those) for those in told] == [4]
    assert {id: one.value for id, one in answers(told).items() if isinstance(one, TaskCompleted)} == {
        f"triple{number}": Raw(str(3 * number).encode()) for number in (1, 2, 3, 4)
    }
    assert (executor.capacity(), executor.room) == (2, 2)


def test_a_call_that_is_cancelled_leaves_the_lot_that_it_waits_in(executor, told):
    executor.submit([delivery(1), delivery(2)])
    executor.cancel("triple1")
    assert isinstance(answers(told)["triple1"], AttemptFailed)
    executor.submit([delivery(number) for number in (3, 4, 5)])
    go.set()
    until(lambda: len(answers(told)) == 5)
    assert executor.wait_idle(PATIENCE)

    assert ran == [[2, 3, 4, 5]]
    assert (executor.capacity(), executor.room) == (2, 2)


def test_a_call_that_is_cancelled_leaves_a_full_lot_that_has_no_place_yet(executor, told):
    executor.submit([delivery(1, "alone"), delivery(2, "alone"), *(delivery(number) for number in (1, 2, 3, 4))])
    executor.cancel("triple1")
    executor.cancel("triple1")
    for number in (5, 6, 7, 8):
        executor.submit([delivery(number)])
        executor.cancel(f"triple{number}") if number < 8 else None
    go.set()
    until(lambda: len(answers(told)) == 9)
    assert executor.wait_idle(PATIENCE)

    assert ran == [[2, 3, 4]]
    executor.cancel("triple8")
    assert len(answers(told)) == 10


def test_all_calls_of_a_full_lot_may_be_cancelled(executor, told):
    executor.submit([delivery(1, "alone"), delivery(2, "alone"), *(delivery(number) for number in (1, 2, 3, 4))])
    for number in (1, 2, 3, 4):
        executor.cancel(f"triple{number}")
    go.set()
    until(lambda: len(answers(told)) == 6)
    assert executor.wait_idle(PATIENCE)

    assert (ran, executor.capacity(), executor.room) == ([], 2, 2)


def test_a_call_of_a_lot_that_runs_is_answered_when_it_is_cancelled_and_the_others_go_on(executor, told):
    executor.submit([delivery(number) for number in (1, 2, 3, 4)])
    until(lambda: ran)
    executor.cancel("triple2")
    assert list(answers(told)) == ["triple2"]
    assert executor.room == 4
    go.set()
    assert executor.wait_idle(PATIENCE)

    assert sorted(answers(told)) == ["triple1", "triple2", "triple3", "triple4"]
    assert isinstance(answers(told)["triple2"], AttemptFailed)
    assert executor.room == 2


def test_a_full_lot_that_waits_for_a_place_is_given_back_whole(executor, told):
    executor.submit([delivery(1, "alone"), delivery(2, "alone"), *(delivery(number) for number in (1, 2, 3, 4))])
    assert executor.give_back() == []
    executor.cancel("triple3")

    assert [one.message.id for one in executor.give_back()] == ["triple1", "triple2", "triple4"]
    assert (executor.capacity(), executor.room) == (0, 2)


def test_what_is_gathered_when_it_closes_is_not_run(executor, told):
    executor.submit([delivery(1), delivery(2)])
    executor.close()
    executor.submit([delivery(3), delivery(4)])

    assert executor.wait_idle(PATIENCE)
    assert (ran, told) == ([], [])


def test_a_suspect_call_runs_in_a_lot_of_its_own_with_nothing_beside_it(executor, told):
    go.set()
    executor.submit([delivery(1), delivery(2, suspect=True), delivery(3, suspect=True)])
    until(lambda: len(answers(told)) == 2)
    assert executor.wait_idle(PATIENCE)

    assert ran == [[2], [3]]


def test_a_key_that_cannot_be_one_fails_its_call_for_good(executor, told):
    executor.submit([delivery(1, "hashless")])

    event = answers(told)["hashless1"]
    assert isinstance(event, AttemptFailed)
    assert (event.retry_in, event.error.message) == (None, "unhashable type: 'list'")


def test_a_call_that_is_the_only_one_of_its_lot_may_leave_it_before_others_join(executor, told):
    go.set()
    executor.submit([delivery(1)])
    executor.cancel("triple1")
    executor.submit([delivery(number) for number in (2, 3, 4, 5)])
    until(lambda: len(answers(told)) == 5)
    assert executor.wait_idle(PATIENCE)

    assert ran == [[2, 3, 4, 5]]
    assert [id for id, one in answers(told).items() if isinstance(one, AttemptFailed)] == ["triple1"]


def test_each_call_of_a_lot_has_a_heartbeat_of_its_own_and_its_code_is_interrupted_for_all_of_them(executor, told):
    executor.submit([delivery(1, "toil"), delivery(2, "toil")])
    until(lambda: ran)
    executor.cancel("toil1")
    ran.append([])
    until(lambda: len(ran) > 2)
    executor.cancel("toil2")
    assert executor.wait_idle(PATIENCE)

    assert ran == [[1, 2], [], [True, False], [True, True]]
    said = [one.message.message for those in told for one in those if isinstance(one, Said)]
    events = [(one.position, decode(one.payload, type=AnyEvent)) for one in said]
    assert [(position, type(event)) for position, event in events[:2]] == [
        ("m0.1", TaskStarted),
        ("m0.2", TaskStarted),
    ]
    assert all(isinstance(event, TaskStarted | Heartbeat) for _, event in events)
    over = [one.task.message.id for those in told for one in those if not isinstance(one, Said)]
    assert over == ["toil1", "toil2"]
