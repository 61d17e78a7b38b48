"""`Conductor.step`: batches, cache, marks, trouble at each point of the commit, two workers on one instance."""

from contextlib import suppress

import pytest

from dsl import (
    Channel,
    Flow,
    Workflow,
    continue_as_new,
    dispatch,
    gather,
    method,
    query,
    sleep,
    task,
    workflow,
)
from dsl.policies import Retry
from infinitic.backends import Step
from infinitic.engine.outputs import ROUTER
from infinitic.errors import StorageError
from infinitic.events import ResumeRequested, SignalReceived, SuspendRequested, TaskCompleted, TimerFired
from infinitic.messages import Delivery, Message, event_message
from infinitic.records import Mark
from infinitic.storages.memory import MemoryStorage
from infinitic.topics import service_topic, workflow_topic
from tests.worker.flows import Listening, add, collecting, counting, flaky, napping, numbers, parent, trying
from tests.worker.given import RUN, SECOND, Deaf, Hand, Town

TROUBLE = ["before persist", "after persist", "before publish", "after publish", "after commit"]


@workflow
def cleaning() -> Flow[None]:
    try:
        yield from numbers.receive()
    finally:
        dispatch(add(1, 1))
        yield from add(1, 2)


@workflow
def rolling(left: int) -> Flow[int]:
    if left == 0:
        return (yield from numbers.receive())
    yield from add(1, 1)
    yield from Listening.by_id("listener").said.send(left)
    yield from continue_as_new(rolling(left - 1))
    return 0


class Tally(Workflow):
    def __init__(self) -> None:
        self.total = 0

    @method
    def run(self) -> Flow[int]:
        return (yield from numbers.receive())

    @method
    def add(self, number: int) -> int:
        self.total += number
        return self.total

    @query
    def so_far(self) -> int:
        return self.total

    @query
    def spoiling(self) -> int:
        self.total += 1000
        return self.total


SERVED = (counting, collecting, napping, parent, trying, cleaning, rolling, Listening, Tally, add, flaky)


def test_a_workflow_goes_its_way_step_by_step(town):
    hand = town.conductor(*SERVED)
    town.start(counting(3))
    hand.step()
    assert town.events() == ["Started"]
    assert [one.message.kind for one in hand.tasks.submitted] == ["task"]
    hand.work()

    assert town.events() == ["Started", "TaskCompleted", "TaskCompleted", "TaskCompleted"]
    assert bytes(town.record().value) == b"3"
    assert [(one.status, bytes(one.value)) for one in town.told()] == [("completed", b"3")]
    assert town.waiting(workflow_topic("counting")) == []
    assert town.waiting(service_topic("add")) == []


def scene(seed_of_ids: int = 0) -> list[object]:
    town = Town()
    hand = town.conductor(*SERVED, cache_instances=2)
    for number in range(5):
        town.start(counting(3), f"c{number}", run=f"{number:032x}")
        town.start(parent(2), f"p{number}", run=f"{number + 100:032x}")
        town.start(trying(), f"t{number}", run=f"{number + 200:032x}")
        town.start(collecting(2), f"s{number}", run=f"{number + 300:032x}")
        town.signal("collecting", f"s{number}", "numbers", number)
    for _ in range(4):
        hand.work()
        town.clock.go_on(2)
        hand.sweeper.sweep()
    hand.close()
    return town.log


def test_the_same_input_gives_the_same_appends_and_messages_in_the_same_order():
    first, second = scene(), scene()

    assert len(first) > 50
    assert first == second


# ------------------------------------------------------------------------------------------ marks


def test_the_mark_moves_with_the_next_append_and_with_a_write_of_its_own_when_none_comes(town):
    hand = town.conductor(*SERVED)
    town.start(counting(2))
    hand.step()
    assert town.stored().mark == Mark(RUN, 0)
    hand.step(hand.run_tasks())
    hand.step()
    assert town.stored().mark == Mark(RUN, 1)
    assert town.stored().version.turns == 2

    hand.conductor.flush_marks()

    assert town.stored().mark == Mark(RUN, 2)


def test_nothing_is_evicted_before_its_mark_is_written(town):
    hand = town.conductor(*SERVED, cache_instances=1)
    for number in range(5):
        town.start(collecting(1), f"c{number}", run=f"{number:032x}")
    hand.step()

    assert len(hand.conductor.cache) == 1
    evicted = [town.stored(f"c{number}") for number in range(5) if f"c{number}" not in hand.conductor.cache]
    assert [one.mark.turns for one in evicted] == [1] * 4


@pytest.mark.parametrize("where", TROUBLE)
def test_trouble_at_any_point_of_the_commit_costs_nothing(town, where):
    hand = town.conductor(*SERVED)
    town.start(parent(3))
    hand.step()
    hand.backend.fails = [where] * 4
    for _ in range(60):
        try:
            hand.conductor.step(hand.run_tasks())
        except Exception:
            continue
    hand.work()

    assert bytes(town.record().value) == b"30"
    assert town.events() == ["Started", "Answered"]
    [child] = [one.workflow_id for one in town.storage.find(_all(), 10).records if one.workflow == "counting"]
    assert town.events(child) == ["Started", *["TaskCompleted"] * 3]
    assert town.waiting(workflow_topic("counting")) == town.waiting(workflow_topic("parent")) == []
    assert town.waiting(service_topic("add")) == []


@pytest.mark.parametrize("where", TROUBLE)
def test_a_worker_that_dies_at_any_point_of_the_commit_is_followed_by_another(town, where):
    """Whatever the first had persisted and not published is published by the next."""
    town.start(parent(3))
    for _ in range(40):
        hand = town.conductor(*SERVED, fails=[where])
        for _ in range(3):
            try:
                hand.conductor.step(hand.run_tasks())
            except Exception:
                break
        hand.crash()
    hand = town.conductor(*SERVED)
    hand.work()
    for _ in range(3):  # what was published to nobody is offered again
        town.clock.go_on(6)
        hand.sweeper.sweep()
        hand.work()

    assert bytes(town.record().value) == b"30"
    assert town.events() == ["Started", "Answered"]
    assert town.waiting(workflow_topic("counting")) == town.waiting(workflow_topic("parent")) == []


def test_what_was_persisted_and_not_published_is_published_by_the_next_worker(town):
    first = town.conductor(*SERVED, fails=["before publish"])
    town.start(counting(1))
    first.step_with_trouble()
    assert town.events() == ["Started"]
    assert town.waiting(service_topic("add")) == []
    first.crash()

    second = town.conductor(*SERVED)
    second.step()

    assert town.events() == ["Started"]
    assert town.waiting(service_topic("add")) == ["task"]
    second.work()
    assert bytes(town.record().value) == b"0"


def test_outputs_are_published_again_when_the_mark_stays_behind_although_nothing_comes(town):
    """The start is acknowledged by a deaf broker: nothing is left but the sweep to notice."""
    first = town.conductor(*SERVED, fails=["before publish"])
    town.start(counting(1))
    first.step_with_trouble()
    first.crash()
    idle = town.transport.subscribe([workflow_topic("counting")], lambda: None)
    idle.ack(idle.receive(10))
    idle.close()
    second = town.conductor(*SERVED)
    second.step()
    assert town.waiting(service_topic("add")) == []
    town.clock.go_on(6)
    second.sweeper.sweep()
    second.work()

    assert bytes(town.record().value) == b"0"


@pytest.mark.parametrize("left", [1, 2])
@pytest.mark.parametrize("dies", [False, True], ids=["the same worker", "the next worker"])
def test_outputs_of_a_former_run_are_sent_though_the_mark_is_in_the_middle_of_that_run(town, left, dies):
    hand = town.conductor(*SERVED)
    town.start(Listening.run(left), "listener", run=f"{9:032x}")
    town.start(rolling(left))
    hand.step()
    for _ in range(left - 1):
        hand.step(hand.run_tasks())
    hand.conductor.flush_marks()
    before = town.stored()
    assert before.mark == Mark(before.version.run, 1)
    hand.backend.fails = ["before publish"]
    deliver(hand, town, "rolling", TaskCompleted("", "m0.0", _raw(2)))
    hand.step_with_trouble()
    assert (town.stored().version.run != before.version.run, town.stored().mark) == (True, before.mark)
    if dies:
        hand.crash()
        hand = town.conductor(*SERVED)
    for _ in range(3):
        hand.work()
        town.clock.go_on(6)
        hand.sweeper.sweep()
    hand.work()

    assert bytes(town.record("listener").value) == town.codec.encode([*range(left, 0, -1)])


def test_a_lost_acknowledgement_makes_a_repeat_that_changes_nothing(town):
    hand = town.conductor(*SERVED)
    Deaf.deaf = 1
    town.start(counting(1))
    hand.step()
    hand.crash()
    second = town.conductor(*SERVED)
    second.work()

    assert town.events() == ["Started", "TaskCompleted"]
    assert town.waiting(workflow_topic("counting")) == []


# --------------------------------------------------------------------- two workers and one instance


def deliver(hand: Hand, town: Town, workflow: str, event, workflow_id: str = "w") -> None:
    """Give an event to this very conductor, as if the key had moved to it."""
    message = event_message(event, workflow=workflow, workflow_id=workflow_id, at=town.clock(), reply_to="c")
    hand.conductor.pending.append(Delivery(workflow_topic(workflow), message, event=event, receipt=-1))


def test_two_workers_that_take_turns_on_one_instance_lose_and_double_nothing(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(collecting(20))
    first.step()
    for number in range(20):
        event = SignalReceived(f"s{number}", "numbers", town.codec.encode(number))
        event = SignalReceived(f"s{number}", "numbers", _raw(number))
        hand = first if number % 3 == 0 else second
        deliver(hand, town, "collecting", event)
        hand.step()

    assert bytes(town.record().value) == town.codec.encode(list(range(20)))
    assert town.events() == ["Started", *["SignalReceived"] * 20]


def _raw(value: object):
    from msgspec import Raw
    from msgspec.json import encode

    return Raw(encode(value))


def _all():
    from infinitic.records import Filter

    return Filter()


def test_a_repeat_that_a_stale_worker_takes_for_new_is_applied_once(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(collecting(3))
    first.step()
    event = SignalReceived("same", "numbers", _raw(7))
    deliver(second, town, "collecting", event)
    second.step()
    deliver(first, town, "collecting", event)
    first.step()

    assert town.events() == ["Started", "SignalReceived"]


def test_a_query_of_a_stale_worker_is_answered_from_the_current_state(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(Tally.run())
    town.call("Tally", "w", "add", number=1)
    first.step()
    from infinitic.events import MethodCalled

    deliver(second, town, "Tally", MethodCalled("m", "add", _raw({"number": 10})))
    second.step()
    town.told()
    query_id = "q"
    asked = Message("query", query_id, "Tally", "w", reply_to="c", payload=_raw({"name": "so_far"}))
    first.conductor.pending.append(Delivery(workflow_topic("Tally"), asked, receipt=-1))
    first.step()

    assert [(one.call_id, bytes(one.value)) for one in town.told()] == [("q", b"11")]


def test_a_refusal_of_a_stale_worker_is_told_only_when_it_still_holds(town):
    """The stale worker holds a finished run; meanwhile the instance was restarted, and takes signals again."""
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(collecting(1))
    first.step()
    deliver(first, town, "collecting", SignalReceived("one", "numbers", _raw(1)))
    first.step()
    assert town.record().status == "completed"
    from infinitic.events import Started

    again = Started("again", "collecting", f"{9:032x}", "", _raw({"count": 1}), if_exists="restart")
    deliver(second, town, "collecting", again)
    second.step()
    town.told()
    deliver(first, town, "collecting", SignalReceived("two", "numbers", _raw(2), reply_to="c"))
    first.step()

    assert [one.status for one in town.told() if one.call_id == "two"] == ["received"]
    assert bytes(town.record().value) == b"[2]"


def test_a_timer_of_a_stale_worker_is_dropped_and_its_row_remains_for_the_sweep(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(napping(5))
    first.step()
    deliver(second, town, "napping", SignalReceived("s", "numbers", _raw(1)))
    second.step()
    town.clock.go_on(5)
    first.step()
    assert town.events() == ["Started", "SignalReceived"]
    assert len(town.stored().timers) == 1
    town.clock.go_on(2)
    second.sweeper.sweep()
    second.step()

    assert bytes(town.record().value) == b'"awake"'


def test_an_answer_for_what_a_stale_worker_never_issued_suspends_nobody(town):
    first, second = town.conductor(*SERVED), town.conductor(*SERVED)
    town.start(counting(2))
    first.step()
    deliver(second, town, "counting", TaskCompleted("", "m0.0", _raw(0)))
    second.step()
    deliver(first, town, "counting", TaskCompleted("", "m0.1", _raw(5)))
    first.step()

    assert (town.record().status, bytes(town.record().value)) == ("completed", b"5")


# ------------------------------------------------------------------------------- what makes up a batch


def test_no_instance_takes_more_than_its_share_of_a_batch_and_order_is_kept(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(250))
    for number in range(250):
        town.signal("collecting", "w", "numbers", number)
    town.start(counting(1), "other", run=f"{2:032x}")
    hand.conductor.step()
    assert town.stored().version.turns == 100
    hand.work()

    assert bytes(town.record().value) == town.codec.encode(list(range(250)))
    assert town.record("other").status == "completed"


def test_a_query_that_spoils_the_state_harms_nothing_that_came_with_it(town):
    hand = town.conductor(*SERVED)
    town.start(Tally.run())
    hand.step()
    town.query("Tally", "w", "spoiling")
    town.call("Tally", "w", "add", number=5)
    town.query("Tally", "w", "so_far")
    hand.step()

    told = town.told()
    assert [one.status for one in told] == ["failed", "completed", "completed"]
    assert [bytes(one.value) for one in told[1:]] == [b"5", b"5"]


def test_routed_and_direct_messages_for_one_instance_may_come_in_one_batch(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(4))
    hand.step()
    for number in range(4):
        name = ROUTER if number % 2 else "collecting"
        town.send(name, "w", SignalReceived(f"s{number}", "numbers", _raw(number), reply_to="c"))
    hand.step()

    assert town.record().status == "completed"
    assert {one.status for one in town.told()} == {"received", "completed"}


def test_a_routed_signal_to_nobody_is_answered_so(town):
    hand = town.conductor(*SERVED)
    id = town.signal(ROUTER, "nobody", "numbers", 1)
    hand.step()

    assert [(one.call_id, one.status) for one in town.told()] == [(id, "unknown")]
    assert town.waiting(workflow_topic(ROUTER)) == []


def route(town: Town, value: int, workflow_id: str = "w") -> None:
    """A signal of a workflow, which knows only the id, and waits for no word."""
    event = SignalReceived(town.next_id(), "numbers", _raw(value))
    message = event_message(event, workflow=ROUTER, workflow_id=workflow_id, at=town.clock())
    town.publish(ROUTER, workflow_id, message)


def test_a_routed_signal_that_comes_with_the_start_of_its_instance_arrives(town):
    hand = town.conductor(*SERVED)
    route(town, 7)
    town.start(collecting(1))
    hand.step()

    assert bytes(town.record().value) == b"[7]"


def test_a_routed_signal_that_comes_before_its_instance_waits_for_it(town):
    hand = town.conductor(*SERVED)
    route(town, 7)
    hand.step()
    town.clock.go_on(1)
    hand.sweeper.sweep()
    hand.step()
    assert town.waiting(workflow_topic(ROUTER)) == ["event"]
    town.start(collecting(1))
    hand.step()
    hand.sweeper.sweep()
    hand.step()

    assert bytes(town.record().value) == b"[7]"
    assert town.waiting(workflow_topic(ROUTER)) == []


def test_a_routed_signal_that_waits_for_its_instance_outlives_its_worker(town):
    first = town.conductor(*SERVED)
    route(town, 7)
    first.step()
    first.crash()
    second = town.conductor(*SERVED)
    town.start(collecting(1))
    second.step()
    second.sweeper.sweep()
    second.step()

    assert bytes(town.record().value) == b"[7]"


def test_routed_signals_keep_their_order_when_the_first_came_before_the_instance(town):
    hand = town.conductor(*SERVED)
    route(town, 1)
    hand.step()
    town.start(collecting(2))
    hand.step()
    route(town, 2)
    hand.step()
    hand.sweeper.sweep()
    hand.step()

    assert bytes(town.record().value) == b"[1,2]"


def test_a_routed_signal_whose_instance_never_comes_is_put_away_in_the_end(town):
    hand = town.conductor(*SERVED)
    route(town, 7)
    for _ in range(5):
        hand.step()
        town.clock.go_on(30)
        hand.sweeper.sweep()
    hand.step()

    assert town.waiting(workflow_topic(ROUTER)) == []
    assert town.waiting(workflow_topic(ROUTER) + ":dead") == ["event"]


def test_a_routed_signal_is_not_lost_when_the_storage_is_away(town, monkeypatch):
    hand = town.conductor(*SERVED)
    town.start(collecting(2))
    hand.step()
    route(town, 1)
    fail_once(monkeypatch, hand, "records")
    hand.step_with_trouble()
    route(town, 2)
    hand.step()

    assert bytes(town.record().value) == b"[1,2]"


def test_a_message_that_is_no_event_is_put_away_with_the_reason(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(1))
    hand.step()
    town.publish("collecting", "w", Message("event", "bad", "collecting", "w", payload=_raw({"kind": "?"})))
    town.signal("collecting", "w", "numbers", 3)
    hand.step()

    assert town.record().status == "completed"
    [dead] = town.transport.unacknowledged(workflow_topic("collecting") + ":dead")
    assert (dead.id, "no event" in dead.headers["reason"]) == ("bad", True)


def test_a_message_that_is_no_event_for_a_suspended_instance_is_put_away_too(town):
    hand = town.conductor(*SERVED)
    town.start(collecting(1))
    hand.step()
    deliver(hand, town, "collecting", TaskCompleted("", "m0.99", _raw(1)))
    hand.step()
    assert town.record().status == "suspended"
    town.publish("collecting", "w", Message("event", "bad", "collecting", "w", payload=_raw({"kind": "?"})))
    hand.step()

    assert [one.id for one in town.transport.unacknowledged(workflow_topic("collecting") + ":dead")] == ["bad"]
    assert town.waiting(workflow_topic("collecting")) == []


class Sly(Workflow):
    heard = Channel(int)

    def __init__(self) -> None:
        self.asked = 0

    @method
    def run(self) -> Flow[int]:
        return (yield from self.heard.receive())

    @method
    def change(self) -> None: ...

    @change.validator
    def may_change(self) -> None:
        self.asked += 1


@pytest.mark.parametrize("dies", [False, True], ids=["the same worker", "the next worker"])
def test_what_a_change_leaves_of_an_inbox_stays_there(town, dies):
    hand = town.conductor(Sly)
    town.start(Sly.run())
    town.send("Sly", "w", SuspendRequested("s-1", reply_to="c"))
    hand.step()
    town.call("Sly", "w", "change")  # which its validator spoils: what follows is applied to a fresh instance
    town.signal("Sly", "w", "heard", 7)
    hand.step()
    assert len(town.stored().inbox) == 2
    town.send("Sly", "w", ResumeRequested("r-1", reply_to="c"))
    hand.conductor.step()
    if dies:
        hand.crash()
        hand = town.conductor(Sly)
    hand.step()

    assert (town.record().status, town.record().value, town.stored().inbox) == ("completed", _raw(7), ())
    assert town.events() == ["Started", "SignalReceived"]


def test_results_for_instances_that_are_not_held_are_published(town):
    workflows = town.conductor(counting, parent)
    services = town.conductor(add)
    town.start(counting(2))
    for _ in range(4):
        workflows.step()
        services.work()
    workflows.step()

    assert bytes(town.record().value) == b"1"


def test_cancelled_tasks_reach_those_who_run_them(town):
    hand = town.conductor(*SERVED)
    town.start(counting(1))
    hand.step()
    [task_delivery] = hand.tasks.submitted
    town.cancel("counting", "w")
    hand.step()
    hand.step()

    assert hand.tasks.cancelled == [task_delivery.message.id]
    assert town.record().status == "cancelled"


def test_no_more_tasks_are_taken_than_there_is_room_for(town):
    hand = town.conductor(*SERVED)
    hand.tasks.room = 2
    for number in range(5):
        town.start(counting(1), f"c{number}", run=f"{number:032x}")
    hand.step()
    assert len(hand.tasks.submitted) == 2
    hand.tasks.room = 0
    hand.step()
    assert len(hand.tasks.submitted) == 2
    hand.tasks.room = 5
    hand.step()

    assert len(hand.tasks.submitted) == 5


def test_tasks_that_leave_room_for_more_are_not_the_last_to_be_taken(town, monkeypatch):
    hand = town.conductor(*SERVED)
    monkeypatch.setattr(hand.tasks, "capacity", lambda: 1 if len(hand.tasks.submitted) < 4 else 0)
    for number in range(5):
        town.start(counting(1), f"c{number}", run=f"{number:032x}")

    hand.step()

    assert len(hand.tasks.submitted) == 4


# ------------------------------------------------------------------------------------------ timers


def test_a_timer_fires_when_it_is_due_and_its_row_goes_when_the_mark_has_passed(town):
    hand = town.conductor(*SERVED)
    town.start(napping(5))
    hand.step()
    town.clock.go_on(4.999)
    hand.step()
    assert town.events() == ["Started"]
    town.clock.go_on(0.001)
    hand.step()

    assert town.history()[1].event == TimerFired("", "m0.0")
    hand.conductor.flush_marks()
    assert town.stored().timers == ()


def test_a_timer_whose_turn_was_stored_and_whose_row_remained_is_cleared_by_its_next_message(town):
    hand = town.conductor(*SERVED, gathering)
    town.start(gathering())
    hand.step()
    town.clock.go_on(1)
    hand.step()
    assert len(town.stored().timers) == 2  # one has fired, and the mark was not yet written
    hand.crash()
    second = town.conductor(*SERVED, gathering)
    town.clock.go_on(10)
    second.sweeper.sweep()
    second.step()

    assert [row.position for row in town.stored().timers] == ["m0.1"]
    assert town.events() == ["Started", "TimerFired"]


@workflow
def gathering() -> Flow[None]:
    yield from gather(sleep(1), sleep(3600))


def test_a_late_timer_of_an_attempt_leaves_the_row_of_the_next_attempt_alone(town):
    hand = town.conductor(*SERVED)
    town.start(trying())
    hand.work()
    [row] = town.stored().timers
    town.clock.go_on(1)
    hand.work()
    assert bytes(town.record().value) == b'"at last"'
    deliver(hand, town, "trying", TimerFired("", row.position, row.attempt))
    hand.step()

    assert town.events() == ["Started", "AttemptFailed", "TimerFired", "TaskCompleted"]


def test_timers_that_lie_far_ahead_are_left_to_the_sweep(town):
    hand = town.conductor(*SERVED)
    town.start(napping(3600))
    hand.step()
    assert len(hand.conductor.timers) == 0
    town.clock.go_on(3599)
    hand.sweeper.sweep()
    assert len(hand.conductor.timers) == 1
    town.clock.go_on(1)
    hand.step()

    assert bytes(town.record().value) == b'"awake"'


def test_who_takes_an_instance_over_holds_its_timers_too(town):
    """They fire when they are due, and not only when the sweep may take them from the dead."""
    first = town.conductor(*SERVED)
    town.start(napping(5))
    first.step()
    first.crash()
    second = town.conductor(*SERVED)
    town.offer("napping", "w")
    second.step()
    town.clock.go_on(5)
    second.step()

    assert bytes(town.record().value) == b'"awake"'


def test_trouble_with_one_instance_does_not_undo_the_others(town, monkeypatch):
    hand = town.conductor(*SERVED)
    for number in range(4):
        town.start(counting(0), f"c{number}", run=f"{number:032x}")
    load = hand.backend.storage.load

    def moody(workflow_id: str, *more):
        if workflow_id == "c2":
            raise StorageError("this one cannot be read just now")
        return load(workflow_id, *more)

    monkeypatch.setattr(hand.backend.storage, "load", moody)
    hand.step_with_trouble()
    assert [town.storage.load(f"c{number}") is not None for number in range(4)] == [True, True, False, False]
    monkeypatch.undo()
    hand.step()

    assert [town.record(f"c{number}").status for number in range(4)] == ["completed"] * 4


class Odd(BaseException):
    """Of no kind that workflow code may raise."""


@workflow
def odd_once(odd: str) -> Flow[int]:
    number = yield from numbers.receive()
    if strange:
        strange.pop()
        raise Odd(odd)
    return number


@task(retry=Retry(max_attempts=1))
def mended() -> None:
    if strange:
        raise LookupError("not yet")


@workflow
def mending() -> Flow[list[int]]:
    yield from mended()
    return [(yield from numbers.receive()), (yield from numbers.receive())]


strange: list[bool] = []


def fail_once(monkeypatch, hand: Hand, name: str) -> None:
    """The next call of this kind to the storage fails."""
    real, fails = getattr(hand.backend.storage, name), [True]

    def moody(*arguments):
        if fails:
            fails.pop()
            raise StorageError("the storage is away")
        return real(*arguments)

    monkeypatch.setattr(hand.backend.storage, name, moody)


def test_after_trouble_in_the_middle_of_a_work_nothing_is_acknowledged_without_effect(town, monkeypatch):
    """The code has moved half way, and the storage fails when the instance is to be suspended for it."""
    strange[:] = [True]
    hand = town.conductor(odd_once)
    town.start(odd_once("odd"))
    hand.step()
    hand.conductor.flush_marks()
    town.signal("odd_once", "w", "numbers", 5)
    fail_once(monkeypatch, hand, "load")
    hand.step_with_trouble()
    assert town.waiting(workflow_topic("odd_once")) == ["event"]
    hand.step()

    assert bytes(town.record().value) == b"5"
    assert town.events() == ["Started", "SignalReceived"]


def test_what_was_applied_before_a_question_that_the_storage_could_not_answer_is_applied_again(town, monkeypatch):
    hand = town.conductor(*SERVED)
    town.start(collecting(2))
    hand.step()
    town.signal("collecting", "w", "numbers", 1)
    town.signal("collecting", "w", "numbers", 2)
    payload = _raw({"waits": [["w", ""], ["somebody else", ""]]})
    town.publish("collecting", "w", Message("ask", "asked", "collecting", "w", reply_to="c", payload=payload))
    fail_once(monkeypatch, hand, "records")
    hand.step_with_trouble()
    hand.step()

    assert bytes(town.record().value) == b"[1,2]"
    assert town.events() == ["Started", "SignalReceived", "SignalReceived"]
    assert town.waiting(workflow_topic("collecting")) == []


def test_what_was_applied_before_a_retry_that_the_storage_failed_is_applied_again(town, monkeypatch):
    strange[:] = [True]
    hand = town.conductor(mending, mended)
    town.start(mending())
    hand.work()
    assert town.record().status == "failed"
    town.signal("mending", "w", "numbers", 1)
    town.retry("mending", "w")
    town.signal("mending", "w", "numbers", 2)
    strange.clear()
    fail_once(monkeypatch, hand, "history")
    hand.step_with_trouble()
    hand.work()

    assert bytes(town.record().value) == b"[1,2]"


def test_timers_of_the_dead_are_taken_over(town):
    first = town.conductor(*SERVED)
    town.start(napping(5))
    first.step()
    first.crash()
    second = town.conductor(*SERVED)
    town.clock.go_on(10)
    second.sweeper.sweep()
    second.step()
    second.step()

    assert bytes(town.record().value) == b'"awake"'


# -------------------------------------------------------------------------------- what is given up


def test_instances_that_lose_or_are_evicted_close_without_effect(town):
    """Their `finally` blocks ask for tasks; none may be heard of, and none may warn when it is collected."""
    first, second = town.conductor(*SERVED, cache_instances=1), town.conductor(*SERVED)
    for number in range(3):
        town.start(cleaning(), f"c{number}", run=f"{number:032x}")
    first.step()
    deliver(second, town, "cleaning", SignalReceived("other", "words", _raw(1)), "c2")
    second.step()
    deliver(first, town, "cleaning", SignalReceived("more", "words", _raw(1)), "c2")
    first.step()
    first.backend.fails = ["before persist"]
    deliver(first, town, "cleaning", SignalReceived("again", "words", _raw(1)), "c0")
    first.step_with_trouble()
    first.crash()
    second.close()

    assert town.waiting(service_topic("add")) == []


@workflow
def odd_at_once() -> str:
    if strange:
        raise Odd("at once")
    return "done"


def test_a_restart_by_code_that_raises_what_is_no_exception_waits_for_other_code_and_stops_nobody(town):
    strange.clear()
    hand = town.conductor(odd_at_once, *SERVED)
    town.start(odd_at_once())
    hand.step()
    strange[:] = [True]
    town.start(odd_at_once(), run=f"{2:032x}", if_exists="restart")
    town.start(counting(1), "other")
    hand.work()
    [waits] = town.stored().inbox
    strange.clear()
    town.offer("odd_at_once", "w")
    hand.step()

    assert town.record("other").status == "completed"
    assert (waits.key, town.record().run, town.record().status) == ("id2", f"{2:032x}", "completed")
    assert town.stored().inbox == ()


def test_what_an_instance_is_suspended_for_is_logged_once(town, caplog):
    strange[:] = [True] * 9
    hand = town.conductor(odd_once)
    town.start(odd_once("odd"))
    hand.step()
    for number in (1, 2, 3):
        town.signal("odd_once", "w", "numbers", number)
        hand.step()
    strange.clear()

    assert [record.getMessage() for record in caplog.records if "suspended" in record.getMessage()] == [
        "odd_once w is suspended: Odd: odd (its code raised what is no Exception)"
    ]


def test_code_that_raises_in_its_cleanup_when_it_is_evicted_stops_nobody(town):
    @workflow
    def spiteful(error: str) -> Flow[int]:
        try:
            return (yield from numbers.receive())
        finally:
            raise kinds[error]

    kinds = {one.__name__: one for one in (LookupError, Odd, KeyboardInterrupt, SystemExit, GeneratorExit)}
    hand = town.conductor(spiteful, *SERVED, cache_instances=1)
    for name in kinds:
        town.start(spiteful(name), name, run=f"{len(name):032x}")
        hand.step()
        town.start(counting(1), f"after {name}", run=f"{len(name) + 100:032x}")
        hand.work()
    hand.conductor.close()

    assert {town.record(name).status for name in kinds} == {"running"}
    assert {town.record(f"after {name}").status for name in kinds} == {"completed"}


def test_an_expired_instance_keeps_its_date_when_its_mark_is_written(town):
    hand = town.conductor(*SERVED)
    town.start(napping(1))
    hand.step()
    town.clock.go_on(1)
    hand.step()
    hand.conductor.flush_marks()

    assert town.storage.purge(town.clock() + 30 * 86_400 * SECOND) == 1


def test_a_step_without_anything_to_do_commits_nothing(town, monkeypatch):
    hand = town.conductor(*SERVED)
    hand.step()
    steps: list[Step] = []
    monkeypatch.setattr(hand.backend, "commit", steps.append)
    hand.step()

    assert steps == []


def test_what_a_storage_does_not_take_of_one_instance_keeps_no_other_waiting(town, monkeypatch):
    """Be it too large for the server: its own turn is tried again and again, and all others go on."""
    append = MemoryStorage.append

    def picky(storage, batch):
        if any(one.workflow_id == "large" and one.turns for one in batch):
            raise StorageError("that is too large")
        return append(storage, batch)

    monkeypatch.setattr(MemoryStorage, "append", picky)
    hand = town.conductor(counting, add)
    for name in ("large", "c1", "c2"):
        town.start(counting(1), name)
    for _ in range(8):
        finished = hand.run_tasks()
        with suppress(StorageError):
            hand.step(finished)

    assert [town.record(name).status for name in ("c1", "c2")] == ["completed"] * 2
    assert town.waiting(workflow_topic("counting")) == ["event"]

    monkeypatch.setattr(MemoryStorage, "append", append)
    hand.work()
    assert town.record("large").status == "completed"
