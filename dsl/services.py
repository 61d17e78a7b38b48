"""Services and their tasks: declared by a contract, implemented by a worker, described by a call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, overload

from dsl.calls import Call, Definition, TaskCall, as_timeout, check_name
from dsl.policies import Retry
from dsl.timers import Duration

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Raw_co = TypeVar("Raw_co", covariant=True)
S = TypeVar("S", bound="Service")


class Service:
    """A named group of tasks. A contract declares them with `@task`; an implementation overrides them.

    Named after the contract class, or `class Hotels(Service, name="hotels")`. Class access describes a call
    (`Hotels.book("Oslo")`), instance access runs the method (`AcmeHotels().book("Oslo")`).
    """

    service_name: str = ""

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        cls.service_name = check_name(name or cls.__name__, "a service")
        for attribute, value in list(vars(cls).items()):
            contract = _inherited(cls, attribute)
            if contract is not None and isinstance(value, Task):
                value.implements(contract)
            elif contract is not None and callable(value):
                task = Task(value)
                task.implements(contract)
                setattr(cls, attribute, task)

    @classmethod
    def tasks(cls) -> dict[str, Task[..., Any, Any]]:
        """The tasks by attribute name, as implemented here."""
        names = {name for base in cls.__mro__ for name, value in vars(base).items() if isinstance(value, Task)}
        found = {name: _lookup(cls, name) for name in sorted(names)}
        return {name: task for name, task in found.items() if isinstance(task, Task)}


def _lookup(cls: type, name: str) -> Any:
    return next((vars(base)[name] for base in cls.__mro__ if name in vars(base)), None)


def _inherited(cls: type, name: str) -> Task[..., Any, Any] | None:
    found = next((vars(base)[name] for base in cls.__mro__[1:] if name in vars(base)), None)
    return found if isinstance(found, Task) else None


if TYPE_CHECKING:

    class ServiceTask(Protocol[P, R_co, Raw_co]):
        """A task of a service class: a protocol for the checkers, so that a plain function may override it."""

        def __call__(self, service: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co | Coroutine[Any, Any, R_co]: ...
        @overload
        def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Call[R_co]]: ...
        @overload
        def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, Raw_co]: ...


class Task(Definition, Generic[P, R_co, Raw_co]):
    """A task. Calling it describes the call; `.fn` is the raw function.

    In a service class, *contract* is the task that this one implements: itself where it was first declared.
    """

    kind = "task"

    def __init__(
        self,
        fn: Callable[..., Any],
        *,
        name: str | None = None,
        service: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
    ) -> None:
        super().__init__(fn, name=name)
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f"task(retry=…) takes a Retry, as in Retry(max_attempts=3), not {retry!r}")
        self.owner = check_name(service, "a service") if service is not None else self.name
        self.retry = retry
        self.timeout = as_timeout(timeout, "task(timeout=)")
        self.contract: Task[..., Any, Any] = self
        self.named = name is not None

    def implements(self, contract: Task[..., Any, Any]) -> None:
        """Take the names of the *contract*, whose task this is."""
        self.contract = contract.contract
        self.bound = True
        self.name, self.owner = self.contract.name, self.contract.owner

    def __set_name__(self, owner: type, name: str) -> None:
        if not issubclass(owner, Service):
            raise TypeError(f"@task {owner.__name__}.{name}: a class with tasks must be a Service")
        self.bound = True
        self.holder = owner

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return TaskCall(self, self.bind(args, kwargs))

    def __getattribute__(self, attribute: str) -> Any:
        if attribute == "owner":  # the class's own name is known only after its body
            holder = object.__getattribute__(self, "__dict__").get("holder")
            if holder is not None and object.__getattribute__(self, "contract") is self:
                return holder.service_name
        return object.__getattribute__(self, attribute)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.contract if instance is None else self.fn.__get__(instance, owner)


class TaskDecorator(Protocol):
    """What `task(…)` with options gives."""

    @overload
    def __call__(
        self, fn: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /
    ) -> ServiceTask[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], R], /) -> ServiceTask[P, R, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...


@overload
def task(
    fn: Callable[Concatenate[S, P], Coroutine[Any, Any, R]], /
) -> ServiceTask[P, R, Coroutine[Any, Any, R]]: ...
@overload
def task(fn: Callable[Concatenate[S, P], R], /) -> ServiceTask[P, R, R]: ...
@overload
def task(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R, Coroutine[Any, Any, R]]: ...
@overload
def task(fn: Callable[P, R], /) -> Task[P, R, R]: ...
@overload
def task(
    *,
    name: str | None = None,
    service: str | None = None,
    retry: Retry | None = None,
    timeout: Duration | None = None,
) -> TaskDecorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """Make a function, or a method of a `Service`, a task. *timeout* is an attempt's, in seconds or a timedelta.

    A function is a service of its own unless *service* groups it. Raises `TypeError` for what is no function.
    """
    if fn is None:
        return lambda function: Task(_function(function), **options)
    return Task(_function(fn))


def _function(fn: Any) -> Callable[..., Any]:
    if isinstance(fn, type) or not callable(fn) or isinstance(fn, staticmethod | classmethod):
        raise TypeError(f"@task goes on a function or on a method of a Service, not on {fn!r}")
    return fn  # type: ignore[no-any-return]  # callable, as was just checked
