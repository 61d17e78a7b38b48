"""From a configuration to a backend: what each URL names, and which pairs go together.

The law of the place: what cannot work is refused before anything is opened, with a sentence that says what
would.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, Literal, TypeAlias

from attrs import Factory, define

from infinitic.backends import Backend
from infinitic.backends.distributed import DistributedBackend
from infinitic.clock import Clock, system_clock
from infinitic.config import EMBEDDED, Config, load_config, scheme_of, shown
from infinitic.errors import ConfigurationError, MissingExtra
from infinitic.storages import Storage
from infinitic.storages.memory import MemoryStorage
from infinitic.storages.schemas import Schema
from infinitic.transports.memory import MemoryTransport

Role: TypeAlias = Literal["worker", "client", "reader"]

TRANSPORTS = {
    "sqlite": "SQLite",
    "memory": "memory",
    "pulsar": "Apache Pulsar",
    "pulsar+ssl": "Apache Pulsar",
}
STORAGES = {
    "sqlite": "SQLite",
    "memory": "memory",
    "redis": "Redis",
    "rediss": "Redis",
    "mysql": "MySQL",
    "mariadb": "MariaDB",
    "postgresql": "PostgreSQL",
}


@define
class Broker:
    """What one `memory://` name stands for."""

    transport: MemoryTransport
    storage: MemoryStorage


@define
class Brokers:
    """The brokers in memory, by name. Made at first use; the first user's clock is the broker's."""

    by_name: dict[str, Broker] = Factory(dict)
    lock: threading.Lock = Factory(threading.Lock)

    def named(self, name: str, clock: Clock) -> Broker:
        with self.lock:
            if name not in self.by_name:
                self.by_name[name] = Broker(MemoryTransport(clock), MemoryStorage(clock))
            return self.by_name[name]


# The one global of the runtime: "the same name is the same broker within this process" needs a place that is
# the process's. Whoever wants a place of their own passes it.
BROKERS = Brokers()


def open_backend(
    config: Config | str,
    role: Role,
    clock: Clock = system_clock,
    *,
    brokers: Brokers = BROKERS,
    platform: str = sys.platform,
) -> Backend:
    """The backend that a configuration names; a URL is one with all else as it is configured.

    Raises `ConfigurationError` for what is unknown or does not go together, `MissingExtra` for a driver that is not
    installed, `StorageError` for a storage that cannot be used.
    """
    settings = load_config(config) if isinstance(config, str) else config
    _check(settings, platform)
    if scheme_of(settings.transport) == "sqlite":
        return _open_sqlite(settings, role, clock)
    transport = open_transport(settings, clock, brokers=brokers)
    try:
        storage = None if settings.storage is None else open_storage(settings, role, clock, brokers=brokers)
    except BaseException:
        transport.close()
        raise
    return DistributedBackend(transport, storage)


def _check(config: Config, platform: str) -> None:
    _check_scheme(config.transport, TRANSPORTS, "transport")
    if config.storage is not None:
        _check_scheme(config.storage, STORAGES, "storage")
    _check_pair(config)
    if scheme_of(config.transport) == "sqlite" and platform == "win32":
        raise ConfigurationError(
            "The embedded backend runs on Linux and macOS, not on Windows",
            "Use it in WSL or a container, or a transport and a storage on servers.",
        )


def _check_scheme(url: str, known: dict[str, str], what: str) -> None:
    scheme = scheme_of(url)
    if scheme in known:
        return
    if scheme in TRANSPORTS or scheme in STORAGES:
        other = "storage" if what == "transport" else "transport"
        raise ConfigurationError(
            f"{shown(url)} names a {other} and was given as the {what}",
            f"A {what} is one of {_listed(known)}.",
        )
    near = get_close_matches(scheme, known, n=1)
    hint = f"Did you mean {near[0]}://?" if near else f"A {what} is one of {_listed(known)}."
    raise ConfigurationError(f"{shown(url)} names no {what} that is known", hint)


def _listed(schemes: dict[str, str]) -> str:
    return ", ".join(f"{scheme}://" for scheme in schemes)


def _check_pair(config: Config) -> None:
    """SQLite is both in one file, or neither; all others go together as they like."""
    if config.storage == config.transport:
        return
    urls = [url for url in (config.transport, config.storage) if url is not None]
    if any(scheme_of(url) == "sqlite" for url in urls):
        storage = "no storage" if config.storage is None else f"the storage {shown(config.storage)}"
        raise ConfigurationError(
            f"The transport {shown(config.transport)} does not go with {storage}",
            "SQLite is transport and storage in one file: give that one URL, or another pair.",
        )


def _open_sqlite(config: Config, role: Role, clock: Clock) -> Backend:
    from infinitic.backends.sqlite import SqliteBackend

    path = sqlite_path(config.transport)
    return SqliteBackend.open(path, role=role, durability=config.durability, clock=clock)


def sqlite_path(url: str) -> str:
    """The file's path: relative after three slashes, absolute after four. Raises `ConfigurationError`."""
    host, _, path = url.removeprefix("sqlite://").partition("/")
    if host or not path or path == ":memory:" or path.endswith("/"):
        hint = "Write sqlite:///trips.db, or sqlite:////var/lib/trips.db; memory:// keeps nothing."
        raise ConfigurationError(f"{url} names no file", hint)
    return path


def open_storage(config: Config, role: Role, clock: Clock = system_clock, *, brokers: Brokers = BROKERS) -> Storage:
    """The storage that a configuration names beside a transport, by itself. Raises as `open_backend` does."""
    url = str(config.storage)
    if scheme_of(url) == "memory":
        return brokers.named(_name(url), clock).storage.another()
    storage: Storage = storage_of(url).open(url, namespace=config.namespace, makes=role != "reader")
    return storage


@contextmanager
def open_schema(config: Config) -> Iterator[Schema]:
    """The schema of the storage that a configuration names, as it is. Raises as `open_backend` does."""
    url = str(config.storage)
    _check_scheme(url, STORAGES, "storage")
    if scheme_of(url) in EMBEDDED:
        raise ConfigurationError(f"{shown(url)} sees to its schema by itself", "Name a storage on a server.")
    with storage_of(url).schema_of(url, namespace=config.namespace) as schema:
        yield schema


def storage_kind(url: str) -> str:
    """Of which kind the server is that a storage's URL names: redis, mysql, postgresql, sqlite or memory."""
    return {"rediss": "redis", "mariadb": "mysql"}.get(scheme_of(url), scheme_of(url))


def storage_of(url: str) -> Any:
    """The class of the storage on servers that a URL names. Raises `MissingExtra`."""
    scheme = scheme_of(url)
    match scheme:
        case "redis" | "rediss":
            with _extra(scheme, "redis"):
                from infinitic.storages.redis import RedisStorage

                return RedisStorage
        case "mysql" | "mariadb":
            with _extra(scheme, "mysql"):
                from infinitic.storages.mysql import MySqlStorage

                return MySqlStorage
        case _:
            with _extra(scheme, "postgres"):
                from infinitic.storages.postgres import PostgresStorage

                return PostgresStorage


def open_transport(config: Config, clock: Clock = system_clock, *, brokers: Brokers = BROKERS) -> Any:
    """The transport that a configuration names, by itself. Raises as `open_backend` does."""
    if scheme_of(config.transport) == "memory":
        return brokers.named(_name(config.transport), clock).transport.another()
    with _extra(scheme_of(config.transport), "pulsar"):
        from infinitic.transports.pulsar import PulsarTransport

    return PulsarTransport.open(config.transport, config.pulsar, config.namespace)


def topic_commands(config: Config, topics: Iterable[str]) -> Iterator[str]:
    """What an operator types to make *topics*. Raises `ConfigurationError`, `MissingExtra`."""
    with _extra(scheme_of(config.transport), "pulsar"):
        from infinitic.transports.pulsar.topics import commands
        from infinitic.transports.pulsar_settings import read_settings

    return commands(read_settings(config.transport, config.pulsar, config.namespace), topics)


@contextmanager
def _extra(scheme: str, extra: str) -> Iterator[None]:
    """What is imported here may lack the driver that *extra* brings. Raises `MissingExtra`."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("infinitic"):
            raise
        raise MissingExtra(f"{scheme}://", extra) from None


def _name(url: str) -> str:
    return url.removeprefix("memory://")
