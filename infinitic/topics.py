"""Names of topics: which kind of message goes where."""

from __future__ import annotations

WORKFLOW = "workflow:"
SERVICE = "service:"
CLIENT = "client:"
CONTROL = ":control"
DEAD = ":dead"


def workflow_topic(name: str) -> str:
    """Where the events of all instances of the workflow *name* go, keyed by workflow id."""
    return WORKFLOW + name


def service_topic(name: str) -> str:
    """Where the tasks of the service *name* go."""
    return SERVICE + name


def control_topic(name: str) -> str:
    """Where every worker of the service *name* hears of cancelled tasks."""
    return SERVICE + name + CONTROL


def client_topic(client_id: str) -> str:
    """Where one client hears its answers. Not persistent: an answer there is a hint."""
    return CLIENT + client_id


def dead_topic(topic: str) -> str:
    """Where messages of *topic* that cannot be used are kept with the reason."""
    return topic + DEAD
