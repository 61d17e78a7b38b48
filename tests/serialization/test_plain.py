"""Typed JSON: what goes in comes out, in the same bytes everywhere; what cannot is refused by its path."""

import enum
import math
import os
import subprocess
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, Protocol, TypedDict, TypeVar
from uuid import UUID

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.commands import Command
from infinitic.errors import DecodeError, EncodeError
from infinitic.serialization.plain import (
    DECODE_ERRORS,
    as_decode_error,
    canonical,
    decoder,
    encode,
)

T = TypeVar("T")


def short(one: object) -> str:
    """The name of a case: the same in every process, which an address and the order of a set are not."""
    shown = repr(one)
    return type(one).__name__ if " at 0x" in shown or ("{" in shown and not isinstance(one, dict)) else shown[:40]


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Size(enum.IntEnum):
    SMALL = 1


@dataclass
class Card:
    number: str
    owner: Any = None


@attrs.frozen
class Item:
    name: str
    tags: frozenset[str] = frozenset()


class Point(msgspec.Struct, frozen=True):
    x: int
    y: int = 0


class Address(TypedDict):
    city: str
    next: "Address | None"


class Pair(NamedTuple):
    left: int
    right: str = ""


@attrs.define
class Page(Generic[T]):
    items: list[T]
    more: "Page[T] | None" = None


@dataclass
class Box(Generic[T]):
    content: T


class Holder(msgspec.Struct, Generic[T]):
    held: T


@dataclass
class Wait(Command[None]):
    seconds: int


def failure(type, data):
    """What decoding raises, as callers see it."""
    try:
        value = decoder(type)(data)
    except DECODE_ERRORS as error:
        return as_decode_error(error, data)
    raise AssertionError(f"decoded {value!r}")


ROUND_TRIPS: list[Any] = [
    (None, None),
    (int, 0),
    (bool, False),
    (str, ""),
    (list[int], []),
    (int | None, None),
    (int, 2**200),
    (Any, -(2**70)),
    (float, 1e300),
    (Colour, Colour.RED),
    (Size, Size.SMALL),
    (datetime, datetime(2024, 2, 29, 1, 2, 3, 4, tzinfo=UTC)),
    (date, date(2024, 2, 29)),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=3, microseconds=-1)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.20")),
    (bytes, b"\x00\xff"),
    (Path, Path("a/b")),
    (Path | None, None),
    (set[str], {"b", "a"}),
    (frozenset[Colour], frozenset(Colour)),
    (tuple[int, str], (1, "a")),
    (tuple[int, ...], (1, 2)),
    (int | str, "a"),
    (dict[int, str], {2: "b", 1: "a"}),
    (dict[Colour, int], {Colour.RED: 1}),
    (dict[date, int], {date(2024, 1, 1): 1}),
    (dict[UUID, dict[Size, int]], {UUID(int=1): {Size.SMALL: 1}}),
    (deque[int], deque([1, 2])),
    (Counter[str], Counter("abca")),
    (OrderedDict[str, date], OrderedDict(a=date(2024, 1, 1))),
    (Card, Card("1", ["a", None])),
    (Item, Item("x", frozenset({"b", "a"}))),
    (Point, Point(1)),
    (Address, {"city": "Oslo", "next": {"city": "Rome", "next": None}}),
    (Pair, Pair(1, "a")),
    (Page[Item], Page([Item("x")], Page([]))),
    (Box[date], Box(date(2024, 1, 1))),
    (Holder[Path], Holder(Path("a"))),
    (Annotated[int, "seconds"], 3),
    (object, [1, None]),
]


@pytest.mark.parametrize(("type", "value"), ROUND_TRIPS, ids=short)
def test_what_goes_in_comes_out(type, value):
    assert decoder(type)(encode(value)) == value
    assert decoder(type)(msgspec.Raw(encode(value))) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_round_trips(value):
    if isinstance(value, dict) and "$codec" in value:
        return
    assert decoder(Any)(encode(value)) == value


@given(
    st.builds(
        Page,
        st.lists(st.builds(Item, st.text(), st.frozensets(st.text()))),
        st.none() | st.builds(Page, st.just([])),
    )
)
def test_any_value_of_a_declared_type_round_trips(value):
    assert decoder(Page[Item])(encode(value)) == value


@given(st.dictionaries(st.integers() | st.dates() | st.sampled_from(Colour), st.sets(st.text() | st.integers())))
def test_equal_values_give_equal_bytes_whatever_their_order(value):
    turned = {key: set().union(*({one} for one in reversed(list(value[key])))) for key in reversed(list(value))}
    assert encode(turned) == encode(value)


SETS = """
from infinitic.serialization import encode
from tests.serialization.test_plain import Box, Colour, Holder, Item, Pair
words = {"alpha", "beta", "gamma", "delta", "epsilon"}
print(encode([
    words, Box([words]), Holder({"x": words}), Item("n", frozenset(words)), Pair(1, words),
    {name: frozenset(Colour) for name in words}, {Item(name, frozenset(words)) for name in words},
    {1: words, "a": 1},
]).decode())
"""


def test_every_process_writes_the_same_bytes():
    def written(seed):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.check_output([sys.executable, "-c", SETS], env=environment, text=True)

    first, second = written("1"), written("2")

    assert first == second
    assert first.startswith('[["alpha","beta","delta","epsilon","gamma"]')


# ------------------------------------------------------------------------------------------ refused


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_never_becomes_null(number):
    with pytest.raises(EncodeError) as caught:
        encode({"a": [None, Card("1", number)]})

    assert caught.value.path == "$.a[1].owner"
    assert caught.value.message == f"{number} is no JSON number: send None, a text or a Decimal"


@pytest.mark.parametrize(
    "value", [math.nan, {math.inf}, {"x": math.nan}, [2**70, None, math.nan], Holder({1: math.nan})]
)
def test_not_a_number_is_found_anywhere(value):
    with pytest.raises(EncodeError):
        encode(value)


def test_null_beside_a_huge_integer_is_no_error():
    assert encode([2**70, None]) == b"[1180591620717411303424,null]"


def generator():
    yield 1


class Unknown:
    pass


async def coroutine():
    pass


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 1, "a value of type function cannot be sent: declare a dataclass"),
        (Unknown(), f"a value of type {__name__}.Unknown cannot be sent: declare a dataclass"),
        (Unknown, "a value of type type cannot be sent: declare a dataclass"),
        (
            generator(),
            "a value of type generator cannot be sent: a generator gives its values only once",
        ),
        (iter([1]), "a value of type list_iterator cannot be sent: an iterator gives its values only once"),
        ("\ud800", "a text with a lone surrogate cannot be sent"),
        ({(1, 2): 3}, "a key of type tuple cannot be sent: use texts, numbers, enums or dates"),
        ({None: 3}, "a key of type NoneType cannot be sent"),
        ({1: "a", "1": "b"}, "two keys of a dict become the same text '1'"),
        (Wait(5), "Wait: a command/deferred cannot be sent: `yield from` it first"),
    ],
    ids=short,
)
def test_what_json_cannot_hold_is_refused_by_its_path(value, message):
    # beside a function, because a command alone may be a struct that msgspec would write
    with pytest.raises(EncodeError) as caught:
        encode(Card("1", {"owner": [0, value, print]}))

    assert caught.value.path == "$.owner.owner[1]"
    assert caught.value.message.startswith(message)


def test_a_coroutine_is_to_be_awaited_first():
    waiting = coroutine()
    with pytest.raises(EncodeError, match="`await` it first"):
        encode(waiting)
    waiting.close()


def test_the_advice_names_the_pickle_codec():
    with pytest.raises(EncodeError, match=r"pip install 'infinitic\[pickle\]'"):
        encode(print)


def test_an_open_file_is_refused(tmp_path):
    with (tmp_path / "x").open("w") as file, pytest.raises(EncodeError, match="TextIOWrapper cannot be sent"):
        encode(file)


def test_a_value_that_contains_itself_is_refused():
    endless: list[Any] = []
    endless.append(endless)

    with pytest.raises(EncodeError, match="contains itself"):
        encode(endless)


@pytest.mark.parametrize("value", [{"$codec": 1}, {"$codec": {1: 2}}, {"$codec": 1, "a": None}])
def test_the_reserved_key_is_refused(value):
    with pytest.raises(EncodeError, match="the key '\\$codec' is reserved"):
        encode(value)


def test_subclasses_of_texts_and_numbers_travel_as_what_they_are():
    class Markup(str):
        __slots__ = ()

        def __str__(self):
            return "other"

    class Metres(int):
        pass

    assert encode([Markup("a"), Metres(3), {Markup("k"): Metres(4), 1: 2}]) == b'["a",3,{"1":2,"k":4}]'


# ------------------------------------------------------------------------------------------ decoding


def test_a_plain_decoder_is_msgspecs_own():
    assert [decoder(one).__name__ for one in (int, str | None, list[Point], Card)] == ["decode"] * 4
    assert decoder(int) is decoder(int)


def test_a_type_that_cannot_be_hashed_is_decoded_too():
    assert decoder(Annotated[int, []])(b"1") == 1


def test_unknown_fields_are_ignored_and_missing_ones_take_defaults():
    assert decoder(Card)(b'{"number": "1", "colour": "red"}') == Card("1")
    assert decoder(Point)(b'{"x": 1, "z": 3}') == Point(1)


@pytest.mark.parametrize(
    ("type", "data", "message", "path"),
    [
        (int, b'"a"', "Expected `int`, got `str`", "$"),
        (list[Card], b'[{"number":"1"},{"number":2}]', "Expected `str`, got `int`", "$[1].number"),
        (Card, b"{}", "Object missing required field `number`", "$"),
        (Path, b"3", "Expected `str`, got `int`", "$"),
        (dict[str, Path], b'{"a":3}', "Expected `str`, got `int`", "$[...]"),
        (deque[int], b'[1,"a"]', "Expected `int`, got `str`", "$[1]"),
        (dict[date, int], b'{"a":3}', "Invalid RFC3339 encoded date", "$"),
        (int, b"", "Input data was truncated", "$"),
        (
            str,
            b'"\xff"',
            "UnicodeDecodeError: 'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
            "$",
        ),
        (Any, b"[" * 100_000, "the data is nested too deeply", "$"),
    ],
    ids=short,
)
def test_what_does_not_fit_is_refused_by_its_path(type, data, message, path):
    error = failure(type, data)
    assert (error.message, error.path) == (message, path)


def test_code_of_the_users_that_raises_makes_a_decode_error():
    @dataclass
    class Strict:
        x: int = 0

        def __post_init__(self):
            raise KeyError("k")

    @attrs.define
    class Positive:
        x: int = attrs.field(validator=attrs.validators.gt(0))

    assert failure(Strict, b"{}").message == "KeyError: 'k'"
    assert failure(list[Positive], b'[{"x":0}]').message == "'x' must be > 0: 0"


@pytest.mark.parametrize("type", [int, Any, dict[str, Any], Card | None, list[int]])
def test_a_wrapped_payload_never_passes_for_a_value(type):
    error = failure(type, b'{"$codec":"pickle","data":""}')

    assert error.message == "the value was written with the codec 'pickle', which is not enabled here: enable it"


def test_a_class_of_defaults_alone_does_not_take_a_wrapped_payload():
    @dataclass
    class Lenient:
        x: int = 0

    assert "the codec 'pickle'" in failure(Lenient, b'{"$codec":"pickle"}').message


class Duck(Protocol):
    x: int


@attrs.define
class Secretive:
    _hidden: int


@dataclass
class Deep:
    keys: "list[dict[str, Callable[[], int]]]"


def local_reference():
    @dataclass
    class Lost:
        x: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # that it is not is the point

    return Lost


@pytest.mark.parametrize(
    ("type", "message"),
    [
        (Callable[[int], int], "no value of type Callable can be made from JSON"),
        (Unknown, "no value of type Unknown can be made from JSON"),
        (list[Unknown], r"list\[.*Unknown\]: no value of type Unknown can be made"),
        (Deep, "Deep: no value of type Callable can be made"),
        (Duck, "Duck"),
        (dict[tuple[int, int], int], "JSON has no keys of type tuple"),
        (dict[bool, int], "JSON has no keys of type bool"),
        (str | datetime, "str | datetime"),
        (Secretive, "the field _hidden of the attrs class Secretive would not travel"),
        (local_reference(), "name 'Nowhere' is not defined: define or import that name in the module"),
    ],
    ids=short,
)
def test_a_type_that_is_no_data_is_refused_before_any_value(type, message):
    with pytest.raises(DecodeError, match=message):
        decoder(type)


# ------------------------------------------------------------------------------------------ comparing


def test_canonical_bytes_ignore_the_order_of_fields_unknown_fields_and_left_out_defaults():
    assert canonical(b'{"y": 0, "x":1, "z":[]}', Point) == canonical(b'{"x":1}', Point) == b'{"x":1,"y":0}'
    assert canonical(b'{"b":1,"a":2}', dict[str, int]) == b'{"a":2,"b":1}'
    assert canonical(b'{"2":1,"1":2}', dict[int, int]) == b'{"1":2,"2":1}'


def test_what_cannot_be_read_has_no_canonical_bytes():
    assert canonical(b'{"x":"a"}', Point) is None
    assert canonical(b"1", Unknown) is None


@dataclass
class Changed:
    b: int = 1
    a: set[Colour] = field(default_factory=set)


def test_canonical_bytes_are_sorted_where_the_slow_way_writes():
    assert canonical(b'{"b":1,"a":["red","blue"]}', Changed) == b'{"a":["blue","red"],"b":1}'
