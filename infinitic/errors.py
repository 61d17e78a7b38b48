"""All errors: those of `dsl.errors`, the operators' (one line, a hint, an exit code) and ours (a bug).

InfiniticError
├── …                           what workflow code, a task or a caller can meet: the page of `dsl.errors`
├── OperatorError               whoever runs the system can mend it
│   ├── ConfigurationError      the configuration names what is unknown, missing or of the wrong kind
│   ├── RegistrationError       a workflow or a service that a worker cannot serve
│   ├── StorageError            the storage cannot be used
│   ├── TransportError          the transport cannot be used
│   ├── NoStorage               what was asked for reads the storage, and there is none
│   └── MissingExtra            a package is not installed
├── PayloadError                a value that cannot travel; `path` is where inside it
│   ├── EncodeError             the codecs cannot hold it
│   └── DecodeError             it is not what the declared type says
│       └── UntrustedPayload    pickled, and not signed by a key that is known
├── WorkflowInUse               the instance is still needed and cannot be deleted
├── NonDeterminismError         the code asked for something else than history says
├── UnreadableHistory           a recorded answer is not what today's types say
└── Bug                         a fault of this library
"""

from __future__ import annotations

from dsl.errors import *  # noqa: F403  # the public names of the language are public here too
from dsl.errors import InfiniticError


class OperatorError(InfiniticError):
    """Something that whoever runs the system can mend: configuration, a server, a file.

    `str()` is one line: what happened with the value, what was expected, and what to do.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        self.message, self.hint = message, hint
        super().__init__(message, hint)

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class ConfigurationError(OperatorError):
    """The configuration names something that is unknown, missing or of the wrong kind."""


class RegistrationError(OperatorError):
    """A workflow or a service that a worker cannot serve: a duplicate name, a contract that is not met."""


class StorageError(OperatorError):
    """The storage cannot be used just now, or at all."""


class TransportError(OperatorError):
    """The transport cannot be used just now, or at all."""


class NoStorage(OperatorError):
    """What was asked for reads the storage, and the configuration names none."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"{what} reads the storage, and none is configured", "Give storage='…' or INFINITIC_STORAGE.")


class MissingExtra(OperatorError):
    """A backend or codec needs a package that is not installed."""

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"{what} needs a package that is not installed", f"pip install 'infinitic[{extra}]'")


class PayloadError(InfiniticError):
    """A value that cannot be encoded or decoded. *path* is where inside the value, as in `$.card.number`."""

    def __init__(self, message: str, path: str = "$") -> None:
        self.message, self.path = message, path
        super().__init__(message, path)

    def __str__(self) -> str:
        return self.message if self.path in ("", "$") else f"{self.message} - at `{self.path}`"


class EncodeError(PayloadError):
    """A value that the payload codecs cannot hold."""


class DecodeError(PayloadError):
    """Data that is not what the declared type says."""


class UntrustedPayload(DecodeError):
    """A pickled payload without a signature, or with one of an unknown key, or a wrong one. It was not unpickled."""


class NonDeterminismError(InfiniticError):
    """The code asked for something else than it did when history was written."""

    def __init__(self, workflow_id: str, position: str, recorded: str, replayed: str, file: str, line: int) -> None:
        self.workflow_id, self.position, self.recorded, self.replayed = (
            workflow_id,
            position,
            recorded,
            replayed,
        )
        self.file, self.line = file, line
        super().__init__(workflow_id, position, recorded, replayed, file, line)

    def __str__(self) -> str:
        return (
            f"{self.workflow_id}: history says {self.recorded} at position {self.position}, "
            f"but {self.file}:{self.line} now asks for {self.replayed}. "
            "Guard the change with patched(...), register the new code as a version of its own, "
            "or restore the old code."
        )


class WorkflowInUse(InfiniticError):
    """An instance that cannot be deleted: it has not ended, or not all that it sends is known to be sent."""

    def __init__(self, workflow: str, workflow_id: str, status: str) -> None:
        self.workflow, self.workflow_id, self.status = workflow, workflow_id, status
        super().__init__(workflow, workflow_id, status)

    def __str__(self) -> str:
        what = f"{self.workflow} {self.workflow_id!r} is {self.status}"
        if self.status in ("running", "suspended"):
            return f"{what} and cannot be deleted. Cancel or terminate it first, and wait until it has ended."
        return (
            f"{what}, but not all that it sends is sent yet. Delete it again once a worker of {self.workflow} has run."
        )


class UnreadableHistory(InfiniticError):
    """An answer that history recorded cannot be decoded by today's types."""

    def __init__(self, workflow_id: str, position: str, problem: str) -> None:
        self.workflow_id, self.position, self.problem = workflow_id, position, problem
        super().__init__(workflow_id, position, problem)

    def __str__(self) -> str:
        return (
            f"{self.workflow_id}: the answer recorded at position {self.position} is not what the declared type says: "
            f"{self.problem}. Make the type accept it again."
        )


class Bug(InfiniticError):
    """A fault of this library. Please report it with the message."""

    def __str__(self) -> str:
        return f"{self.args[0]}. This is a bug in Infinitic for Python: please report it with this message."
