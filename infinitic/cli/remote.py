"""Calls by name: of workflows, tasks, methods, queries and channels whose code is not at hand.

The definitions made here take exactly the arguments that were given, of any type: the worker, which has the
code, judges whether they fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, Signature
from types import new_class
from typing import Any

from dsl.calls import Call, Query
from dsl.channels import Channel
from dsl.services import Task
from dsl.workflows import Method, QueryMethod, Workflow, WorkflowFunction


def start(workflow: str, method: str, arguments: Mapping[str, Any]) -> Call[Any]:
    """The start of an instance, by the *method* of a workflow class, or "" for a workflow function.

    Raises `ValueError` for what cannot be a name.
    """
    if not method:
        made: WorkflowFunction[..., Any, Any] = WorkflowFunction(_taking(arguments), name=workflow)
        return made(**arguments)
    call: Call[Any] = getattr(_class(workflow, method, Method(_taking(["self", *arguments]), name=method)), method)(
        **arguments
    )
    return call


def task(service: str, name: str, arguments: Mapping[str, Any]) -> Call[Any]:
    """The call of a task of a *service*; that of a function is named as it is. Raises `ValueError`."""
    made: Task[..., Any, Any] = Task(_taking(arguments), name=name, service=service)
    return made(**arguments)


def call(workflow: str, workflow_id: str, method: str, arguments: Mapping[str, Any]) -> Call[Any]:
    """The call of a method of an instance. Raises `ValueError`."""
    made = _class(workflow, method, Method(_taking(["self", *arguments]), name=method))
    called: Call[Any] = getattr(made.by_id(workflow_id), method)(**arguments)
    return called


def query(workflow: str, workflow_id: str, name: str, arguments: Mapping[str, Any]) -> Query[Any]:
    """A question to an instance. Raises `ValueError`."""
    made = _class(workflow, name, QueryMethod(_taking(["self", *arguments]), name=name))
    asked: Query[Any] = getattr(made.by_id(workflow_id), name)(**arguments)
    return asked


def signal(workflow_id: str, channel: str, value: Any) -> Call[None]:
    """A signal to an instance. Raises `ValueError`."""
    return Channel[Any](name=channel).by_id(workflow_id).send(value)


def _class(workflow: str, attribute: str, member: Method[..., Any, Any] | QueryMethod[..., Any]) -> type[Workflow]:
    return new_class("Remote", (Workflow,), {"name": workflow}, lambda body: body.update({attribute: member}))


def _taking(names: Iterable[str]) -> Callable[..., Any]:
    """A function with parameters of these names and of any type."""

    def remote(**arguments: Any) -> Any:
        raise NotImplementedError

    parameters = [Parameter(name, Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    remote.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # what inspect reads
    return remote
