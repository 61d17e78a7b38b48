"""Values on their way out: what msgspec cannot write by itself, made plain, or refused with the path to it.

`hook` serves the fast encoder. `walked` is the slow way, for when the fast one failed or may have lied.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections import deque
from collections.abc import Iterator
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any, NoReturn
from uuid import UUID

import msgspec
from msgspec import UNSET, Raw, Struct

from infinitic.errors import EncodeError
from infinitic.serialization.models import dumped, is_model

_KEPT = (bool, type(None), bytes, bytearray, memoryview, date, time, timedelta, Decimal, Enum, UUID, Raw)
_encode = msgspec.json.Encoder().encode
ADVICE = (
    "declare a dataclass, an attrs class or a msgspec.Struct for it, "
    "or enable the pickle codec (pip install 'infinitic[pickle]')"
)


class Forbidden(EncodeError):
    """A value that no codec may carry: a command, a reserved key."""


def forbidden(command: Any, path: str = "$") -> Forbidden:
    """Why a command or a deferred is not sent."""
    return Forbidden(f"{_label(command)}: a command/deferred cannot be sent: `yield from` it first", path)


def hook(value: Any) -> Any:
    """What msgspec writes in place of *value*, which it does not know. Raises `TypeError` for the rest."""
    if isinstance(value, PurePath):
        return str(value)
    if is_model(type(value)):
        return dumped(value)
    if isinstance(value, deque):
        return list(value)
    # subclasses such as a markup string; the base's own method, because theirs may say something else
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    raise TypeError


def walked(value: Any, path: str = "$") -> Any:
    """*value* in terms that any encoder writes, dicts and sets sorted. Raises `EncodeError` with the path."""
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, float):
        return _number(value, path)
    if isinstance(value, _KEPT) or type(value) is int:
        return value
    if hasattr(type(value), "__infinitic_command__"):
        raise forbidden(value, path)
    return _composed(value, path)


def _composed(value: Any, path: str) -> Any:
    if isinstance(value, dict):
        return _mapping(value, path)
    if isinstance(value, list | tuple | deque):
        return [walked(one, f"{path}[{at}]") for at, one in enumerate(value)]
    if isinstance(value, set | frozenset):
        return sorted((walked(one, f"{path}[...]") for one in value), key=_encode)
    fields = _fields(value)
    if fields is not None:
        plain = {name: walked(one, f"{path}.{name}") for name, one in fields}
        return list(plain.values()) if _is_array(value) else plain
    try:
        return walked(hook(value), path)
    except EncodeError:
        raise
    except Exception as error:
        _refuse(value, path, error)


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EncodeError(f"a text with a lone surrogate cannot be sent: {error}", path) from None
    return str.__str__(value)


def _number(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise EncodeError(f"{value} is no JSON number: send None, a text or a Decimal", path)
    return value


def _mapping(value: dict[Any, Any], path: str) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for key, one in value.items():
        name = _key(key, path)
        if name in plain:
            raise EncodeError(f"two keys of a dict become the same text {name!r}", path)
        plain[name] = walked(one, f"{path}.{name}")
    return dict(sorted(plain.items()))


def _key(key: Any, path: str) -> str:
    if isinstance(key, str) and not isinstance(key, Enum):
        return _text(key, path)
    try:
        plain = msgspec.to_builtins({key: None}, str_keys=True, enc_hook=hook)
    except Exception:
        message = f"a key of type {type(key).__name__} cannot be sent: use texts, numbers, enums or dates"
        raise EncodeError(message, path) from None
    return str(next(iter(plain)))


def _fields(value: Any) -> list[tuple[str, Any]] | None:
    """The fields of a struct, dataclass or attrs object, by their names in JSON; None for anything else."""
    kind = type(value)
    if isinstance(value, Struct):
        names = list(zip(kind.__struct_fields__, kind.__struct_encode_fields__, strict=True))
    elif dataclasses.is_dataclass(kind):
        names = [(one.name, one.name) for one in dataclasses.fields(kind)]
    elif hasattr(kind, "__attrs_attrs__"):
        names = [(one.name, one.name) for one in kind.__attrs_attrs__]
    else:
        return None
    pairs = [(shown, getattr(value, name, UNSET)) for name, shown in names]
    return _tag(value) + [(name, one) for name, one in pairs if one is not UNSET]


def _tag(value: Any) -> list[tuple[str, Any]]:
    config = getattr(value, "__struct_config__", None)
    return [] if config is None or config.tag is None else [(config.tag_field, config.tag)]


def _is_array(value: Any) -> bool:
    return isinstance(value, Struct) and value.__struct_config__.array_like


def _refuse(value: Any, path: str, error: Exception) -> NoReturn:
    kind = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    reason = f" ({error})" if str(error) else ""
    raise EncodeError(f"a value of type {kind} cannot be sent{reason}: {_advice(value)}", path) from None


def _advice(value: Any) -> str:
    if inspect.isgenerator(value):
        return "a generator gives its values only once: make it a list, or `yield from` it first"
    if inspect.isawaitable(value):
        return "`await` it first"
    if isinstance(value, Iterator):
        return "an iterator gives its values only once: make it a list"
    return ADVICE


def _label(command: Any) -> str:
    label = getattr(command, "label", None)
    return label if isinstance(label, str) else type(command).__name__
