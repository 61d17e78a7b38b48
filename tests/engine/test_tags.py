"""Tags, followed by the code that changes them and, for what was not sent yet, without it."""

import msgspec
import pytest

from dsl import (
    Channel,
    Flow,
    Workflow,
    add_tags,
    current_workflow,
    dispatch,
    method,
    remove_tags,
    sleep,
    spawn,
    workflow,
)
from infinitic.engine.instance import Refusal
from infinitic.engine.outputs import ROUTER, Origin, outputs
from infinitic.engine.tags import changed, in_turns
from infinitic.events import MethodCalled, SignalReceived, TagsChanged
from infinitic.history import CallIssued, SignalIssued, TagsIssued
from infinitic.ids import derived_id
from infinitic.messages import Broadcast, TaskRequest
from tests.engine.driver import RUN, drive
from tests.engine.given import step

confirmed = Channel(str, name="confirmed")


class Loyalty(Workflow):
    bonus = Channel(int)

    @method
    def redeem(self, points: int) -> bool:
        return True


def told(run):
    """The tags that each task of all turns is sent with, from history alone."""
    begun = in_turns(dict(enumerate(run.turns)))
    assert begun[len(run.turns) - 1] == run.instance.draft.tags  # as the live instance has it
    sent = [
        message
        for number, turn in enumerate(run.turns)
        for message in outputs(Origin("flow", "wf", RUN, begun[number]), turn, run.asked)
    ]
    return [list(msgspec.json.decode(one.message.payload, type=TaskRequest).tags) for one in sent]


@pytest.mark.parametrize(
    ("by", "after"),
    [
        (TagsIssued("", ("c", "a")), ("a", "b", "c")),
        (TagsIssued("", (), ("b", "x")), ("a",)),
        (TagsChanged("", ("b", "c"), ("a", "b")), ("b", "c")),
    ],
)
def test_a_change_gives_what_it_adds_and_takes_the_rest_of_what_it_removes(by, after):
    assert changed(("a", "b"), by) == after


def changing() -> Flow[list[str]]:
    yield from step("0")
    yield from add_tags("vip", "new")
    dispatch(step("1"))
    yield from remove_tags("new")
    yield from step("2")
    yield from step("3")
    return sorted(current_workflow().tags)


def test_what_is_sent_is_told_the_tags_of_that_instant():
    run = drive(changing, tags=("old",))
    run.complete("m0.0")
    assert run.issued[0] == TagsIssued("m0.1", ("new", "vip"))
    assert run.record.tags == ("old", "vip")
    run.apply(TagsChanged("t", ("late",), ("old",)))
    run.fail("m0.4", ValueError("no"), retry_in=0)
    run.complete("m0.4", attempt=2)
    assert told(run) == [["old"], ["new", "old", "vip"], ["old", "vip"], ["late", "vip"], ["late", "vip"]]
    run.complete("m0.5")

    assert run.result == ["late", "vip"]


def test_code_that_changes_other_tags_than_it_did_is_told_so():
    run = drive(changing)
    run.complete("m0.0")

    def flow() -> Flow[None]:
        yield from step("0")
        yield from add_tags("other")

    problem = str(run.diverges(workflow(name="changing")(flow)()))
    assert "history says add_tags(new, vip) at position m0.1" in problem
    assert "now asks for add_tags('other')" in problem


def test_a_change_comes_once_and_while_the_run_goes_on():
    run = drive(changing)
    event = TagsChanged("t", ("late",))
    run.apply(event)
    assert run.apply(event) is None
    for position in ("m0.0", "m0.4", "m0.5"):
        run.complete(position)

    assert run.result == ["late", "vip"]
    assert isinstance(run.apply(TagsChanged("u", ("more",))), Refusal)
    assert run.record.tags == ("late", "vip")


def failing(broken: list[str]) -> Flow[list[str]]:
    yield from step("0")
    yield from add_tags("first" if broken else "second")
    dispatch(step("1"))
    if broken:
        raise ValueError("no")
    yield from step("2")
    return sorted(current_workflow().tags)


def test_a_retry_takes_back_the_tags_of_the_turn_that_failed():
    broken = ["yes"]
    run = drive(lambda: failing(broken), tags=("old",))
    run.checks = False  # the code changes
    run.complete("m0.0")
    assert (run.status, run.record.tags) == ("failed", ("first", "old"))
    broken.clear()
    run.retry()

    assert run.record.tags == ("old", "second")
    assert told(run) == [["old"], ["first", "old"], ["old", "second"]]
    run.complete("m0.3")
    assert run.result == ["old", "second"]


def test_a_query_changes_no_tags_and_every_branch_may():
    def beside() -> Flow[None]:
        yield from add_tags("branch")

    def flow() -> Flow[list[str]]:
        yield from spawn(beside())
        yield from sleep(0)
        return sorted(current_workflow().tags)

    assert drive(flow).result == ["branch"]


def test_what_is_sent_to_a_tag_is_a_broadcast():
    def flow() -> Flow[str]:
        yield from confirmed.by_tag("vip").send("yes")
        deferred = dispatch(Loyalty.by_tag("vip").redeem(3))
        yield from sleep(5)
        return deferred.status()

    run = drive(flow)
    signal, call = (one.message for one in run.outputs)

    assert run.issued[:2] == (
        SignalIssued("m0.0", "", "", "confirmed", msgspec.Raw(b'"yes"'), to_tag="vip"),
        CallIssued("m0.1", "Loyalty", "", "redeem", msgspec.Raw(b'{"points":3}'), to_tag="vip"),
    )
    assert [one.topic for one in run.outputs] == [f"workflow:{ROUTER}"] * 2
    assert [(one.kind, one.workflow, one.workflow_id) for one in (signal, call)] == [
        ("broadcast", ROUTER, "tag vip"),
        ("broadcast", ROUTER, "tag vip"),
    ]
    assert [msgspec.json.decode(one.payload, type=Broadcast) for one in (signal, call)] == [
        Broadcast("vip", SignalReceived(derived_id(RUN, "m0.0"), "confirmed", msgspec.Raw(b'"yes"'))),
        Broadcast("vip", MethodCalled(derived_id(RUN, "m0.1"), "redeem", msgspec.Raw(b'{"points":3}')), "Loyalty"),
    ]
    run.fire("m0.2")
    assert run.result == "completed"


def test_what_cannot_be_sent_to_a_tag_fails_its_sender():
    def flow() -> Flow[str]:
        wrong: object = object()
        deferred = dispatch(Loyalty.by_tag("vip").redeem(wrong))  # type: ignore[arg-type]  # which is the mistake
        yield from sleep(0)
        return deferred.status()

    run = drive(flow)

    assert (run.result, run.outputs) == ("failed", [])
