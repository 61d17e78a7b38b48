"""Deferreds: one answer however often it is asked for, and a status that history decides."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from dsl import Channel, Deferred, Flow, Retry, dispatch, gather, race, settle, sleep, spawn, task, timeout, workflow
from infinitic.errors import EncodeError, TaskFailed
from tests.scenarios.given import until

go = Channel(str, name="go")
ran: Counter[str] = Counter()


@task
def named(name: str) -> str:
    ran[name] += 1
    return f"answer of {name}"


@task(retry=Retry(max_attempts=1))
def broken(name: str) -> str:
    ran[name] += 1
    raise LookupError(name)


@workflow
def child(name: str) -> Flow[str]:
    return (yield from named(name))


@pytest.fixture(autouse=True)
def nothing_ran():
    ran.clear()


@workflow
def asking_again() -> Flow[list[Any]]:
    one, kid = dispatch(named("one")), dispatch(child("kid"))
    both = yield from gather(one, kid, gather(one, settle(kid)))
    name, raced = yield from race(one=one, never=sleep(3600))
    after = yield from timeout(one, 3600)
    either = yield from kid | sleep(3600)
    return [both[0], both[1], both[2][0], both[2][1][0].value, name, raced, after, either, (yield from one)]


def test_a_deferred_gives_one_answer_to_all_that_ask_and_what_it_is_for_runs_once(serve, client):
    serve(asking_again, child, named)
    one, kid = "answer of one", "answer of kid"

    assert client.run(asking_again(), timeout=20) == [one, kid, one, kid, "one", one, one, kid, one]
    assert ran == {"one": 1, "kid": 1}


@workflow
def failing_again() -> Flow[list[str]]:
    one = dispatch(broken("one"))
    told = []
    for make in (lambda: one, lambda: gather(one, sleep(3600)), lambda: one | one, lambda: one):
        try:
            yield from make()
        except TaskFailed as error:
            told.append(str(error.error))
    outcomes = yield from settle(one, one)
    return [*told, *(type(outcome.error).__name__ for outcome in outcomes)]


def test_a_deferred_that_failed_raises_the_same_to_all_that_ask(serve, client):
    serve(failing_again, broken)

    assert client.run(failing_again(), timeout=20) == ["one"] * 4 + ["TaskFailed"] * 2
    assert ran == {"one": 1}


@workflow
def two_branches() -> Flow[list[str]]:
    one = dispatch(named("one"))

    def waits() -> Flow[str]:
        return (yield from one)

    legs = [spawn(waits()) for _ in range(3)]
    return list((yield from gather(*legs, one)))


def test_branches_share_a_deferred(serve, client):
    serve(two_branches, named)

    assert client.run(two_branches(), timeout=20) == ["answer of one"] * 4
    assert ran == {"one": 1}


@workflow
def looking() -> Flow[list[str]]:
    good, bad, gone, open_ = (
        dispatch(named("good")),
        dispatch(broken("bad")),
        dispatch(sleep(3600)),
        dispatch(sleep(3600)),
    )
    every: list[Deferred[Any]] = [good, bad, gone, open_]
    told = [*how(every)]
    yield from settle(good, bad)
    gone.cancel()
    told += how(every)
    yield from go.receive()
    told += how(every)
    yield from go.receive()
    return [*told, *how(every)]


def how(deferreds: list[Deferred[Any]]) -> list[str]:
    assert all(one.done() == (one.status() != "running") for one in deferreds)
    return [one.status() for one in deferreds]


def test_the_status_of_a_deferred_is_the_same_on_every_replay(serve, client):
    worker = serve(looking, named, broken)
    handle = client.start(looking(), id="l")
    for _ in range(2):
        until(lambda: [wait.kind for one in client.find() for wait in one.waits].count("receive") == 1)
        worker.close()
        worker = serve(looking, named, broken)  # which replays all of it
        client.run(go.by_id("l").send("on"), timeout=20)

    assert handle.result(20) == ["running"] * 4 + ["completed", "failed", "cancelled", "running"] * 3


@workflow
def sending_deferreds() -> Flow[list[str]]:
    one = dispatch(named("one"))
    wrong: Any = one
    told = []
    for call in (
        named(wrong),
        named({"deep": [wrong]}),  # type: ignore[arg-type]  # that is the point
        child(wrong),
        go.by_id("x").send(wrong),
        named("x").options(meta={"more": wrong}),
        named(named("two")),  # type: ignore[arg-type]  # that is the point
    ):
        try:
            yield from call
        except EncodeError as error:
            told.append(error.message)
    return told


def test_a_deferred_or_a_command_that_is_sent_fails_with_its_name(serve, client):
    serve(sending_deferreds, child, named)

    assert client.run(sending_deferreds(), timeout=20) == [
        *["deferred m0.0 (named): a command/deferred cannot be sent: `yield from` it first"] * 5,
        "named(name='two'): a command/deferred cannot be sent: `yield from` it first",
    ]
