"""Programs: the code of one workflow as the engine runs it, a function or a class of methods."""

from __future__ import annotations

import sys
from typing import Any

from dsl.calls import Definition
from dsl.channels import Channel
from dsl.workflows import Workflow, WorkflowFunction


class Program:
    """The code of the workflow *name*. *fingerprint* tells one state of its source from another."""

    __slots__ = ("channels", "definition", "fingerprint", "members", "name", "version")

    def __init__(self, definition: WorkflowFunction[..., Any, Any] | type[Workflow], fingerprint: str = "") -> None:
        self.definition, self.fingerprint, self.version = definition, fingerprint, 1
        self.members: dict[str, Definition] = {}
        self.channels: dict[str, Channel[Any]] = {}
        if isinstance(definition, WorkflowFunction):
            self.name = definition.name
            self.members[""] = definition
        else:
            self.name = definition.workflow_name
            self.members.update(definition.members())
            around = getattr(sys.modules.get(definition.__module__), "__dict__", {}).values()
            self.channels.update({one.name: one for one in around if isinstance(one, Channel)})
            self.channels.update(definition.channels())

    def member(self, name: str) -> Definition | None:
        """The workflow function (named ""), a method or a query; None when there is none of this name."""
        return self.members.get(name)

    def known(self, kind: str) -> str:
        """What it has of a kind, for messages."""
        names = ", ".join(name for name, one in self.members.items() if one.kind == kind)
        return f"(it has: {names or 'none'})"

    def new_state(self) -> Any:
        """A fresh object of the workflow class; None for a workflow function."""
        return self.definition() if isinstance(self.definition, type) else None

    def start(self, definition: Definition, state: Any, signature: Any, arguments: Any) -> Any:
        """Call the function or method: a generator, a coroutine, or what a plain function returned."""
        fn = definition.fn if state is None else definition.fn.__get__(state)
        return signature.call(fn, arguments)
