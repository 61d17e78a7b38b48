"""Settings: the options that every command takes, before or after its name, and what they open."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from shlex import quote
from typing import Any, TypeVar

import click
from attrs import define

from infinitic.backends import Backend
from infinitic.backends.urls import TRANSPORTS, Role, open_backend, sqlite_path
from infinitic.client import Client
from infinitic.config import Config, load_config, scheme_of, shown
from infinitic.errors import InfiniticError, NoStorage, StorageError, UnknownWorkflow
from infinitic.records import Filter
from infinitic.storages import Storage

F = TypeVar("F", bound=Callable[..., Any])

T = TypeVar("T")

LOOK_AGAIN = 0.25
"""Seconds after which a command looks anew how what it waits for stands: somebody sits and waits with it."""
PATIENCE, POLL = 1.0, 0.02
NEAR = 3
LOOKED_AT = 500


@define
class Settings:
    """What the global options say."""

    url: str | None = None
    transport: str | None = None
    storage: str | None = None
    json: bool = False
    debug: bool = False

    def config(self) -> Config:
        """The configuration, the options before all else. Raises `ConfigurationError`."""
        return load_config(self.url, transport=self.transport, storage=self.storage)

    def repeated(self) -> str:
        """The options that name the backend, for another command; a password is left out."""
        given = {"--url": self.url, "--transport": self.transport, "--storage": self.storage}
        return "".join(f" {option} {quote(shown(url))}" for option, url in given.items() if url is not None)


class UnknownId(UnknownWorkflow):
    """An id that no instance has, and those that look like it."""

    def __init__(self, error: UnknownWorkflow, near: list[str]) -> None:
        super().__init__(error.workflow, error.workflow_id)
        self.near = near

    def __str__(self) -> str:
        if self.near:
            return f"{super().__str__()}. Did you mean {' or '.join(self.near)}?"
        return f"{super().__str__()}. One that was started just now is there once a worker has taken it up."


# ------------------------------------------------------------------------------------------------ options


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value is not None and value is not False:
        setattr(context.ensure_object(Settings), str(parameter.name), value)


def everywhere(*, hidden: bool) -> Callable[[F], F]:
    """The options of `Settings`, as the program and each command take them."""
    kept: dict[str, Any] = {"expose_value": False, "callback": _keep, "hidden": hidden}
    options = (
        click.option("--url", metavar="URL", help="Transport and storage in one, as in sqlite:///trips.db.", **kept),
        click.option("--transport", metavar="URL", help="What moves messages, as in pulsar://host:6650.", **kept),
        click.option("--storage", metavar="URL", help="What keeps workflows, as in redis://host.", **kept),
        click.option("--debug", is_flag=True, help="Show tracebacks and the log.", **kept),
    )

    def decorate(fn: F) -> F:
        for option in reversed(options):
            fn = option(fn)
        return fn

    return decorate


def as_json(*, hidden: bool = False) -> Callable[[F], F]:
    """The option `--json`, of commands that print data."""
    help = "Print JSON, for programs."
    return click.option("--json", is_flag=True, expose_value=False, callback=_keep, hidden=hidden, help=help)


# ------------------------------------------------------------------------------------------------ opening


@contextmanager
def open_client(settings: Settings, *, creates: bool = False) -> Iterator[Client]:
    """A client for as long as the block lasts; an unknown id in it suggests near ones.

    Only what *creates* an instance makes a database that is not there yet.
    """
    config = settings.config()
    if not creates:
        refuse_absent(config)
    with Client.over(open_backend(config, "client"), look_again=LOOK_AGAIN) as client:
        try:
            yield client
        except UnknownWorkflow as error:
            raise UnknownId(error, _near(config, error.workflow_id)) from error


@contextmanager
def open_storage(settings: Settings, what: str, role: Role = "reader") -> Iterator[Storage]:
    """The storage, to read, while the block lasts. Raises `NoStorage`, which names *what* reads it."""
    with open_reader(settings, what, role) as backend:
        yield backend.storage


@contextmanager
def open_reader(settings: Settings, what: str, role: Role = "reader") -> Iterator[Backend]:
    """Storage and transport, to look at, while the block lasts. Raises `NoStorage`, which names *what* does."""
    config = settings.config()
    refuse_absent(config)
    if config.storage is None and scheme_of(config.transport) in TRANSPORTS:
        raise NoStorage(what)
    backend = open_backend(config, role)
    try:
        yield backend
    finally:
        backend.close()


def refuse_absent(config: Config) -> None:
    """Looking at a database that is not there must not make it. Raises `StorageError`."""
    if scheme_of(config.transport) == "sqlite":
        path = sqlite_path(config.transport)
        if not os.path.exists(path):
            raise StorageError(
                f"There is no database {path}",
                "Start a worker or a workflow first, or name another by --url.",
            )


def when_known(find: Callable[[], T]) -> T:
    """What *find* finds: one that was started a moment ago may be on its way to a worker still.

    Raises `UnknownWorkflow` when it is not there within a second.
    """
    last = time.monotonic() + PATIENCE
    while True:
        try:
            return find()
        except UnknownWorkflow:
            if time.monotonic() > last:
                raise
        time.sleep(POLL)


def near_ids(storage: Storage, workflow_id: str) -> list[str]:
    """Ids that there are and that look like this one, the most alike first."""
    begins = storage.find(Filter(id_prefix=workflow_id), NEAR).records
    latest = storage.find(Filter(id_prefix=workflow_id[:2]), LOOKED_AT).records
    alike = get_close_matches(workflow_id, [record.workflow_id for record in latest], NEAR)
    return list(dict.fromkeys([*alike, *(record.workflow_id for record in begins)]))[:NEAR]


def _near(config: Config, workflow_id: str) -> list[str]:
    if config.storage is None:
        return []
    backend = open_backend(config, "reader")
    try:
        return near_ids(backend.storage, workflow_id)
    except InfiniticError:
        return []  # a hint is not worth a second error
    finally:
        backend.close()
