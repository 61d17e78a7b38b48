"""Unions of classes that msgspec refuses go to the one whose fields fit."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, TypedDict, TypeVar

import attrs
import msgspec
import pytest
from pydantic import BaseModel

from infinitic.errors import DecodeError
from infinitic.serialization.plain import DECODE_ERRORS, as_decode_error, decoder, encode

T = TypeVar("T")
NO_PET = f"Expected one of `{__name__}.Dog | {__name__}.Cat`, got an object with kind, name in it"
NO_NULL = "Expected `null`, got `int`"
ONE_OF = f"Expected one of `{__name__}."


@dataclass
class Card:
    number: str
    owner: str = ""


@attrs.define
class Cash:
    cents: int


class Voucher(TypedDict):
    code: str


class Coupon(msgspec.Struct):
    percent: int


class Tagged(msgspec.Struct, tag=True):
    number: str


class Model(BaseModel):
    iban: str
    bic: str | None = None


@dataclass
class Dog:
    name: str
    kind: Literal["dog"] = "dog"


@dataclass
class Cat:
    name: str
    kind: Literal["cat"] = "cat"


@dataclass
class Order:
    paid: Card | Cash | None
    parts: "dict[str, list[Cash | Order]]" = field(default_factory=dict)
    total: int = field(default=7, init=False)


@attrs.define
class Sealed:
    _by: int = attrs.field(init=False, default=3)
    order: Order | Cash = attrs.field(alias="content", default=attrs.Factory(lambda: Cash(0)))


@dataclass
class Either(Generic[T]):
    value: T | Cash


class Listed(TypedDict, total=False):
    entry: Card | Cash


def failure(type, data):
    try:
        value = decoder(type)(data)
    except DECODE_ERRORS as error:
        found = as_decode_error(error)
        return found.message, found.path
    raise AssertionError(f"decoded {value!r}")


@pytest.mark.parametrize(
    ("type", "value"),
    [
        (Card | Cash, Card("1")),
        (Card | Cash, Cash(3)),
        (Card | Cash | None, None),
        (Card | Cash | int | str, "plain"),
        (Card | Cash | list[int], [1]),
        (Card | Voucher, {"code": "x"}),
        (Card | Coupon | Model, Model(iban="x")),
        (Tagged | Card, Tagged("1")),
        (Tagged | Card, Card("1")),
        (Dog | Cat, Cat("Tom")),
        (list[Card | Cash], [Card("1"), Cash(3)]),
        (dict[str, Card | Cash], {"a": Cash(3)}),
        (tuple[Card | Cash, ...], (Cash(3), Card("1"))),
        (Annotated[Card | Cash, "payment"], Cash(3)),
        (Order, Order(Card("1"), {"x": [Cash(1), Order(None)]})),
        (list[Order] | None, [Order(Cash(1))]),
        (Sealed, Sealed(Order(Cash(1)))),
        (Either[Card], Either(Card("1"))),
        (Listed, {"entry": Cash(1)}),
    ],
    ids=lambda one: repr(one)[:40],
)
def test_a_value_of_any_arm_round_trips(type, value):
    assert decoder(type)(encode(value)) == value


def test_unknown_fields_are_ignored_where_one_arm_is_left():
    assert decoder(Card | Cash)(b'{"cents":1,"currency":"EUR"}') == Cash(1)
    assert decoder(Order)(b'{"paid":null,"unknown":1}') == Order(None)


@pytest.mark.parametrize(
    ("type", "data", "expected"),
    [
        (Card | Cash, b"{}", (f"{ONE_OF}Card | {__name__}.Cash`, got an object with nothing in it", "$")),
        (Card | Cash, b"3", ("Expected `object`, got `int`", "$")),
        (Card | Cash | int, b'"a"', ("Expected `int`, got `str`", "$")),
        (list[Card | Cash], b'[{"cents":1},{"cents":"a"}]', ("Expected `int`, got `str`", "$[1].cents")),
        (Order, b"{}", ("Object missing required field `paid`", "$")),
        (Order, b"[]", ("Expected `object`, got `array`", "$")),
        (Order, b'{"paid":null,"parts":{"x":[{"paid":3}]}}', (NO_NULL, "$.parts[...][0].paid")),
        (Dog | Cat, b'{"name":"","kind":""}', (NO_PET, "$")),
    ],
    ids=lambda one: repr(one)[:40],
)  # fmt: skip
def test_what_no_arm_accepts_is_refused_by_its_path(type, data, expected):
    assert failure(type, data) == expected


@dataclass
class Wider:
    number: str
    issuer: str = ""


@dataclass
class Refusing:
    x: Card | Wider


@pytest.mark.parametrize("type", [Card | Wider, Refusing, list[Card | Wider | None]])
def test_arms_that_cannot_be_told_apart_are_refused_before_any_value(type):
    with pytest.raises(DecodeError, match="Card and Wider cannot be told apart by their fields: make them"):
        decoder(type)


def test_a_dict_beside_classes_is_refused():
    with pytest.raises(DecodeError, match="a dict and a class cannot be told apart"):
        decoder(Card | Cash | dict[str, Any])


def test_a_type_that_is_no_data_is_found_behind_a_union():
    @dataclass
    class Hiding:
        x: Card | Cash
        y: BaseException

    with pytest.raises(DecodeError, match="Hiding: no value of type BaseException can be made from JSON"):
        decoder(Hiding)
