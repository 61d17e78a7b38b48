"""The client: starting, running, signalling, getting, finding."""

from datetime import UTC, datetime

import msgspec
import pytest

from dsl import InvalidId, UnknownWorkflow, WorkflowExists, sleep
from infinitic.backends.distributed import DistributedBackend
from infinitic.client import Client
from infinitic.engine.outputs import ROUTER
from infinitic.errors import ConfigurationError, DecodeError, NoStorage, WorkflowInUse
from infinitic.events import (
    Caller,
    CancelRequested,
    MethodCalled,
    Retried,
    SignalReceived,
    Started,
    TimersCompleted,
    to_datetime,
)
from infinitic.messages import Broadcast, Query, Reply
from infinitic.records import StateRecord, Wait
from infinitic.topics import workflow_topic
from infinitic.transports.memory import MemoryTransport
from tests.client.given import PATIENCE, Hotels, Loyalty, Receipt, confirmed, only, raw, store, trip

OSLO = Receipt("oslo", 5)
ADA = Loyalty.by_id("ada")
HOUR = 3_600_000_000
RECEIVED = only(SignalReceived, lambda heard: heard.answered("received"))


def test_a_workflow_is_started_with_what_was_given(worker, client):
    stand_in = worker()
    mine = client(clock=lambda: HOUR)
    handle = mine.start(trip("Oslo"), id="trip-42", tags=["vip"], meta={"by": "ann"})
    started = stand_in.next()

    assert (handle.id, handle.call_id, handle.workflow) == ("trip-42", "", "trip")
    assert started.payload == Started(
        id=started.id,
        workflow="trip",
        run=started.payload.run,
        arguments=raw({"city": "Oslo", "nights": 1}),
        tags=("vip",),
        meta={"by": "ann"},
        reply_to=mine.id,
        sent=HOUR,
    )


def test_to_run_is_to_start_and_to_wait(worker, client):
    worker(only(Started, lambda heard: heard.completed(OSLO)))

    assert client().run(trip("Oslo"), timeout=PATIENCE) == OSLO


def test_nothing_is_sent_of_what_does_not_fit(worker, client):
    stand_in = worker()
    mine = client()
    with pytest.raises(DecodeError):
        mine.start(trip(5))  # type: ignore[arg-type]  # that is the test
    with pytest.raises(InvalidId):
        mine.start(trip("Oslo"), id="")
    for wrong in ("", " ", "é" * 128, 5):
        with pytest.raises(InvalidId):
            mine.get(wrong, trip)  # type: ignore[arg-type]  # that is the test, at last
    mine.start(trip("Oslo"), id="first")

    assert stand_in.next().message.workflow_id == "first"


@pytest.mark.parametrize("call", [sleep(5), Hotels.book, trip])
def test_what_is_no_call_of_a_workflow_is_refused(client, call):
    with pytest.raises(TypeError):
        client().run(call)


@pytest.mark.parametrize("if_exists", ["fail", "restart"])
def test_a_start_that_must_be_new_waits_until_the_instance_has_it(worker, client, if_exists):
    worker(only(Started, lambda heard: [heard.answered("received"), heard.completed(OSLO)]))

    assert client().start(trip("Oslo"), if_exists=if_exists).result(PATIENCE) == OSLO


@pytest.mark.parametrize("if_exists", ["fail", "restart"])
def test_a_start_that_must_be_new_waits_no_longer_than_it_is_told_to(client, if_exists):
    with pytest.raises(TimeoutError, match=r"trip: 'a' did not answer within 0.01 s; it stays sent"):
        client().start(trip("Oslo"), id="a", if_exists=if_exists, timeout=0.01)


@pytest.mark.parametrize("if_exists", ["fail", "restart"])
def test_a_start_that_must_be_new_raises_when_it_is_not(worker, client, if_exists):
    worker(only(Started, lambda heard: heard.answered("exists", WorkflowExists("trip", "a", "running"))))

    with pytest.raises(WorkflowExists, match="'a' is in use by a trip instance that is running"):
        client().start(trip("Oslo"), id="a", if_exists=if_exists)


def test_a_query_is_answered(worker, client):
    worker(only(Query, lambda heard: heard.completed(7, heard.id)))

    assert client().run(ADA.balance(), timeout=PATIENCE) == 7


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("failed", ValueError("broke")),
        ("refused", DecodeError("no")),
        ("unknown", UnknownWorkflow("Loyalty", "ada")),
    ],
)
def test_a_query_raises_what_it_raised(worker, client, status, error):
    worker(only(Query, lambda heard: heard.answered(status, error)))

    with pytest.raises(type(error), match=str(error)):
        client().run(ADA.balance(), timeout=PATIENCE)


def test_a_query_that_nobody_answers_times_out(client):
    with pytest.raises(TimeoutError, match=r"Loyalty.balance: 'ada' did not answer within 0 s; it stays sent"):
        client().run(ADA.balance(), timeout=0)


def test_a_signal_is_done_once_the_instance_has_it(worker, client):
    stand_in = worker(RECEIVED)

    assert client().run(ADA.bonus.send(5), timeout=PATIENCE) is None
    assert stand_in.next().payload.value == raw(5)


def test_a_signal_can_be_given_the_id_by_which_a_repeat_is_recognised(worker, client):
    stand_in = worker()
    handle = client().start(ADA.bonus.send(5), id="evt-1")

    assert (handle.call_id, stand_in.next().payload) == ("evt-1", SignalReceived("evt-1", "bonus", raw(5)))


# --- signals of which only the id is known ---


def topic_of(stand_in):
    return stand_in.next().message.workflow


def test_a_signal_goes_to_the_workflow_that_this_client_started(worker, blind_client):
    stand_in = worker()
    mine = blind_client()
    mine.start(trip("Oslo"), id="a")
    mine.start(confirmed.by_id("a").send("yes"))

    assert [topic_of(stand_in) for _ in range(2)] == ["trip", "trip"]


def test_a_signal_goes_to_the_workflow_that_the_storage_names(worker, client, storage):
    stand_in = worker(RECEIVED)
    store(storage, StateRecord("trip", "a", "r1"))
    client().run(confirmed.by_id("a").send("yes"), timeout=PATIENCE)

    assert topic_of(stand_in) == "trip"


def test_the_storage_knows_better_than_a_start_that_was_refused(worker, client, storage):
    stand_in = worker()
    store(storage, StateRecord("trip", "a", "r1"))
    mine = client()
    mine.start(Loyalty.run(1), id="a")
    mine.start(confirmed.by_id("a").send("yes"))

    assert [topic_of(stand_in) for _ in range(2)] == ["Loyalty", "trip"]


def test_a_signal_goes_to_the_router_when_nobody_knows_the_workflow(worker, client):
    stand_in = worker(only(SignalReceived, lambda heard: heard.answered("unknown")))

    with pytest.raises(UnknownWorkflow, match="there is no workflow instance with the id 'a'"):
        client().run(confirmed.by_id("a").send("yes"), timeout=PATIENCE)
    assert topic_of(stand_in) == ROUTER


# --- by tag ---


def test_what_is_for_all_that_have_a_tag_goes_to_the_router_and_nobody_answers():
    transport = MemoryTransport()
    with Client.over(DistributedBackend(transport.another())) as mine:
        mine.start(Loyalty.by_tag("vip").redeem(3), id="once")
        mine.start(confirmed.by_tag("vip").send("yes"))
        mine.cancel(Loyalty.by_tag("vip"))
        mine.retry(trip.by_tag("vip"))
        mine.complete_timers(trip.by_tag("vip"), "run")
    messages = transport.unacknowledged(workflow_topic(ROUTER))
    told = [msgspec.json.decode(one.payload, type=Broadcast) for one in messages]
    ids = [one.event.id for one in told]

    assert {(one.kind, one.workflow, one.workflow_id) for one in messages} == {("broadcast", ROUTER, "tag vip")}
    assert told == [
        Broadcast("vip", MethodCalled("once", "redeem", raw({"points": 3})), "Loyalty"),
        Broadcast("vip", SignalReceived(ids[1], "confirmed", raw("yes"))),
        Broadcast("vip", CancelRequested(ids[2]), "Loyalty"),
        Broadcast("vip", Retried(ids[3]), "trip"),
        Broadcast("vip", TimersCompleted(ids[4], "run"), "trip"),
    ]


def test_a_tag_is_named_once(client):
    with pytest.raises(
        ValueError, match=r"^tag='new' was given beside by_tag\('vip'\): instances are found by one tag$"
    ):
        client().find(Loyalty.by_tag("vip"), tag="new")


# --- getting ---


def test_without_a_definition_the_result_is_plain_data(client, storage):
    store(storage, StateRecord("trip", "a", "r1", "completed", value=raw(OSLO)))
    mine = client()
    handles = [mine.get("a"), mine.get("a", "trip"), mine.get("a", trip)]

    assert [handle.result(PATIENCE) for handle in handles] == [{"number": "oslo", "cents": 5}] * 2 + [OSLO]
    assert {handle.workflow for handle in handles} == {"trip"}


def test_with_a_class_the_result_is_plain_data_and_with_its_method_what_that_declares(client, storage):
    store(storage, StateRecord("Loyalty", "ada", "r1", "completed", value=raw("five")))

    assert client().get("ada", Loyalty).result(PATIENCE) == "five"
    with pytest.raises(DecodeError, match=r"the result of Loyalty.run: Expected `int`, got `str`"):
        client().get("ada", Loyalty.run).result(PATIENCE)


def test_what_nobody_knows_is_unknown(client):
    with pytest.raises(UnknownWorkflow, match="there is no workflow instance with the id 'a'"):
        client().get("a")


def test_without_a_storage_the_workflow_must_be_named_or_started_here(worker, blind_client):
    mine = blind_client()
    mine.start(trip("Oslo"), id="a")

    assert mine.get("a").workflow == "trip"
    with pytest.raises(NoStorage, match=r"client.get\('b'\) without the workflow reads the storage"):
        mine.get("b")


@pytest.mark.parametrize("thing", [5, Loyalty.balance])
def test_what_is_no_workflow_cannot_be_got(client, thing):
    with pytest.raises(TypeError, match="a workflow is named by"):
        client().get("a", thing)


# --- finding ---


@pytest.fixture
def kept(storage):
    """250 instances, one an hour, newest last."""
    for number in range(250):
        status = "failed" if number % 10 == 0 else "running"
        tags = ("vip",) if number % 2 else ()
        workflow = "trip" if number % 5 else "Loyalty"
        its = StateRecord(workflow, f"i{number}", "r1", status, tags=tags, started=number * HOUR)
        fields = {"ended": number * HOUR + 5} if status == "failed" else {"waits": (Wait("m0.1", "task", "charge"),)}
        caller = Caller("trip", "i0", "r1", "m0.1") if number in (1, 2, 200) else None
        store(storage, msgspec.structs.replace(its, caller=caller, **fields))


@pytest.mark.usefixtures("kept")
def test_all_are_found_newest_first(client):
    mine = client()

    assert [one.workflow_id for one in mine.find()] == [f"i{number}" for number in range(249, -1, -1)]
    assert mine.count() == 250


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize(
    ("where", "count"),
    [
        ({"workflow": trip}, 200),
        ({"workflow": Loyalty}, 50),
        ({"workflow": "Loyalty"}, 50),
        ({"status": "failed"}, 25),
        ({"tag": "vip"}, 125),
        ({"since": to_datetime(240 * HOUR)}, 10),
        ({"workflow": trip, "tag": "vip"}, 100),
        ({"until": to_datetime(10 * HOUR)}, 10),
        ({"since": to_datetime(10 * HOUR), "until": to_datetime(11 * HOUR)}, 1),
        ({"ended_since": to_datetime(200 * HOUR + 5)}, 5),
        ({"ended_until": to_datetime(200 * HOUR + 5)}, 20),
        ({"ended_since": None, "status": None}, 250),
        ({"parent": "i0"}, 3),
        ({"waiting_for": "charge"}, 225),
        ({"waiting_for": "task", "tag": "vip", "status": "running"}, 125),
        ({"id_prefix": "i24"}, 11),
    ],
)
def test_what_is_found_is_what_was_asked_for(client, where, count):
    mine = client()

    assert (len(list(mine.find(**where))), mine.count(**where)) == (count, count)


@pytest.mark.usefixtures("kept")
@pytest.mark.parametrize("limit", [0, 1, 100, 101, 250, 251])
def test_no_more_is_found_than_was_asked_for(client, limit):
    assert len(list(client().find(limit=limit))) == min(limit, 250)


@pytest.mark.parametrize(
    ("where", "says"),
    [
        ({"status": "runing"}, "status='runing' is none that there is: did you mean 'running'?"),
        (
            {"status": "x"},
            "it is one of running, suspended, completed, failed, cancelled, terminated, continued",
        ),
        ({"since": datetime(2027, 1, 1)}, "is naive: say which time zone is meant"),  # noqa: DTZ001  # that is the test
        ({"since": 5}, "since= takes a datetime, not 5"),
        ({"ended_until": datetime(2027, 1, 1)}, "is naive"),  # noqa: DTZ001  # that is the test
        (
            {"since": datetime(2027, 1, 2, tzinfo=UTC), "until": datetime(2027, 1, 1, tzinfo=UTC)},
            "since= is not before until=, and there can be none: is one the other?",
        ),
        ({"tag": 5}, "tag= takes a text, not 5"),
        ({"parent": ""}, "parent= takes a text that is not empty: leave it out where all are meant"),
        ({"waiting": "charge"}, "instances are not found by waiting=: did you mean waiting_for=?"),
        ({"x": "charge"}, "instances are not found by x=: there are status, tag, parent,"),
        ({"limit": -1}, "limit= takes a number, zero or more, not -1"),
        ({"workflow": ""}, "workflow= takes a text that is not empty: leave it out where all are meant"),
        ({"tag": "a\0b"}, r"tag='a\x00b' can be none: it has a NUL or a lone surrogate"),
        ({"id_prefix": "\ud800"}, r"id_prefix='\ud800' can be none: it has a NUL or a lone surrogate"),
        ({"workflow": 5}, "a workflow is named by its function, class, method or name, not by 5"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(client, where, says):
    with pytest.raises((ValueError, TypeError)) as refused:
        client().find(**where)

    assert says in str(refused.value)


@pytest.mark.usefixtures("kept")
def test_at_no_instant_all_are_found_that_started_before_or_ended(client):
    first = datetime(1970, 1, 1, tzinfo=UTC)

    assert client().count(until=first) == client().count(ended_until=first) == 0
    assert client().count(ended_since=first) == client().count(status="failed") < client().count(since=first)


def test_one_that_has_ended_is_deleted_at_once_and_again_changes_nothing(client, storage):
    store(storage, StateRecord("trip", "done", "r1", "completed", started=1, ended=2), expires=1 << 60)
    mine = client()

    assert (mine.delete("done"), mine.delete("done"), mine.delete("absent")) == (True, False, False)
    assert mine.count() == 0
    with pytest.raises(UnknownWorkflow):
        mine.get("done")


def test_one_that_runs_is_not_deleted(client, storage):
    store(storage, StateRecord("trip", "runs", "r1", started=1))

    with pytest.raises(WorkflowInUse) as refused:
        client().delete("runs")
    assert str(refused.value) == (
        "trip 'runs' is running and cannot be deleted. Cancel or terminate it first, and wait until it has ended."
    )
    with pytest.raises(InvalidId):
        client().delete("")


def test_to_find_and_to_count_needs_a_storage(blind_client):
    mine = blind_client()
    with pytest.raises(NoStorage, match=r"client.find\(\) reads the storage"):
        mine.find()

    with pytest.raises(NoStorage, match=r"client.delete\(\) reads the storage"):
        mine.delete("a")

    with pytest.raises(NoStorage, match=r"client.count\(\) reads the storage"):
        mine.count(since=datetime(2027, 1, 1, tzinfo=UTC))


# --- construction ---


def test_a_client_is_made_of_a_url(tmp_path):
    with Client(f"sqlite:///{tmp_path}/trips.db") as client:
        assert client.count() == 0


def test_a_client_that_cannot_be_made_says_why_in_one_line():
    with pytest.raises(ConfigurationError) as refused:
        Client("sqllite:///trips.db")

    assert str(refused.value) == "sqllite:///trips.db names no transport that is known. Did you mean sqlite://?"


def test_each_client_has_an_id_of_its_own(client):
    assert len({client().id, client().id}) == 2


def test_the_answer_of_one_client_does_not_reach_the_other(worker, client):
    stand_in = worker()
    one, other = client(), client()
    handles = [one.start(trip("Oslo"), id="a"), other.start(trip("Oslo"), id="a")]
    stand_in.tell(one.id, Reply("a", "completed", value=raw(OSLO)))

    assert handles[0].result(PATIENCE) == OSLO
    with pytest.raises(TimeoutError):
        handles[1].result(0)
