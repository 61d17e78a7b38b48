"""Meta on its way: JSON as it is, bytes marked."""

import json

import pytest

from infinitic.serialization import meta_of, plain_meta


def test_bytes_and_json_come_back_as_they_were():
    meta = {"raw": b"\x00\xff", "empty": b"", "text": "a", "n": [1, {"b": None}], "buffer": bytearray(b"x")}
    plain = plain_meta(meta)

    assert json.loads(json.dumps(plain)) == plain
    assert plain["raw"] == {"$bytes": "AP8="}
    assert meta_of(plain) == {**meta, "buffer": b"x"}
    assert meta_of(meta) == meta


@pytest.mark.parametrize("value", [{"$bytes": "no base64!"}, {"$bytes": 5}, {"$bytes": "AP8=", "other": 1}, {}])
def test_what_is_no_bytes_stays_as_it_is(value):
    assert meta_of({"a": value}) == {"a": value}
