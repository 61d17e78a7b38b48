"""Workflows: generator functions, or classes of them that share state between methods."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Concatenate, Generic, Self, TypeVar, overload

from dsl.calls import Call, Definition, MethodCall, Query, StartCall, attributes, check_id, check_name
from dsl.channels import Channel, Sender
from dsl.commands import Coro, Flow, P, R, R_co, Raw_co

W = TypeVar("W", bound="Workflow")


class WorkflowFunction(Definition, Generic[P, R_co, Raw_co]):
    """A workflow function. Calling it describes a start; `.fn` is the raw function."""

    kind = "workflow"
    goes_on = "a function; a class of methods inherits from Workflow"
    fn: Callable[P, Raw_co]

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None, version: int = 1) -> None:
        super().__init__(fn, name=name)
        self.version = version

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return StartCall(self, self.bind(args, kwargs))


class WorkflowDecorator:
    """`@workflow` or `@workflow(name=…)`: makes a generator function, `async def` or plain `def` a workflow.

    Raises `TypeError` for what is no function, `ValueError` for what cannot be a name.
    """

    @overload
    def __call__(self, fn: Callable[P, Flow[R]], /) -> WorkflowFunction[P, R, Flow[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[R]], /) -> WorkflowFunction[P, R, Coro[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> WorkflowFunction[P, R, R]: ...
    @overload
    def __call__(self, /, *, name: str | None = None) -> WorkflowDecorator: ...
    def __call__(self, fn: Any = None, /, *, name: str | None = None) -> Any:
        return partial(WorkflowFunction, name=name) if fn is None else WorkflowFunction(fn)


class Member(Definition):
    """What methods and queries of a workflow class share: the class that holds them."""

    goes_on = "a function of a Workflow class"
    holder: type[Workflow]
    call: Callable[[str, Any], Any]

    def __init__(self, fn: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(fn, name=name)
        self.bound = True

    def __set_name__(self, owner: Any, name: str) -> None:
        if not (isinstance(owner, type) and issubclass(owner, Workflow)):
            raise TypeError(f"@{self.kind} {owner.__name__}.{name}: a class with methods must be a Workflow")
        self.holder = owner

    def describe(self, holder: type[Workflow], workflow_id: str) -> Any:
        """What describes a call of this on *holder*, of the instance *workflow_id*, or of a new one ("")."""
        return Described(vars(holder)["_members"].get(self.name, self), workflow_id)


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
    """A method of a workflow class: the class's own starts an instance, that of `by_id` is called on one."""

    kind = "method"

    @overload
    def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Call[R_co]]: ...
    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, Raw_co]: ...
    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.describe(owner, "") if instance is None else self.fn.__get__(instance, owner)

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
        return self.describe(owner, "") if instance is None else self.fn.__get__(instance, owner)

    def call(self, workflow_id: str, arguments: Any) -> Query[Any]:
        """The query with bound *arguments*. Raises `TypeError` when no instance is named."""
        if not workflow_id:
            raise TypeError(f"the query {self.label} needs an instance: {self.owner}.by_id('…').{self.name}(…)")
        return Query(self, arguments, workflow_id)


class MethodDecorator:
    """`@method` or `@method(name=…)`, in a `Workflow` class: on a generator, an `async def` or a plain `def`.

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

    Named after the class, or `class Loyalty(Workflow, name="loyalty")`. `__init__` takes no arguments and
    runs when an instance starts. Through the class a method starts a new instance.
    """

    workflow_name: str = ""
    _members: ClassVar[dict[str, Member]] = {}
    _channels: ClassVar[dict[str, Channel[Any]]] = {}

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
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
            parts.append(_owned(found, cls, own=attribute in vars(cls)))
        elif hidden and isinstance(hidden[0], Member | Channel):
            raise TypeError(f"{cls.__name__}.{attribute} hides {hidden[0]!r}: decorate it as that one is")
    return parts


def _owned(part: Any, cls: type[Workflow], *, own: bool) -> Any:
    if not own:
        original, part = part, object.__new__(type(part))
        vars(part).update(vars(original), cache=None)
    part.owner = cls.workflow_name
    if isinstance(part, Member):
        part.holder = cls
    return part


class Instance:
    """What `by_id` gives: the attributes of a workflow class, bound to one id."""

    __slots__ = ("_id", "_workflow")

    def __init__(self, workflow: type[Workflow], id: str) -> None:
        self._workflow, self._id = workflow, id

    def __getattr__(self, name: str) -> Any:
        found = inspect.getattr_static(self._workflow, name, None)
        if isinstance(found, Member):
            return found.describe(self._workflow, self._id)
        if isinstance(found, Channel):
            return Sender(self._workflow.channels()[found.name], self._id)
        known = ", ".join([*self._workflow.members(), *self._workflow.channels()])
        raise AttributeError(f"{self._workflow.__name__} has no method, query or channel {name!r} (it has: {known})")

    def __repr__(self) -> str:
        return f"{self._workflow.__name__}.by_id({self._id!r})"
