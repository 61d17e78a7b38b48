"""Code that changes: patches, versions side by side, and workers of old and new code at once."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from infinitic.errors import InfiniticError
from infinitic.history import PatchIssued
from tests.scenarios.given import events, until

TRIP = """
from dsl import *

words = Channel(str, name="words")

@task
def step(name: str) -> str:
    return name

{}
"""
FIRST = """
@workflow
def trip() -> Flow[list[str]]:
    seen = [(yield from step("first"))]
    for _ in range(3):
        seen.append((yield from words.receive()))
    return seen
"""
SECOND = """
@workflow(name="trip", version=2)
def second() -> Flow[list[str]]:
    seen = [(yield from step("second"))]
    for _ in range(3):
        yield from sleep(0.01)
        seen.append((yield from step((yield from words.receive()))))
    return seen
"""
PATCHED = """
@workflow
def trip() -> Flow[list[str]]:
    seen = [(yield from step("first"))]
    if patched("greeting"):
        seen.append((yield from step("hello")))
    for _ in range(3):
        seen.append((yield from words.receive()))
    return seen
"""
SETTLED = PATCHED.replace('if patched("greeting")', "if True")


@pytest.fixture
def released(deploy):
    """`released(FIRST, SECOND)`: a release with this code."""
    return lambda *parts: deploy(TRIP.format("".join(parts)))


def record_of(client, workflow_id):
    return next(record for record in client.find() if record.workflow_id == workflow_id)


def waiting_for_words(client):
    """The ids of the instances that wait for a word and nothing else."""
    found = [record for record in client.find() if [wait.kind for wait in record.waits] == ["receive"]]
    return sorted(record.workflow_id for record in found)


def say(client, release, workflow_id, *said):
    for word in said:
        client.start(release.words.by_id(workflow_id).send(word))


# ------------------------------------------------------------------------------------------- patches


def test_runs_that_began_before_a_patch_go_on_as_they_began_and_new_ones_take_it(serve, client, released):
    before = released(FIRST)
    worker = serve(before.trip, before.step)
    old = client.start(before.trip(), id="old")
    until(lambda: "TaskCompleted" in events(old.history()))
    worker.close()
    after = released(PATCHED)
    worker = serve(after.trip, after.step)
    new = client.start(after.trip(), id="new")
    say(client, after, "old", "a", "b")
    say(client, after, "new", "a", "b")
    until(lambda: len(new.history()) == 5)
    worker.close()
    settled = released(SETTLED)
    serve(settled.trip, settled.step)
    say(client, settled, "new", "c")

    assert new.result(20) == ["first", "hello", "a", "b", "c"]
    marks = [one.patch for turn in new.history() for one in turn.commands if isinstance(one, PatchIssued)]
    assert marks == ["greeting"]
    assert record_of(client, "old").status == "running"


def test_an_old_run_ends_as_it_began_under_code_that_asks(serve, client, released):
    before = released(FIRST)
    worker = serve(before.trip, before.step)
    old = client.start(before.trip(), id="old")
    until(lambda: "TaskCompleted" in events(old.history()))
    worker.close()
    after = released(PATCHED)
    serve(after.trip, after.step)
    say(client, after, "old", "a", "b", "c")

    assert old.result(20) == ["first", "a", "b", "c"]


# ------------------------------------------------------------------------------------------ versions


def test_new_instances_take_the_highest_version_and_running_ones_keep_theirs(serve, client, released):
    first = released(FIRST)
    worker = serve(first.trip, first.step)
    old = client.start(first.trip(), id="old")
    until(lambda: "TaskCompleted" in events(old.history()))
    worker.close()
    both = released(FIRST, SECOND)
    serve(both.trip, both.second, both.step)
    new = client.start(both.trip(), id="new")
    for one in ("old", "new"):
        say(client, both, one, "a", "b", "c")

    assert (old.result(20), new.result(20)) == (["first", "a", "b", "c"], ["second", "a", "b", "c"])
    assert [record_of(client, one).version for one in ("old", "new")] == [1, 2]
    assert [one.history()[0].event.version for one in (old, new)] == [1, 2]


CLASSES = """
class Account(Workflow, version={0}):
    @method
    def run(self) -> Flow[str]:
        yield from words.receive()
        return f"version {0}: {{yield from self.told()}}"

    def told(self) -> Flow[str]:
        return (yield from step("told"))

    @method
    def close(self) -> str:
        return "closed by version {0}"

    @query
    def version(self) -> int:
        return {0}
"""


def test_workflow_classes_have_versions_too_and_their_queries_and_methods_are_the_instances(serve, client, deploy):
    first = deploy(TRIP.format(CLASSES.format(1)))
    worker = serve(first.Account, first.step)
    handle = client.start(first.Account.run(), id="acc")
    assert client.run(first.Account.by_id("acc").version(), timeout=20) == 1
    worker.close()
    second = deploy(TRIP.format(CLASSES.format(2)))
    serve(first.Account, second.Account, second.step)
    client.start(second.Account.run(), id="new")

    assert client.run(second.Account.by_id("acc").version(), timeout=20) == 1
    assert client.run(second.Account.by_id("acc").close(), timeout=20) == "closed by version 1"
    assert client.run(second.Account.by_id("new").version(), timeout=20) == 2
    say(client, second, "acc", "go")
    assert handle.result(20) == "version 1: told"


PARENT = """
@workflow
def parent() -> Flow[list[str]]:
    seen = [(yield from child())]
    yield from words.receive()
    return [*seen, (yield from child())]

@workflow
def child() -> Flow[str]:
    return (yield from step("child 1"))

@workflow
def rounds(left: int) -> Flow[str]:
    yield from words.receive()
    return (yield from continue_as_new(rounds(left - 1))) if left else "round 1"
"""
HIGHER = """
@workflow(name="child", version=2)
def child_2() -> Flow[str]:
    return (yield from step("child 2"))

@workflow(name="rounds", version=3)
def rounds_3(left: int) -> Flow[str]:
    return (yield from step("round 3"))
"""


def test_children_and_the_runs_that_follow_take_the_highest_version(serve, client, released):
    first = released(PARENT)
    worker = serve(first.parent, first.child, first.rounds, first.step)
    parent, rounds = client.start(first.parent(), id="parent"), client.start(first.rounds(1), id="rounds")
    until(lambda: "Answered" in events(parent.history()))
    until(lambda: len(rounds.history()) == 1)
    worker.close()
    both = released(PARENT, HIGHER)
    serve(both.parent, both.child, both.child_2, both.rounds, both.rounds_3, both.step)
    for one in ("parent", "rounds"):
        say(client, both, one, "go")

    assert parent.result(20) == ["child 1", "child 2"]
    assert rounds.result(20) == "round 3"
    assert record_of(client, "rounds").version == 3


def test_a_restart_takes_the_highest_version_and_a_retry_that_of_its_run(serve, client, released):
    def failing(number):
        named = f"name='failing', version={number}"
        body = f'yield from step("{number}")\n    raise LookupError("no, says {number}")'
        return f"\n@workflow({named})\ndef failing_{number}() -> Flow[None]:\n    {body}\n"

    first = released(failing(1))
    worker = serve(first.failing_1, first.step)
    handle = client.start(first.failing_1(), id="f")
    with pytest.raises(InfiniticError, match="says 1"):
        handle.result(20)
    worker.close()
    both = released(failing(1), failing(2))
    serve(both.failing_1, both.failing_2, both.step)
    handle.retry()
    with pytest.raises(InfiniticError, match="says 1"):
        handle.result(20)
    again = client.start(both.failing_1(), id="f", if_exists="restart")

    with pytest.raises(InfiniticError, match="says 2"):
        again.result(20)


def test_a_retry_that_waits_for_its_version_is_received_when_that_takes_the_run_up(serve, client, released, storage):
    """Else who has it retried, and then awaits the result, would be told of the failure from before."""
    body = "\n@workflow(name='mended', version={})\ndef mended() -> Flow[str]:\n    yield from step('one')\n    {}\n"
    broken = released(body.format(1, "raise LookupError('a bug')"))
    worker = serve(broken.mended, broken.step)
    handle = client.start(broken.mended(), id="m")
    with pytest.raises(InfiniticError, match="a bug"):
        handle.result(20)
    worker.close()
    newer = released(body.format(2, "return 'of version 2'"))
    serve(newer.mended, newer.step)

    with ThreadPoolExecutor(1) as pool:
        result = pool.submit(lambda: handle.retry(timeout=20) or handle.result(20))
        until(lambda: storage.load("m").inbox)
        mended = released(body.format(1, "return 'mended'"))
        serve(mended.mended, newer.mended, mended.step)

        assert result.result(20) == "mended"


def test_an_instance_whose_version_no_worker_has_waits_and_says_so_until_one_has(serve, client, released, storage):
    second = released(SECOND)
    worker = serve(second.second, second.step)
    handle = client.start(second.second(), id="t")
    until(lambda: waiting_for_words(client) == ["t"])
    worker.close()
    first = released(FIRST)
    serve(first.trip, first.step)
    say(client, first, "t", "a", "b", "c")
    until(lambda: len(storage.load("t").inbox) == 3)
    suspended = record_of(client, "t")
    serve(second.second, second.step)

    assert handle.result(20) == ["second", "a", "b", "c"]
    assert suspended.status == "suspended"
    assert suspended.reason == (
        "it needs version 2 of trip, and the worker that its messages came to has version 1 only"
    )
    assert (record_of(client, "t").reason, storage.load("t").inbox) == ("", ())


# --------------------------------------------------------------------- both codes at once, for a while

MANY = [f"t{number}" for number in range(8)]


def begun(client, release, workflow, ids):
    """Instances of the workflow that wait for their first word."""
    handles = [client.start(workflow(), id=one) for one in ids]
    until(lambda: waiting_for_words(client) == sorted(ids))
    return handles


@pytest.mark.parametrize("order", ["old first", "new first"])
def test_while_a_release_is_rolled_out_both_old_and_new_instances_go_on(serve, client, released, order):
    """The broker gives each instance's key to one of two workers, whichever code that has."""
    old, new = released(FIRST), released(FIRST, SECOND)
    worker = serve(new.trip, new.second, new.step)
    handles = begun(client, new, new.second, MANY)
    worker.close()
    workers = [(old.trip, old.step), (new.trip, new.second, new.step)]
    for served in workers if order == "old first" else reversed(workers):
        serve(*served, cache_instances=1)
    for one in MANY:
        say(client, new, one, "a")
    for one in MANY:
        say(client, new, one, "b", "c")

    assert [handle.result(20) for handle in handles] == [["second", "a", "b", "c"]] * len(MANY)


def test_a_rolled_out_change_that_old_code_cannot_follow_stops_nobody(serve, client, released):
    """No versions: new instances are begun by either code, and each goes on with its own."""
    old, new = released(FIRST), released(FIRST.replace('step("first")', 'step("another")'))
    for release in (old, new):
        serve(release.trip, release.step, cache_instances=1)
    handles = begun(client, new, new.trip, MANY)
    another = serve(new.trip, new.step, cache_instances=1)  # keys move
    for word in "abc":
        for one in MANY:
            say(client, new, one, word)
    results = [handle.result(20) for handle in handles]
    another.close()

    assert {tuple(one[1:]) for one in results} == {("a", "b", "c")}
    assert {one[0] for one in results} <= {"first", "another"}


# ------------------------------------------------------------------------------------ comparing less

ASKING = """
@workflow{0}
def asking() -> Flow[str]:
    one = yield from step("{1}")
    yield from sleep(0.01)
    return one + (yield from words.receive())
"""


@pytest.mark.parametrize("where", ["workflow", "worker"])
def test_code_that_is_compared_by_names_goes_on_with_other_arguments(serve, client, released, where):
    first = released(ASKING.format("", "then"))
    worker = serve(first.asking, first.step)
    handle = client.start(first.asking(), id="a")
    until(lambda: waiting_for_words(client) == ["a"])
    worker.close()
    strict = released(ASKING.format("", "now"))
    worker = serve(strict.asking, strict.step)
    say(client, strict, "a", " and now")
    until(lambda: record_of(client, "a").status == "suspended")
    worker.close()
    if where == "worker":
        serve(strict.asking, strict.step, check="names")  # the very same code, compared in another way
    else:
        by_names = released(ASKING.format('(check="names")', "now"))
        serve(by_names.asking, by_names.step)

    assert handle.result(20) == "then and now"


def test_code_that_is_not_compared_takes_what_is_recorded_at_its_place(serve, client, released):
    first = released(ASKING.format("", "then"))
    worker = serve(first.asking, first.step)
    handle = client.start(first.asking(), id="a")
    until(lambda: waiting_for_words(client) == ["a"])
    worker.close()
    renamed = ASKING.format('(check="off")', "now").replace("step(", "renamed(")
    second = released("\n@task\ndef renamed(name: str) -> str:\n    return name\n", renamed)
    serve(second.asking, second.renamed)
    say(client, second, "a", " and now")

    assert handle.result(20) == "then and now"
