"""The raw limit of a step over Pulsar and Redis: pulsar-client and redis-py in two processes, with no engine.

Topics, subscriptions, bodies and writes are of the kinds and sizes that ours are. One process writes to Redis what came
(all that is at hand in one pipeline) and asks for tasks; the other answers them. Each acknowledges when the broker has
confirmed what it sent, and waits for nothing. Nothing is kept in memory but how much of a fan-out has come back.

    python -m benchmarks._raw_pulsar workflows|services PULSAR_URL REDIS_URL NAMESPACE PACE
"""

from __future__ import annotations

import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import click
import pulsar
from redis import Redis

from benchmarks._processes import AT_WORK, running
from infinitic.transports.pulsar.connecting import connect
from infinitic.transports.pulsar.topics import Topics, is_kept
from infinitic.transports.pulsar_settings import read_settings

WORKFLOW, SERVICE, CLIENT = "workflow:raw", "service:raw", "client:raw"
TASK, RESULT, HEAD, RECORD, TURN = 400, 390, 300, 450, 270
"""Bytes of a message of each kind, and of what is written at each step; about what ours have."""
AT_ONCE = 256
PATIENCE = 120_000


class Place:
    """A namespace of Pulsar, with the topics there."""

    def __init__(self, url: str, namespace: str) -> None:
        self._settings = read_settings(url, {}, namespace)
        self.client = connect(self._settings)
        self._topics = Topics(self._settings, self.client)
        self._topics.ensure([WORKFLOW, SERVICE, CLIENT])

    def consumer(self, topic: str) -> Any:
        """As ours subscribe."""
        kind, size = {
            WORKFLOW: (pulsar.ConsumerType.KeyShared, self._settings.workflow_queue),
            SERVICE: (pulsar.ConsumerType.Shared, self._settings.service_queue),
            CLIENT: (pulsar.ConsumerType.Exclusive, 1000),
        }[topic]
        return self.client.subscribe(
            self._topics.full(topic),
            self._settings.subscription,
            consumer_type=kind,
            receiver_queue_size=size,
            initial_position=pulsar.InitialPosition.Earliest,
        )

    def producer(self, topic: str) -> Any:
        """As ours send."""
        return self.client.create_producer(
            self._topics.full(topic),
            send_timeout_millis=0,
            max_pending_messages=self._settings.pending,
            batching_enabled=not is_kept(topic),
        )


def body(size: int, *facts: str | int) -> bytes:
    """A message: what it says, and as much more as makes it so large."""
    return " ".join(map(str, facts)).encode().ljust(size)


def facts_of(message: Any) -> tuple[str, int, int, int]:
    """Of which chain, after how many steps of how many, and how many tasks go out at each."""
    key, number, steps, width = message.data().split()
    return key.decode(), int(number), int(steps), int(width)


def at_hand(consumer: Any) -> list[Any]:
    """One message, and those that are there already."""
    batch = [consumer.receive()]
    while len(batch) < AT_ONCE:
        try:
            batch.append(consumer.receive(0))
        except pulsar.Timeout:
            break
    return batch


def acknowledge(consumer: Any, message: Any, result: Any, _message_id: Any) -> None:
    """What came of *message* is confirmed."""
    if result == pulsar.Result.Ok:
        consumer.acknowledge(message)


def advance(place: Place, redis: Any, prefix: str) -> None:
    """Write what comes, and ask for what follows."""
    consumer, tasks, answers = place.consumer(WORKFLOW), place.producer(SERVICE), place.producer(CLIENT)
    back = Counter[str]()
    say_at_work()
    while True:
        batch = [(one, *facts_of(one)) for one in at_hand(consumer)]
        write(redis, prefix, [key for _, key, *_ in batch])
        for message, key, number, steps, width in batch:
            done = partial(acknowledge, consumer, message)
            back[key] += bool(number)
            over = number == steps if width == 1 else back[key] == width
            if over:
                answers.send_async(body(RESULT, key, number, steps, width), done)
                del back[key]
                continue
            for _ in range(1 if width == 1 else width * (number == 0)):
                tasks.send_async(body(TASK, key, number + 1, steps, width), done)
            if number and width > 1:
                consumer.acknowledge(message)


def write(redis: Any, prefix: str, keys: Sequence[str]) -> None:
    """A step of each: its turn, which tells when, its head and its record."""
    pipeline = redis.pipeline(transaction=True)
    for key in keys:
        pipeline.rpush(f"{prefix}t:{key}", body(TURN, time.time_ns() // 1_000))
        pipeline.set(f"{prefix}h:{key}", b"h" * HEAD)
        pipeline.set(f"{prefix}r:{key}", b"r" * RECORD)
    pipeline.execute()


def answer(place: Place, pace: float) -> None:
    """Send back what comes, *pace* seconds later."""
    consumer, results = place.consumer(SERVICE), place.producer(WORKFLOW)
    say_at_work()
    while True:
        batch = at_hand(consumer)
        time.sleep(pace)
        for message in batch:
            key, *facts = facts_of(message)
            results.send_async(body(RESULT, key, *facts), partial(acknowledge, consumer, message), partition_key=key)


def say_at_work() -> None:
    print(AT_WORK, file=sys.stderr, flush=True)


# --- the measuring side ---


class Raw:
    """Two such processes at work on a namespace of their own, and who starts chains there."""

    def __init__(self, pulsar_url: str, redis_url: str, namespace: str) -> None:
        self._urls, self._namespace = (pulsar_url, redis_url), namespace
        self._place = Place(pulsar_url, namespace)
        self._redis = Redis.from_url(redis_url)
        self._starts, self._answers = self._place.producer(WORKFLOW), self._place.consumer(CLIENT)
        self._numbers = itertools.count()

    @contextmanager
    def serving(self, role: str, pace: float = 0.0) -> Iterator[Any]:
        """A process of one role, at work while the block lasts."""
        command = [sys.executable, "-m", "benchmarks._raw_pulsar", role, *self._urls, self._namespace, str(pace)]
        with running(command) as process:
            yield process

    def start(self, count: int, steps: int, width: int = 1) -> list[str]:
        """Begin *count* chains: their keys."""
        keys = [f"raw-{next(self._numbers)}" for _ in range(count)]
        for key in keys:
            self._starts.send_async(body(RESULT, key, 0, steps, width), lambda *_: None, partition_key=key)
        return keys

    def run(self, count: int, steps: int, width: int = 1) -> list[str]:
        """Begin *count* chains, and wait until all have been answered: their keys."""
        keys = self.start(count, steps, width)
        missing = set(keys)
        while missing:
            message = self._answers.receive(PATIENCE)
            self._answers.acknowledge(message)
            missing.discard(facts_of(message)[0])
        return keys

    def times(self, key: str) -> list[int]:
        """When a chain made its steps, in microseconds since 1970."""
        return [int(turn.split()[0]) for turn in self._redis.lrange(f"{prefix_of(self._namespace)}t:{key}", 0, -1)]

    def close(self) -> None:
        self._place.client.close()
        self._redis.close()


def prefix_of(namespace: str) -> str:
    return f"infinitic:{namespace}:raw:"


@click.command(help=__doc__)
@click.argument("role")
@click.argument("pulsar_url")
@click.argument("redis_url")
@click.argument("namespace")
@click.argument("pace", type=float)
def main(role: str, pulsar_url: str, redis_url: str, namespace: str, pace: float) -> None:
    """Be one of the two processes."""
    place = Place(pulsar_url, namespace)
    if role == "workflows":
        advance(place, Redis.from_url(redis_url), prefix_of(namespace))
    else:
        answer(place, pace)


if __name__ == "__main__":
    main()
