"""Workflows: generator functions, or classes of them that share state between methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Concatenate, Generic, Literal, Self, TypeAlias, TypeVar, get_args, overload

from dsl.calls import (
    Call,
    Definition,
    MethodCall,
    Query,
    StartCall,
    as_delay,
    as_timeout,
    attributes,
    check_id,
    check_name,
)
from dsl.channels import Channel, Sender
from dsl.commands import Coro, Flow, P, R, R_co, Raw_co
from dsl.timers import Duration

W = TypeVar("W", bound="Workflow")
Check: TypeAlias = Literal["strict", "names", "off"]
"""How a replay compares what code asks for with history: all of it; kinds, names and positions; kinds and positions."""
CHECKS: tuple[str, ...] = get_args(Check)


def check_version(value: object) -> int:
    """*value* itself, a whole number from 1 on. Raises `ValueError` for anything else."""
    if type(value) is not int or value < 1:
        raise ValueError(f"a workflow's version is a whole number from 1 on, not {value!r}")
    return value


def check_mode(value: Check | None, what: str = "check") -> Check | None:
    """*value* itself. Raises `ValueError`, naming *what*, for what is no way to compare."""
    if value is not None and value not in CHECKS:
        raise ValueError(f"{what} takes one of {', '.join(map(repr, CHECKS))}, not {value!r}")
    return value


class WorkflowFunction(Definition, Generic[P, R_co, Raw_co]):
    """A workflow function. Calling it describes a start; `.fn` is the raw function."""

    kind = "workflow"
    goes_on = "a function; a class of methods inherits from Workflow"
    fn: Callable[P, Raw_co]

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        version: int = 1,
        check: Check | None = None,
        cleanup_timeout: Duration | None = None,
        retention: Duration | None = None,
    ) -> None:
        super().__init__(fn, name=name)
        self.version, self.check = check_version(version), check_mode(check)
        self.cleanup_timeout = as_timeout(cleanup_timeout, "@workflow(cleanup_timeout=)")
        self.retention = None if retention is None else as_delay(retention, "@workflow(retention=)")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return StartCall(self, self.bind(args, kwargs))

    def by_tag(self, tag: str) -> Tagged:
        """All instances of this that have the *tag*, for a client to cancel, retry or find. Raises `InvalidId`."""
        return Tagged(self, check_id(tag, "a tag"))


class WorkflowDecorator:
    """`@workflow` or `@workflow(…)`: makes a generator function, `async def` or plain `def` a workflow.

    *cleanup_timeout* is what a cancelled run has for its cleanup, in seconds or a timedelta; without it as long as it
    takes. *retention* is for how long its instances are kept after their end; without it the worker's settings say so.

    Of several with one name a worker begins new instances with the highest *version*; each goes on with its own.
    *check* says how replays compare the code with history: "strict" (which it is unless the worker says otherwise),
    "names" (kinds, names and positions, but no arguments), or "off" (kinds and positions).

    Raises `TypeError` for what is no function or no duration, `ValueError` for what cannot be a name, a version, a
    check or a length of time.
    """

    @overload
    def __call__(self, fn: Callable[P, Flow[R]], /) -> WorkflowFunction[P, R, Flow[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[R]], /) -> WorkflowFunction[P, R, Coro[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        version: int = 1,
        check: Check | None = None,
        cleanup_timeout: Duration | None = None,
        retention: Duration | None = None,
    ) -> WorkflowDecorator: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:
        if fn is not None:
            return WorkflowFunction(fn, **options)
        check_version(options.get("version", 1))
        check_mode(options.get("check"))
        return partial(WorkflowFunction, **options)


class Member(Definition):
    """What methods and queries of a workflow class share: the class that holds them."""

    goes_on = "a function of a Workflow class"
    holder: type[Workflow]
    call: Callable[[str, Any, str], Any]

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(fn, name=name)
        self.bound = True

    def __set_name__(self, owner: Any, name: str) -> None:
        if not (isinstance(owner, type) and issubclass(owner, Workflow)):
            raise TypeError(f"@{self.kind} {owner.__name__}.{name}: a class with methods must be a Workflow")
        self.holder = owner

    def describe(self, holder: type[Workflow], workflow_id: str, tag: str = "") -> Any:
        """What describes a call of this on *holder*: of an instance, of all that have a tag, or of a new one ("")."""
        return Described(vars(holder)["_members"].get(self.name, self), workflow_id, tag)


class Described:
    """A callable that describes calls of one member. `.definition` is the member, `.fn` its raw function."""

    __slots__ = ("definition", "tag", "workflow_id")

    def __init__(self, definition: Member, workflow_id: str, tag: str = "") -> None:
        self.definition, self.workflow_id, self.tag = definition, workflow_id, tag

    @property
    def fn(self) -> Callable[..., Any]:
        return self.definition.fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.definition.call(self.workflow_id, self.definition.bind(args, kwargs), self.tag)

    def __repr__(self) -> str:
        return repr(self.definition)


class Method(Member, Generic[P, R_co, Raw_co]):
    """A method of a workflow class: the class's own starts an instance, that of `by_id` is called on one."""

    kind = "method"
    check = ""  # the name of its validator

    def validator(self, fn: Callable[Concatenate[W, P], None], /) -> Callable[Concatenate[W, P], None]:
        """`@redeem.validator` on a plain function with the method's parameters and a name of its own; gives that.

        It is run when the method is called on an instance, before anything is recorded. It may only read, and
        refuses the call by raising: the caller gets that very error. A start through the class is not validated,
        nor a plain call through `self`. A subclass overrides it by its name, as any function; an override of the
        method keeps it. Raises `TypeError` for what has the method's name or is no function.
        """
        if not inspect.isfunction(fn) or fn.__name__ == self.fn.__name__:
            name = self.fn.__name__
            raise TypeError(
                f"@{name}.validator goes on a function of another name, as in def check_{name}, not on {fn!r}"
            )
        self.check = fn.__name__
        return fn

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Call[R_co]]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, Raw_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.describe(owner, "") if instance is None else self.fn.__get__(instance, owner)

    def call(self, workflow_id: str, arguments: Any, tag: str = "") -> Call[Any]:
        """The call with bound *arguments*."""
        if workflow_id or tag:
            return MethodCall(self, arguments, workflow_id, tag=tag)
        return StartCall(self, arguments)


class QueryMethod(Member, Generic[P, R_co]):
    """A query of a workflow class: reads the instance's state, records nothing."""

    kind = "query"

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Query[R_co]]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.describe(owner, "") if instance is None else self.fn.__get__(instance, owner)

    def call(self, workflow_id: str, arguments: Any, tag: str = "") -> Query[Any]:
        """The query with bound *arguments*. Raises `TypeError` when no instance is named."""
        if not workflow_id:
            raise TypeError(f"the query {self.label} needs an instance: {self.owner}.by_id('…').{self.name}(…)")
        return Query(self, arguments, workflow_id)


class MethodDecorator:
    """`@method` or `@method(name=…)`, in a `Workflow` class: on a generator, an `async def` or a plain `def`.

    Below `def redeem`, `@redeem.validator` is for a plain `def` that takes the same, and raises to refuse a call.

    Raises `TypeError` for what is no function, `ValueError` for what cannot be a name.
    """

    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], Flow[R]], /) -> Method[P, R, Flow[R]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], Coro[R]], /) -> Method[P, R, Coro[R]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> Method[P, R, R]: ...
    @overload
    def __call__(self, /, *, name: str | None = None) -> MethodDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None) -> Any:
        return partial(Method, name=name) if fn is None else Method(fn)


class QueryDecorator:
    """`@query` or `@query(name=…)`, in a `Workflow` class: on a plain `def` that reads and changes nothing.

    Raises `TypeError` for what is no function, `ValueError` for what cannot be a name.
    """

    @overload
    def __call__(self, fn: Callable[Concatenate[W, P], R], /) -> QueryMethod[P, R]: ...
    @overload
    def __call__(self, /, *, name: str | None = None) -> QueryDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None) -> Any:
        return partial(QueryMethod, name=name) if fn is None else QueryMethod(fn)


workflow = WorkflowDecorator()
method = MethodDecorator()
query = QueryDecorator()


class Workflow:
    """A workflow with methods that share state, channels and queries.

    Named after the class, or `class Loyalty(Workflow, name="loyalty")`; *version*, *check*, *cleanup_timeout* and
    *retention* are as for `@workflow`, the last two inherited. `__init__` takes no arguments and runs when an instance
    starts. Through the class a method starts a new instance.
    """

    workflow_name: str = ""
    workflow_version: int = 1
    workflow_check: Check | None = None
    workflow_retention: int | None = None
    workflow_cleanup_timeout: int | None = None
    _members: ClassVar[dict[str, Member]] = {}
    _channels: ClassVar[dict[str, Channel[Any]]] = {}

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        check: Check | None = None,
        cleanup_timeout: Duration | None = None,
        retention: Duration | None = None,
    ) -> None:
        super().__init_subclass__()
        cls.workflow_version, cls.workflow_check = check_version(version), check_mode(check)
        if cleanup_timeout is not None:
            cls.workflow_cleanup_timeout = as_timeout(cleanup_timeout, f"{cls.__name__}(cleanup_timeout=)")
        if retention is not None:
            cls.workflow_retention = as_delay(retention, f"{cls.__name__}(retention=)")
        cls.workflow_name = check_name(cls.__name__ if name is None else name, "a workflow")
        parts = _parts(cls)
        cls._members = {one.name: one for one in parts if isinstance(one, Member)}
        cls._channels = {one.name: one for one in parts if isinstance(one, Channel)}
        if len(parts) > len(cls._members) + len(cls._channels):
            raise TypeError(f"{cls.__name__} has two methods, queries or channels of the same name")

    @classmethod
    def by_id(cls, id: str) -> type[Self]:
        """The instance *id*, to call, to query and to send signals to. Raises `InvalidId`."""
        return Instance(cls, check_id(id))  # type: ignore[return-value]  # shows what the class has, bound to the id

    @classmethod
    def by_tag(cls, tag: str) -> type[Self]:
        """All instances that have the *tag*: to send signals to, to call without waiting, for clients to cancel.

        Meant are those that run when a worker takes it up: each gets it once, and what starts later does not. Raises
        `InvalidId`.
        """
        return Tagged(cls, check_id(tag, "a tag"))  # type: ignore[return-value]  # as by_id

    @classmethod
    def members(cls) -> dict[str, Member]:
        """The methods and queries by name."""
        return dict(sorted(cls._members.items()))

    @classmethod
    def channels(cls) -> dict[str, Channel[Any]]:
        """The channels by name."""
        return dict(sorted(cls._channels.items()))


def _parts(cls: type[Workflow]) -> list[Member | Channel[Any]]:
    """The methods, queries and channels of a workflow class: its own, and copies of what it inherits."""
    parts: list[Member | Channel[Any]] = []
    for attribute, (found, *hidden) in attributes(cls):
        if isinstance(found, Member | Channel):
            if hidden and isinstance(found, Member) and found.name == attribute:
                found.name = hidden[0].name  # an override keeps the name, unless it has one of its own
            if isinstance(found, Method):
                _validated(found, cls, hidden)
            parts.append(_owned(found, cls, own=attribute in vars(cls)))
        elif hidden and isinstance(hidden[0], Member | Channel):
            raise TypeError(f"{cls.__name__}.{attribute} hides {hidden[0]!r}: decorate it as that one is")
    return parts


def _validated(method: Method[..., Any, Any], cls: type[Workflow], hidden: list[Any]) -> None:
    """Give an overriding method the validator of the one it hides. Raises `TypeError` for one that does not fit."""
    method.check = method.check or next((one.check for one in hidden if isinstance(one, Method)), "")
    if method.check:
        _check_fit(method.fn, inspect.getattr_static(cls, method.check))


def _check_fit(method: Callable[..., Any], validator: Callable[..., Any]) -> None:
    name = validator.__qualname__
    wanted, given = (inspect.signature(one) for one in (method, validator))
    if [*map(_place, wanted.parameters.values())] != [*map(_place, given.parameters.values())]:
        raise TypeError(
            f"the validator {name}{given} is to take the parameters of {method.__qualname__}{wanted}: it gets the same"
        )
    if inspect.isgeneratorfunction(validator) or inspect.iscoroutinefunction(validator):
        raise TypeError(f"the validator {name} is no plain function: it only reads, and has nothing to wait for")


def _place(parameter: inspect.Parameter) -> tuple[str, Any]:
    return parameter.name, parameter.kind


def _owned(part: Any, cls: type[Workflow], *, own: bool) -> Any:
    if not own:
        original, part = part, object.__new__(type(part))
        vars(part).update(vars(original), cache=None)
    part.owner = cls.workflow_name
    if isinstance(part, Member):
        part.holder = cls
    return part


Addressed: TypeAlias = type[Workflow] | WorkflowFunction[..., Any, Any]


class Instance:
    """What `by_id` gives: the attributes of a workflow class, bound to one id; with a tag: to all that have it."""

    __slots__ = ("_id", "_tag", "_workflow")

    def __init__(self, workflow: Addressed, id: str, tag: str = "") -> None:
        self._workflow, self._id, self._tag = workflow, id, tag

    def __getattr__(self, name: str) -> Any:
        workflow = self._workflow
        if isinstance(workflow, WorkflowFunction):
            raise AttributeError(f"{self!r} has no {name!r}: a workflow function has no methods, queries and channels")
        found = inspect.getattr_static(workflow, name, None)
        if isinstance(found, Member):
            return found.describe(workflow, self._id, self._tag)
        if isinstance(found, Channel):
            return Sender(workflow.channels()[found.name], self._id, self._tag)
        known = ", ".join([*workflow.members(), *workflow.channels()])
        raise AttributeError(f"{workflow.__name__} has no method, query or channel {name!r} (it has: {known})")

    def __repr__(self) -> str:
        name = getattr(self._workflow, "__name__", "")
        return f"{name}.by_tag({self._tag!r})" if self._tag else f"{name}.by_id({self._id!r})"


class Tagged(Instance):
    """What `by_tag` gives: all instances of a workflow that have one tag."""

    __slots__ = ()

    def __init__(self, workflow: Addressed, tag: str) -> None:
        super().__init__(workflow, "", tag)


def named_by(tagged: Tagged) -> tuple[str, str]:
    """The workflow's name and the tag."""
    workflow = tagged._workflow
    return workflow.owner if isinstance(workflow, WorkflowFunction) else workflow.workflow_name, tagged._tag
