"""The registry: the workflows and services of one worker, checked when it is made.

What cannot be served is refused here, by name, before a single message is taken.
"""

from __future__ import annotations

import dis
import hashlib
import inspect
from collections.abc import Callable, Iterable
from types import CodeType
from typing import Any

from attrs import frozen

from dsl.calls import Definition
from dsl.policies import Retry
from dsl.protocol import ASYNC_GENERATOR
from dsl.services import Service, Task
from dsl.workflows import Check, Workflow, WorkflowFunction, check_mode
from infinitic.engine.alone import alone
from infinitic.engine.programs import Program
from infinitic.errors import RegistrationError
from infinitic.messages import FORMAT
from infinitic.serialization import Serializer, Signature
from infinitic.worker.batching import Batching, batching_of

SETTING_UP = frozenset({"RESUME", "RETURN_GENERATOR", "POP_TOP", "NOP", "COPY_FREE_VARS", "MAKE_CELL", "CACHE"})


@frozen
class Handler:
    """How one task is run: *fn* is bound; *retry*, *timeout* and *heartbeat* (microseconds) are what is set short of
    the call; *interrupt* is whether its thread may be interrupted.

    *delegated*: somebody else will answer when *fn* has returned. *batching*: *fn* takes a list of calls.
    """

    service: str
    name: str
    fn: Callable[..., Any]
    signature: Signature
    is_async: bool
    retry: Retry | None = None
    timeout: int | None = None
    heartbeat: int | None = None
    interrupt: bool = True
    delegated: bool = False
    batching: Batching | None = None

    @property
    def label(self) -> str:
        """As in `Hotels.book`."""
        return self.name if self.name == self.service else f"{self.service}.{self.name}"


class Registry:
    """What a worker serves: `programs` by workflow name, each in its highest version, `handlers` by (service, task).

    *retry*, *timeout* and *check* are for what says nothing of its own.
    """

    def __init__(
        self,
        workflows: Iterable[Any] = (),
        services: Iterable[Any] = (),
        *,
        codec: Serializer,
        retry: Retry | None = None,
        timeout: int | None = None,
        check: Check | None = None,
    ) -> None:
        self._codec = codec
        self._retry, self._timeout, self._check = retry, timeout, check_mode(check, "Worker(check=)")
        self.programs: dict[str, Program] = {}
        self.handlers: dict[tuple[str, str], Handler] = {}
        for workflow in workflows:
            self._add_workflow(workflow)
        if self.programs:
            self._add_workflow(alone)  # for the bare tasks of clients
        served = list(services)
        in_batches = batched(one for one in served if isinstance(one, Task))
        for service in served:
            if not isinstance(service, Task) or id(service) not in in_batches:
                self._add_service(service)

    @property
    def services(self) -> tuple[str, ...]:
        """The names of the services, each once."""
        return tuple(sorted({service for service, _ in self.handlers}))

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of all code of a workflow, by its name."""
        return {name: program.served for name, program in self.programs.items()}

    @property
    def every_program(self) -> list[Program]:
        """All versions of all workflows."""
        return [one for program in self.programs.values() for one in program.versions.values()]

    # --- workflows ---

    def _add_workflow(self, workflow: Any) -> None:
        if not _is_workflow(workflow):
            raise RegistrationError(f"workflows=[…] holds {workflow!r}, which is no workflow", _workflow_hint(workflow))
        program = Program(workflow, check=self._check)
        program.fingerprint = fingerprint(program)
        known = self.programs.get(program.name)
        if known is not None and program.version in known.versions:
            of_version = f", of version {program.version}" if program.version > 1 else ""
            both = _modules(known.versions[program.version].definition, workflow)
            raise RegistrationError(
                f"two workflows are named {program.name!r}{of_version}{both}",
                "Rename one, as in @workflow(name='…'), or number the later code, as in @workflow(version=2).",
            )
        if isinstance(workflow, type) and not any(d.kind == "method" for d in program.members.values()):
            raise RegistrationError(
                f"the workflow {program.name} has no @method", "Mark its first method with @method."
            )
        for definition in program.members.values():
            self._check_code(definition)
        if known is not None:
            known.versions[program.version] = program
            program.versions = known.versions
        self.programs[program.name] = program.versions[max(program.versions)]

    def _check_code(self, definition: Definition) -> None:
        if inspect.isasyncgenfunction(definition.fn):
            raise RegistrationError(f"{definition.label} is an async generator", ASYNC_GENERATOR)
        if definition.kind == "query" and (
            inspect.isgeneratorfunction(definition.fn) or inspect.iscoroutinefunction(definition.fn)
        ):
            raise RegistrationError(f"the query {definition.label} is no plain function", "A query only reads.")
        self._codec.signature(definition)

    # --- services ---

    def _add_service(self, service: Any) -> None:
        if isinstance(service, Task) and not service.bound:
            self._add_handler(service, service.fn)
        elif isinstance(service, type) and issubclass(service, Service):
            self._add_instance(_made(service))
        elif isinstance(service, Service):
            self._add_instance(service)
        else:
            raise RegistrationError(f"services=[…] holds {service!r}, which is no service", _service_hint(service))

    def _add_instance(self, service: Service) -> None:
        tasks = type(service).tasks()
        if not tasks:
            raise RegistrationError(f"the service {type(service).__name__} has no @task", "Mark its tasks with @task.")
        in_batches = batched(tasks.values())
        for attribute, task in tasks.items():
            if task.batch is None and id(task.contract) in in_batches:
                continue
            if not is_implemented(task):
                raise RegistrationError(
                    f"{type(service).__name__} does not implement the task {task.contract.label}",
                    f"Define {attribute}() in it, or register another implementation.",
                )
            if task.contract is not task and task.batch is None:
                _check_fit(type(service), task)
            self._add_handler(task, getattr(service, attribute))

    def _add_handler(self, task: Task[..., Any, Any], fn: Callable[..., Any]) -> None:
        contract = task.contract
        key = (contract.owner, contract.name)
        if key in self.handlers:
            both = _modules(self.handlers[key].fn, fn)
            raise RegistrationError(
                f"two services give the task {contract.label}{both}", "Register one of them, or rename by name='…'."
            )
        if inspect.isasyncgenfunction(task.fn) or inspect.isgeneratorfunction(task.fn):
            raise RegistrationError(f"the task {contract.label} is a generator", "A task returns its answer.")
        signature = self._codec.signature(task if task.batch is None else contract)
        self.handlers[key] = Handler(
            service=contract.owner,
            name=contract.name,
            fn=fn,
            signature=signature,
            is_async=inspect.iscoroutinefunction(task.fn),
            retry=_first(self._retry, task.retry, contract.retry),
            timeout=_first(self._timeout, task.timeout, contract.timeout),
            heartbeat=_first(task.heartbeat, contract.heartbeat),
            interrupt=task.interrupt and contract.interrupt,
            delegated=task.delegated or contract.delegated,
            batching=None if task.batch is None else batching_of(task, task.batch, signature),
        )


def batched(tasks: Iterable[Task[..., Any, Any]]) -> set[int]:
    """Those tasks, by identity, of which some of *tasks* run the calls in batches: their own bodies are not run."""
    return {id(one.contract) for one in tasks if one.batch is not None}


def _first(*options: Any) -> Any:
    """What is said nearest to the call: by the worker, the implementation, the contract."""
    return next((one for one in options if one is not None), None)


def _is_workflow(value: Any) -> bool:
    return isinstance(value, WorkflowFunction) or (
        isinstance(value, type) and issubclass(value, Workflow) and value is not Workflow
    )


def _modules(*both: Any) -> str:
    """Where two of one name are, as in `, in acme.flows and in other.flows`; "" for one module."""
    names = [getattr(getattr(one, "fn", one), "__module__", "") for one in both]
    return f", in {names[0]} and in {names[1]}" if len(set(names)) > 1 else ""


def _workflow_hint(value: Any) -> str:
    if isinstance(value, Task):
        return "It is a task: give it as services=[…]."
    if inspect.isgeneratorfunction(value) or inspect.iscoroutinefunction(value):
        return f"Decorate it with @workflow: {getattr(value, '__name__', 'it')} is a bare function."
    return "Give functions decorated with @workflow, and subclasses of Workflow."


def _service_hint(value: Any) -> str:
    if _is_workflow(value):
        return "It is a workflow: give it as workflows=[…]."
    if inspect.isfunction(value):
        return f"Decorate it with @task: {value.__name__} is a bare function."
    return "Give functions decorated with @task, subclasses of Service, or instances of them."


def _made(service: type[Service]) -> Service:
    try:
        return service()
    except TypeError as error:
        raise RegistrationError(
            f"the service {service.__name__} cannot be made without arguments: {error}",
            f"Give an instance, as in services=[{service.__name__}(…)].",
        ) from None


def _bare() -> None: ...


def _documented() -> None:
    """Nothing."""


async def _bare_async() -> None: ...


async def _documented_async() -> None:
    """Nothing."""


# what this interpreter makes of a body that does nothing: it differs from version to version
EMPTY = {one.__code__.co_code for one in (_bare, _documented, _bare_async, _documented_async)}


def is_implemented(task: Task[..., Any, Any]) -> bool:
    """Whether the body is more than `raise NotImplementedError`, `...`, `pass` or a docstring."""
    code = task.fn.__code__ if inspect.isfunction(task.fn) else None
    if code is None:
        return True
    steps = [one for one in dis.get_instructions(code) if one.opname not in SETTING_UP]
    answers = [one for one in steps if one.opname.startswith("RETURN")]
    if not answers:
        return code.co_names != ("NotImplementedError",)
    if task.contract is not task:
        return True  # an override that does nothing may mean just that
    return code.co_code not in EMPTY or code.co_consts[-1] is not None


def _check_fit(service: type, task: Task[..., Any, Any]) -> None:
    """Refuse an implementation that cannot take what its contract's callers give."""
    wanted = {one.name: one for one in task.contract.parameters}
    given = {one.name: one for one in task.parameters}
    missing = [name for name in wanted if name not in given]
    extra = [name for name, one in given.items() if name not in wanted and one.default is one.empty]
    if missing or extra:
        problem = f"lacks {', '.join(missing)}" if missing else f"also requires {', '.join(extra)}"
        raise RegistrationError(
            f"{service.__name__}.{task.contract.name}{inspect.Signature(task.parameters)} {problem}",
            f"The contract is {task.contract.signature}.",
        )
    for name, one in wanted.items():
        if one.default is not one.empty and given[name].default is given[name].empty:
            raise RegistrationError(
                f"{service.__name__}.{task.contract.name}() has no default for {name}",
                f"The contract is {task.contract.signature}.",
            )


def fingerprint(program: Program) -> str:
    """A SHA-256 over the workflow's name, version and the source of its module, as far as that can be read.

    Over the format too: what came from a newer release is offered to that release, though the code is the same. And
    over how it is compared: what one way of comparing could not go on with, another may.
    """
    workflow = program.definition
    holder = workflow if isinstance(workflow, type) else workflow.fn
    module = inspect.getmodule(holder)
    try:
        source = inspect.getsource(module) if module is not None else _compiled(holder)
    except (OSError, TypeError):
        source = _compiled(holder)
    about = f"{FORMAT}\n{program.name}\n{program.version}\n{program.check}\n{source}"
    return hashlib.sha256(about.encode()).hexdigest()


def _compiled(holder: Any) -> str:
    functions = vars(holder).values() if isinstance(holder, type) else [holder]
    codes = [getattr(getattr(fn, "fn", fn), "__code__", None) for fn in functions]
    return "\n".join(_told(code) for code in codes if code is not None)


def _told(code: CodeType) -> str:
    inner = [_told(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return f"{code.co_code!r}{code.co_names!r}{inner!r}"
