"""Calls: descriptions of a task, a workflow, a method, a signal or a query, with their arguments bound.

Arguments are bound where the call is written, by Python's own rules, into a small struct whose fields are the
parameters: what does not fit the signature is a `TypeError` there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
from msgspec import Struct

from dsl.commands import Command
from dsl.policies import Retry
from dsl.timers import Duration, microseconds

T_co = TypeVar("T_co", covariant=True)

NAME = re.compile(r"[A-Za-z_][\w.-]*\Z", re.ASCII)
_PLAIN = (type(None), bool, int, float, str, bytes, Enum, timedelta)


def check_name(name: object, what: str) -> str:
    """*name* itself when it can name a service, task, workflow, method or channel. Raises `ValueError`."""
    if not isinstance(name, str) or not NAME.match(name):
        raise ValueError(f"{name!r} cannot name {what}: expected letters, digits, '_', '.' and '-', no digit first")
    if name.startswith("infinitic."):
        raise ValueError(f"{name!r} cannot name {what}: names that begin with 'infinitic.' are reserved")
    return name


class Options(Struct, frozen=True, omit_defaults=True):
    """What `options(...)` added to a call. *timeout* is in microseconds."""

    id: str | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    retry: Retry | None = None
    timeout: int | None = None


NO_OPTIONS = Options()


def as_timeout(value: Duration | None, what: str) -> int | None:
    """A timeout in microseconds. Raises for what is not a positive duration, naming *what*."""
    if value is None:
        return None
    length = microseconds(value, what)
    if length <= 0:
        raise ValueError(f"{what} must be more than zero seconds, not {value!r}")
    return length


def as_tags(tags: Iterable[str]) -> tuple[str, ...]:
    """Tags, sorted and each once. Raises `TypeError` for a bare string or for what is no text."""
    if isinstance(tags, str):
        raise TypeError(f"tags takes a collection of strings; write tags=[{tags!r}]")
    result = set(tags)
    for tag in result:
        if not isinstance(tag, str) or not tag.strip():
            raise TypeError(f"a tag is a text that is not blank, not {tag!r}")
    return tuple(sorted(result))


class Definition:
    """A function that can be described by a call: a task, a workflow function, a method, a query.

    *owner* is the name of its service or workflow, *bound* says whether its first parameter is `self`.
    """

    kind: ClassVar[str] = "task"

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        self.fn = fn
        self.name = check_name(name if name is not None else getattr(fn, "__name__", "?"), f"a {self.kind}")
        self.owner = self.name
        self.bound = False
        self.cache: Any = None  # the runtime's: how to encode and decode what this takes and gives
        self.__doc__ = getattr(fn, "__doc__", None)
        self.__name__ = self.name
        self.__qualname__ = getattr(fn, "__qualname__", self.name)
        self.__module__ = getattr(fn, "__module__", "")
        self.__wrapped__ = fn

    @property
    def label(self) -> str:
        """The name that messages use, as in `Hotels.book`."""
        return self.name if self.owner == self.name else f"{self.owner}.{self.name}"

    @property
    def parameters(self) -> list[inspect.Parameter]:
        """The parameters that a caller gives. Raises `TypeError` for *args and **kwargs."""
        parameters = list(inspect.signature(self.fn).parameters.values())[1 if self.bound else 0 :]
        for one in parameters:
            if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
                raise TypeError(f"{self.label} takes {one}: arguments travel by name, so give each a parameter")
        return parameters

    @property
    def signature(self) -> str:
        """The signature as a caller sees it, as in `Hotels.book(city: str, nights: int = 1)`."""
        shown = [p.replace(annotation=_readable(p.annotation)) for p in self.parameters]
        return f"{self.label}{inspect.Signature(shown)}"

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments as a struct. Raises `TypeError` with the signature when they do not fit."""
        try:
            return self.arguments_type(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self.signature}: {_problem(self, args, kwargs, error)}") from None

    def __getattr__(self, attribute: str) -> Any:
        if attribute == "arguments_type":  # made at first use: no type hint is resolved at decoration
            self.arguments_type = arguments_struct(self)
            return self.arguments_type
        raise AttributeError(f"{type(self).__name__} {self.__dict__.get('name')!r} has no attribute {attribute!r}")

    def __repr__(self) -> str:
        return f"<{self.kind} {self.label}>"


def _readable(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


class _Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _problem(definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any], error: TypeError) -> str:
    try:
        inspect.Signature(definition.parameters).bind(*args, **kwargs)
    except TypeError as exact:
        return str(exact)
    return str(error)


def arguments_struct(definition: Definition) -> type[Struct]:
    """A struct type with the definition's parameters as fields, positional ones first."""
    parameters = definition.parameters
    positional = [_field(one) for one in parameters if one.kind is not one.KEYWORD_ONLY]
    keywords = [_field(one) for one in parameters if one.kind is one.KEYWORD_ONLY]
    name = re.sub(r"\W", "_", definition.label)
    made = msgspec.defstruct(name, positional)
    return msgspec.defstruct(name, keywords, bases=(made,), kw_only=True) if keywords else made


def _field(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return (parameter.name, Any)
    if isinstance(default, _PLAIN):
        return (parameter.name, Any, default)
    return (parameter.name, Any, msgspec.field(default_factory=lambda: default))


class Call(Struct, Command[T_co], frozen=True):
    """A command that a client can carry too. Equal calls ask for the same with the same arguments."""

    definition: Any
    arguments: Any
    workflow_id: str = ""  # of the instance that is meant; "" starts a new one
    given: Options = NO_OPTIONS

    @property
    def label(self) -> str:
        """As in `Hotels.book(city='Oslo', nights=1)`, shortened."""
        shown = ", ".join(f"{name}={_short(getattr(self.arguments, name))}" for name in _fields(self.arguments))
        return f"{self.definition.label}({shown})"

    def options(
        self,
        *,
        id: str | None = None,
        tags: Iterable[str] = (),
        meta: dict[str, Any] | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
    ) -> Self:
        """A copy with these options; what is not given stays. *timeout* is in seconds, or a timedelta.

        *id* is the workflow id on a start; tasks take none (`TypeError`). *retry* is for tasks. *timeout* is an
        attempt's on a task, the whole run's on a start.
        """
        self._refuse(id=id, tags=tags, meta=meta, retry=retry, timeout=timeout)
        old = self.given
        new = Options(
            id=old.id if id is None else id,
            tags=as_tags(tags) or old.tags,
            meta={**old.meta, **(meta or {})},
            retry=old.retry if retry is None else retry,
            timeout=old.timeout if timeout is None else as_timeout(timeout, "options(timeout=)"),
        )
        return msgspec.structs.replace(self, given=new)

    takes: ClassVar[frozenset[str]] = frozenset()

    def _refuse(self, **options: Any) -> None:
        for name, value in options.items():
            if (value or value == 0) and name not in self.takes:
                takes = ", ".join(sorted(self.takes)) or "none"
                raise TypeError(f"{self.label} takes no option {name!r} (it takes: {takes})")

    def __repr__(self) -> str:
        return self.label


class TaskCall(Call[T_co], frozen=True):
    """Run a task of a service."""

    takes: ClassVar[frozenset[str]] = frozenset({"tags", "meta", "retry", "timeout"})


class StartCall(Call[T_co], frozen=True):
    """Start an instance of a workflow."""

    takes: ClassVar[frozenset[str]] = frozenset({"id", "tags", "meta", "timeout"})


class MethodCall(Call[T_co], frozen=True):
    """Call a method of the instance *workflow_id*."""


class Send(Call[None], frozen=True):
    """Send a signal: *definition* is the channel, *arguments* the value."""

    @property
    def label(self) -> str:
        """As in `Loyalty.bonus.send(5)`."""
        return f"{self.definition.label}.send({_short(self.arguments)})"


class Query(Struct, Generic[T_co], frozen=True):
    """A question to the instance *workflow_id*, for clients only: answered from its state, never recorded."""

    definition: Any
    arguments: Any
    workflow_id: str = ""

    @property
    def label(self) -> str:
        """As in `Loyalty.balance()`."""
        return f"{self.definition.label}(…)"


def _fields(arguments: Any) -> tuple[str, ...]:
    return getattr(arguments, "__struct_fields__", ())


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
