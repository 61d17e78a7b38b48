"""Programs: the code of one workflow as the engine runs it, a function or a class of methods."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from dsl.calls import Definition
from dsl.channels import Channel
from dsl.workflows import Check, Workflow, WorkflowFunction
from infinitic.records import StateRecord


class Program:
    """The code of one version of the workflow *name*. *fingerprint* tells one state of its source from another.

    *versions* are all that are at hand under this name, by number. *check* says how replays compare.
    """

    __slots__ = (
        "channels",
        "check",
        "cleanup_timeout",
        "definition",
        "fingerprint",
        "members",
        "name",
        "retention",
        "version",
        "versions",
    )

    def __init__(
        self,
        definition: WorkflowFunction[..., Any, Any] | type[Workflow],
        fingerprint: str = "",
        check: Check | None = None,
    ) -> None:
        self.definition, self.fingerprint = definition, fingerprint
        self.members: dict[str, Definition] = {}
        self.channels: dict[str, Channel[Any]] = {}
        if isinstance(definition, WorkflowFunction):
            self.name, self.version, own = definition.name, definition.version, definition.check
            self.retention, self.cleanup_timeout = definition.retention, definition.cleanup_timeout or 0
            self.members[""] = definition
            self.channels.update(_around(definition.fn))
        else:
            self.name, self.version = definition.workflow_name, definition.workflow_version
            own, self.retention = definition.workflow_check, definition.workflow_retention
            self.cleanup_timeout = definition.workflow_cleanup_timeout or 0
            self.members.update(definition.members())
            self.channels.update(_around(definition) | definition.channels())
        self.check: Check = own or check or "strict"
        self.versions: dict[int, Program] = {self.version: self}

    @property
    def served(self) -> str:
        """The fingerprint of all versions together: who has the same can go on with the same instances."""
        if len(self.versions) == 1:
            return self.fingerprint
        each = [f"{number} {one.fingerprint}" for number, one in sorted(self.versions.items())]
        return sha256("\n".join(each).encode()).hexdigest()

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


def _around(code: Any) -> dict[str, Channel[Any]]:
    """The channels that the module of a function or class has."""
    names = getattr(sys.modules.get(code.__module__), "__dict__", {}).values()
    return {one.name: one for one in names if isinstance(one, Channel)}


def program_of(programs: Mapping[str, Program], record: StateRecord) -> Program | None:
    """The code that an instance goes on with; None when its version is not among *programs*, by name the highest.

    One that has no turn yet begins with the highest. Before there were versions, all was version 1.
    """
    program = programs.get(record.workflow)
    return program.versions.get(record.version or 1) if program is not None and record.turns else program
