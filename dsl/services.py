"""Services and their tasks: declared by a contract, implemented by a worker, described by a call."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    Literal,
    Never,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    overload,
)

from dsl.calls import Call, Definition, TaskCall, as_delay, as_retry, as_timeout, attributes, check_name
from dsl.commands import Coro, P, R, R_co, Raw_co
from dsl.policies import Retry
from dsl.timers import Duration

S = TypeVar("S", bound="Service")
Key = Callable[..., Hashable]


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
    batch = next((one.batch for one in found if isinstance(one, Task) and one.batch), None)
    implemented = [one.contract for one in found[own:] if isinstance(one, Task)]
    contracts = list(dict.fromkeys([*([batch.of] if batch is not None else []), *implemented]))
    if len(contracts) > 1:
        both = " and ".join(one.label for one in contracts)
        raise TypeError(f"{cls.__name__}.{attribute} would be both {both}: make a class for each")
    if isinstance(nearest, Task) and not contracts:
        nearest.owner = cls.service_name
    elif own or not isinstance(nearest, Task):
        task: Task[..., Any, Any] = nearest if isinstance(nearest, Task) else Task(nearest)
        task.bound, task.batch = True, batch
        task.implements(contracts[0])
        setattr(cls, attribute, task)


if TYPE_CHECKING:

    class ServiceTask(Protocol[P, R_co, Raw_co]):
        """A task of a service class: a protocol for the checkers, so that a plain `def` may override it."""

        def __call__(self, service: Any, /, *args: P.args, **kwargs: P.kwargs) -> R_co | Raw_co | Coro[R_co]: ...
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
        total_timeout: Duration | None = None,
        queue_timeout: Duration | None = None,
        heartbeat: Duration | None = None,
        interrupt: bool = True,
        delegated: bool = False,
        batch: Batch[Any] | None = None,
    ) -> None:
        super().__init__(fn, name=name)
        self.owner = check_name(service, "a service") if service is not None else self.name
        self.retry = as_retry(retry, "task(retry=)")
        self.timeout = as_timeout(timeout, "task(timeout=)")
        self.heartbeat = as_timeout(heartbeat, "task(heartbeat=)")
        self.interrupt = interrupt
        limits = {"total_timeout": total_timeout, "queue_timeout": queue_timeout}
        self.limits = {which: as_timeout(one, f"task({which}=)") for which, one in limits.items() if one is not None}
        self.contract: Task[..., Any, Any] = self
        self.named = name is not None or service is not None
        self.delegated, self.batch = bool(delegated), batch
        if batch is not None:
            self.implements(batch.of)

    def implements(self, contract: Task[..., Any, Any]) -> None:
        """Take the names of the *contract*, whose task this is. Raises `TypeError` when this has its own."""
        if self.named:
            raise TypeError(f"{contract.label} has its name from the contract: leave name= and service= out")
        if self.batch is not None and (self.delegated or contract.delegated):
            raise TypeError(f"{contract.label} is answered for by its batch: it cannot be delegated besides")
        self.contract = contract
        self.name, self.owner = contract.name, contract.owner

    def __set_name__(self, owner: type, name: str) -> None:
        if not issubclass(owner, Service):
            raise TypeError(f"@task {owner.__name__}.{name}: a class with tasks must be a Service")
        self.bound = True

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        if self.batch is not None:
            raise TypeError(f"{self.fn.__name__} runs {self.label} in batches: describe one call, {self.batch.example}")
        return TaskCall(self, self.bind(args, kwargs))

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self.contract if instance is None else self.fn.__get__(instance, owner)


class Batch(Generic[R]):
    """Calls of the task *of* are run together: at most *size* of them, or what came in *wait* from the first one on.

        @task(batch=Batch(charge, size=100, wait=0.05))
        def charge_all(calls: list[tuple[Card, int]]) -> list[Receipt | Exception]: ...

    Callers call the task itself, one call each; its body, if it has one, is not run by workers that have the batch.
    *wait* is in seconds or a timedelta. *key*, a function of a call's arguments, says which calls may be together:
    those with an equal key. Raises `TypeError` or `ValueError` for what cannot be.
    """

    @overload
    def __init__(
        self, of: Callable[..., Call[R]], /, *, size: int = 100, wait: Duration = 0.05, key: Key | None = None
    ) -> None: ...
    @overload  # in the body of the very class that declares the task
    def __init__(
        self, of: ServiceTask[..., R, Any], /, *, size: int = 100, wait: Duration = 0.05, key: Key | None = None
    ) -> None: ...
    def __init__(self, of: Any = None, /, *, size: Any = 100, wait: Duration = 0.05, key: Any = None) -> None:
        if not isinstance(of, Task) or of.batch is not None:
            raise TypeError(f"Batch(…) takes first the task whose calls it runs, as in Batch(charge), not {of!r}")
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"Batch(size={size!r}): expected a whole number from 1 on")
        if key is not None and not callable(key):
            raise TypeError(f"Batch(key={key!r}): expected a function of a call's arguments")
        self.of: Task[..., Any, Any] = of
        self.size, self.wait, self.key = size, as_delay(wait, "Batch(wait=)"), key

    @property
    def example(self) -> str:
        """How a call of the task is described, as in `charge(card, cents)`."""
        return f"{self.of.label}({', '.join(one.name for one in self.of.parameters)})"


Answers = Sequence[R | BaseException]


class BatchDecorator(Generic[R]):
    """`@task(batch=…)`: makes a function of a list of argument tuples the body of a task, for many calls at once."""

    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], Coro[Answers[R]]], /) -> ServiceTask[P, Never, Coro[Any]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], Answers[R]], /) -> ServiceTask[P, Never, Sequence[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[Answers[R]]], /) -> Task[P, Never, Coro[Any]]: ...
    @overload
    def __call__(self, fn: Callable[P, Answers[R]], /) -> Task[P, Never, Sequence[Any]]: ...
    def __call__(self, fn: Any, /) -> Any:
        raise NotImplementedError  # for the checkers: at run time this is a `partial`


class DelegatedDecorator:
    """`@task(delegated=True)`: what the function says that it returns is the answer that somebody else will give.

    So it may return None, whatever that is.
    """

    @overload
    def __call__(  # type: ignore[overload-overlap]  # as said of `TaskDecorator`
        self, fn: Callable[Concatenate[S, P], Coro[None]], /
    ) -> ServiceTask[P, None, Coro[None]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], None], /) -> ServiceTask[P, None, None]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # as said of `TaskDecorator`
        self, fn: Callable[Concatenate[S, P], Coro[R | None]], /
    ) -> ServiceTask[P, R, Coro[R | None]]: ...
    @overload
    def __call__(self, fn: Callable[Concatenate[S, P], R | None], /) -> ServiceTask[P, R, R | None]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[None]], /) -> Task[P, None, Coro[None]]: ...
    @overload
    def __call__(self, fn: Callable[P, None], /) -> Task[P, None, None]: ...
    @overload
    def __call__(self, fn: Callable[P, Coro[R | None]], /) -> Task[P, R, Coro[R | None]]: ...
    @overload
    def __call__(self, fn: Callable[P, R | None], /) -> Task[P, R, R | None]: ...
    def __call__(self, fn: Any, /) -> Any:
        raise NotImplementedError  # for the checkers: at run time this is a `partial`


class BodyOptions(TypedDict, total=False):
    """What `@task(…)` takes for whatever runs."""

    retry: Retry | None
    timeout: Duration | None
    heartbeat: Duration | None
    interrupt: bool


class TaskOptions(BodyOptions, total=False):
    """What it takes for a task that workflows call."""

    name: str | None
    service: str | None
    total_timeout: Duration | None
    queue_timeout: Duration | None


class TaskDecorator:
    """`@task` or `@task(…)`: makes a function, or a method of a `Service`, a task.

    Durations are in seconds or timedeltas: *timeout* for an attempt; *total_timeout* for all attempts and the waiting
    between them; *queue_timeout* until a worker begins an attempt that was sent; *heartbeat* for how long an attempt
    may say nothing. A `def` task that took too long, or is cancelled, gets `Cancelled` raised in its thread, unless
    *interrupt* is False. What the workflow watches over (total and queue) is the contract's, not the implementation's.
    *retry* says when a failed attempt is tried again, see `Retry`; where it is missing the worker's goes.
    A function is a service of its own unless *service* groups it.

    *delegated*: when the function has returned, whatever it returned, the task stays open until somebody completes it
    (`client.complete(task_id, value)`) or fails it; `current_task().id` is the id to hand out. The function's return
    type is that of the answer. *batch*: the function runs many calls of another task at once, see `Batch`.

    Raises `TypeError` for what is no function, `ValueError` for what cannot be a name or a duration.
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
    def __call__(self, /, *, delegated: Literal[True], **options: Unpack[TaskOptions]) -> DelegatedDecorator: ...
    @overload
    def __call__(self, /, *, batch: Batch[R], **options: Unpack[BodyOptions]) -> BatchDecorator[R]: ...
    @overload
    def __call__(self, /, **options: Unpack[TaskOptions]) -> TaskDecorator: ...
    def __call__(self, fn: Any = None, /, **options: Any) -> Any:
        return partial(Task, **options) if fn is None else Task(fn)


task = TaskDecorator()
