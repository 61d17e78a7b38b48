"""Services and their tasks: declared by a contract, implemented by a worker, described by a call."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Protocol, TypeVar, overload

from dsl.calls import Call, Definition, TaskCall, as_retry, as_timeout, attributes, check_name
from dsl.commands import Coro, P, R, R_co, Raw_co
from dsl.policies import Retry
from dsl.timers import Duration

S = TypeVar("S", bound="Service")


class Service:
    """A named group of tasks. A contract declares them with `@task`; an implementation overrides them.

    Named after the contract class, or `class Hotels(Service, name="hotels")`. Class access describes a call
    (`Hotels.book("Oslo")`), instance access runs the method (`AcmeHotels().book("Oslo")`).
    """

    service_name: str = ""

    def __init_subclass__(cls, *, name: str | None = None) -> None:
        super().__init_subclass__()
        cls.service_name = check_name(cls.__name__ if name is None else name, "a service")
        for attribute, found in attributes(cls):
            if any(isinstance(one, Task) for one in found):
                _implement(cls, attribute, found)

    @classmethod
    def tasks(cls) -> dict[str, Task[..., Any, Any]]:
        """The tasks by attribute name, as implemented here."""
        return {name: found[0] for name, found in sorted(attributes(cls)) if isinstance(found[0], Task)}


def _implement(cls: type[Service], attribute: str, found: list[Any]) -> None:
    """Give the task *attribute* its names: of *cls* when it is declared there, else of the contract."""
    nearest, own = found[0], attribute in vars(cls)
    contracts = list(dict.fromkeys(one.contract for one in found[own:] if isinstance(one, Task)))
    if len(contracts) > 1:
        both = " and ".join(one.label for one in contracts)
        raise TypeError(f"{cls.__name__}.{attribute} would be both {both}: make a class for each")
    if isinstance(nearest, Task) and not contracts:
        nearest.owner = cls.service_name
    elif own or not isinstance(nearest, Task):
        task: Task[..., Any, Any] = nearest if isinstance(nearest, Task) else Task(nearest)
        task.implements(contracts[0])
        setattr(cls, attribute, task)


if TYPE_CHECKING:

    class ServiceTask(Protocol[P, R_co, Raw_co]):
        """A task of a service class: a protocol for the checkers, so that a plain `def` may override it."""

        def __call__(self, service: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co | Coro[R_co]: ...
        @overload
        def __get__(self, instance: None, owner: type[Any], /) -> Callable[P, Call[R_co]]: ...
        @overload
        def __get__(self, instance: object, owner: type[Any] | None = None, /) -> Callable[P, Raw_co]: ...


class Task(Definition, Generic[P, R_co, Raw_co]):
    """A task. Calling it describes the call; `.fn` is the raw function.

    In a service class, *contract* is the task that this one implements: itself where it was first declared.
    """

    kind = "task"
    fn: Callable[P, Raw_co]

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
        self.owner = check_name(service, "a service") if service is not None else self.name
        self.retry = as_retry(retry, "task(retry=)")
        self.timeout = as_timeout(timeout, "task(timeout=)")
        self.contract: Task[..., Any, Any] = self
        self.named = name is not None or service is not None

    def implements(self, contract: Task[..., Any, Any]) -> None:
        """Take the names of the *contract*, whose task this is. Raises `TypeError` when this has its own."""
        if self.named:
            raise TypeError(f"{contract.label} has its name from the contract: leave name= and service= out")
        self.contract = contract
        self.bound = True
        self.name, self.owner = contract.name, contract.owner

    def __set_name__(self, owner: type, name: str) -> None:
        if not issubclass(owner, Service):
            raise TypeError(f"@task {owner.__name__}.{name}: a class with tasks must be a Service")
        self.bound = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        return TaskCall(self, self.bind(args, kwargs))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.contract if instance is None else self.fn.__get__(instance, owner)


class TaskDecorator:
    """`@task` or `@task(…)`: makes a function, or a method of a `Service`, a task.

    *timeout* is an attempt's, in seconds or a timedelta. A function is a service of its own unless *service*
    groups it. Raises `TypeError` for what is no function, `ValueError` for what cannot be a name or timeout.
    """

    @overload  # one case of the fourth too: a method is a function whose first parameter is a service
    def __call__(  # type: ignore[overload-overlap]  # as said above
        self, fn: Callable[Concatenate[S, P], Coro[R]], /
    ) -> ServiceTask[P, R, Coro[R]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], R], /) -> ServiceTask[P, R, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[R]], /) -> Task[P, R, Coro[R]]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def __call__(
        self,
        /,
        *,
        name: str | None = None,
        service: str | None = None,
        retry: Retry | None = None,
        timeout: Duration | None = None,
    ) -> TaskDecorator: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:
        return partial(Task, **options) if fn is None else Task(fn)


task = TaskDecorator()
