"""A task alone: the built-in workflow as which the bare task of a client runs.

It knows nothing of the task's contract: what the client encoded goes to the service as it came, and so does what the
service answers to the client.
"""

from __future__ import annotations

from typing import Any

from msgspec import Raw, Struct

from dsl.commands import Command, Flow
from dsl.workflows import WorkflowFunction

ALONE = "infinitic.task"
"""The name of the workflow, which every worker that serves workflows serves too."""


class EncodedTask(Struct, Command[Raw], frozen=True):
    """Run a task of a service; arguments and answer are JSON, as they travel. *options* are as history has them."""

    service: str
    name: str
    arguments: Raw
    options: dict[str, Any]

    @property
    def label(self) -> str:
        """As in `Hotels.book(…)`."""
        return f"{self.service}.{self.name}(…)"


class AsItIs:
    """Stands for the signature of an `EncodedTask`: nothing of it is decoded."""

    arguments_type = Raw

    @staticmethod
    def decode_arguments(data: Raw) -> Raw:
        return data

    decode_result = decode_arguments


def _alone(service: str, name: str, arguments: Raw, options: dict[str, Any]) -> Flow[Raw]:
    return (yield from EncodedTask(service, name, arguments, options))


alone = WorkflowFunction[[str, str, Raw, dict[str, Any]], Raw, Flow[Raw]](_alone)
alone.name = alone.owner = ALONE  # which no decorator would take
