"""The serializer: typed JSON first, and the codecs for what JSON cannot hold.

A payload is always JSON. One that a codec wrote is an object that begins with the key "$codec", which no
value of the user's may have.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from msgspec import Struct

from infinitic.errors import ConfigurationError, DecodeError, EncodeError
from infinitic.serialization import plain
from infinitic.serialization.plain import DECODE_ERRORS, Data, Decode, is_wrapped
from infinitic.serialization.signatures import Signature
from infinitic.serialization.values import Forbidden


class Codec(Protocol):
    """Carries values that JSON cannot hold, wrapped as JSON: `{"$codec": name, …}`."""

    name: str

    def encode(self, value: Any) -> bytes:
        """The wrapped payload. Raises `EncodeError`."""
        ...

    def decode(self, data: Data) -> Any:
        """The value of a payload that this codec wrapped. Raises `DecodeError`."""
        ...


class Definition(Protocol):
    """A function that can be called: a task, a workflow, a method, a query."""

    fn: Callable[..., Any]
    bound: bool

    @property
    def label(self) -> str:
        """Its name in messages."""
        ...


class Serializer:
    """Values to payloads and back. `encode` and `decoder` are those of `plain` when there are no *codecs*.

    A payload of more than *largest* bytes is an `EncodeError`: no message could carry it.
    """

    encode: Callable[[Any], bytes]
    decoder: Callable[[Any], Decode]

    def __init__(self, codecs: Sequence[Codec] = (), largest: int | None = None) -> None:
        self._codecs = {codec.name: codec for codec in codecs}
        if len(self._codecs) != len(codecs):
            raise ConfigurationError(f"a codec is named twice: {', '.join(codec.name for codec in codecs)}")
        self._signatures: dict[Any, Signature] = {}
        self._decoders: dict[Any, Decode] = {}
        self.encode = self._encode if codecs else plain.encode
        if largest is not None:
            self.encode = _no_larger_than(largest, self.encode)
        self.decoder = self._decoder if codecs else plain.decoder

    def signature(self, definition: Definition) -> Signature:
        """The definition's signature, made at first use. Raises `RegistrationError`."""
        found = self._signatures.get(definition)
        if found is None:
            found = self._signatures[definition] = Signature(
                definition.fn,
                bound=definition.bound,
                what=definition.label,
                decoder=self.decoder,
                pickled=bool(self._codecs),
                delegated=getattr(definition, "delegated", False),
            )
        return found

    def canonical(self, data: Data, type: Any) -> bytes | None:
        """*data* as *type* reads it today, written anew with keys sorted; None when that cannot be done."""
        try:
            value = self.decoder(type)(data)
            return self.encode(value) if is_wrapped(data) else plain.canonical_value(value)
        except DECODE_ERRORS:
            return None

    def _encode(self, value: Any) -> bytes:
        try:
            return plain.encode(value)
        except Forbidden:
            raise
        except EncodeError as error:
            return self._encode_otherwise(value, error)

    def _encode_otherwise(self, value: Any, error: EncodeError) -> bytes:
        for codec in self._codecs.values():
            try:
                return codec.encode(_portable(value))
            except Forbidden:
                raise
            except EncodeError as its:
                error = EncodeError(f"{error.message}; and {its.message}", error.path)
        raise error

    def _decoder(self, type: Any) -> Decode:
        try:
            return self._decoders[type]
        except KeyError:
            made = self._decoders[type] = self._made(type)
            return made
        except TypeError:  # unhashable
            return self._made(type)

    def _made(self, type: Any) -> Decode:
        decode = _or_refusal(type)

        def decode_any(data: Data) -> Any:
            return self._unwrap(data) if is_wrapped(data) else decode(data)

        return decode_any

    def _unwrap(self, data: Data) -> Any:
        needed = plain.codec_of(data)
        if needed not in self._codecs:
            raise plain.needs_codec(data)
        return self._codecs[needed].decode(data)


def _or_refusal(type: Any) -> Decode:
    """The plain decoder; for a type that has none, one that says so when JSON comes after all."""
    try:
        return plain.decoder(type)
    except DecodeError as error:
        reason = error

    def refuse(data: Data) -> Any:
        raise DecodeError(reason.message, reason.path)

    return refuse


def _portable(value: Any) -> Any:
    """*value*; the arguments of a call as a dict, because nobody can import their class."""
    if isinstance(value, Struct) and not _is_importable(type(value)):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    return value


def _is_importable(kind: type) -> bool:
    return getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is kind


def _no_larger_than(largest: int, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    def checked(value: Any) -> bytes:
        data = encode(value)
        if len(data) > largest:
            raise EncodeError(
                f"a value takes {len(data):,} bytes, and a message can carry {largest:,}: "
                "keep it elsewhere, and send what finds it"
            )
        return data

    return checked
