"""An empty storage on a real Redis, for one test: in a namespace of its own, whose keys are deleted after."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from redis import Redis

from infinitic.clock import Clock
from infinitic.storages.redis import RedisStorage


@contextmanager
def empty(url: str, clock: Clock | None = None) -> Iterator[RedisStorage]:
    namespace = f"test-{uuid4().hex}"
    with opened(url, namespace=namespace, clock=clock) as storage:
        yield storage
    delete(url, namespace)


@contextmanager
def opened(url: str, **options: Any) -> Iterator[RedisStorage]:
    storage = RedisStorage.open(url, **options)
    try:
        yield storage
    finally:
        storage.close()


def delete(url: str, namespace: str) -> None:
    """All keys of a namespace."""
    with Redis.from_url(url) as client:
        keys = [*client.scan_iter(f"infinitic:{namespace}:*", count=10_000)]
        if keys:
            client.unlink(*keys)
