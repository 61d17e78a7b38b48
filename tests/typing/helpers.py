"""What the checkers know of helpers. Lines with two ignores are mistakes that both flag."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Literal, assert_type

from dsl import (
    Command,
    CurrentTask,
    CurrentWorkflow,
    Flow,
    Retry,
    RetryIn,
    compensations,
    current_task,
    current_workflow,
    dispatch,
    inline,
    logger,
    now,
    patched,
    random,
    sleep,
    sleep_until,
    task,
    uuid4,
    workflow_id,
)


@task
def reserve(city: str) -> int:
    return 1


def read(path: str, *, limit: int = 5) -> list[str]:
    return [path]


def flow(cities: Sequence[str]) -> Flow[None]:
    assert_type(sleep(5), Command[None])
    assert_type((yield from sleep(minutes=1, hours=2, days=3, weeks=4)), None)
    assert_type((yield from sleep(timedelta(days=1))), None)
    assert_type((yield from sleep_until(now() + timedelta(days=1))), None)
    assert_type(inline(read, "x"), Command[list[str]])
    assert_type((yield from inline(read, "x", limit=3)), list[str])
    assert_type((yield from inline(lambda: 5)), int)
    assert_type(now(), datetime)
    assert_type(uuid4(), uuid.UUID)
    assert_type(patched("insure"), bool)
    assert_type(random(), float)
    assert_type(random.randint(1, 6), int)
    assert_type(random.uniform(1, 6), float)
    assert_type(random.choice(cities), str)
    assert_type(random.shuffle([1, 2]), None)
    assert_type(random.sample(cities, 2), list[str])
    assert_type(workflow_id(), str)
    assert_type(current_workflow(), CurrentWorkflow)
    assert_type(logger.info("booked %s", "Oslo", city="Oslo"), None)
    begun = dispatch(reserve("Oslo"))
    assert_type(begun.status(), Literal["running", "completed", "failed", "cancelled"])
    assert_type(begun.done(), bool)
    assert_type(begun.cancel(), None)
    with compensations() as undo:
        assert_type(undo(reserve("Oslo")), None)
        assert_type((yield from reserve("Oslo")), int)


def inside_a_task() -> None:
    me = current_task()
    assert_type(me, CurrentTask)
    assert_type(me.attempt, int)
    assert_type(me.workflow_id, str | None)
    assert_type(me.tags, frozenset[str])
    assert_type(me.previous, BaseException | None)
    assert_type(me.cancelled, bool)
    assert_type(me.heartbeat({"page": 1}), None)
    raise RetryIn(timedelta(minutes=5))


assert_type(Retry(5, initial=timedelta(seconds=1), maximum=5, retry_on=ValueError), Retry)
assert_type(Retry(retry_on=(ValueError, KeyError), never_on=[OSError]), Retry)
assert_type(Retry().initial, float)
assert_type(Retry(decide=lambda attempt, error: None if isinstance(error, KeyError) else attempt / 2), Retry)
Retry(decide=lambda attempt: 1)  # type: ignore[arg-type,misc]  # pyright: ignore[reportArgumentType]

sleep("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sleep(minutes=timedelta(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
sleep_until(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
inline(read)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
inline(read, 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
inline(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType, reportCallIssue]
dispatch(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
dispatch(read)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(max_attempts="5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(retry_on=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
Retry(attempts=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
with compensations() as undo:
    undo(5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
