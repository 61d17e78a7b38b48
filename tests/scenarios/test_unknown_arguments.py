"""Arguments of names that nobody has: told to whoever sent them, instead of a run with a default in their place."""

import pytest
from msgspec import Raw

from dsl import Channel, Flow, Workflow, method, query
from infinitic.cli import remote
from infinitic.errors import DecodeError
from infinitic.events import MethodCalled, Started
from infinitic.ids import new_id, new_run
from infinitic.messages import Outgoing, event_message
from infinitic.topics import workflow_topic
from tests.scenarios.given import events, open_at, until

NO_SUCH = r"Purse\.run\(cents: int = 100\): it takes no argument `cent`"


class Purse(Workflow):
    closed = Channel(bool)

    def __init__(self) -> None:
        self.cents = 0

    @method
    def run(self, cents: int = 100) -> Flow[int]:
        self.cents = cents
        yield from self.closed.receive()
        return self.cents

    @method
    def pay(self, cents: int = 1) -> int:
        self.cents -= cents
        return self.cents

    @query
    def left(self, fee: int = 0) -> int:
        return self.cents - fee


PAYING = """
from dsl import *

@workflow
def paying() -> Flow[list[str]]:
    asked = [Purse.run(cent=5).options(id="child"), Purse.by_id("p").pay(cent=5)]
    told = []
    for one in asked:
        try:
            yield from one
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    return told

class Purse(Workflow):
    @method
    def run(self, cent: int = 100) -> Flow[int]:
        yield from sleep(0)

    @method
    def pay(self, cent: int = 1) -> int: ...
"""


@pytest.mark.parametrize("if_exists", ["attach", "fail", "restart"])
def test_a_start_with_an_argument_that_is_unknown_is_refused_and_begins_nothing(serve, client, if_exists):
    serve(Purse)
    with pytest.raises(DecodeError, match=NO_SUCH):
        client.start(remote.start("Purse", "run", {"cent": 5}), id="p", if_exists=if_exists).result(20)

    assert client.count(Purse) == 0
    client.start(Purse.run(5), id="p", if_exists="fail")
    assert client.run(Purse.by_id("p").left(), timeout=20) == 5


def test_a_restart_with_an_argument_that_is_unknown_leaves_what_there_was(serve, client):
    serve(Purse)
    handle = client.start(Purse.run(5), id="p")
    client.run(Purse.by_id("p").closed.send(True), timeout=20)
    assert handle.result(20) == 5
    before = handle.history()
    for _ in range(2):
        with pytest.raises(DecodeError, match=NO_SUCH):
            client.start(remote.start("Purse", "run", {"cent": 7}), id="p", if_exists="restart")

    assert (client.get("p", Purse).result(20), handle.history()) == (5, before)


def test_a_call_or_a_query_with_an_argument_that_is_unknown_is_refused(serve, client):
    serve(Purse)
    handle = client.start(Purse.run(5), id="p")
    with pytest.raises(DecodeError, match=r"Purse\.pay\(cents: int = 1\): it takes no argument `cent`, `tip`"):
        client.run(remote.call("Purse", "p", "pay", {"cent": 5, "cents": 2, "tip": 1}), timeout=20)
    with pytest.raises(DecodeError, match=r"Purse\.left\(fee: int = 0\): it takes no argument `fees`"):
        client.run(remote.query("Purse", "p", "left", {"fees": 5}), timeout=20)

    assert client.run(Purse.by_id("p").left(), timeout=20) == 5
    assert events(handle.history()) == ["Started"]


def test_a_workflow_is_told_that_its_child_or_a_method_knows_no_such_argument(serve, client, deploy):
    serve(Purse)
    handle = client.start(Purse.run(5), id="p")
    release = deploy(PAYING)
    serve(release.paying)

    assert client.run(release.paying(), timeout=20) == [
        "DecodeError: Purse.run(cents: int = 100): it takes no argument `cent`",
        "DecodeError: Purse.pay(cents: int = 1): it takes no argument `cent`",
    ]
    assert (client.count(Purse), events(handle.history())) == (1, ["Started"])


def test_code_that_has_dropped_a_parameter_goes_on_with_what_began_before(serve, client, deploy):
    source = """
from dsl import *

class Booking(Workflow):
    closed = Channel(bool)

    @method
    def run(self, city: str, nights: int = 1) -> Flow[str]:
        yield from self.closed.receive()
        return city

    @method
    def pay(self, cents: int, tip: int = 0) -> Flow[int]:
        yield from self.closed.receive()
        return cents
"""
    first = deploy(source)
    worker = serve(first.Booking)
    handle = client.start(first.Booking.run("Oslo", 3), id="b")
    call = client.start(first.Booking.by_id("b").pay(5, 1))
    until(lambda: len(events(handle.history())) == 2)
    worker.close()
    second = deploy(source.replace(", nights: int = 1", "").replace(", tip: int = 0", ""))
    serve(second.Booking)
    for _ in range(2):
        client.run(second.Booking.by_id("b").closed.send(True), timeout=20)

    assert (call.result(20), handle.result(20)) == (5, "Oslo")


def test_what_a_foreign_sender_misspells_changes_nothing_and_is_kept_with_the_reason(serve, client, place, caplog):
    serve(Purse)
    start = Started(new_id(), "Purse", new_run(), method="run", arguments=Raw(b'{"cent":5}'))
    call = MethodCalled(new_id(), "pay", Raw(b'{"cent":5}'))
    right = Started(new_id(), "Purse", new_run(), method="run", arguments=Raw(b'{"cents":5}'))
    messages = [event_message(one, workflow="Purse", workflow_id="p") for one in (start, right, call)]
    backend = open_at(place)
    backend.transport.publish([Outgoing(workflow_topic("Purse"), "p", one) for one in messages])
    until(lambda: client.count(Purse))

    assert client.run(Purse.by_id("p").left(), timeout=20) == 5
    assert events(client.get("p", Purse).history()) == ["Started"]
    moved = "it takes no argument `cent`; moved to workflow:Purse:dead"
    until(lambda: f"a start for Purse 'p', which is refused: Purse.run(cents: int = 100): {moved}" in caplog.text)
    until(lambda: f"a call for Purse 'p', which refuses it: Purse.pay(cents: int = 1): {moved}" in caplog.text)
    backend.close()


def test_a_start_that_waits_for_its_code_is_not_lost_to_code_that_lacks_a_parameter(serve, client, deploy):
    source = """
from dsl import *

class Torn(BaseException):
    pass

@workflow
def tearing(cents: int = 100) -> Flow[int]:
    raise Torn
    yield
"""
    worker = serve(deploy(source).tearing)
    client.start(remote.start("tearing", "", {"cents": 5}), id="t")
    until(lambda: client.count(status="suspended"))
    worker.close()
    worker = serve(deploy(source.replace("cents: int = 100", "").replace("raise Torn", "return 1")).tearing)
    until(lambda: "it takes no argument `cents`" in next(iter(client.find())).reason)
    worker.close()
    serve(deploy(source.replace("raise Torn", "return cents")).tearing)

    assert client.get("t", "tearing").result(20) == 5
