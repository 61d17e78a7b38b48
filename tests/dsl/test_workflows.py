"""Workflow functions, and classes: who describes what, and by which name it is known."""

from typing import Any

import pytest

from dsl import Channel, Flow, InvalidId, Query, Workflow, method, query, sleep, workflow
from dsl.calls import MethodCall, Send, StartCall
from dsl.channels import Receive


@workflow
def trip(city: str):
    yield from sleep(1)
    return city


class Loyalty(Workflow, name="loyalty"):
    bonus = Channel(int)

    def __init__(self) -> None:
        self.points = 0

    @method
    def run(self, weeks: int):
        yield from sleep(weeks)

    @method(name="cash-in")
    def redeem(self, points: int) -> int:
        self.points -= points
        return self.points

    @query
    def balance(self) -> int:
        return self.points


class Gold(Loyalty):
    @method
    def redeem(self, points: int) -> int:
        return super().redeem(points * 2)

    @method
    def upgrade(self) -> None: ...


def of_the_author(caught) -> BaseException:
    """The error itself: before Python 3.12 what `__set_name__` raises comes wrapped."""
    error = caught.value
    return error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error


def test_a_workflow_function_describes_and_its_fn_runs():
    assert trip("Oslo") == StartCall(trip, trip.arguments_type("Oslo"))
    assert next(trip.fn("Oslo")) == sleep(1)
    assert (trip.owner, trip.name, trip.version) == ("trip", "trip", 1)


def test_a_workflow_function_is_named_as_told():
    tour = workflow(name="tour")(trip.fn)

    assert (tour.owner, tour.name, repr(tour("Oslo"))) == ("tour", "tour", "tour(city='Oslo')")


def test_the_class_starts_an_id_calls_and_an_object_runs():
    member = Loyalty.members()["run"]

    assert Loyalty.run(3) == StartCall(member, member.arguments_type(3))
    assert Loyalty.by_id("ada").run(3) == MethodCall(member, member.arguments_type(3), "ada")
    assert next(Loyalty().run(3)) == sleep(3)
    assert Loyalty().redeem(5) == -5


def test_a_query_needs_an_instance():
    member = Loyalty.members()["balance"]

    assert Loyalty.by_id("ada").balance() == Query(member, member.arguments_type(), "ada")
    assert Loyalty().balance() == 0
    with pytest.raises(TypeError) as caught:
        Loyalty.balance()
    assert str(caught.value) == ("the query loyalty.balance needs an instance: loyalty.by_id('…').balance(…)")


def test_members_and_channels_are_known_by_name():
    assert {name: repr(one) for name, one in Loyalty.members().items()} == {
        "balance": "<query loyalty.balance>",
        "cash-in": "<method loyalty.cash-in>",
        "run": "<method loyalty.run>",
    }
    assert repr(Loyalty.channels()) == "{'bonus': <channel loyalty.bonus>}"
    assert Loyalty.members()["run"].holder is Loyalty


def test_what_is_inherited_is_known_by_the_right_workflows_name():
    assert [one.label for one in (Gold.run(1), Gold.by_id("ada").bonus.send(5))] == [
        "Gold.run(weeks=1)",
        "Gold.bonus.send(5)",
    ]
    assert Gold.by_id("ada").balance().definition.owner == "Gold"
    assert {one.owner for one in Gold.members().values()} == {"Gold"}
    assert {one.owner for one in Gold.channels().values()} == {"Gold"}
    assert Loyalty.run(1).definition.owner == "loyalty"
    assert Loyalty.by_id("ada").bonus.send(5).definition.owner == "loyalty"


def test_an_inherited_channel_is_the_right_workflows_inside_too():
    assert Gold().bonus.receive() == Receive(Gold.channels()["bonus"])
    assert Loyalty().bonus.receive() == Receive(Loyalty.channels()["bonus"])
    assert Gold.channels()["bonus"].type is int


def test_the_same_call_of_an_inherited_member_is_equal():
    assert Gold.run(1) == Gold.run(1)
    assert Gold.run(1) != Loyalty.run(1)


def test_an_override_is_the_method_and_may_call_what_it_hides():
    assert Gold().redeem(5) == -10
    assert {name: one.fn.__qualname__ for name, one in Gold.members().items()} == {
        "balance": "Loyalty.balance",
        "cash-in": "Gold.redeem",
        "run": "Loyalty.run",
        "upgrade": "Gold.upgrade",
    }


def test_an_override_may_have_a_name_of_its_own():
    class Silver(Loyalty):
        @method(name="burn")
        def redeem(self, points: int) -> int:
            return 0

    assert set(Silver.members()) == {"balance", "burn", "run"}


@pytest.mark.parametrize("attribute", ["run", "balance", "bonus"])
def test_a_member_cannot_be_hidden_by_what_is_none(attribute):
    with pytest.raises(
        TypeError, match=rf"^Broken.{attribute} hides <.* loyalty.{attribute}>: decorate it as that one is$"
    ):
        type("Broken", (Loyalty,), {attribute: lambda self: None})


def test_two_parts_cannot_have_one_name():
    with pytest.raises(TypeError, match=r"^Broken has two methods, queries or channels of the same name$"):

        class Broken(Workflow):
            @method
            def one(self) -> None: ...

            @method(name="one")
            def two(self) -> None: ...


@pytest.mark.parametrize(("decorate", "kind"), [(method, "method"), (query, "query")])
def test_a_class_with_methods_must_be_a_workflow(decorate, kind):
    with pytest.raises((TypeError, RuntimeError)) as caught:

        class Plain:
            run = decorate(name="run")(lambda self: None)

    message = f"@{kind} Plain.run: a class with methods must be a Workflow"
    assert repr(of_the_author(caught)) == f"TypeError('{message}')"


def test_a_workflow_is_named_after_its_class_or_as_told():
    class Plain(Workflow): ...

    assert (Plain.workflow_name, Loyalty.workflow_name, Gold.workflow_name) == ("Plain", "loyalty", "Gold")
    with pytest.raises(ValueError, match="cannot name a workflow"):
        type("Broken", (Workflow,), {}, name="infinitic.x")
    with pytest.raises(ValueError, match="cannot name a workflow"):
        type("Broken", (Workflow,), {}, name="")


def test_by_id_shows_methods_queries_and_channels_and_nothing_else():
    ada: Any = Loyalty.by_id("ada")

    assert repr(ada) == "Loyalty.by_id('ada')"
    assert ada.bonus.send(5) == Send(Loyalty.channels()["bonus"], 5, "ada")
    assert ada.redeem(5).options(id="c1").workflow_id == "ada"
    with pytest.raises(AttributeError) as caught:
        _ = ada.points
    assert str(caught.value) == (
        "Loyalty has no method, query or channel 'points' (it has: balance, cash-in, run, bonus)"
    )


@pytest.mark.parametrize("id", ["", "  ", None, 5, "x" * 256])
def test_by_id_takes_what_can_be_an_id(id):
    with pytest.raises(InvalidId, match="cannot be a workflow id: expected "):
        Loyalty.by_id(id)


def test_what_describes_shows_its_definition_and_function():
    described: Any = Loyalty.run

    assert repr(described) == "<method loyalty.run>"
    assert described.definition is Loyalty.members()["run"]
    assert described.fn is Loyalty.members()["run"].fn


def test_arguments_that_do_not_fit_are_refused_with_the_signature():
    ada: Any = Loyalty.by_id("ada")
    with pytest.raises(TypeError, match=r"^loyalty.run\(weeks: int\): missing a required argument: 'weeks'$"):
        Loyalty.run()
    with pytest.raises(TypeError, match=r"^loyalty.cash-in\(points: int\): too many positional arguments$"):
        ada.redeem(1, 2)


def test_a_workflow_has_a_version_and_says_how_it_is_compared():
    @workflow(name="trip", version=2, check="names")
    def trip() -> Flow[None]:
        yield from sleep(1)

    class Trip(Workflow, version=3, check="off"):
        pass

    class Plain(Trip):
        pass

    assert (trip.version, trip.check) == (2, "names")
    assert (Trip.workflow_version, Trip.workflow_check) == (3, "off")
    assert (Plain.workflow_version, Plain.workflow_check) == (1, None)
    assert (workflow(trip.fn).version, workflow(trip.fn).check) == (1, None)


@pytest.mark.parametrize("version", [0, -1, 1.5, "2", True, None])
def test_a_version_is_a_whole_number_from_one_on(version):
    with pytest.raises(ValueError, match="a workflow's version is a whole number from 1 on, not"):
        workflow(version=version)
    with pytest.raises(ValueError, match="a workflow's version is a whole number from 1 on, not"):
        type("Trip", (Workflow,), {}, version=version)


def test_how_it_is_compared_is_one_of_three_words():
    with pytest.raises(ValueError, match="check takes one of 'strict', 'names', 'off', not 'loose'"):
        workflow(check="loose")
