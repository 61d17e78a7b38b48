"""Durable workflows written as plain Python generators, on the databases and brokers you already run.

    from infinitic import Client, Flow, Worker, task, workflow

The language is imported at once. What runs it (client, worker, codecs) is imported when its name is first
used: a module that only defines workflows, or a shared contract, does not pay for a runtime that it does not
touch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

import dsl
from dsl import *  # noqa: F403  # the language's public names are this package's
from infinitic.errors import (
    Bug,
    ConfigurationError,
    DecodeError,
    EncodeError,
    MissingExtra,
    NonDeterminismError,
    NoStorage,
    OperatorError,
    PayloadError,
    RegistrationError,
    StorageError,
    TransportError,
    UnreadableHistory,
    UntrustedPayload,
    WorkflowInUse,
)

if TYPE_CHECKING:
    from infinitic.client import AsyncClient, AsyncHandle, Client, Handle
    from infinitic.serialization import PickleCodec
    from infinitic.worker import Worker

__version__: str

# fmt: off
__all__ = [
    "AsyncClient", "AsyncHandle", "Bug", "Client", "ConfigurationError", "DecodeError", "EncodeError",
    "Handle", "MissingExtra", "NoStorage", "NonDeterminismError", "OperatorError", "PayloadError",
    "PickleCodec", "RegistrationError", "StorageError", "TransportError", "UnreadableHistory",
    "UntrustedPayload", "Worker", "WorkflowInUse",
]
__all__ += dsl.__all__
# fmt: on

_LATER = {
    "AsyncClient": "infinitic.client",
    "AsyncHandle": "infinitic.client",
    "Client": "infinitic.client",
    "Handle": "infinitic.client",
    "PickleCodec": "infinitic.serialization",
    "Worker": "infinitic.worker",
}

if not TYPE_CHECKING:  # else every misspelt name would be one of any type

    def __getattr__(name: str) -> object:
        if name == "__version__":
            value = import_module("importlib.metadata").version("infinitic")
        elif name in _LATER:
            value = getattr(import_module(_LATER[name]), name)
        else:
            raise AttributeError(f"module 'infinitic' has no attribute {name!r}")
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
