"""Signatures: arguments by name, results by the declared type; hints that lead nowhere are refused."""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import wraps
from typing import TYPE_CHECKING, Any, NoReturn

import attrs
import pytest

from dsl.calls import Definition
from dsl.commands import Flow
from infinitic.errors import DecodeError, RegistrationError
from infinitic.serialization import PickleCodec, Serializer, Signature, encode

if TYPE_CHECKING:
    from nowhere import Absent  # type: ignore[import-not-found]  # that it is not is the point


@dataclass
class Card:
    number: str


@attrs.frozen
class Cash:
    cents: int


SENTINEL = object()


def book(city: str, nights: int = 1, *, day: date | None = None) -> Card:
    return Card(f"{city} {nights} {day}")


def pay(card: Card, /, amount, how: Card | Cash, also: list[int] = [], rest: Any = SENTINEL):  # noqa: B006  # they are the point
    return card, amount, how, also, rest


def test_the_text_shows_names_types_and_defaults():
    assert Signature(book).text == "book(city: str, nights: int = 1, *, day: date | None = None)".replace(
        "date |", "datetime.date |"
    )
    assert Signature(book, what="Hotels.book").text.startswith("Hotels.book(city: str")


def test_arguments_travel_by_name():
    signature = Signature(book)
    arguments = signature.decode_arguments(b'{"nights":2,"city":"Oslo","day":"2024-01-02","unknown":1}')

    assert signature.call(book, arguments) == Card("Oslo 2 2024-01-02")
    assert encode(arguments) == b'{"city":"Oslo","nights":2,"day":"2024-01-02"}'


def test_missing_arguments_take_their_defaults():
    signature = Signature(book)

    assert signature.call(book, signature.decode_arguments(b'{"city":"Oslo"}')) == Card("Oslo 1 None")


def test_what_a_call_writes_is_what_the_function_gets():
    signature = Signature(pay)
    written = encode(Definition(pay).bind((Card("1"), [1], Cash(3)), {"rest": None}))

    assert signature.call(pay, signature.decode_arguments(written)) == (Card("1"), [1], Cash(3), [], None)


def test_defaults_are_the_objects_themselves_and_mutable_ones_are_not_shared():
    signature = Signature(pay)
    data = b'{"card":{"number":"1"},"amount":null,"how":{"number":"2"}}'
    first, second = signature.decode_arguments(data), signature.decode_arguments(data)
    first.also.append(1)

    assert (second.also, second.rest) == ([], SENTINEL)


def test_no_arguments_at_all_is_an_empty_call():
    def ready() -> bool:
        return True

    signature = Signature(ready)

    assert signature.call(ready, signature.decode_arguments(b"null")) is True
    assert signature.call(ready, signature.decode_arguments(b"{}")) is True


def test_a_default_of_none_makes_the_parameter_optional():
    def careless(city: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013  # many write it so
        return city

    assert Signature(careless).decode_arguments(b'{"city":null}').city is None


class Hotels:
    def book(self, city: str) -> int:
        return len(city)


def test_self_is_no_argument():
    signature = Signature(Hotels.book, bound=True, what="Hotels.book")

    assert signature.text == "Hotels.book(city: str)"
    assert signature.call(Hotels().book, signature.decode_arguments(b'{"city":"Oslo"}')) == 4


@pytest.mark.parametrize(
    ("data", "message", "path"),
    [
        (b"{}", "the required argument `city` is missing", "$"),
        (b"null", "Missing required argument 'city'", "$"),
        (b'{"city":1}', "Expected `str`, got `int`", "$.city"),
        (b'{"city":"Oslo","nights":"2"}', "Expected `int`, got `str`", "$.nights"),
        (b"[]", "Expected `object`, got `array`", "$"),
        (
            b'{"$codec":"zip"}',
            "the value was written with the codec 'zip', which is not enabled here: enable it",
            "$",
        ),
        (b"{", "Input data was truncated", "$"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_with_the_signature(data, message, path):
    signature = Signature(book)
    with pytest.raises(DecodeError) as caught:
        signature.decode_arguments(data)

    assert (caught.value.message, caught.value.path) == (f"{signature.text}: {message}", path)


def flow() -> Flow[Card]:
    yield from ()
    return Card("1")


def generator() -> Generator[int, str, Card]:
    yield 1
    return Card("1")


def iterator() -> Iterator[int]:
    yield 1


def iterable() -> Iterable[int]:
    yield 1


def delegating() -> Flow[Card]:
    return flow()


def untyped_flow() -> Flow:  # type: ignore[type-arg]  # that it has none is the point
    yield from ()


async def coroutine() -> Card:
    return Card("1")


def coroutine_function() -> Coroutine[Any, Any, Card]:
    return coroutine()


def awaitable() -> Awaitable[list[Card]]:
    raise NotImplementedError


def listed() -> Iterable[int]:
    return [1]


def silent() -> None:
    pass


def never() -> NoReturn:
    raise NotImplementedError


def unhinted():
    pass


@pytest.mark.parametrize(
    ("fn", "result"),
    [
        (flow, Card),
        (generator, Card),
        (iterator, Any),
        (iterable, Any),
        (delegating, Card),
        (untyped_flow, Any),
        (coroutine, Card),
        (coroutine_function, Card),
        (awaitable, list[Card]),
        (listed, Iterable[int]),
        (silent, type(None)),
        (never, Any),
        (unhinted, Any),
    ],
)
def test_the_result_is_what_a_caller_gets_in_the_end(fn, result):
    assert Signature(fn).result_type == result


def test_results_are_decoded_by_the_declared_type():
    assert Signature(flow).decode_result(b'{"number":"1"}') == Card("1")
    assert Signature(silent).decode_result(b"null") is None


def test_a_wrapped_function_keeps_its_signature():
    @wraps(book)
    def logged(*args, **kwargs):
        return book(*args, **kwargs)

    signature = Signature(logged)
    arguments = signature.decode_arguments(b'{"city":"Oslo"}')

    assert signature.call(logged, arguments) == Card("Oslo 1 None")


# ------------------------------------------------------------------------------------------ refused


def absent(x: "Absent") -> None:
    pass


def calling(x: Callable[[int], int]) -> None:
    pass


def giving() -> Callable[[int], int]:
    raise NotImplementedError


def anything(*args: int) -> None:
    pass


def keywords(**options: int) -> None:
    pass


async def streaming() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (absent, "absent: the type hint 'Absent' cannot be resolved. Import or define it at the top of"),
        (calling, "calling(x: Callable[[int], int]): the parameter 'x': Callable[[int], int]: no value"),
        (giving, "giving(): the result: Callable[[int], int]: no value of type Callable can be made"),
        (anything, "anything takes *args: int. Arguments travel by name: give each a parameter"),
        (keywords, "keywords takes **options: int. Arguments travel by name: give each a parameter"),
        (streaming, "streaming(): the result: AsyncIterator[int]: no value of type AsyncIterator can be"),
    ],
)  # fmt: skip
def test_a_function_that_cannot_be_called_from_afar_is_refused_at_once(fn, message):
    with pytest.raises(RegistrationError) as caught:
        Signature(fn)

    assert str(caught.value).startswith(message)


def test_a_codec_may_carry_what_has_no_json():
    signature = Signature(calling, pickled=True)

    assert signature.call(lambda x: x, signature.decode_arguments(b'{"x":1}')) == 1


@pytest.mark.parametrize("data", [b'{"city":"Oslo","nights":"many"}', b"null", b"{}", b"[1]", b"no JSON"])
def test_names_that_are_known_are_no_error_whatever_they_hold(data):
    Signature(book).check_names(data)


@pytest.mark.parametrize("codecs", [[], [PickleCodec({"k": b"sixteen bytes it is"}, "k")]], ids=["json", "pickle"])
def test_names_that_nobody_knows_are_told(codecs):
    codec = Serializer(codecs)
    signature = Signature(book, decoder=codec.decoder, pickled=bool(codecs))
    given = {"city": book if codecs else "Oslo", "night": 3, "dai": None}

    with pytest.raises(DecodeError) as caught:
        signature.check_names(codec.encode(given))
    assert str(caught.value) == (
        "book(city: str, nights: int = 1, *, day: datetime.date | None = None): it takes no argument `dai`, `night`"
    )
