"""Payloads: values, arguments and exceptions as JSON, and back by the declared types. Pure."""

from infinitic.serialization.chain import Codec, Serializer
from infinitic.serialization.failures import error_value, rebuild
from infinitic.serialization.kinds import type_name
from infinitic.serialization.pickled import PickleCodec
from infinitic.serialization.plain import DECODE_ERRORS, as_decode_error, canonical, decoder, encode
from infinitic.serialization.signatures import Signature

__all__ = [
    "DECODE_ERRORS",
    "Codec",
    "PickleCodec",
    "Serializer",
    "Signature",
    "as_decode_error",
    "canonical",
    "decoder",
    "encode",
    "error_value",
    "rebuild",
    "type_name",
]
