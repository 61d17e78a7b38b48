"""Temporal's Python SDK: its Replayer, without the sandbox, over a history written as its server records one."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import History, HistoryEvent
from temporalio.client import WorkflowHistory
from temporalio.converter import DataConverter
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

NOTE = "Replayer over a whole history, without the sandbox; its set-up is not counted"
QUEUE, RUN = "benchmark", "00000000-0000-0000-0000-000000000001"
NOON = 1_800_000_000_000
CHECKS = (1,)
"""The flag by which the SDK, which records it in a new run's history, compares the names of activities on replay."""
answers: list[int] = []


class Chain:
    async def run(self, steps: int) -> int:
        total = 0
        for number in range(steps):
            total = await workflow.execute_activity(
                "add", args=[total, number], result_type=int, start_to_close_timeout=timedelta(seconds=10)
            )
        answers.append(total)
        return total


workflow.run(Chain.run)
workflow.defn(name="chain", sandboxed=False)(Chain)


def replays(steps: int) -> Iterator[float]:
    """How many seconds each of endless replays takes."""
    results = _results(History.FromString(history(steps).SerializeToString()))
    with asyncio.Runner() as runner:
        try:
            while True:
                yield runner.run(_next(results))
                assert answers.pop() == steps - 1
        finally:
            runner.run(results.aclose())


async def _next(results: AsyncGenerator[float]) -> float:
    return await anext(results)


async def _results(recorded: Any) -> AsyncGenerator[float]:
    began: list[float] = []
    replayer = Replayer(workflows=[Chain], workflow_runner=UnsandboxedWorkflowRunner())
    async with replayer.workflow_replay_iterator(_histories(recorded, began)) as results:
        async for result in results:
            took = time.perf_counter() - began[-1]
            if result.replay_failure is not None:
                raise result.replay_failure
            yield took


async def _histories(recorded: Any, began: list[float]) -> AsyncIterator[Any]:
    for number in itertools.count():
        began.append(time.perf_counter())
        yield WorkflowHistory(f"wf-{number}", recorded.events)


# --- a history ---


def history(steps: int) -> Any:
    """The events of a whole run: per task it is scheduled, started and completed, and wakes the workflow once."""
    recorded = Recorded()
    recorded.add(
        "WORKFLOW_EXECUTION_STARTED",
        workflow_type={"name": "chain"},
        task_queue={"name": QUEUE},
        input=payloads(steps),
        original_execution_run_id=RUN,
        first_execution_run_id=RUN,
        attempt=1,
    )
    woken = recorded.add_wake_up(sdk_metadata={"core_used_flags": CHECKS})
    for number in range(steps):
        arguments = payloads(max(0, number - 1), number)
        woken = recorded.add_activity(str(number + 1), arguments, payloads(number), woken)
    recorded.add("WORKFLOW_EXECUTION_COMPLETED", result=payloads(steps - 1), workflow_task_completed_event_id=woken)
    return History(events=recorded.events)


def payloads(*values: Any) -> Any:
    """Values as the SDK encodes them by default."""
    return {"payloads": DataConverter.default.payload_converter.to_payloads(values)}


class Recorded:
    """Events, numbered from 1 on; each `add` gives the number."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def add(self, kind: str, **attributes: Any) -> int:
        event = HistoryEvent(
            event_id=len(self.events) + 1,
            event_type=EventType.Value(f"EVENT_TYPE_{kind}"),
            **{f"{kind.lower()}_event_attributes": attributes},
        )
        event.event_time.FromMilliseconds(NOON + len(self.events))
        self.events.append(event)
        return len(self.events)

    def add_wake_up(self, **attributes: Any) -> int:
        """A workflow task, from asked for to done."""
        scheduled = self.add("WORKFLOW_TASK_SCHEDULED", task_queue={"name": QUEUE}, attempt=1)
        started = self.add("WORKFLOW_TASK_STARTED", scheduled_event_id=scheduled)
        return self.add("WORKFLOW_TASK_COMPLETED", scheduled_event_id=scheduled, started_event_id=started, **attributes)

    def add_activity(self, id: str, arguments: Any, result: Any, woken: int) -> int:
        """An activity, from asked for to done, and the wake-up that follows."""
        scheduled = self.add(
            "ACTIVITY_TASK_SCHEDULED",
            activity_id=id,
            activity_type={"name": "add"},
            task_queue={"name": QUEUE},
            input=arguments,
            start_to_close_timeout=timedelta(seconds=10),
            workflow_task_completed_event_id=woken,
        )
        started = self.add("ACTIVITY_TASK_STARTED", scheduled_event_id=scheduled, attempt=1)
        self.add("ACTIVITY_TASK_COMPLETED", result=result, scheduled_event_id=scheduled, started_event_id=started)
        return self.add_wake_up()
