"""Types that msgspec refuses, taken by structure: a union of classes goes to the one whose fields fit.

Such a union is replaced by a marker that decodes in the hook, and so is each class that has one in a field.
"""

from __future__ import annotations

import types
from collections import Counter, deque
from collections.abc import Callable, Iterable
from operator import getitem
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec

from infinitic.errors import DecodeError
from infinitic.serialization.kinds import COLLECTIONS, Shape, needs_guard, type_name
from infinitic.serialization.models import is_model, validated
from infinitic.serialization.records import Record, record_of

Made = dict[Any, Any]
"""The markers of one decoder, by what they stand for: a class may lead back to itself."""


def hook(kind: Any, data: Any) -> Any:
    """A value of a type that msgspec does not know, from JSON data. Raises `ValueError`."""
    try:
        return _made(kind, get_origin(kind) or kind, data)
    except msgspec.ValidationError as error:
        # a plain ValueError, because msgspec adds the place to those alone
        raise ValueError(str(error)) from None


def _made(kind: Any, origin: Any, data: Any) -> Any:
    if isinstance(origin, Shape):
        return origin.build(data)
    if is_model(origin):
        return validated(origin, data)
    if origin in COLLECTIONS:
        made = converted(data, _as_builtin(origin, get_args(kind)))
        return made if origin is Iterable else origin(made)
    if issubclass(origin, PurePath):
        return origin(converted(data, str))
    return data


def _as_builtin(origin: Any, args: Any) -> Any:
    if origin in (deque, Iterable):
        return types.GenericAlias(list, args) if args else list
    if origin is Counter:
        args = (args[0] if args else Any, int)
    return types.GenericAlias(dict, args) if args else dict


def converted(data: Any, kind: Any) -> Any:
    """A value of *kind*, which msgspec takes, from JSON data. Raises `ValidationError`."""
    return msgspec.convert(data, kind, str_keys=True, dec_hook=hook)


def known_to_msgspec(kind: Any) -> tuple[Any, bool]:
    """*kind* in terms that msgspec takes, and whether its decoder needs a guard. Raises `DecodeError`."""
    try:
        known = _rewritten(kind, {})
        return known, needs_guard(known)
    except Exception as error:
        raise _refusal(kind, error) from None


def _refusal(kind: Any, error: Exception) -> DecodeError:
    name = type_name(kind)
    if isinstance(error, DecodeError):
        return error if name in error.message else DecodeError(f"{name}: {error.message}")
    if isinstance(error, NameError):
        return DecodeError(f"{name}: {error}: define or import that name in the module of the class")
    return DecodeError(f"{name} cannot be made from JSON: {error}")


def _rewritten(kind: Any, made: Made) -> Any:
    """*kind* itself when msgspec takes it, else with markers in it. Raises what msgspec says of the rest."""
    try:
        msgspec.json.Decoder(kind)
    except TypeError as error:
        return made[kind] if kind in made else _replaced(kind, made, error)
    return kind


def _replaced(kind: Any, made: Made, error: TypeError) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _choice(kind, args, made, error)
    if origin is Annotated:
        return getitem(Annotated, (_rewritten(args[0], made), *kind.__metadata__))
    record = record_of(kind)
    if record is not None:
        return _shape(kind, record, made)
    if origin is None or origin is Literal:
        raise error
    return origin[_all_rewritten(args, made, error)]


def _joined(args: tuple[Any, ...], made: Made, error: TypeError) -> Any:
    return getitem(Union, _all_rewritten(args, made, error))


def _all_rewritten(args: tuple[Any, ...], made: Made, error: TypeError) -> tuple[Any, ...]:
    """Raises *error* when the fault is not in one of *args*."""
    rewritten = tuple(one if one is ... else _rewritten(one, made) for one in args)
    if rewritten == args:
        raise error
    return rewritten


def _marker(kind: Any, made: Made) -> Any:
    marker = made[kind] = Shape("Shape", (), {"shown": type_name(kind), "build": None})
    return marker


def _checked(known: Any) -> Any:
    needs_guard(known)  # for its refusals: msgspec does not look behind a marker
    return known


def _shape(kind: Any, record: Record, made: Made) -> Any:
    """A marker for a class that has such a union in a field."""
    marker = _marker(kind, made)
    hints = {field.key: _checked(_rewritten(field.hint, made)) for field in record.given}

    def build(data: Any) -> Any:
        data = converted(data, dict)
        for field in record.given:
            if field.required and field.key not in data:
                raise ValueError(f"Object missing required field `{field.key}`")
        return record.make({field.name: _field(data, field.key, hints) for field in record.given if field.key in data})

    marker.build = build
    return marker


def _field(data: dict[str, Any], key: str, hints: dict[str, Any]) -> Any:
    try:
        return converted(data[key], hints[key])
    except ValueError as error:
        raise ValueError(f"{error} - at `$.{key}`") from None


def _choice(kind: Any, args: tuple[Any, ...], made: Made, error: TypeError) -> Any:
    """A marker for a union of several classes."""
    records = {one: record for one in args if (record := record_of(one)) is not None}
    if not records:
        return _joined(args, made, error)
    _refuse_alike(records)
    others = tuple(one for one in args if one not in records)
    if any((get_origin(one) or one) is dict for one in others):
        raise DecodeError("a dict and a class cannot be told apart: declare a class in place of the dict")
    marker = _marker(kind, made)
    rest = _checked(_rewritten(getitem(Union, others), made)) if others else dict
    shapes = [(record, _checked(_rewritten(one, made))) for one, record in records.items()]

    def build(data: Any) -> Any:
        return converted(data, _chosen(shapes, data, kind) if isinstance(data, dict) else rest)

    marker.build = build
    return marker


def _chosen(shapes: list[tuple[Record, Any]], data: dict[str, Any], kind: Any) -> Any:
    """The only arm that accepts the object with all its keys, or else that takes it with unknown ones."""
    tests: list[Callable[[Record], bool]] = [lambda one: one.accepts(data), lambda one: one.takes(data)]
    for test in tests:
        fitting = [shape for record, shape in shapes if test(record)]
        if len(fitting) == 1:
            return fitting[0]
    found = ", ".join(sorted(data)) or "nothing"
    raise ValueError(f"Expected one of `{type_name(kind)}`, got an object with {found} in it")


def _refuse_alike(records: dict[Any, Record]) -> None:
    known = list(records.items())
    for at, (kind, record) in enumerate(known):
        for other, its in known[at + 1 :]:
            if record.may_be(its):
                raise DecodeError(
                    f"{type_name(kind)} and {type_name(other)} cannot be told apart by their fields: "
                    "make them msgspec.Struct with tag=True, or give them different required fields"
                )
