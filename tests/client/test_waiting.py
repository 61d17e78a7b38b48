"""Waiting: one thread for all, answers that are lost, doubled or of a former run, and the end of a client."""

import asyncio
import logging
import threading
from collections import Counter

import pytest

from dsl import UnknownWorkflow, WorkflowExists
from infinitic.client.awaited import Awaited
from infinitic.errors import StorageError, TransportError
from infinitic.events import CancelRequested, MethodCalled, Retried, SignalReceived, Started
from infinitic.messages import Ask, Message, Outgoing, Query, Reply
from infinitic.records import CallRecord, StateRecord
from infinitic.topics import client_topic
from tests.client.given import OFTEN, PATIENCE, Loyalty, Receipt, confirmed, only, raw, store, trip

OSLO = Receipt("oslo", 5)
ADA = Loyalty.by_id("ada")


def at_second(kind, answer):
    """A script that answers what comes for the second time; its first answer is lost."""
    seen = Counter[str]()

    def script(heard):
        seen[heard.id] += 1
        return answer(heard) if isinstance(heard.payload, kind) and seen[heard.id] == 2 else None

    return script


# --- answers that are lost ---


def test_a_lost_end_is_found_in_the_storage(worker, client, storage):
    stand_in = worker()
    handle = client(look_again=OFTEN).start(trip("Oslo"), id="a")
    run = stand_in.next().payload.run
    store(storage, StateRecord("trip", "a", run, "completed", value=raw(OSLO)))

    assert handle.result(PATIENCE) == OSLO


def test_a_lost_end_of_a_call_is_found_in_the_storage(worker, client, storage):
    store(
        storage,
        StateRecord("Loyalty", "ada", "r1", calls=(CallRecord("once", "redeem", "completed", raw(True)),)),
    )
    handle = client(look_again=OFTEN).start(ADA.redeem(3), id="once")

    assert handle.result(PATIENCE) is True


def test_without_a_storage_a_lost_end_is_asked_for(worker, blind_client):
    def script(heard):
        return heard.completed(OSLO) if isinstance(heard.payload, Ask) else None

    stand_in = worker(script)
    handle = blind_client(look_again=OFTEN).start(trip("Oslo"), id="a")

    assert handle.result(PATIENCE) == OSLO
    started, asked = stand_in.next(), stand_in.next()
    assert asked.payload == Ask((("a", ""),))
    assert (asked.message.workflow, asked.message.workflow_id) == ("trip", "a")
    assert asked.message.reply_to == started.message.reply_to


def test_many_lost_ends_are_asked_for_in_few_messages(worker, blind_client):
    def script(heard):
        if not isinstance(heard.payload, Ask):
            return None
        return [Reply(id, "completed", call, value=raw(OSLO)) for id, call in heard.payload.waits]

    stand_in = worker(script)
    mine = blind_client(look_again=0.3)
    handles = [mine.start(trip("Oslo")) for _ in range(250)]
    results = asyncio.run(_all(handles))
    heard = [stand_in.next().payload for _ in range(stand_in.heard.qsize())]
    asked = [len(one.waits) for one in heard if isinstance(one, Ask)]

    assert results == [OSLO] * 250
    assert max(asked) == 100
    assert len(asked) < 50  # three for all, and on a slow machine some more for those that began to wait later


async def _all(handles):
    return list(await asyncio.gather(*handles))


def test_a_lost_end_of_a_call_is_asked_for_by_its_own_key(worker, blind_client):
    def script(heard):
        return heard.completed(True, "once") if isinstance(heard.payload, Ask) else None

    stand_in = worker(script)
    handle = blind_client(look_again=OFTEN).start(ADA.redeem(3), id="once")

    assert handle.result(PATIENCE) is True
    assert [stand_in.next().message.workflow_id for _ in range(2)] == ["ada", "ada"]


@pytest.mark.parametrize(
    ("kind", "status", "act"),
    [
        (SignalReceived, "received", lambda client: client.run(ADA.bonus.send(5), timeout=PATIENCE)),
        (CancelRequested, "received", lambda client: client.get("a", trip).cancel(timeout=PATIENCE)),
        (Retried, "received", lambda client: client.get("a", trip).retry(timeout=PATIENCE)),
        (Started, "received", lambda client: client.start(trip("Oslo"), id="a", if_exists="fail") and None),
        (Query, "completed", lambda client: client.run(ADA.balance(), timeout=PATIENCE)),
    ],
)
def test_what_was_not_answered_is_sent_again_and_says_so(worker, client, kind, status, act):
    stand_in = worker(at_second(kind, lambda heard: Reply(heard.message.workflow_id, status, heard.id, value=raw(0))))

    assert not act(client(look_again=OFTEN))
    first, again = stand_in.next(), stand_in.next()
    assert first.payload == again.payload
    assert (first.message.headers, again.message.headers) == ({}, {"again": "1"})


def test_a_lost_answer_to_a_start_is_found_in_the_storage(worker, client, storage):
    def script(heard):
        store(storage, StateRecord("trip", "a", heard.payload.run, starts=(heard.id,)))

    stand_in = worker(script)
    handle = client(look_again=OFTEN).start(trip("Oslo"), id="a", if_exists="fail")

    assert handle.id == stand_in.next().message.workflow_id == "a"


def test_what_nobody_reads_is_sent_again_ever_more_rarely():
    awaited = Awaited("trip", "a", "s1", label="x", again=Outgoing("workflow:trip", "a", Message("event", "s1")))
    sent = [look for look in range(1, 200) if awaited.is_to_be_sent_again()]

    assert sent == [1, 2, 4, 8, 16, 32, 64, 128, 192]


# --- instances of other clients ---


def test_an_instance_of_somebody_else_is_looked_at_at_once(client, storage):
    store(storage, StateRecord("trip", "a", "r1", "completed", value=raw(OSLO)))

    assert client().get("a", trip).result(PATIENCE) == OSLO


def test_without_a_storage_an_instance_of_somebody_else_is_asked_at_once(worker, blind_client):
    worker(only(Ask, lambda heard: heard.completed(OSLO)))

    assert blind_client().get("a", trip).result(PATIENCE) == OSLO


def test_unknown_is_believed_of_an_instance_of_somebody_else(worker, client, blind_client):
    worker(only(Ask, lambda heard: Reply("a", "unknown")))

    for mine in (client(), blind_client()):
        with pytest.raises(UnknownWorkflow, match="there is no trip instance with the id 'a'"):
            mine.get("a", trip).result(PATIENCE)


def test_unknown_means_not_yet_for_what_this_client_started(worker, blind_client):
    answers = iter(["unknown", "unknown", "completed"])

    def script(heard):
        return Reply("a", next(answers, "completed"), value=raw(OSLO)) if isinstance(heard.payload, Ask) else None

    worker(script)

    assert blind_client(look_again=OFTEN).start(trip("Oslo"), id="a").result(PATIENCE) == OSLO


def test_the_end_of_a_workflow_of_another_name_is_never_taken_for_ones_own(client, storage):
    store(storage, StateRecord("other", "a", "r1", "completed", value=raw("x")))
    mine = client(look_again=OFTEN)

    with pytest.raises(WorkflowExists):
        mine.start(trip("Oslo"), id="a").result(PATIENCE)
    with pytest.raises(UnknownWorkflow):
        mine.get("a", trip).result(PATIENCE)


# --- doubled and former answers ---


def test_an_answer_that_came_before_anybody_waited_is_kept(worker, client):
    worker(only(Started, lambda heard: [heard.completed(OSLO)] * 2))
    mine = client()
    handle = mine.start(trip("Oslo"))
    mine.start(trip("Oslo")).result(PATIENCE)  # so the first one's answer is there too

    assert handle.result(0) == OSLO


def test_the_end_of_a_former_run_is_not_taken_for_that_of_a_restart(worker, client, storage):
    former = Reply("a", "completed", "", "r0", raw(Receipt("former", 0)))

    def script(heard):
        if not isinstance(heard.payload, Started):
            return None
        store(storage, StateRecord("trip", "a", heard.payload.run, "running"))
        return [former, heard.answered("received"), former]

    stand_in = worker(script)
    mine = client()
    handle = mine.start(trip("Oslo"), id="a", if_exists="restart")
    started = stand_in.next()
    stand_in.tell(mine.id, former, started.completed(OSLO))

    assert handle.result(PATIENCE) == OSLO


def test_without_a_storage_an_end_that_was_told_before_is_not_taken_for_that_of_a_restart(worker, blind_client):
    former = Reply("a", "completed", "", "r0", raw(Receipt("former", 0)))

    def script(heard):
        if heard.payload.if_exists == "attach":
            return former
        return [former, heard.answered("received"), former, heard.completed(OSLO)]

    worker(script)
    mine = blind_client()
    first = mine.start(trip("Oslo"), id="a")
    before = first.result(PATIENCE)
    again = mine.start(trip("Oslo"), id="a", if_exists="restart")

    assert (before, again.result(PATIENCE), first.result(0)) == (
        Receipt("former", 0),
        OSLO,
        Receipt("former", 0),
    )


def test_a_restart_that_continued_as_new_is_found_in_the_storage(worker, client, storage):
    def script(heard):
        if not isinstance(heard.payload, Started):
            return None
        store(storage, StateRecord("trip", "a", "next", "completed", value=raw(OSLO), starts=(heard.id,)))
        return [heard.answered("received"), heard.completed(OSLO, run="next")]

    worker(script)

    assert client().start(trip("Oslo"), id="a", if_exists="restart").result(PATIENCE) == OSLO


def test_answers_reach_those_who_asked_and_nobody_else(worker, client):
    worker(only(MethodCalled, lambda heard: heard.completed(heard.id == "yes", heard.id)))
    mine = client()
    handles = [mine.start(ADA.redeem(1), id=id) for id in ("yes", "no")]

    assert [handle.result(PATIENCE) for handle in handles] == [True, False]
    assert [mine.start(Loyalty.by_id("bob").redeem(1), id="yes").result(PATIENCE)] == [True]


def test_what_cannot_be_read_is_passed_over(worker, client, caplog):
    stand_in = worker(only(Started, lambda heard: heard.completed(OSLO)))
    mine = client()
    broken = Message("reply", "x", workflow_id="a", payload=raw({"workflow_id": 5}))
    mine.start(trip("Oslo")).result(PATIENCE)  # it listens now
    stand_in._transport.publish(
        [
            Outgoing(client_topic(mine.id), mine.id, broken, hint=True),
            Outgoing(client_topic(mine.id), mine.id, Message("offer", "y"), hint=True),
        ]
    )

    assert mine.start(trip("Oslo")).result(PATIENCE) == OSLO
    assert [one.message for one in caplog.records] == [
        "an answer about 'a' cannot be read: Expected `str`, got `int` - at `$.workflow_id`"
    ]


# --- one thread ---


def test_a_thousand_waiters_take_no_thread(worker, client):
    stand_in = worker()
    mine = client()
    handles = [mine.start(trip("Oslo"), id=f"trip-{number}") for number in range(1_000)]
    before = set(threading.enumerate())

    async def wait():
        waiting = asyncio.gather(*handles)
        await asyncio.sleep(0)  # all of them wait now
        more = set(threading.enumerate()) - before
        stand_in.tell(mine.id, *[Reply(handle.id, "completed", value=raw(OSLO)) for handle in handles])
        return more, await waiting

    assert asyncio.run(wait()) == (set(), [OSLO] * 1_000)
    assert [one.name for one in before].count("infinitic-client") == 1


def test_a_client_that_only_reads_has_no_thread(client, storage):
    store(storage, StateRecord("trip", "a", "r1", "completed", value=raw(OSLO)))
    before = set(threading.enumerate())
    mine = client()

    assert ([one.workflow_id for one in mine.find()], set(threading.enumerate()) - before) == (["a"], set())


def test_handles_that_nobody_holds_are_forgotten(client):
    mine = client()
    for number in range(100):
        mine.start(trip("Oslo"), id=f"trip-{number}")
    held = mine.start(trip("Oslo"), id="held")
    waits = mine._session.waits

    assert [id for id, those in waits._known.items() if those] == ["held"] == [held.id]


# --- trouble and end ---


class Flaky:
    """A storage that cannot be read the first time; then it is the real one."""

    def __init__(self, storage):
        self._storage, self._times = storage, 0

    def records(self, ids):
        self._times += 1
        if self._times == 1:
            raise StorageError("the disk is gone")
        return self._storage.records(ids)


def test_trouble_with_the_storage_is_logged_and_got_over(worker, client, storage, caplog):
    caplog.set_level(logging.WARNING, "infinitic.client")
    stand_in = worker()
    mine = client(look_again=OFTEN)
    mine._session.waits._storage = Flaky(storage)
    handle = mine.start(trip("Oslo"), id="a")
    store(storage, StateRecord("trip", "a", stand_in.next().payload.run, "completed", value=raw(OSLO)))

    assert handle.result(PATIENCE) == OSLO
    assert [one.message for one in caplog.records] == ["cannot look for what is waited for just now: the disk is gone"]


def test_trouble_at_the_first_look_is_the_callers(client):
    mine = client()
    mine._session.waits._storage = Flaky(mine._session.storage)
    handle = mine.get("a", trip)

    with pytest.raises(StorageError, match="the disk is gone"):
        handle.result(PATIENCE)
    with pytest.raises(UnknownWorkflow):
        handle.result(PATIENCE)


def test_to_close_a_client_wakes_who_waits(client):
    mine = client()
    handle = mine.start(trip("Oslo"), id="a")

    async def wait():
        waiting = asyncio.ensure_future(handle._result_async(None))
        await asyncio.sleep(0)
        await asyncio.to_thread(mine.close)
        await waiting

    with pytest.raises(TransportError, match="The client was closed while trip was waited for"):
        asyncio.run(wait())


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.start(trip("Oslo")),
        lambda client: client.start(ADA.bonus.send(5)),
        lambda client: client.start(confirmed.by_id("a").send("yes")),
        lambda client: client.run(ADA.balance()),
        lambda client: client.get("a", trip),
    ],
)
def test_a_closed_client_says_so(client, use):
    mine = client()
    mine.close()
    mine.close()

    with pytest.raises((TransportError, StorageError), match="closed"):
        use(mine)


def test_to_close_a_client_ends_its_threads(connect, client):
    before = set(threading.enumerate())
    mine = client()
    mine.start(trip("Oslo"))
    mine.close()

    assert set(threading.enumerate()) - before == set()
