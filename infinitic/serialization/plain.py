"""Typed JSON: values to bytes, bytes to values of a declared type.

Equal values give equal bytes in every process: sets and dicts come out sorted. Replay decodes often, so a
decoder is msgspec's own where it can be: it raises one of `DECODE_ERRORS`, which `as_decode_error` converts.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw

from infinitic.errors import DecodeError, EncodeError, PayloadError
from infinitic.serialization import arms, values

Data: TypeAlias = bytes | Raw
Decode: TypeAlias = Callable[[Any], Any]

RESERVED = "$codec"
WRAPPED = b'{"$codec"'
DECODE_ERRORS = (msgspec.MsgspecError, PayloadError, UnicodeDecodeError, RecursionError)

_encode = msgspec.json.Encoder(order="deterministic", enc_hook=values.hook).encode
_encode_plain = msgspec.json.Encoder().encode
_encode_sorted = msgspec.json.Encoder(order="sorted", enc_hook=values.hook).encode
_pack = msgspec.msgpack.Encoder(enc_hook=values.hook).encode
_not_finite = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]").search  # a float whose exponent is all ones
_at = re.compile(r" - at (?:`key` in )?`\$?([^`]*)`")
_NULL = b"null"


def encode(value: Any) -> bytes:
    """*value* as JSON. Raises `EncodeError` with the path to what JSON cannot hold, not a number included."""
    try:
        data = _encode(value)
    except Exception:  # whatever it was: the slow way finds the place, or a way
        return _encode_slowly(value)
    if type(value) is dict:
        _refuse_reserved(value)
    # msgspec writes nan as null. partition(), because `in` takes twice as long on bytes
    if data.partition(_NULL)[1] and value is not None and _may_be_not_finite(value):
        return _encode_slowly(value)
    return data


def _may_be_not_finite(value: Any) -> bool:
    try:
        return _not_finite(_pack(value)) is not None
    except Exception:  # an integer that only JSON can hold
        return True


def _encode_slowly(value: Any) -> bytes:
    _refuse_reserved(value)
    try:
        return _encode_plain(values.walked(value))
    except RecursionError:
        raise EncodeError("the value is nested too deeply, or contains itself") from None


def _refuse_reserved(value: Any) -> None:
    if isinstance(value, dict) and RESERVED in value:
        raise values.Forbidden(f"the key {RESERVED!r} is reserved: name it otherwise")


def decoder(type: Any) -> Decode:
    """Makes values of *type* from bytes or `Raw`: unknown fields are ignored, missing ones take defaults.

    It raises one of `DECODE_ERRORS`. For a type that cannot be decoded, `DecodeError` is raised at once.
    """
    try:
        return _kept(type)
    except TypeError:  # unhashable
        return _made(type)


@lru_cache(2048)
def _kept(type: Any) -> Decode:
    return _made(type)


def _made(type: Any) -> Decode:
    known, guard = arms.known_to_msgspec(type)
    decode = msgspec.json.Decoder(known, dec_hook=arms.hook).decode
    return _guarded(decode) if guard else decode


def _guarded(decode: Decode) -> Decode:
    """For types that run code of the user's when decoded, or would take a wrapped payload for a value."""

    def guarded(data: Data) -> Any:
        if is_wrapped(data):
            raise needs_codec(data)
        try:
            return decode(data)
        except Exception as error:
            raise as_decode_error(error) from error

    return guarded


def is_wrapped(data: Data) -> bool:
    """Whether a codec wrote the payload."""
    return (data if type(data) is bytes else bytes(data)).startswith(WRAPPED)


def codec_of(data: Data) -> str:
    """The name of the codec that wrapped the payload."""
    try:
        return str(msgspec.json.decode(data)[RESERVED])
    except Exception:
        return "?"


def needs_codec(data: Data) -> DecodeError:
    """The error for a payload that was wrapped by a codec which is not configured here."""
    return DecodeError(f"the value was written with the codec {codec_of(data)!r}, which is not enabled here: enable it")


def as_decode_error(error: BaseException, data: Data | None = None) -> DecodeError:
    """What a decoder raised, as a `DecodeError` with the path. *data* lets it recognise a wrapped payload."""
    if isinstance(error, DecodeError):
        return error
    if data is not None and is_wrapped(data):
        return needs_codec(data)
    if isinstance(error, RecursionError):
        return DecodeError("the data is nested too deeply")
    if not isinstance(error, msgspec.MsgspecError):
        return DecodeError(f"{type(error).__name__}: {error}")
    text = str(error)
    return DecodeError(_at.sub("", text), _joined(_at.findall(text)))


def named(what: str, error: BaseException, data: Data | None = None) -> DecodeError:
    """The same as `as_decode_error`, and *what* could not be read."""
    its = as_decode_error(error, data)
    return type(its)(f"{what}: {its.message}", its.path)


def _joined(places: list[str]) -> str:
    """One path of several: what decodes in steps names the inner place first."""
    return "$" + "".join(reversed(places))


def canonical(data: Data, type: Any) -> bytes | None:
    """*data* as *type* reads it today, written anew with all keys sorted; None when that cannot be done."""
    try:
        return canonical_value(decoder(type)(data))
    except DECODE_ERRORS:
        return None


def canonical_value(value: Any) -> bytes:
    """*value* as JSON with all keys sorted, those of classes too. Raises `EncodeError`."""
    try:
        return _encode_sorted(value)
    except Exception:
        return _encode_sorted(msgspec.json.decode(_encode_slowly(value)))
