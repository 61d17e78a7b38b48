"""The serializer: JSON first, the codecs for the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from dsl.calls import Definition
from dsl.commands import Command
from infinitic.errors import ConfigurationError, DecodeError, EncodeError, RegistrationError, UntrustedPayload
from infinitic.serialization import PickleCodec, Serializer, plain

KEY = b"k" * 16
bare = Serializer()
pickling = Serializer([PickleCodec({"k": KEY}, key="k")])


@dataclass
class Card:
    number: str


@dataclass
class Job(Command[None]):
    work: Any


class Whatever:
    def __eq__(self, other):
        return isinstance(other, Whatever)

    def __hash__(self):
        return 0


def test_without_codecs_it_is_plain_json():
    assert (bare.encode, bare.decoder) == (plain.encode, plain.decoder)


@pytest.mark.parametrize("serializer", [bare, pickling])
def test_what_json_holds_is_json(serializer):
    assert serializer.encode([Card("1")]) == b'[{"number":"1"}]'
    assert serializer.decoder(list[Card])(b'[{"number":"1"}]') == [Card("1")]
    assert serializer.decoder(Card)(msgspec.Raw(b'{"number":"1"}')) == Card("1")


def test_what_json_cannot_hold_is_wrapped():
    payload = pickling.encode([Whatever(), float("inf")])

    assert payload.startswith(b'{"$codec":"pickle","key":"k"')
    assert pickling.decoder(list[Any])(payload) == [Whatever(), float("inf")]
    assert pickling.decoder(list[Any])(msgspec.Raw(payload)) == [Whatever(), float("inf")]


def test_a_type_without_json_is_carried_by_the_codec_alone():
    decode = pickling.decoder(Callable[[int], int])

    assert decode(pickling.encode(lambda x: x + 1))(1) == 2
    with pytest.raises(DecodeError, match="no value of type Callable can be made from JSON"):
        decode(b"1")


def test_a_payload_of_a_codec_that_is_not_here_names_it():
    payload = pickling.encode(Whatever())

    with pytest.raises(DecodeError, match="the codec 'pickle', which is not enabled here"):
        bare.decoder(Any)(payload)
    with pytest.raises(DecodeError, match="the codec 'zip', which is not enabled here"):
        pickling.decoder(int)(b'{"$codec":"zip"}')


def test_a_payload_that_somebody_else_wrapped_is_refused():
    stranger = Serializer([PickleCodec({"k": b"s" * 16}, key="k")])

    with pytest.raises(UntrustedPayload):
        pickling.decoder(Any)(stranger.encode(Whatever()))


@pytest.mark.parametrize("value", [Job(print), [Job(print)], {"$codec": print}])
def test_commands_and_the_reserved_key_are_not_carried_by_any_codec(value):
    with pytest.raises(EncodeError, match=r"a command/deferred cannot be sent|is reserved"):
        pickling.encode(value)


def test_what_no_codec_can_carry_names_both_reasons():
    with pytest.raises(EncodeError) as caught:
        pickling.encode({"a": (one for one in [1])})

    assert caught.value.path == "$.a"
    assert "gives its values only once" in caught.value.message
    assert "and a value of type dict cannot be pickled" in caught.value.message


def test_a_codec_is_named_once():
    codec = PickleCodec({"k": KEY}, key="k")

    with pytest.raises(ConfigurationError, match="a codec is named twice: pickle, pickle"):
        Serializer([codec, codec])


def test_canonical_bytes_see_through_the_wrapping():
    payload = pickling.encode({"f": Whatever()})

    assert pickling.canonical(payload, Any) == pickling.canonical(pickling.encode({"f": Whatever()}), Any) is not None
    assert pickling.canonical(b'{"number": "1"}', Card) == b'{"number":"1"}'
    assert bare.canonical(payload, Card) is None
    assert bare.canonical(b"{}", Card) is None


# ------------------------------------------------------------------------------------------ signatures


def apply(fn: Callable[[int], int], to: int = 1) -> int:
    return fn(to)


def test_arguments_that_json_cannot_hold_reach_the_function():
    definition = Definition(apply)
    payload = pickling.encode(definition.bind((lambda x: x + 1,), {}))
    signature = pickling.signature(definition)

    assert signature.call(apply, signature.decode_arguments(payload)) == 2


def test_wrapped_arguments_are_taken_by_name():
    def older(fn: Callable[[int], int], gone: int = 0) -> int:
        return fn(gone)

    def unlike(other: Callable[[int], int]) -> None:
        pass

    payload = pickling.encode(Definition(older).bind((lambda x: x + 1,), {}))
    signature = pickling.signature(Definition(apply))

    assert signature.call(apply, signature.decode_arguments(payload)) == 2
    with pytest.raises(DecodeError, match=r"unlike\(other: .*\): Missing required argument 'other'"):
        pickling.signature(Definition(unlike)).decode_arguments(payload)


def test_a_signature_is_made_once_and_carries_the_definitions_name():
    definition = Definition(apply, name="applied")

    assert pickling.signature(definition) is pickling.signature(definition)
    assert pickling.signature(definition).text == "applied(fn: Callable[[int], int], to: int = 1)"


def test_without_a_codec_a_function_is_no_argument():
    with pytest.raises(RegistrationError, match="the parameter 'fn'"):
        bare.signature(Definition(apply))
