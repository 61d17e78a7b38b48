"""Batching: how a worker runs many calls of a task by one function, checked when that is registered."""

from __future__ import annotations

import collections.abc
import inspect
from collections.abc import Callable, Hashable
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
from attrs import frozen

from dsl.services import Batch, Task
from infinitic.errors import RegistrationError
from infinitic.serialization import Signature, type_name

LISTS = (list, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)


@frozen
class Batching:
    """At most *size* calls are run together, or those that came in *wait* (microseconds) from the first one on.

    *name* is the function's. *item* makes of a call's arguments what its list holds, *key* says which calls may be
    together.
    """

    name: str
    size: int
    wait: int
    item: Callable[[Any], Any]
    key: Callable[[Any], Hashable]


def batching_of(task: Task[..., Any, Any], batch: Batch[Any], signature: Signature) -> Batching:
    """How *task* runs calls of this *signature*, that of the task which it is a batch of.

    Raises `RegistrationError` when it cannot take them.
    """
    name = task.fn.__qualname__
    key = batch.key
    if key is not None:
        _check_key(key, name, batch, signature)
    return Batching(
        name=name,
        size=batch.size,
        wait=batch.wait,
        item=_item(_items_type(task, name, signature), name, signature),
        key=(lambda arguments: None) if key is None else (lambda arguments: signature.call(key, arguments)),
    )


def _check_key(key: Callable[..., Any], name: str, batch: Batch[Any], signature: Signature) -> None:
    some = signature.arguments_type(**dict.fromkeys(signature.arguments_type.__struct_fields__))
    try:
        signature.call(inspect.signature(key).bind, some)
    except TypeError as error:
        raise RegistrationError(
            f"the key of {name} cannot be called with the arguments of {batch.example}: {error}",
            "Give it the same parameters.",
        ) from None
    except ValueError:  # of what is written in C nothing is known
        return


def _items_type(task: Task[..., Any, Any], name: str, signature: Signature) -> Any:
    """What the list holds that the function takes, `Any` where it does not say."""
    parameters = task.parameters
    if len(parameters) != 1:
        raise RegistrationError(
            f"{name}{inspect.Signature(parameters)} takes {len(parameters)} arguments, and not one list of calls",
            f"Declare it as {name}(calls: list[{_tuple_text(signature)}]).",
        )
    try:
        hint = get_type_hints(task.fn).get(parameters[0].name, Any)
    except Exception as error:
        raise RegistrationError(f"{name}: a type hint cannot be read: {error}") from None
    if hint is Any or hint is list:
        return Any
    if get_origin(hint) not in LISTS:
        raise RegistrationError(
            f"{name} takes {type_name(hint)}, and not a list of calls",
            f"Declare it as {name}(calls: list[{_tuple_text(signature)}]).",
        )
    return get_args(hint)[0]


def _item(kind: Any, name: str, signature: Signature) -> Callable[[Any], Any]:
    """What makes one item of a call's arguments: a tuple of them, or one of a class that takes them by name."""
    if kind is Any or kind is tuple or get_origin(kind) is tuple:
        _check_tuple(get_args(kind), name, signature)
        return msgspec.structs.astuple
    names = signature.arguments_type.__struct_fields__
    try:
        inspect.signature(kind).bind(**dict.fromkeys(names))
    except (TypeError, ValueError) as error:
        why = f": {error}" if isinstance(error, TypeError) else ""  # the other says that *kind* has no signature
        raise RegistrationError(
            f"{name} takes a list of {type_name(kind)}, which the arguments of {signature.text} do not make{why}",
            f"Declare it with the fields {', '.join(names)}, or take list[{_tuple_text(signature)}].",
        ) from None
    return lambda arguments: kind(**msgspec.structs.asdict(arguments))


def _check_tuple(given: tuple[Any, ...], name: str, signature: Signature) -> None:
    wanted = _types(signature)
    if not given or given[-1] is Ellipsis:
        return
    if len(given) != len(wanted) or any(
        one is not Any and other is not Any and one != other for one, other in zip(given, wanted, strict=True)
    ):
        raise RegistrationError(
            f"{name} takes a list of tuple[{', '.join(map(type_name, given))}], "
            f"and a call of {signature.text} is a {_tuple_text(signature)}",
            "Declare it with the same types, in the same order.",
        )


def _types(signature: Signature) -> tuple[Any, ...]:
    hints = get_type_hints(signature.arguments_type, include_extras=False)
    return tuple(hints[name] for name in signature.arguments_type.__struct_fields__)


def _tuple_text(signature: Signature) -> str:
    return f"tuple[{', '.join(map(type_name, _types(signature)))}]"
