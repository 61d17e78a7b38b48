"""Calls: descriptions of a task, a workflow, a method, a signal or a query, with their arguments bound.

Arguments are bound where the call is written, by Python's own rules, into a small struct whose fields are the
parameters: what does not fit the signature is a `TypeError` there.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from copy import deepcopy
from datetime import datetime, timedelta
from enum import Enum
from functools import cached_property, partial, update_wrapper
from typing import Any, ClassVar, Generic, Literal, Self, TypeAlias, get_args

import msgspec
from msgspec import Struct

from dsl.commands import Command, T_co
from dsl.errors import InvalidId, ProtocolError
from dsl.policies import Retry
from dsl.timers import Duration, instant, microseconds

NAME = re.compile(r"[A-Za-z_][\w.-]*\Z", re.ASCII)
MAX_ID_BYTES = 255
ParentClose: TypeAlias = Literal["abandon", "cancel", "terminate"]
PARENT_CLOSE: tuple[str, ...] = get_args(ParentClose)
_PLAIN = (type(None), bool, int, float, str, bytes, Enum, timedelta)


def check_name(name: object, what: str) -> str:
    """*name* itself when it can name a service, task, workflow, method or channel. Raises `ValueError`."""
    if not isinstance(name, str) or not NAME.match(name):
        expected = "letters, digits, '_', '.' and '-', beginning with a letter or '_'"
        raise ValueError(f"{name!r} cannot name {what}: expected {expected}")
    if name.startswith("infinitic."):
        raise ValueError(f"{name!r} cannot name {what}: names that begin with 'infinitic.' are reserved")
    return name


def check_id(value: object, what: str = "a workflow id") -> str:
    """*value* itself when it can be an id: 1 to 255 bytes of UTF-8, not blank, no NUL. Raises `InvalidId`."""
    if not isinstance(value, str):
        raise InvalidId(what, repr(value), "a string")
    size = len(value.encode(errors="surrogatepass"))
    if size > MAX_ID_BYTES:
        raise InvalidId(what, repr(value[:40] + "…"), f"at most {MAX_ID_BYTES} bytes of UTF-8, and this has {size}")
    if not value.strip() or "\0" in value or any("\ud800" <= one <= "\udfff" for one in value):
        raise InvalidId(what, repr(value), "text that is not blank, without NUL and lone surrogates")
    return value


class Options(Struct, frozen=True, omit_defaults=True):
    """What `options(...)` added to a call. Durations and the instant *start_at* are in microseconds."""

    id: str | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = {}
    retry: Retry | None = None
    timeout: int | None = None
    total_timeout: int | None = None
    queue_timeout: int | None = None
    heartbeat: int | None = None
    delay: int | None = None
    start_at: int | None = None
    cleanup_timeout: int | None = None
    retention: int | None = None
    parent_close: str | None = None


NO_OPTIONS = Options()


def as_timeout(value: Duration | None, what: str) -> int | None:
    """A timeout in microseconds. Raises for what is not a positive duration, naming *what*."""
    if value is None:
        return None
    length = microseconds(value, what)
    if length <= 0:
        raise ValueError(f"{what} must be more than zero seconds, not {value!r}")
    return length


def as_delay(value: Duration, what: str) -> int:
    """A duration of zero or more, in microseconds. Raises as `as_timeout`."""
    length = microseconds(value, what)
    if length < 0:
        raise ValueError(f"{what} must be zero seconds or more, not {value!r}")
    return length


def as_parent_close(value: object, what: str) -> str:
    """*value* itself, one of "abandon", "cancel", "terminate". Raises `ValueError`, naming *what*."""
    if value not in PARENT_CLOSE:
        raise ValueError(f"{what} takes one of {', '.join(map(repr, PARENT_CLOSE))}, not {value!r}")
    return str(value)


def as_retry(value: Retry | None, what: str) -> Retry | None:
    """*value* itself. Raises `TypeError` for what is no policy, naming *what*."""
    if value is None or isinstance(value, Retry):
        return value
    raise TypeError(f"{what} takes a Retry, as in Retry(max_attempts=3), not {value!r}")


def as_sent_retry(value: Retry | None, what: str) -> Retry | None:
    """As `as_retry`, for a policy that travels with its call. Raises `TypeError` for one with a function too."""
    if isinstance(value, Retry) and value.decide is not None:
        raise TypeError(
            f"{what} takes no Retry(decide=…): a call may be sent anywhere, and its function stays here. "
            "Give that policy to @task(retry=…), or to Worker(retry=…)."
        )
    return as_retry(value, what)


def as_tags(tags: Iterable[str], what: str = "tags") -> tuple[str, ...]:
    """Tags, sorted and each once. Raises `TypeError` for a bare string, `InvalidId` for what cannot be a tag."""
    if isinstance(tags, str):
        raise TypeError(f"{what} takes a collection of strings; write [{tags!r}]")
    return tuple(sorted({check_id(tag, "a tag") for tag in tags}))


def as_meta(meta: object, what: str = "meta") -> dict[str, Any]:
    """What comes along with a call, by text keys. Raises `TypeError` for what is no such dict."""
    if meta is None:
        return {}
    if not isinstance(meta, dict) or not all(isinstance(key, str) for key in meta):
        raise TypeError(f"{what} takes a dict with text keys, not {meta!r}")
    return meta


def as_begun(given: Options, label: str) -> Options:
    """*given* itself. Raises `ValueError` when it begins what *label* names at two instants."""
    if given.delay is not None and given.start_at is not None:
        raise ValueError(f"{label} begins after delay=, or at start_at=: give one")
    return given


CHECKS: dict[str, Callable[[Any, str], Any]] = {
    "id": check_id,
    "tags": as_tags,
    "meta": as_meta,
    "retry": as_sent_retry,
    "timeout": as_timeout,
    "total_timeout": as_timeout,
    "queue_timeout": as_timeout,
    "heartbeat": as_timeout,
    "delay": as_delay,
    "start_at": instant,
    "cleanup_timeout": as_timeout,
    "retention": as_delay,
    "parent_close": as_parent_close,
}
"""What an option must be, and what of it is kept."""


class Definition:
    """A function that can be described by a call: a task, a workflow function, a method, a query.

    *owner* is the name of its service or workflow, *bound* says whether its first parameter is `self`.
    """

    kind: ClassVar[str] = "task"
    goes_on: ClassVar[str] = "a function or on a method of a Service"

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        if isinstance(fn, type | staticmethod | classmethod) or not callable(fn):
            raise TypeError(f"@{self.kind} goes on {self.goes_on}, not on {fn!r}")
        self.fn = fn
        self.name = check_name(name if name is not None else getattr(fn, "__name__", "?"), f"a {self.kind}")
        self.owner = self.name
        self.bound = False
        self.cache: Any = None  # the runtime's: how to encode and decode what this takes and gives
        wrapper: Any = self
        update_wrapper(wrapper, fn, updated=())

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
                raise TypeError(f"{self.label} takes {one}: arguments travel by name, so name each of them")
        return parameters

    @property
    def signature(self) -> str:
        """The signature as a caller sees it, as in `Hotels.book(city: str, nights: int = 1)`."""
        shown = [one.replace(annotation=_readable(one.annotation)) for one in self.parameters]
        return f"{self.label}{inspect.Signature(shown)}"

    @cached_property
    def arguments_type(self) -> type[Struct]:
        """The parameters as a struct type; made at first use, because it takes a look at the signature."""
        return arguments_struct(self)

    @cached_property
    def positional_only(self) -> frozenset[str]:
        """The parameters that cannot be given by name."""
        return frozenset(one.name for one in self.parameters if one.kind is one.POSITIONAL_ONLY)

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The arguments as a struct. Raises `TypeError` with the signature when they do not fit."""
        make = self.arguments_type
        try:
            if not kwargs or self.positional_only.isdisjoint(kwargs):
                return make(*args, **kwargs)
        except TypeError:
            pass
        raise TypeError(f"{self.signature}: {_problem(self, args, kwargs)}") from None

    def __repr__(self) -> str:
        return f"<{self.kind} {self.label}>"


class _Bare(str):
    """An annotation that is shown without quotes."""

    __slots__ = ()
    __repr__ = str.__str__


def _readable(annotation: Any) -> Any:
    return _Bare(annotation) if isinstance(annotation, str) else annotation


def _problem(definition: Definition, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    try:
        inspect.Signature(definition.parameters).bind(*args, **kwargs)
    except TypeError as exact:
        return str(exact)
    return "the arguments do not fit"


def attributes(cls: type) -> Iterator[tuple[str, list[Any]]]:
    """Each attribute of a class, with all that it and its bases hold under that name, nearest first."""
    for name in dict.fromkeys(name for base in cls.__mro__ for name in vars(base)):
        yield name, [vars(base)[name] for base in cls.__mro__ if name in vars(base)]


def arguments_struct(definition: Definition) -> type[Struct]:
    """A struct type with the definition's parameters as fields, positional ones first."""
    parameters = definition.parameters
    positional = [_field(one) for one in parameters if one.kind is not one.KEYWORD_ONLY]
    keywords = [_field(one) for one in parameters if one.kind is one.KEYWORD_ONLY]
    name = re.sub(r"\W", "_", definition.label)
    made = msgspec.defstruct(name, positional, frozen=True)
    return msgspec.defstruct(name, keywords, bases=(made,), frozen=True, kw_only=True) if keywords else made


def _field(parameter: inspect.Parameter) -> Any:
    default = parameter.default
    if default is parameter.empty:
        return (parameter.name, Any)
    if isinstance(default, _PLAIN):
        return (parameter.name, Any, default)
    fresh = type(default) in (
        list,
        dict,
        set,
        bytearray,
    )  # a copy for each call: nobody sees another one's changes
    make = partial(deepcopy, default) if fresh else lambda: default
    return (parameter.name, Any, msgspec.field(default_factory=make))


class Call(Struct, Command[T_co], frozen=True):
    """A command that a client can carry too. Equal calls ask for the same with the same arguments."""

    definition: Any
    arguments: Any
    workflow_id: str = ""  # of the instance that is meant; "" starts a new one
    given: Options = NO_OPTIONS
    tag: str = ""  # of all instances that are meant, in place of one id

    takes: ClassVar[frozenset[str]] = frozenset()

    @property
    def label(self) -> str:
        """As in `Hotels.book(city='Oslo', nights=1)`, shortened."""
        names = self.arguments.__struct_fields__
        shown = ", ".join(f"{name}={_short(getattr(self.arguments, name))}" for name in names)
        return f"{self.definition.label}({shown})"

    def options(
        self,
        *,
        id: str | None = None,
        tags: Iterable[str] = (),
        meta: dict[str, Any] | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
        total_timeout: Duration | None = None,
        queue_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        delay: Duration | None = None,
        start_at: datetime | None = None,
        cleanup_timeout: Duration | None = None,
        retention: Duration | None = None,
        parent_close: ParentClose | None = None,
    ) -> Self:
        """A copy with these options; what is not given stays. Durations are in seconds or timedeltas.

        *id* is the workflow id on a start, the call id on a method, the signal id on a signal: the second of the
        same id changes nothing. *meta* is added key by key.

        For tasks: *retry*; *timeout* is an attempt's, *total_timeout* that of all attempts and the waiting between
        them, *queue_timeout* until a worker takes the task, *heartbeat* for how long an attempt may say nothing.

        For starts: *timeout* is the whole run's; code begins after *delay*, or at *start_at*, which is aware;
        *cleanup_timeout* is what a cancelled run has for its cleanup; *retention* is for how long it is kept after
        its end; *parent_close* says what becomes of a child when its parent ends.

        Raises `TypeError` for an option that this takes not; `InvalidId`, `TypeError` or `ValueError` for a wrong
        value.
        """
        given = {name: value for name, value in locals().items() if name in CHECKS and value not in (None, ())}
        for name in given:
            if name not in self.takes:
                takes = ", ".join(sorted(self.takes)) or "none"
                raise TypeError(f"{self.label} takes no option {name!r} (it takes: {takes})")
        new = {name: CHECKS[name](value, f"options({name}=)") for name, value in given.items()}
        if "meta" in new:
            new["meta"] = self.given.meta | new["meta"]
        return msgspec.structs.replace(self, given=as_begun(msgspec.structs.replace(self.given, **new), self.label))

    def __repr__(self) -> str:
        return self.label


class TaskCall(Call[T_co], frozen=True):
    """Run a task of a service."""

    takes: ClassVar[frozenset[str]] = frozenset(
        {"tags", "meta", "retry", "timeout", "total_timeout", "queue_timeout", "heartbeat"}
    )


class StartCall(Call[T_co], frozen=True):
    """Start an instance of a workflow."""

    takes: ClassVar[frozenset[str]] = frozenset(
        {"id", "tags", "meta", "timeout", "delay", "start_at", "cleanup_timeout", "retention", "parent_close"}
    )


class MethodCall(Call[T_co], frozen=True):
    """Call a method of the instance *workflow_id*, or of all that have the *tag*."""

    takes: ClassVar[frozenset[str]] = frozenset({"id"})

    def check_wait(self) -> None:
        """Raises `ProtocolError` when many would answer."""
        if self.tag:
            raise ProtocolError(
                f"{self.label} is for all instances tagged {self.tag!r}, and nobody can wait for all their answers: "
                "dispatch(…) it in a workflow, client.start(…) it elsewhere, or call one by its id."
            )

    def __iter__(self) -> Generator[Command[Any], Any, T_co]:
        self.check_wait()
        return super().__iter__()

    __await__ = __iter__


class Send(Call[None], frozen=True):
    """Send a signal, to an instance or all that have the *tag*: *definition* is the channel, *arguments* the value."""

    takes: ClassVar[frozenset[str]] = frozenset({"id"})

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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:39] + "…"
