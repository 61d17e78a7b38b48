"""The places that the scenarios run at: a transport and a storage, empty, for one test."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from tests.servers.found import server
from tests.transports import on_pulsar

Place: TypeAlias = dict[str, Any]
"""What names a backend: one URL, or a transport and a storage; keywords of `Worker` and `Client`."""


@contextmanager
def memory(directory: Path) -> Iterator[Place]:
    yield {"url": f"memory://{uuid.uuid4().hex}"}


@contextmanager
def sqlite(directory: Path) -> Iterator[Place]:
    yield {"url": f"sqlite:///{directory}/x.db"}


@contextmanager
def redis(directory: Path) -> Iterator[Place]:
    from tests.storages.on_redis import delete

    url, namespace = server("redis"), f"test-{uuid.uuid4().hex}"
    yield {"transport": on_pulsar.fresh(server("pulsar")), "storage": url, "namespace": namespace}
    delete(url, namespace)


@contextmanager
def mariadb(directory: Path, name: str = "mariadb") -> Iterator[Place]:
    from tests.storages.on_mysql import place

    with place(server(name)) as url:
        yield {"transport": on_pulsar.fresh(server("pulsar")), "storage": url}


@contextmanager
def mysql(directory: Path) -> Iterator[Place]:
    with mariadb(directory, "mysql") as names:
        yield names


@contextmanager
def postgres(directory: Path) -> Iterator[Place]:
    from tests.storages.on_postgres import place

    with place(server("postgres")) as url:
        yield {"transport": on_pulsar.fresh(server("pulsar")), "storage": url}


PLACES: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "memory": memory,
    "sqlite": sqlite,
    "pulsar+redis": redis,
    "pulsar+mariadb": mariadb,
    "pulsar+mysql": mysql,
    "pulsar+postgres": postgres,
}
"""Every pair that matters. One more is one line here."""
PROVEN = {"pulsar+mysql"}
"""Those of `make proof` only: it is MariaDB's storage, and that storage's own suite runs on both each time."""
