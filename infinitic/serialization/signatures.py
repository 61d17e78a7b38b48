"""Signatures: what a function takes and gives, as decoders. Arguments travel as a JSON object by name."""

from __future__ import annotations

import collections.abc
import copy
import inspect
from collections.abc import Callable
from types import NoneType, UnionType
from typing import Any, Never, NoReturn, Optional, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

from infinitic.errors import DecodeError, RegistrationError
from infinitic.serialization import plain
from infinitic.serialization.kinds import type_name
from infinitic.serialization.plain import DECODE_ERRORS, Data, Decode

_MISSING = "Object missing required field `"
_GENERATORS = (collections.abc.Generator, collections.abc.Iterator, collections.abc.Iterable)
_AWAITABLES = (collections.abc.Coroutine, collections.abc.Awaitable)


class Signature:
    """What *fn* takes and gives. *bound* leaves out its first parameter; *what* is its name in messages.

    `decode_result` is the raw decoder of `result_type`: it raises one of `DECODE_ERRORS`. *pickled* says
    that a codec may carry what JSON cannot: types without JSON are then no error. *delegated* says that somebody
    else gives the result, so that None stands for what *fn* itself returns. Raises `RegistrationError`.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        bound: bool = False,
        what: str = "",
        decoder: Callable[[Any], Decode] = plain.decoder,
        pickled: bool = False,
        delegated: bool = False,
    ) -> None:
        name = what or getattr(fn, "__qualname__", repr(fn)).rpartition(".")[2]
        hints = _hints(fn, name)
        parameters = _parameters(fn, name, bound)
        self.text = _text(name, parameters, hints)
        types = {one.name: _type(one, hints) for one in parameters}
        checked = {key: self._checked(f"the parameter {key!r}", hint, pickled) for key, hint in types.items()}
        result = _result(hints.get("return", Any), fn)
        self.result_type = _without_none(result) if delegated else result
        self._checked("the result", self.result_type, pickled)
        self.arguments_type = _struct(name, parameters, checked)
        self.decode_result = decoder(self.result_type)
        self._decode = decoder(self.arguments_type)
        self._fields = decoder(dict[str, Raw])
        self._keywords = tuple(one.name for one in parameters if one.kind is one.KEYWORD_ONLY)

    def _checked(self, what: str, hint: Any, pickled: bool) -> Any:
        try:
            plain.decoder(hint)
        except DecodeError as error:
            if pickled:
                return Any
            raise RegistrationError(f"{self.text}: {what}: {error}") from None
        return hint

    def decode_arguments(self, data: Data) -> Any:
        """The arguments as an `arguments_type`. Raises `DecodeError` with the signature."""
        try:
            arguments = self._decode(data)
        except DECODE_ERRORS as error:
            if bytes(data) == b"null":
                return self._from_fields({})  # a call that says nothing of arguments
            raise self._misfit(plain.as_decode_error(error, data)) from None
        return self._from_fields(arguments) if type(arguments) is dict else arguments

    def check_names(self, data: Data) -> None:
        """Raises `DecodeError` for arguments of which *fn* knows nothing; what they hold is not looked at."""
        try:
            given = self._fields(data)
        except DECODE_ERRORS:
            return  # which `decode_arguments` tells, or takes for none
        unknown = sorted({*given}.difference(self.arguments_type.__struct_fields__))
        if unknown:
            raise DecodeError(f"{self.text}: it takes no argument {', '.join(f'`{name}`' for name in unknown)}")

    def _from_fields(self, fields: Any) -> Any:
        """From a dict by parameter name, which is what a codec other than JSON gives."""
        names = self.arguments_type.__struct_fields__
        try:
            return self.arguments_type(**{name: fields[name] for name in names if name in fields})
        except TypeError as error:
            raise self._misfit(DecodeError(str(error))) from None

    def _misfit(self, error: DecodeError) -> DecodeError:
        message = error.message
        if message.startswith(_MISSING) and error.path == "$":
            message = f"the required argument `{message.removeprefix(_MISSING)} is missing"
        return type(error)(f"{self.text}: {message}", error.path)

    def call(self, fn: Callable[..., Any], arguments: Any) -> Any:
        """What *fn*, a function or a bound method with this signature, returns for these arguments."""
        values = msgspec.structs.astuple(arguments)
        if not self._keywords:
            return fn(*values)
        cut = len(values) - len(self._keywords)
        return fn(*values[:cut], **dict(zip(self._keywords, values[cut:], strict=True)))

    def __repr__(self) -> str:
        return f"<Signature {self.text}>"


def _hints(fn: Callable[..., Any], name: str) -> dict[str, Any]:
    try:
        return get_type_hints(fn, include_extras=True)
    except NameError as error:
        raise RegistrationError(
            f"{name}: the type hint {error.name!r} cannot be resolved",
            f"Import or define it at the top of the module {getattr(fn, '__module__', '?')}",
        ) from None
    except Exception as error:
        raise RegistrationError(f"{name}: a type hint cannot be read: {error}") from None


def _parameters(fn: Callable[..., Any], name: str, bound: bool) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(fn).parameters.values())[1 if bound else 0 :]
    for one in parameters:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise RegistrationError(f"{name} takes {one}", "Arguments travel by name: give each a parameter")
    return parameters


class _Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _text(name: str, parameters: list[inspect.Parameter], hints: dict[str, Any]) -> str:
    shown = [
        one.replace(annotation=_Bare(type_name(hints[one.name])) if one.name in hints else one.empty)
        for one in parameters
    ]
    return f"{name}{inspect.Signature(shown)}"


def _type(parameter: inspect.Parameter, hints: dict[str, Any]) -> Any:
    hint = hints.get(parameter.name, Any)
    return Optional[hint] if parameter.default is None and hint is not Any else hint  # noqa: UP045  # made at run time


def _struct(name: str, parameters: list[inspect.Parameter], hints: dict[str, Any]) -> type[Struct]:
    fields = [_field(one, hints[one.name]) for one in parameters]
    return msgspec.defstruct(name.replace(".", "_"), fields, kw_only=True)


def _field(parameter: inspect.Parameter, hint: Any) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return (parameter.name, hint)
    mutable = isinstance(default, list | dict | set | bytearray)
    make = (lambda: copy.copy(default)) if mutable else (lambda: default)
    return (parameter.name, hint, msgspec.field(default_factory=make))


def _result(hint: Any, fn: Callable[..., Any]) -> Any:
    """What a caller gets in the end: generators and coroutines are driven."""
    origin, args = get_origin(hint) or hint, get_args(hint)
    if origin is collections.abc.Generator or (origin in _GENERATORS and inspect.isgeneratorfunction(fn)):
        return _plain(args[2]) if len(args) == 3 else Any
    if origin in _AWAITABLES and not inspect.iscoroutinefunction(fn):
        return _plain(args[-1]) if args else Any
    return _plain(hint)


def _without_none(hint: Any) -> Any:
    """*hint*, where None is one of several: the others."""
    others = tuple(one for one in get_args(hint) if one is not NoneType)
    return Union[others] if get_origin(hint) in (Union, UnionType) and others else hint  # noqa: UP007  # as above


def _plain(hint: Any) -> Any:
    return Any if hint in (Never, NoReturn) or isinstance(hint, TypeVar) else hint
