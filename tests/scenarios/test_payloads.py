"""Payloads: what travels as arguments, results and signals, and how signatures evolve."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, TypedDict
from uuid import UUID

import pytest
from attrs import frozen

from dsl import Channel, Flow, task, workflow
from infinitic.client import Client
from infinitic.errors import DecodeError, EncodeError, RegistrationError, WorkflowFailed
from infinitic.serialization import PickleCodec
from infinitic.worker import Worker
from tests.scenarios.given import until

words = Channel(str, name="words")


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


@frozen
class Money:
    amount: Decimal
    currency: str = "EUR"


@dataclass
class Line:
    price: Money
    count: int


class Address(TypedDict):
    city: str
    zip: str


@frozen
class Order:
    id: UUID
    at: datetime
    due: date
    within: timedelta
    lines: list[Line]
    colours: set[Colour]
    address: Address
    note: bytes = b""
    by: dict[str, int] | None = None


ORDER = Order(
    id=UUID(int=5),
    at=datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC),
    due=date(2026, 2, 3),
    within=timedelta(days=1, microseconds=1),
    lines=[Line(Money(Decimal("9.99")), 3), Line(Money(Decimal("0.10"), "NOK"), 1)],
    colours={Colour.RED, Colour.BLUE},
    address={"city": "Tromsø \U0001f98a", "zip": "9000"},
    note=b"\x00\xff",
    by={"a": 1},
)


@task
def priced(order: Order, discount: Decimal = Decimal(0)) -> Order:
    assert isinstance(order.lines[0].price.amount, Decimal)
    assert discount == Decimal("0.5")
    return order


@workflow
def ordering(order: Order) -> Flow[Order]:
    assert isinstance(order, Order)
    return (yield from priced(order, discount=Decimal("0.5")))


def test_values_arrive_as_what_they_were(serve, client):
    serve(ordering, priced, cache_instances=1)

    assert client.run(ordering(ORDER), timeout=20) == ORDER


def test_arguments_that_cannot_be_encoded_never_leave_the_client(serve, client):
    with pytest.raises(EncodeError):
        client.start(anything(object()), id="x")


@task
def taking_anything(value: Any) -> Any:
    return value


@workflow
def anything(value: Any) -> Flow[Any]:
    return (yield from taking_anything(value))


@workflow
def careless() -> Flow[str]:
    try:
        yield from taking_anything(object())
    except EncodeError as error:
        return type(error).__name__
    return "sent"


def test_arguments_of_a_task_that_cannot_be_encoded_fail_that_call(serve, client):
    serve(careless, taking_anything)

    assert client.run(careless(), timeout=20) == "EncodeError"


def test_plain_values_need_no_types(serve, client):
    serve(anything, taking_anything)
    value = {"a": [1, 2.5, None, True, "x"], "b": {"c": []}}

    assert client.run(anything(value), timeout=20) == value


@pytest.mark.parametrize("text", ["", "\x00", "a" * 100_000, "\U0001f98a", "line\nline"])
def test_any_text_travels(serve, client, text):
    serve(anything, taking_anything)

    assert client.run(anything(text), timeout=20) == text


@task(name="greet")
def greet_as_called(name: str) -> str:
    raise NotImplementedError


@task(name="greet")
def greet_as_served(name: str, greeting: str = "Hello") -> str:
    return f"{greeting} {name}"


@workflow
def greeting() -> Flow[str]:
    return (yield from greet_as_called("Ada"))


def test_a_new_parameter_with_a_default_needs_no_change_of_the_callers(serve, client):
    serve(greeting, greet_as_served)

    assert client.run(greeting(), timeout=20) == "Hello Ada"


@task(name="greet")
def greet_with_more(name: str, title: str = "Dr", greeting: str = "Hello") -> str:
    raise NotImplementedError


@workflow
def greeting_with_more() -> Flow[str]:
    return (yield from greet_with_more("Ada"))


def test_an_argument_that_is_not_known_any_more_is_ignored(serve, client):
    serve(greeting_with_more, greet_as_served)

    assert client.run(greeting_with_more(), timeout=20) == "Hello Ada"


@workflow
def receiving() -> Flow[str]:
    return (yield from words.receive())


SIZING = """
from dsl import *

@workflow
def sizing(size: {}) -> Flow[int]:
    yield from sleep(0)
    return 1
"""


def test_a_workflow_whose_arguments_cannot_be_read_fails(serve, client, deploy):
    older = deploy(SIZING.format("str"))
    newer = deploy(SIZING.format("int"))
    serve(newer.sizing)

    with pytest.raises(WorkflowFailed) as raised:
        client.start(older.sizing("big"), id="s").result(20)
    assert isinstance(raised.value.error, DecodeError)


def test_a_result_is_read_by_the_definition_that_asks(serve, client):
    serve(ordering, priced)
    handle = client.start(ordering(ORDER), id="o")
    assert handle.result(20) == ORDER

    plain = client.get("o").result(20)
    assert plain["lines"][0] == {"price": {"amount": "9.99", "currency": "EUR"}, "count": 3}


class Opaque:
    """What JSON cannot hold."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opaque) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]  # it need not be hashable


@task
def opaque(value: Opaque) -> Opaque:
    return Opaque(value.value + 1)


@workflow
def passing(value: Opaque) -> Flow[Opaque]:
    return (yield from opaque(value))


def test_pickled_values_travel_where_both_sides_have_the_key(place):
    codec = PickleCodec({"k": b"0" * 32}, key="k")
    with (
        Worker(**place, workflows=[passing], services=[opaque], codecs=[codec]),
        Client(**place, codecs=[codec]) as client,
    ):
        assert client.run(passing(Opaque(1)), timeout=20) == Opaque(2)


def test_without_a_codec_such_types_are_refused_when_they_are_registered(place):
    with pytest.raises(RegistrationError):
        Worker(**place, workflows=[passing], services=[opaque])


def test_a_wrong_key_fails_the_run_and_kills_nobody(place):
    mine, theirs = PickleCodec({"k": b"0" * 32}, key="k"), PickleCodec({"k": b"f" * 32}, key="k")
    with (
        Worker(**place, workflows=[passing], services=[opaque], codecs=[mine]),
        Client(**place, codecs=[theirs]) as stranger,
        Client(**place, codecs=[mine]) as client,
    ):
        with pytest.raises(WorkflowFailed):
            client_start(stranger)
        assert client.run(passing(Opaque(1)), timeout=20) == Opaque(2)


def client_start(client: Client) -> None:
    client.start(passing(Opaque(1)), id="w").result(20)


def test_many_large_payloads_do_not_get_in_each_others_way(serve, client):
    serve(anything, taking_anything)
    handles = [client.start(anything(str(number) * 50_000), id=f"b{number}") for number in range(10)]

    assert [len(handle.result(20)) for handle in handles] == [50_000] * 10
    until(lambda: client.count(status="completed") == 10)
