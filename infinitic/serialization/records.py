"""Classes with fields, of whatever library, seen alike: which keys an object of theirs may and must have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NotRequired, Required, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from attrs import NOTHING, frozen
from msgspec import Struct

from infinitic.serialization.models import is_model


@frozen
class Field:
    """One field: its *key* in JSON, the *name* by which the class takes it ("" if it does not), its type."""

    key: str
    name: str
    hint: Any
    required: bool = True
    aliases: tuple[str, ...] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys under which it may come."""
        return (self.key, *self.aliases)

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values of a `Literal`; empty for any other type."""
        return get_args(self.hint) if get_origin(self.hint) is Literal else ()


@frozen
class Record:
    """The fields of a class, and how to *make* one."""

    fields: tuple[Field, ...]
    make: Callable[[dict[str, Any]], Any]

    @property
    def given(self) -> tuple[Field, ...]:
        """The fields that the class takes when it is made."""
        return tuple(field for field in self.fields if field.name)

    @property
    def known(self) -> frozenset[str]:
        """All keys."""
        return frozenset(key for field in self.fields for key in field.keys)

    @property
    def required(self) -> frozenset[str]:
        """The keys that must be there."""
        return frozenset(field.key for field in self.fields if field.required)

    def takes(self, data: dict[str, Any]) -> bool:
        """Whether what must be there is there, and the constants agree."""
        return all(_agrees(field, data) for field in self.fields)

    def accepts(self, data: dict[str, Any]) -> bool:
        """Whether it takes the object, and knows all its keys."""
        return self.known.issuperset(data) and self.takes(data)

    def may_be(self, other: Record) -> bool:
        """Whether there is an object that both accept."""
        return self.required <= other.known and other.required <= self.known and not self._differs(other)

    def _differs(self, other: Record) -> bool:
        """By a constant that both have, as in `kind: Literal["card"]`."""
        theirs = {field.key: field.choices for field in other.fields}
        pairs = [(field.choices, theirs.get(field.key, ())) for field in self.fields]
        return any(mine and its and not any(one in its for one in mine) for mine, its in pairs)


def _agrees(field: Field, data: dict[str, Any]) -> bool:
    key = next((one for one in field.keys if one in data), None)
    if key is None:
        return not field.required
    return not field.choices or data[key] in field.choices


def record_of(kind: Any) -> Record | None:
    """The record of a class or generic alias; None for what is no JSON object with known keys."""
    origin = get_origin(kind) or kind
    if not isinstance(origin, type):
        return None
    for is_one, fields in _KINDS:
        if is_one(origin):
            return Record(tuple(fields(origin, _hints(kind, origin))), lambda given: origin(**given))
    return None


def _hints(kind: Any, origin: Any) -> dict[str, Any]:
    hints = get_type_hints(origin, include_extras=True)
    parameters = dict(zip(getattr(origin, "__parameters__", ()), get_args(kind), strict=False))
    return {name: _bound(hint, parameters) for name, hint in hints.items()}


def _bound(hint: Any, parameters: dict[Any, Any]) -> Any:
    """*hint* with the type parameters of its class filled in."""
    if isinstance(hint, TypeVar):
        return parameters.get(hint, hint)
    own = getattr(hint, "__parameters__", ()) if get_origin(hint) is not None else ()
    return hint[tuple(parameters.get(one, one) for one in own)] if own else hint


def _is_typed_dict(kind: Any) -> bool:
    return issubclass(kind, dict) and hasattr(kind, "__total__")


def _is_struct(kind: Any) -> bool:
    return issubclass(kind, Struct) and not kind.__struct_config__.array_like


def _is_attrs(kind: Any) -> bool:
    return hasattr(kind, "__attrs_attrs__")


def _of_struct(kind: Any, hints: dict[str, Any]) -> list[Field]:
    config = kind.__struct_config__
    tag = [] if config.tag is None else [Field(config.tag_field, "", Literal[config.tag])]
    return tag + [
        Field(one.encode_name, one.name, hints[one.name], one.required) for one in msgspec.structs.fields(kind)
    ]


def _of_dataclass(kind: Any, hints: dict[str, Any]) -> list[Field]:
    missing = dataclasses.MISSING
    return [
        Field(
            one.name,
            one.name if one.init else "",
            hints[one.name],
            one.init and one.default is missing and one.default_factory is missing,
        )
        for one in dataclasses.fields(kind)
    ]


def _of_attrs(kind: Any, hints: dict[str, Any]) -> list[Field]:
    return [
        Field(
            one.name,
            (one.alias or one.name) if one.init else "",
            hints.get(one.name, Any),
            one.init and one.default is NOTHING,
        )
        for one in kind.__attrs_attrs__
    ]


def _of_typed_dict(kind: Any, hints: dict[str, Any]) -> list[Field]:
    return [_typed_key(name, hint, name in kind.__required_keys__) for name, hint in hints.items()]


def _typed_key(name: str, hint: Any, required: bool) -> Field:
    # quoted annotations hide Required and NotRequired from the class itself
    if get_origin(hint) in (Required, NotRequired):
        return Field(name, name, get_args(hint)[0], get_origin(hint) is Required)
    return Field(name, name, hint, required)


def _of_model(kind: Any, hints: dict[str, Any]) -> list[Field]:
    return [
        Field(name, name, hints.get(name, Any), one.is_required(), (one.alias,) if one.alias else ())
        for name, one in kind.model_fields.items()
    ]


_KINDS: tuple[tuple[Callable[[Any], bool], Callable[[Any, dict[str, Any]], list[Field]]], ...] = (
    (is_model, _of_model),
    (_is_struct, _of_struct),
    (dataclasses.is_dataclass, _of_dataclass),
    (_is_attrs, _of_attrs),
    (_is_typed_dict, _of_typed_dict),
)
