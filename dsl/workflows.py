"""Workflows: generator functions, or classes of them that share state between methods."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from dsl.calls import Call, Definition, MethodCall, Query, StartCall, check_name
from dsl.channels import Channel, Sender
from dsl.commands import Command, Flow

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Raw_co = TypeVar("Raw_co", covariant=True)
W = TypeVar("W", bound="Workflow")


class WorkflowFunction(Definition, Generic[P, R_co, Raw_co]):
    """A workflow function. Calling it describes a start; `.fn` is the raw function."""

    kind = "workflow"

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None, version: int = 1) -> None:
        super().__init__(fn, name=name)
        self.version = version

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return StartCall(self, self.bind(args, kwargs))


class WorkflowDecorator(Protocol):
    """What `workflow(…)` with options gives."""

    @overload
    def __call__(self, fn: Callable[P, Generator[Command[Any], Any, R]], /) -> WorkflowFunction[P, R, Flow[R]]: ...
    @overload
    def __call__(
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> WorkflowFunction[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...


@overload
def workflow(fn: Callable[P, Generator[Command[Any], Any, R]], /) -> WorkflowFunction[P, R, Flow[R]]: ...
@overload
def workflow(fn: Callable[P, Coroutine[Any, Any, R]], /) -> WorkflowFunction[P, R, Coroutine[Any, Any, R]]: ...
@overload
def workflow(fn: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...
@overload
def workflow(*, name: str | None = None) -> WorkflowDecorator: ...
def workflow(fn: Any = None, /, *, name: str | None = None) -> Any:
    """Make a generator function, an `async def` or a plain function a workflow.

    Raises `TypeError` for what is no function; a class of methods inherits from `Workflow` instead.
    """

    def decorate(function: Any) -> Any:
        if isinstance(function, type):
            raise TypeError(f"@workflow goes on a function; write class {function.__name__}(Workflow) with @method")
        if not callable(function):
            raise TypeError(f"@workflow goes on a function, not on {function!r}")
        return WorkflowFunction(function, name=name)

    return decorate if fn is None else decorate(fn)


class Member(Definition):
    """What methods and queries of a workflow class share: the class that holds them."""

    holder: type[Workflow]

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(fn, name=name)
        self.bound = True

    def __set_name__(self, owner: Any, name: str) -> None:
        if not (isinstance(owner, type) and issubclass(owner, Workflow)):
            raise TypeError(f"@{self.kind} {owner.__name__}.{name}: a class with methods must be a Workflow")
        self.holder = owner

    def describe(self, holder: type[Workflow], workflow_id: str) -> Any:
        """What describes a call of this on *holder*, of the instance *workflow_id*, or of a new one ("")."""
        return Described(_held(self, holder), workflow_id)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.describe(owner, "") if instance is None else self.fn.__get__(instance, owner)


def _held(member: Member, holder: type[Workflow]) -> Member:
    """The member as *holder* has it: an inherited one is copied, so that it is known by the right workflow's name."""
    held = holder.__dict__.get("_members", {}).get(member.name)
    return held if held is not None else member


class Described:
    """A callable that describes calls of one member. `.definition` is the member, `.fn` its raw function."""

    __slots__ = ("definition", "workflow_id")

    def __init__(self, definition: Member, workflow_id: str) -> None:
        self.definition, self.workflow_id = definition, workflow_id

    @property
    def fn(self) -> Callable[..., Any]:
        return self.definition.fn

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.definition.call(self.workflow_id, self.definition.bind(args, kwargs))

    def __repr__(self) -> str:
        return repr(self.definition)


class Method(Member, Generic[P, R_co, Raw_co]):
    """A method of a workflow class: through the class it starts an instance, through `by_id` it is called on one."""

    kind = "method"

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Call[R_co]]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, Raw_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)

    def call(self, workflow_id: str, arguments: Any) -> Call[Any]:
        """The call with bound *arguments*."""
        return MethodCall(self, arguments, workflow_id) if workflow_id else StartCall(self, arguments)


class QueryMethod(Member, Generic[P, R_co]):
    """A query of a workflow class: reads the instance's state, records nothing."""

    kind = "query"

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Query[R_co]]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, R_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return super().__get__(instance, owner)

    def call(self, workflow_id: str, arguments: Any) -> Query[Any]:
        """The query with bound *arguments*. Raises `TypeError` when no instance is named."""
        if not workflow_id:
            raise TypeError(f"the query {self.label} needs an instance: {self.owner}.by_id('…').{self.name}(…)")
        return Query(self, arguments, workflow_id)


@overload
def method(fn: Callable[Concatenate[W, P], Generator[Command[Any], Any, R]], /) -> Method[P, R, Flow[R]]: ...
@overload
def method(fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]], /) -> Method[P, R, Coroutine[Any, Any, R]]: ...
@overload
def method(fn: Callable[Concatenate[W, P], R], /) -> Method[P, R, R]: ...
def method(fn: Any, /) -> Any:
    """Make a function of a `Workflow` class a method: a generator, an `async def`, or a plain function."""
    return Method(fn)


def query(fn: Callable[Concatenate[W, P], R], /) -> QueryMethod[P, R]:
    """Make a plain function of a `Workflow` class a query: it may read the instance and change nothing."""
    return QueryMethod(fn)


class Workflow:
    """A workflow with methods that share state, channels and queries.

    Named after the class, or `class Loyalty(Workflow, name="loyalty")`. `__init__` takes no arguments and runs when
    an instance starts. Through the class a method starts a new instance.
    """

    workflow_name: str = ""
    _members: dict[str, Member] = {}

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        cls.workflow_name = check_name(name or cls.__name__, "a workflow")
        cls._members = {}
        for attribute in {name for base in reversed(cls.__mro__) for name in vars(base)}:
            found = next(vars(base)[attribute] for base in cls.__mro__ if attribute in vars(base))
            if isinstance(found, Member):
                cls._members[found.name] = held = type(found)(found.fn, name=found.name)
                held.owner, held.holder = cls.workflow_name, cls

    @classmethod
    def by_id(cls, id: str) -> type[Self]:
        """The instance *id*, to call, to query and to send signals to. Raises `TypeError` for what is no text."""
        if not isinstance(id, str) or not id.strip():
            raise TypeError(f"{cls.__name__}.by_id() takes a workflow id, a text that is not blank, not {id!r}")
        return Instance(cls, id)  # type: ignore[return-value]  # shows the class's attributes, bound to the id

    @classmethod
    def members(cls) -> dict[str, Member]:
        """The methods and queries by name."""
        return dict(sorted(cls._members.items()))

    @classmethod
    def channels(cls) -> dict[str, Channel[Any]]:
        """The channels by name."""
        found = {name: value for base in reversed(cls.__mro__) for name, value in vars(base).items()}
        return {one.name: one for one in found.values() if isinstance(one, Channel)}


class Instance:
    """What `by_id` gives: the attributes of a workflow class, bound to one id."""

    __slots__ = ("_id", "_workflow")

    def __init__(self, workflow: type[Workflow], id: str) -> None:
        self._workflow, self._id = workflow, id

    def __getattr__(self, name: str) -> Any:
        found = next((vars(base)[name] for base in self._workflow.__mro__ if name in vars(base)), None)
        if isinstance(found, Member):
            return found.describe(self._workflow, self._id)
        if isinstance(found, Channel):
            return Sender(found, self._id)
        known = ", ".join([*self._workflow.members(), *self._workflow.channels()])
        raise AttributeError(f"{self._workflow.__name__} has no method, query or channel {name!r} (it has: {known})")

    def __repr__(self) -> str:
        return f"{self._workflow.__name__}.by_id({self._id!r})"
