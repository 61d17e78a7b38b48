"""The codec "pickle", opt-in: for values that JSON cannot hold, and for functions sent by value.

Unpickling runs whatever the payload says. So each payload is signed (HMAC-SHA256), and one that is not signed
by a key known here is refused before anything of it is unpickled.
"""

from __future__ import annotations

import hmac
import io
import pickle
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from infinitic.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra, UntrustedPayload
from infinitic.serialization.plain import Data
from infinitic.serialization.values import ADVICE, Forbidden, forbidden

SHORTEST = 16


class Wrapped(Struct, frozen=True):
    """A pickled value as JSON."""

    codec: str = msgspec.field(name="$codec")
    key: str = ""
    signature: str = ""
    data: bytes = b""


class PickleCodec:
    """Signs with the key named *key*, and trusts what is signed by any of *keys* (at least 16 bytes each).

    Raises `ConfigurationError` for keys that cannot serve, `MissingExtra` without cloudpickle.
    """

    name = "pickle"

    def __init__(self, keys: Mapping[str, bytes], key: str) -> None:
        try:
            import cloudpickle
        except ImportError:
            raise MissingExtra("the pickle codec", "pickle") from None

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
            def reducer_override(self, value: Any) -> Any:
                if hasattr(type(value), "__infinitic_command__"):
                    raise forbidden(value)
                return super().reducer_override(value)

        self._pickler = Pickler
        self._keys = {name: _checked(name, secret) for name, secret in keys.items()}
        if key not in self._keys:
            known = ", ".join(sorted(self._keys)) or "none"
            raise ConfigurationError(f"the pickle codec is to sign with the key {key!r}, and knows {known}")
        self.key = key

    def encode(self, value: Any) -> bytes:
        """*value* pickled, signed and wrapped as JSON. Raises `EncodeError`."""
        try:
            self._pickler(into := io.BytesIO()).dump(value)
        except Forbidden:
            raise
        except Exception as error:
            kind = type(value).__qualname__
            raise EncodeError(f"a value of type {kind} cannot be pickled ({error}): {ADVICE}") from None
        wrapped = Wrapped(self.name, key=self.key, data=into.getvalue())
        return msgspec.json.encode(msgspec.structs.replace(wrapped, signature=self._signature(wrapped)))

    def decode(self, data: Data) -> Any:
        """The value of a wrapped payload. Raises `DecodeError`; `UntrustedPayload` before unpickling."""
        wrapped = self._trusted(data)
        try:
            return pickle.loads(wrapped.data)
        except Exception as error:
            raise DecodeError(f"a pickled value cannot be restored here: {type(error).__name__}: {error}") from error

    def _trusted(self, data: Data) -> Wrapped:
        try:
            wrapped = msgspec.json.decode(data, type=Wrapped)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise UntrustedPayload("a pickled payload is malformed") from None
        if not wrapped.signature:
            raise UntrustedPayload("a pickled payload is not signed")
        if wrapped.key not in self._keys:
            known = ", ".join(sorted(self._keys))
            raise UntrustedPayload(f"a pickled payload is signed by the unknown key {wrapped.key!r} (known: {known})")
        if not hmac.compare_digest(self._signature(wrapped).encode(), wrapped.signature.encode()):
            raise UntrustedPayload(f"a pickled payload has a wrong signature of the key {wrapped.key!r}")
        return wrapped

    def _signature(self, wrapped: Wrapped) -> str:
        # as a JSON array, so that no two triples look alike
        signed = msgspec.json.encode([wrapped.codec, wrapped.key, wrapped.data])
        return hmac.new(self._keys[wrapped.key], signed, "sha256").hexdigest()

    def __repr__(self) -> str:
        return f"PickleCodec(key={self.key!r})"  # never the keys


def _checked(name: str, secret: bytes) -> bytes:
    if not isinstance(secret, bytes):
        raise ConfigurationError(f"the pickle key {name!r} is not bytes")
    if len(secret) < SHORTEST:
        raise ConfigurationError(
            f"the pickle key {name!r} is {len(secret)} bytes long",
            f"Give it at least {SHORTEST} random bytes",
        )
    return secret
