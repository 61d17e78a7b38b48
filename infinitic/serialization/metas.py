"""Meta: what comes along with a call. Its values are JSON, or bytes, which are marked as such on their way."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

BYTES = "$bytes"


def plain_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """*meta* with its bytes in a form that JSON holds."""
    return {name: {BYTES: base64.b64encode(one).decode()} if _is_bytes(one) else one for name, one in meta.items()}


def _is_bytes(value: object) -> bool:
    return isinstance(value, bytes | bytearray | memoryview)


def meta_of(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What `plain_meta` was given. What is no base64 stays as it is."""
    return {name: _value(one) for name, one in plain.items()}


def _value(value: Any) -> Any:
    if not isinstance(value, dict) or list(value) != [BYTES]:
        return value
    try:
        return base64.b64decode(value[BYTES], validate=True)
    except (TypeError, ValueError):
        return value
