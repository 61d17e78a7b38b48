"""Queries: they read, whatever they try, and whatever became of the instance."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from dsl import (
    Channel,
    Flow,
    Workflow,
    current_workflow,
    dispatch,
    inline,
    logger,
    method,
    now,
    query,
    random,
    sleep,
    spawn,
    task,
    uuid4,
    workflow_id,
)
from infinitic.errors import (
    InfiniticError,
    ReadOnly,
    WorkflowCancelled,
    WorkflowFailed,
    WorkflowTimedOut,
)
from tests.scenarios.given import events, until


@task
def double(number: int) -> int:
    return number * 2


@attrs.define
class Account:
    points: int
    _secret: int = 0

    def whisper(self) -> None:
        self._secret += 1


class Plain:
    """Nothing that JSON can hold."""

    def __init__(self) -> None:
        self.seen: list[int] = []


class Shop(Workflow):
    over = Channel(str)

    def __init__(self) -> None:
        self.account = Account(3)
        self.lines: dict[str, list[int]] = {"ada": [1]}
        self.plain = Plain()
        self.lock = threading.Lock()

    @method
    def run(self) -> Flow[str]:
        self.deferred = dispatch(sleep(days=1))
        how = yield from self.over.receive()
        if how == "fail":
            self.account.points = 0
            raise ValueError("as told")
        return how

    @query
    def state(self) -> tuple[int, dict[str, list[int]], int]:
        return self.account.points, self.lines, len(self.plain.seen)

    @query
    def secret(self) -> int:
        return self.account._secret

    @query
    def about(self) -> tuple[str, str, bool]:
        logger.info("asked")
        return workflow_id(), current_workflow().name, now().tzinfo is not None

    @query
    def yields(self) -> Any:
        return self.wait()

    def wait(self) -> Flow[None]:
        yield from sleep(1)

    @query
    def try_to(self, what: str) -> int:
        DEEDS[what](self)
        return 0


DEEDS: dict[str, Any] = {
    "dispatch": lambda shop: dispatch(double(1)),
    "dispatch inline": lambda shop: dispatch(inline(print, "no")),
    "spawn": lambda shop: spawn(shop.wait()),
    "cancel": lambda shop: shop.deferred.cancel(),
    "drain": lambda shop: shop.over.drain(),
    "random": lambda shop: random(),
    "uuid4": lambda shop: uuid4(),
    "an attribute": lambda shop: setattr(shop, "more", 1),
    "a deleted attribute": lambda shop: delattr(shop, "lines"),
    "an attrs field": lambda shop: setattr(shop.account, "points", 99),
    "a private attrs field": lambda shop: shop.account.whisper(),
    "a list in a dict": lambda shop: shop.lines["ada"].append(2),
    "a key of a dict": lambda shop: shop.lines.setdefault("bob", []),
    "a plain object": lambda shop: shop.plain.seen.append(1),
}

shop = Shop.by_id("s")


@pytest.fixture
def handle(serve, client):
    serve(Shop, double)
    return client.start(Shop.run(), id="s")


@pytest.mark.parametrize("what", DEEDS)
def test_a_query_changes_nothing_and_who_asked_is_told(handle, client, what):
    with pytest.raises(ReadOnly):
        client.run(shop.try_to(what), timeout=20)

    assert client.run(shop.state(), timeout=20) == (3, {"ada": [1]}, 0)
    assert client.run(shop.secret(), timeout=20) == 0
    assert events(handle.history()) == ["Started"]
    client.run(shop.over.send("well"), timeout=20)
    assert handle.result(20) == "well"


def test_a_query_that_would_wait_is_refused(handle, client):
    with pytest.raises(ReadOnly):
        client.run(shop.yields(), timeout=20)


def test_a_query_knows_its_instance_and_the_time(handle, client):
    assert client.run(shop.about(), timeout=20) == ("s", "Shop", True)


def test_fifty_queries_at_once_are_answered(handle, client):
    def ask(number: int) -> Any:
        return client.run(shop.state() if number % 2 else shop.about(), timeout=20)

    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(ask, range(50)))

    assert answers == [("s", "Shop", True), (3, {"ada": [1]}, 0)] * 25
    assert events(handle.history()) == ["Started"]


@pytest.fixture(params=["by the same worker", "by another worker"])
def after(request, serve):
    """To be called when the instance has ended: who answers then."""
    worker = serve(Shop, double)

    def turn_over() -> None:
        if request.param == "by another worker":
            worker.close()
            serve(Shop, double)

    return turn_over


def test_a_completed_instance_is_asked(after, client):
    handle = client.start(Shop.run(), id="s")
    client.run(shop.over.send("well"), timeout=20)
    handle.result(20)
    after()

    assert client.run(shop.state(), timeout=20) == (3, {"ada": [1]}, 0)


def test_a_failed_instance_is_asked_for_the_state_in_which_it_failed(after, client):
    handle = client.start(Shop.run(), id="s")
    client.run(shop.over.send("fail"), timeout=20)
    with pytest.raises(WorkflowFailed):
        handle.result(20)
    after()

    assert client.run(shop.state(), timeout=20) == (0, {"ada": [1]}, 0)


def test_a_cancelled_instance_is_asked(after, client):
    handle = client.start(Shop.run(), id="s")
    handle.cancel(timeout=20)
    with pytest.raises(WorkflowCancelled):
        handle.result(20)
    after()

    assert client.run(shop.state(), timeout=20) == (3, {"ada": [1]}, 0)


def test_an_instance_that_timed_out_is_asked(after, client):
    handle = client.start(Shop.run().options(timeout=0.05), id="s")
    with pytest.raises(WorkflowTimedOut):
        handle.result(20)
    after()

    assert client.run(shop.state(), timeout=20) == (3, {"ada": [1]}, 0)


FIRST = """
from dsl import Channel, Flow, Workflow, method, query, sleep

class Changed(Workflow):
    @method
    def run(self) -> Flow[None]:
        yield from sleep(days=1)

    @query
    def state(self) -> int:
        return 1
"""
SECOND = FIRST.replace("sleep(days=1)", "sleep(days=2)")


def test_who_asks_a_suspended_instance_is_told_that_and_why(serve, client, deploy):
    first = deploy(FIRST).Changed
    worker = serve(first)
    handle = client.start(first.run(), id="c")
    assert client.run(first.by_id("c").state(), timeout=20) == 1
    worker.close()
    serve(deploy(SECOND).Changed)
    handle.cancel(timeout=20)
    until(lambda: handle.status() == "suspended")

    with pytest.raises(InfiniticError, match="Changed 'c' is suspended: c: history says sleep"):
        client.run(first.by_id("c").state(), timeout=20)


ENDING = """
from dsl import Flow, Workflow, method, query, sleep

class Ended(Workflow):
    @method
    def run(self, fails: bool) -> Flow[None]:
        yield from sleep(0.01)
        if fails:
            raise ValueError("as told")

    @query
    def state(self) -> int:
        return 1
"""
CHANGED = ENDING.replace("sleep(0.01)", "sleep(0.02)")
NEWER = CHANGED.replace("(Workflow)", "(Workflow, version=2)")


@pytest.mark.parametrize(("source", "why"), [(CHANGED, "history says sleep"), (NEWER, "it needs version 1 of Ended")])
@pytest.mark.parametrize(("fails", "status"), [(False, "completed"), (True, "failed")])
def test_who_asks_an_ended_instance_whose_code_is_gone_is_told_that(serve, client, deploy, source, why, fails, status):
    first = deploy(ENDING).Ended
    worker = serve(first)
    handle = client.start(first.run(fails), id="e")
    until(lambda: handle.status() == status)
    assert client.run(first.by_id("e").state(), timeout=20) == 1
    worker.close()
    serve(deploy(source).Ended)

    with pytest.raises(InfiniticError, match=f"^Ended 'e' is {status} and cannot be asked: .*{why}"):
        client.run(first.by_id("e").state(), timeout=20)
    assert handle.status() == status
