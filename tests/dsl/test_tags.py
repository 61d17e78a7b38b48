"""`add_tags`, `remove_tags`, `by_tag`: what they describe, and what nobody can wait for."""

import pytest

from dsl import (
    Channel,
    Flow,
    InvalidId,
    ProtocolError,
    Workflow,
    add_tags,
    first,
    gather,
    method,
    query,
    race,
    remove_tags,
    settle,
    sleep,
    timeout,
    workflow,
)
from dsl.calls import MethodCall, Send
from dsl.tags import ChangeTags
from dsl.workflows import named_by

confirmed = Channel(str, name="confirmed")


@workflow(name="the-trip")
def trip() -> Flow[None]:
    yield from sleep(1)


class Loyalty(Workflow, name="loyalty"):
    bonus = Channel(int)

    @method
    def redeem(self, points: int) -> bool:
        return True

    @query
    def balance(self) -> int:
        return 0


def test_changes_of_tags_are_commands():
    assert add_tags("b", "a", "b") == ChangeTags(added=("a", "b"))
    assert remove_tags("a") == ChangeTags(removed=("a",))
    assert (add_tags("a", "b").label, remove_tags("a").label) == ("add_tags('a', 'b')", "remove_tags('a')")


@pytest.mark.parametrize("wrong", ["", " ", "x" * 256, 5])
def test_what_cannot_be_a_tag_is_refused(wrong):
    for use in (add_tags, remove_tags, Loyalty.by_tag, confirmed.by_tag, trip.by_tag):
        with pytest.raises(InvalidId, match="a tag"):
            use(wrong)


def test_by_tag_describes_for_all_that_have_it():
    call, sent, other = (
        Loyalty.by_tag("vip").redeem(3),
        Loyalty.by_tag("vip").bonus.send(5),
        confirmed.by_tag("vip").send("yes"),
    )

    assert isinstance(call, MethodCall)
    assert isinstance(sent, Send)
    assert [(one.workflow_id, one.tag) for one in (call, sent, other)] == [("", "vip")] * 3
    assert [one.label for one in (call, sent, other)] == [
        "loyalty.redeem(points=3)",
        "loyalty.bonus.send(5)",
        "confirmed.send('yes')",
    ]
    assert call.options(id="once").given.id == "once"


def test_by_tag_names_the_instances_for_clients():
    assert [named_by(one) for one in (Loyalty.by_tag("vip"), trip.by_tag("vip"))] == [
        ("loyalty", "vip"),
        ("the-trip", "vip"),
    ]
    assert [repr(Loyalty.by_tag("vip")), repr(trip.by_tag("vip"))] == ["Loyalty.by_tag('vip')", "trip.by_tag('vip')"]


def test_what_there_is_not_is_no_attribute():
    with pytest.raises(AttributeError, match=r"Loyalty has no method, query or channel 'nothing'"):
        Loyalty.by_tag("vip").nothing  # noqa: B018  # the look alone is what is refused
    with pytest.raises(AttributeError, match=r"trip.by_tag\('vip'\) has no 'send': a workflow function has no methods"):
        trip.by_tag("vip").send  # noqa: B018  # as above


def test_a_query_is_for_one_instance():
    with pytest.raises(TypeError, match=r"the query loyalty.balance needs an instance"):
        Loyalty.by_tag("vip").balance()


@pytest.mark.parametrize(
    "wait",
    [
        iter,
        lambda call: call.__await__(),
        lambda call: call | sleep(1),
        lambda call: sleep(1) | call,
        lambda call: call & sleep(1),
        lambda call: sleep(1) & call,
        gather,
        first,
        lambda call: race(one=call),
        settle,
        lambda call: timeout(call, 5),
    ],
)
def test_nobody_can_wait_for_all_their_answers(wait):
    with pytest.raises(ProtocolError) as refused:
        wait(Loyalty.by_tag("vip").redeem(1))

    assert str(refused.value) == (
        "loyalty.redeem(points=1) is for all instances tagged 'vip', and nobody can wait for all their answers: "
        "dispatch(…) it in a workflow, client.start(…) it elsewhere, or call one by its id."
    )


def test_a_signal_to_many_is_sent_like_one_to_one():
    assert next(iter(confirmed.by_tag("vip").send("yes"))) == confirmed.by_tag("vip").send("yes")
