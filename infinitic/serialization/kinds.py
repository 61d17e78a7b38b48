"""What kinds of types there are: which msgspec decodes, which need help, and which nobody can."""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import PurePath
from typing import Any, get_origin

from msgspec import inspect as info

from infinitic.errors import DecodeError
from infinitic.serialization.models import is_model

COLLECTIONS = (deque, OrderedDict, Counter, Iterable)
_NO_KEYS = (
    info.NoneType,
    info.BoolType,
    info.TupleType,
    info.VarTupleType,
    info.FrozenSetType,
    info.StructType,
    info.DataclassType,
    info.NamedTupleType,
)
_RECORDS = info.StructType | info.DataclassType | info.TypedDictType
_HOOKS = ("__post_init__", "__attrs_post_init__", "__attrs_pre_init__")


class Shape(type):
    """The class of markers for types that msgspec refuses; `build` makes the value from JSON data."""

    build: Any
    shown: str

    def __instancecheck__(cls, instance: object) -> bool:
        return True  # msgspec asks whether what the hook made is one; only the hook knows

    def __repr__(cls) -> str:
        return cls.shown


def type_name(kind: Any) -> str:
    """A type as the source has it, roughly."""
    if kind is None or kind is type(None):
        return "None"
    if isinstance(kind, Shape) or get_origin(kind) is not None or not hasattr(kind, "__qualname__"):
        return repr(kind).replace("typing.", "").replace("collections.abc.", "")
    return str(kind.__qualname__)


def needs_guard(known: Any) -> bool:
    """Whether decoding *known* runs code of the user's, or takes any object for a value.

    Raises `DecodeError` for a type that is no data, and msgspec's `TypeError` for one that it refuses.
    """
    root = info.type_info(known)
    nodes = list(_nodes(root, {}))
    for node in nodes:
        _refuse_what_is_no_data(node)
    return takes_any_object(root) or any(_runs_code(node) for node in nodes)


def _nodes(node: info.Type, seen: dict[int, info.Type]) -> Iterator[info.Type]:
    if id(node) in seen:
        return
    seen[id(node)] = node
    yield node
    for part in _parts(node):
        yield from _nodes(part, seen)


def _parts(node: Any) -> list[info.Type]:
    names = ("item_type", "key_type", "value_type", "type")
    parts = [getattr(node, name) for name in names if hasattr(node, name)]
    parts += [*getattr(node, "item_types", ()), *getattr(node, "types", ())]
    return parts + [field.type for field in getattr(node, "fields", ())]


def takes_any_object(node: Any) -> bool:
    """Whether a JSON object with unknown keys is a value of the type."""
    if isinstance(node, info.UnionType):
        return any(takes_any_object(one) for one in node.types)
    if isinstance(node, _RECORDS):
        return not any(field.required for field in node.fields)
    if isinstance(node, info.Metadata):
        return takes_any_object(node.type)
    return isinstance(node, info.AnyType | info.RawType | info.DictType | info.CustomType)


def _runs_code(node: Any) -> bool:
    if isinstance(node, info.EnumType):
        return getattr(node.cls._missing_, "__func__", None) is not getattr(Enum._missing_, "__func__", None)
    if isinstance(node, _RECORDS):
        kind = get_origin(node.cls) or node.cls
        validated = any(one.validator for one in getattr(kind, "__attrs_attrs__", ()))
        return validated or any(hasattr(kind, name) for name in _HOOKS)
    return isinstance(node, info.CustomType)


def _refuse_what_is_no_data(node: Any) -> None:
    if isinstance(node, info.CustomType) and not is_custom(node.cls):
        raise DecodeError(
            f"no value of type {type_name(node.cls)} can be made from JSON: "
            "declare a dataclass, an attrs class or a msgspec.Struct in its place"
        )
    if isinstance(node, info.DictType) and isinstance(node.key_type, _NO_KEYS):
        key = type(node.key_type).__name__.removesuffix("Type").lower()
        raise DecodeError(f"JSON has no keys of type {key}: use texts, numbers, enums or dates as keys")
    if isinstance(node, info.DataclassType):
        _refuse_private_fields(get_origin(node.cls) or node.cls)


def is_custom(kind: Any) -> bool:
    """Whether `hook` makes values of this type."""
    origin = get_origin(kind) or kind
    if origin is object or isinstance(origin, Shape) or is_model(origin) or origin in COLLECTIONS:
        return True
    return isinstance(origin, type) and issubclass(origin, PurePath)


def _refuse_private_fields(kind: Any) -> None:
    """msgspec leaves them out without a word."""
    for one in getattr(kind, "__attrs_attrs__", ()):
        if one.init and one.name.startswith("_"):
            raise DecodeError(
                f"the field {one.name} of the attrs class {type_name(kind)} would not travel, "
                "because its name begins with an underscore: rename it, or make it init=False"
            )
