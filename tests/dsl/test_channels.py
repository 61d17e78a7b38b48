"""Channels: the mailbox inside, the sender outside, and the type between."""

from functools import partial
from typing import Any

import pytest

from dsl import Channel, InvalidId, OutsideWorkflow, Workflow
from dsl.calls import Send
from dsl.channels import Receive
from dsl.commands import described

confirmed = Channel(str, name="confirmed")


class Loyalty(Workflow):
    bonus = Channel(int)
    either = Channel[int | str]()
    anything: Channel[Any] = Channel()
    gifts = Channel(list, name="presents")


def test_a_channel_of_a_class_receives_inside_and_sends_from_outside():
    bonus = Loyalty.channels()["bonus"]

    assert Loyalty().bonus.receive() == Receive(bonus)
    assert Loyalty.by_id("ada").bonus.send(5) == Send(bonus, 5, "ada")
    assert repr(Loyalty.by_id("ada").bonus.send(5)) == "Loyalty.bonus.send(5)"
    assert described(Loyalty().bonus.receive()) == "bonus.receive()"


def test_a_channel_of_a_module_does_both():
    assert confirmed.receive() == Receive(confirmed)
    assert confirmed.by_id("trip-42").send("yes") == Send(confirmed, "yes", "trip-42")
    assert (confirmed.owner, confirmed.name, confirmed.label) == ("", "confirmed", "confirmed")


def large(number: int) -> bool:
    return number > 100


def test_a_receive_may_choose_by_type_and_predicate():
    bonus, either = Loyalty.channels()["bonus"], Loyalty.channels()["either"]

    assert Loyalty().either.receive(int) == Receive(either, int)
    assert Loyalty().bonus.receive(where=large) == Receive(bonus, where=large)
    assert [
        described(one)
        for one in (
            Loyalty().either.receive(str),
            Loyalty().either.receive(int | str),
            Loyalty().either.receive(int, where=large),
            confirmed.receive(where=str.isupper),
            confirmed.receive(where=partial(large)),
        )
    ] == [
        "either.receive(str)",
        "either.receive(int | str)",
        "either.receive(int, where=large)",
        "confirmed.receive(where=str.isupper)",
        "confirmed.receive(where=partial)",
    ]


@pytest.mark.parametrize("wrong", [5, list[int], large])
def test_what_is_no_type_is_refused(wrong):
    with pytest.raises(TypeError, match=r"Loyalty.either.receive\(\) takes a class, or several as in Paid \| Refused"):
        Loyalty().either.receive(wrong)


def test_what_is_no_predicate_is_refused():
    with pytest.raises(TypeError, match=r"confirmed.receive\(where=\) takes a function of the signal, not 'yes'"):
        confirmed.receive(where="yes")  # type: ignore[arg-type]  # that is the point


def test_a_channel_keeps_its_signals_unless_told_otherwise():
    assert (confirmed.buffered, Channel(int, name="flash", buffered=False).buffered) == (True, False)


def test_a_signal_may_be_given_an_id():
    assert confirmed.by_id("trip-42").send("yes").options(id="once").given.id == "once"


def test_sending_needs_an_instance():
    with pytest.raises(TypeError) as caught:
        Loyalty.bonus.send(5)

    assert str(caught.value) == "Loyalty.bonus.send(…) needs an instance: Loyalty.by_id('…').bonus.send(…)"


@pytest.mark.parametrize("id", ["", " ", 5])
def test_by_id_takes_what_can_be_an_id(id):
    with pytest.raises(InvalidId):
        confirmed.by_id(id)


def test_a_channel_has_its_declared_type():
    assert {name: one.type for name, one in Loyalty.channels().items()} == {
        "anything": Any,
        "bonus": int,
        "either": int | str,
        "presents": list,
    }


def test_a_channel_is_named_after_its_attribute_or_as_told():
    assert {one.label for one in Loyalty.channels().values()} == {
        "Loyalty.anything",
        "Loyalty.bonus",
        "Loyalty.either",
        "Loyalty.presents",
    }
    assert repr(confirmed) == "<channel confirmed>"


@pytest.mark.parametrize("name", ["", "a b", "infinitic.x"])
def test_a_name_that_cannot_be_is_refused(name):
    with pytest.raises(ValueError, match="cannot name a channel"):
        Channel(str, name=name)


def test_a_channel_of_a_module_needs_a_name():
    nameless = Channel(str)

    for use in (nameless.receive, lambda: nameless.by_id("x")):
        with pytest.raises(TypeError, match=r"^a channel of a module needs a name: Channel\(str, name='confirmed'\)$"):
            use()


def test_a_class_with_channels_must_be_a_workflow():
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Plain:
            bonus = Channel(int)

    error = caught.value.__cause__ or caught.value
    assert repr(error) == "TypeError('Plain.bonus: a class with channels must be a Workflow')"


def test_drain_takes_what_is_buffered(context):
    context.buffered = {"confirmed": ["yes", "no"], "bonus": [1]}

    assert (confirmed.drain(), confirmed.drain()) == (["yes", "no"], [])
    assert Loyalty().bonus.drain() == [1]


def test_drain_works_inside_a_workflow_only():
    with pytest.raises(OutsideWorkflow, match=r"^Loyalty.bonus.drain\(\) works only inside a workflow"):
        Loyalty().bonus.drain()


def test_a_sent_value_is_shown_shortened():
    assert repr(confirmed.by_id("a").send("x" * 99)) == f"confirmed.send('{'x' * 38}…)"
