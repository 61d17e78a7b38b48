"""Payloads: values, arguments and exceptions as JSON, and back by the declared types. Pure."""

from infinitic.serialization.chain import Codec, Serializer
from infinitic.serialization.failures import error_value, rebuild
from infinitic.serialization.kinds import type_name
from infinitic.serialization.metas import meta_of, plain_meta
from infinitic.serialization.pickled import PickleCodec
from infinitic.serialization.plain import DECODE_ERRORS, as_decode_error, canonical, decoder, encode, named
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
    "meta_of",
    "named",
    "plain_meta",
    "rebuild",
    "type_name",
]
