"""Pickled payloads: nothing is unpickled that is not signed by a key known here."""

import base64
import hashlib
import hmac
import json
import sys

import pytest

from dsl import sleep
from infinitic.errors import ConfigurationError, DecodeError, EncodeError, MissingExtra, UntrustedPayload
from infinitic.serialization import PickleCodec, Serializer

OLD, NEW = b"o" * 32, b"n" * 16
codec = PickleCodec({"old": OLD, "new": NEW}, key="new")
unpickled: list[str] = []


class Trap:
    """Leaves a mark when it is unpickled."""

    def __reduce__(self):
        return (exec, (f"import sys; sys.modules[{__name__!r}].unpickled.append('sprung')",))


@pytest.fixture(autouse=True)
def no_mark():
    unpickled.clear()


def test_a_payload_is_json_of_a_known_form():
    payload = json.loads(codec.encode({1, 2}))
    data = base64.b64decode(payload["data"])
    signed = json.dumps(["pickle", "new", payload["data"]], separators=(",", ":")).encode()

    assert list(payload) == ["$codec", "key", "signature", "data"]
    assert payload == {
        "$codec": "pickle",
        "key": "new",
        "signature": hmac.new(NEW, signed, hashlib.sha256).hexdigest(),
        "data": base64.b64encode(data).decode(),
    }


def test_functions_travel_by_value():
    base = 3
    add = codec.decode(codec.encode(lambda x: x + base))

    assert add(4) == 7


class Plain:
    """What only a pickle can hold."""

    def __init__(self, what: object) -> None:
        self.what = what


def test_a_command_hides_in_no_pickled_object():
    with pytest.raises(EncodeError, match=r"sleep\(5 s\): a command/deferred cannot be sent: `yield from` it first"):
        Serializer([codec]).encode(Plain([Plain(sleep(5))]))


def test_what_was_signed_by_an_older_key_is_still_read():
    older = PickleCodec({"old": OLD}, key="old")

    assert codec.decode(older.encode({3})) == {3}


def forged(**changes):
    payload = json.loads(codec.encode(Trap())) | changes
    return json.dumps({name: value for name, value in payload.items() if value is not None}).encode()


def resigned_as(key):
    payload = json.loads(codec.encode(Trap()))
    return json.dumps(payload | {"key": key}).encode()


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (forged(signature=None), "a pickled payload is not signed"),
        (forged(signature=""), "a pickled payload is not signed"),
        (forged(signature="00"), "a pickled payload has a wrong signature of the key 'new'"),
        (forged(signature="é"), "a pickled payload has a wrong signature of the key 'new'"),
        (forged(key=None), "a pickled payload is signed by the unknown key '' (known: new, old)"),
        (forged(key="other"), "a pickled payload is signed by the unknown key 'other' (known: new, old)"),
        (resigned_as("old"), "a pickled payload has a wrong signature of the key 'old'"),
        (forged(**{"$codec": "other"}), "a pickled payload has a wrong signature of the key 'new'"),
        (forged(data="Y29zCg=="), "a pickled payload has a wrong signature of the key 'new'"),
        (forged(data=3), "a pickled payload is malformed"),
        (b"[]", "a pickled payload is malformed"),
        (b'{"$codec":"pickle","key":"\xff"}', "a pickled payload is malformed"),
    ],
    ids=lambda one: repr(one)[-40:],
)  # fmt: skip
def test_what_is_not_signed_by_a_known_key_is_refused_before_unpickling(payload, message):
    with pytest.raises(UntrustedPayload) as caught:
        codec.decode(payload)

    assert (caught.value.message, unpickled) == (message, [])


def test_the_trap_springs_when_the_payload_is_trusted():
    codec.decode(codec.encode(Trap()))

    assert unpickled == ["sprung"]


def test_what_cannot_be_restored_is_a_decode_error():
    class Broken:
        def __reduce__(self):
            return (int, ("x",))

    with pytest.raises(DecodeError, match="a pickled value cannot be restored here: ValueError"):
        codec.decode(codec.encode(Broken()))


def test_what_cannot_be_pickled_is_an_encode_error():
    with pytest.raises(EncodeError, match="a value of type generator cannot be pickled"):
        codec.encode(one for one in [1])


def test_keys_that_cannot_serve_are_refused():
    with pytest.raises(ConfigurationError, match="the pickle key 'k' is 15 bytes long"):
        PickleCodec({"k": b"x" * 15}, key="k")
    with pytest.raises(ConfigurationError, match="the pickle key 'k' is not bytes"):
        PickleCodec({"k": "x" * 16}, key="k")  # type: ignore[dict-item]  # that it is none is the point
    with pytest.raises(ConfigurationError, match="is to sign with the key 'other', and knows k"):
        PickleCodec({"k": b"x" * 16}, key="other")


def test_keys_are_never_shown():
    assert repr(codec) == "PickleCodec(key='new')"


def test_without_cloudpickle_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "cloudpickle", None)

    with pytest.raises(MissingExtra, match=r"the pickle codec needs a package .* pip install 'infinitic\[pickle\]'"):
        PickleCodec({"k": b"x" * 16}, key="k")
